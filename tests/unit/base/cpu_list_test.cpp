// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/cpu_list.hpp"

#include <catch2/catch.hpp>

using namespace vz;

TEST_CASE("lists of the kernel are read, broken ones refused") {
    CHECK(*parseCpuList("0-3,8\n") == std::vector<unsigned>{0, 1, 2, 3, 8});
    CHECK(parseCpuList("\n")->empty());
    for (const char* broken : {"3-1", "a", "1-", "-1", "1,,2", "0-4294967295"})
        CHECK_FALSE(parseCpuList(broken));
}

TEST_CASE("lists are written as the kernel writes them") {
    CHECK(formatCpuList({}).empty());
    CHECK(formatCpuList({3}) == "3");
    CHECK(formatCpuList({0, 1, 2, 5, 7, 8}) == "0-2,5,7-8");
}
