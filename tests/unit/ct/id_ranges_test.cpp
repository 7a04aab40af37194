// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/id_ranges.hpp"

#include "../temporary_dir.hpp"

#include <catch2/catch.hpp>

#include <set>
#include <thread>
#include <vector>

using namespace vz;
using namespace vz::ct;

// High enough for no host to have users there.
constexpr uint32_t first = 0x70000000;

TEST_CASE("a container keeps its range, and each has its own") {
    test::TemporaryDir dir;
    auto file = dir / "ids";
    IdRanges ranges(file, first, first + 3 * 65536);
    auto one = ranges.rangeOf("uuid-1"), two = ranges.rangeOf("uuid-2");
    REQUIRE(one);
    REQUIRE(two);
    CHECK(one->inside == 0);
    CHECK(one->host == first);
    CHECK(one->count == 65536);
    CHECK(two->host == first + 65536);
    IdRanges again(file, first, first + 3 * 65536);
    CHECK(again.rangeOf("uuid-2")->host == two->host);
}

TEST_CASE("a range given back is used again, and running out is said") {
    test::TemporaryDir dir;
    IdRanges ranges(dir / "ids", first, first + 2 * 65536);
    REQUIRE(ranges.rangeOf("a"));
    REQUIRE(ranges.rangeOf("b"));
    auto none = ranges.rangeOf("c");
    REQUIRE_FALSE(none);
    CHECK(none.error().code() == ErrorCode::OperationFailed);
    REQUIRE(ranges.release("a"));
    REQUIRE(ranges.release("never known"));
    CHECK(ranges.rangeOf("c")->host == first);
}

TEST_CASE("ids of the host's own users are left out") {
    test::TemporaryDir dir;
    IdRanges ranges(dir / "ids", 0, 4 * 65536);
    auto range = ranges.rangeOf("a");
    REQUIRE(range);
    CHECK(range->host >= 65536); // root and the system users are below
}

TEST_CASE("a damaged file is refused, not guessed at") {
    test::TemporaryDir dir;
    auto file = dir / "ids";
    REQUIRE(file::writeAtomic(file, "uuid-1 nonsense 65536\n"));
    IdRanges ranges(file, first, first + 65536);
    auto range = ranges.rangeOf("a");
    REQUIRE_FALSE(range);
    CHECK(range.error().message().find("nonsense") != std::string::npos);
}

TEST_CASE("two daemons on one file never give the same range") {
    test::TemporaryDir dir;
    auto file = dir / "ids";
    std::vector<std::vector<uint32_t>> got(4);
    std::vector<std::thread> threads;
    for (size_t i = 0; i < got.size(); ++i)
        threads.emplace_back([&, i] {
            IdRanges ranges(file, first, first + 100 * 65536);
            for (int n = 0; n < 5; ++n)
                if (auto range = ranges.rangeOf(cat("t", i, "-", n)))
                    got[i].push_back(range->host);
        });
    for (auto& thread : threads)
        thread.join();
    std::set<uint32_t> all;
    for (const auto& some : got)
        all.insert(some.begin(), some.end());
    CHECK(all.size() == 20);
}
