// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/process.hpp"

#include <catch2/catch.hpp>

using namespace vz;

TEST_CASE("a program's output, errors and status come back") {
    auto done = process::run({.argv = {"/bin/sh", "-c", "cat; echo e >&2; exit 3"}}, "input");
    REQUIRE(done);
    CHECK(done->output == "input");
    CHECK(done->errors == "e\n");
    CHECK(done->status == 3);
}

TEST_CASE("a large input does not block") {
    std::string input(1 << 20, 'x');
    auto done = process::run({.argv = {"/bin/cat"}}, input);
    REQUIRE(done);
    CHECK(done->output == input);
}

TEST_CASE("a program that does not end is killed at the limit") {
    auto done = process::run({.argv = {"/bin/sleep", "100"}}, {}, std::chrono::milliseconds(50));
    REQUIRE_FALSE(done);
    CHECK(done.error().code() == ErrorCode::OperationTimeout);
}

TEST_CASE("a missing program is an error") {
    CHECK_FALSE(process::run({.argv = {"/nonexistent/program"}}));
}
