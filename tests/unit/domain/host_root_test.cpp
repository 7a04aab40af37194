// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../prepare.hpp"
#include "../temporary_dir.hpp"
#include "parser.hpp"

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

using namespace vz;
using namespace vz::test;

namespace {

Result<void> start(const std::string& source) {
    return domain::checkStartable(config(container(cat("<filesystem type='mount'><source dir='", source,
                                                       "'/><target dir='/'/></filesystem>")))
                                      .definition());
}

} // namespace

TEST_CASE("a bind mount of the host's root is the host's root") {
    TemporaryDir dir;
    REQUIRE(file::makeDirs(dir / "a root"));
    REQUIRE(start(dir / "a root"));
    REQUIRE(::mount("/", (dir / "a root").c_str(), nullptr, MS_BIND, nullptr) == 0);
    auto checked = start(dir / "a root");
    REQUIRE_FALSE(checked);
    CHECK(contains(checked.error().message(), "host's own /"));
    REQUIRE(::umount(((dir / "a root")).c_str()) == 0);
}

TEST_CASE("a root below which the host's root is mounted is refused") {
    TemporaryDir dir;
    REQUIRE(file::makeDirs(dir / "root/some where"));
    REQUIRE(::mount("/", (dir / "root/some where").c_str(), nullptr, MS_BIND, nullptr) == 0);
    auto checked = start(dir / "root");
    REQUIRE(::umount((dir / "root/some where").c_str()) == 0);
    REQUIRE_FALSE(checked);
    CHECK(contains(checked.error().message(), "some where"));
    CHECK(start(dir / "root"));
}

const char* vz::test::prepare() {
    if (::geteuid() != 0)
        return "bind mounts need root";
    // All mounts are made in a namespace of this process.
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
        return "a mount namespace cannot be made here";
    return nullptr;
}
