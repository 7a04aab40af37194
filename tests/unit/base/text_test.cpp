// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/result.hpp"
#include "base/rollback.hpp"

#include <catch2/catch.hpp>

using namespace vz;

TEST_CASE("numbers are parsed whole or not at all") {
    CHECK(parseNumber<int>("42") == 42);
    CHECK(parseNumber<uint32_t>("ff", 16) == 255u);
    CHECK_FALSE(parseNumber<int>("42x"));
    CHECK_FALSE(parseNumber<int>(""));
    CHECK_FALSE(parseNumber<uint8_t>("256"));
    CHECK_FALSE(parseNumber<unsigned>("-1"));
}

TEST_CASE("texts are split, trimmed and put together") {
    CHECK(cat("a", 1, 'b', std::string("c"), -2) == "a1bc-2");
    CHECK(split("a,,b", ',') == std::vector<std::string_view>{"a", "", "b"});
    CHECK(split("", ',').empty());
    CHECK(lines("a\nb\n") == std::vector<std::string_view>{"a", "b"});
    CHECK(trim(" \t x y\n") == "x y");
    CHECK(join({"a", "b"}, ", ") == "a, b");
    CHECK(field("Name:\tx\nPid:\t12\n", "Pid") == "12");
    CHECK(field("PidX:\t12\n", "Pid").empty());
}

static Result<int> half(int value) {
    if (value % 2)
        return fail(ErrorCode::InvalidArg, value, " is odd");
    return value / 2;
}

static Result<int> quarter(int value) {
    VZ_TRY(int once, half(value));
    VZ_TRY(int twice, half(once));
    return twice;
}

TEST_CASE("a Result hands the value or the error on") {
    CHECK(*quarter(12) == 3);
    auto failed = quarter(6);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().code() == ErrorCode::InvalidArg);
    CHECK(std::move(failed).takeError().within("quarter").message() == "quarter: 3 is odd");
    CHECK(failErrno(ENOENT, "cannot open x").message() == "cannot open x: No such file or directory");
}

TEST_CASE("a Rollback undoes in reverse order unless dismissed") {
    std::string done;
    {
        Rollback undo;
        undo.add([&] { done += "1"; });
        undo.add([&] { done += "2"; });
    }
    CHECK(done == "21");
    {
        Rollback undo;
        undo.add([&] { done += "3"; });
        undo.dismiss();
    }
    CHECK(done == "21");
}
