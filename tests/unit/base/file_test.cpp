// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../temporary_dir.hpp"

#include <catch2/catch.hpp>
#include <sys/stat.h>

using namespace vz;

TEST_CASE("an atomic write replaces the whole file and leaves nothing beside it") {
    test::TemporaryDir dir;
    REQUIRE(file::writeAtomic(dir / "a", "first", 0640));
    REQUIRE(file::writeAtomic(dir / "a", "second", 0640));
    CHECK(*file::read(dir / "a") == "second");
    CHECK(*file::list(dir.path()) == std::vector<std::string>{"a"});
    struct stat info;
    REQUIRE(::stat((dir / "a").c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0640);
}

TEST_CASE("an atomic write into a missing folder fails and names it") {
    test::TemporaryDir dir;
    auto written = file::writeAtomic(dir / "no/a", "x");
    REQUIRE_FALSE(written);
    CHECK(written.error().systemError() == ENOENT);
    CHECK(written.error().message().find(dir / "no/a") != std::string::npos);
}

TEST_CASE("trees are made and removed; links are not followed") {
    test::TemporaryDir dir;
    REQUIRE(file::makeDirs(dir / "x/y/z"));
    REQUIRE(file::writeAtomic(dir / "keep", "k"));
    REQUIRE(::symlink((dir / "keep").c_str(), (dir / "x/link").c_str()) == 0);
    REQUIRE(file::removeTree(dir / "x"));
    CHECK_FALSE(file::exists(dir / "x"));
    CHECK(*file::read(dir / "keep") == "k");
    CHECK(file::removeTree(dir / "x"));
}

TEST_CASE("reading stops at the limit") {
    test::TemporaryDir dir;
    REQUIRE(file::writeAtomic(dir / "big", std::string(100, 'x')));
    CHECK_FALSE(file::read(dir / "big", 99));
    CHECK(file::read(dir / "big", 100));
    CHECK_FALSE(file::read(dir / "none"));
}
