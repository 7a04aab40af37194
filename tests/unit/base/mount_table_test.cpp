// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/mount_table.hpp"

#include <catch2/catch.hpp>

#include <unistd.h>

using namespace vz;

TEST_CASE("mount tables are read as proc(5) has them") {
    auto entries = parseMountTable("21 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw,errors=continue\n"
                                   "22 21 0:5 /a\\040b /mnt/with\\040blank\\134 rw - tmpfs no\\011ne rw\n"
                                   "23 21 0:6 / /plain rw shared:2 master:1 - proc proc rw\n");
    REQUIRE(entries.size() == 3);
    CHECK(entries[0].device == "8:1");
    CHECK(entries[0].point == "/");
    CHECK(entries[0].type == "ext4");
    CHECK(entries[0].source == "/dev/sda1");
    CHECK(entries[0].options == "rw,errors=continue");
    CHECK(entries[1].root == "/a b");
    CHECK(entries[1].point == "/mnt/with blank\\");
    CHECK(entries[1].source == "no\tne");
    CHECK(entries[2].type == "proc");
}

TEST_CASE("lines that are no mounts are left out") {
    CHECK(parseMountTable("").empty());
    for (const char* broken :
         {"x", "1 2 3:4 / / rw", "1 2 3:4 / / rw -", "1 2 3:4 / / rw - ext4", "- a b c d e f g"})
        CHECK(parseMountTable(broken).empty());
    // What looks like an escape and is none stays.
    auto odd = parseMountTable("1 0 0:1 / /a\\04 rw - x y z\n1 0 0:1 / /a\\777 rw - x y z");
    REQUIRE(odd.size() == 2);
    CHECK(odd[0].point == "/a\\04");
    CHECK(odd[1].point == "/a\\777");
}

TEST_CASE("a process has a mount table") {
    auto own = mountTable(), same = mountTable(::getpid());
    REQUIRE(own);
    REQUIRE(same);
    CHECK_FALSE(own->empty());
    CHECK(own->size() == same->size());
}
