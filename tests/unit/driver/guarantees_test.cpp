// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/guarantees.hpp"

#include <catch2/catch.hpp>

using namespace vz;
using namespace vz::driver;
using Kind = domain::MemoryGuarantee::Kind;

TEST_CASE("a guarantee is bytes, or a part of the limit or of the host, whichever is less") {
    constexpr uint64_t mib = 1 << 20;
    CHECK(guaranteedBytes({Kind::Bytes, 5 * mib}, 100 * mib, 40) == 5 * mib);
    CHECK(guaranteedBytes({Kind::Percent, 50}, 100 * mib, 40) == 50 * mib);
    CHECK(guaranteedBytes({Kind::Percent, 50}, 128 * mib, 40) == 64 * mib);
    CHECK(guaranteedBytes({Kind::Percent, 0}, 100 * mib, 40) == 0);
    CHECK(guaranteedBytes({Kind::Auto, 0}, 100 * mib, 40) == 40 * mib);
    CHECK(guaranteedBytes({Kind::Auto, 0}, 100 * mib, 0) == 0);
    CHECK(guaranteedBytes({Kind::Percent, 100}, UINT64_MAX, 40) <= hostMemory());
}

TEST_CASE("no more is promised than the host has") {
    ct::CgroupHost host; // without any hierarchy
    Guarantees guarantees(host);
    auto all = hostMemory();
    REQUIRE(guarantees.reserve("a", {"first", "/machine", all / 2}));
    CHECK(guarantees.of("a") == all / 2);
    auto refused = guarantees.reserve("b", {"second", "/machine", all / 2 + (1 << 20)});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::OperationFailed);
    CHECK(refused.error().message().find("'first'") != std::string::npos);
    CHECK(guarantees.of("b") == 0);
    CHECK(guarantees.reserve("b", {"second", "/machine", 0}));
    CHECK(guarantees.reserve("b", {"second", "/machine", all - all / 2}));
    // Its own counts once.
    CHECK(guarantees.reserve("a", {"first", "/machine", all / 2}));
    CHECK_FALSE(guarantees.reserve("a", {"first", "/machine", all / 2 + (1 << 20)}));
    CHECK(guarantees.of("a") == all / 2);
    guarantees.release("b");
    CHECK(guarantees.reserve("a", {"first", "/machine", all}));
    CHECK_FALSE(guarantees.reserve("c", {"third", "/machine", UINT64_MAX}));
    // What runs is not asked.
    guarantees.restore("d", {"fourth", "/machine", all});
    CHECK(guarantees.of("d") == all);
}
