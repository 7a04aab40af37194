// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../temporary_dir.hpp"
#include "parser.hpp"

#include <unistd.h>

using namespace vz;
using namespace vz::test;

namespace {

std::string mount(const std::string& source, const std::string& target = "/") {
    return cat("<filesystem type='mount'><source dir='", source, "'/><target dir='", target,
               "'/></filesystem>");
}

Result<void> start(const std::string& devices) {
    return domain::checkStartable(config(container(devices)).definition());
}

void refused(const std::string& devices, std::string_view word) {
    CAPTURE(devices);
    auto checked = start(devices);
    REQUIRE_FALSE(checked);
    CAPTURE(checked.error().message());
    CHECK(checked.error().code() == ErrorCode::ConfigUnsupported);
    CHECK(contains(checked.error().message(), word));
}

} // namespace

TEST_CASE("a container with a folder of its own can be started") {
    TemporaryDir dir;
    CHECK(start(mount(dir.path())));
    CHECK(start(mount(dir.path()) + "<interface type='bridge'><source bridge='br0'/></interface>"
                                    "<hostdev mode='capabilities' type='misc'><source><char>/dev/null</char>"
                                    "</source></hostdev>"));
}

TEST_CASE("the host's own root is refused by every path") {
    TemporaryDir dir;
    REQUIRE(::symlink("/", (dir / "link").c_str()) == 0);
    for (const auto& path :
         {std::string("/"), std::string("//"), std::string("/./"), std::string("/usr/.."),
          std::string("/proc/self/root"), cat("/proc/", ::getpid(), "/root"), dir / "link", dir / "link/."})
        refused(mount(path), "host's own /");
}

TEST_CASE("folders above the driver's own are no roots") {
    for (const char* path : {"/etc", "/var", "/var/lib"})
        refused(mount(path), "of the host");
}

TEST_CASE("what cannot be started is named") {
    TemporaryDir dir;
    auto root = mount(dir.path());
    refused("", "no root filesystem");
    refused(mount(dir.path(), "/data"), "no root filesystem");
    refused(mount(dir / "missing"), "missing");
    refused(root + mount(dir / "missing", "/data"), "missing");
    refused(mount("/dev/null"), "not a folder");
    refused("<filesystem type='ram'><source usage='5'/><target dir='/'/></filesystem>", "'ram'");
    refused("<filesystem type='file'><source file='/x'/><target dir='/'/></filesystem>", "/x");
    refused("<filesystem type='template'><source name='t'/><target dir='/'/></filesystem>", "'template'");
    refused("<disk type='file'><source file='/x'/><target dev='vda'/></disk>", "/x");
    refused("<disk type='block'><source dev='/dev/null'/><target dev='vda'/></disk>", "block device");
    refused("<filesystem type='block'><source dev='/dev/null'/><target dir='/'/></filesystem>",
            "block device");
    refused(root + "<interface type='user'/>", "'user'");
    refused(
        root + "<hostdev mode='capabilities' type='misc'><source><char>/etc/passwd</char></source></hostdev>",
        "character device");
    refused(
        root +
            "<hostdev mode='capabilities' type='storage'><source><block>/dev/null</block></source></hostdev>",
        "block device");
}

TEST_CASE("a disk is the root where no filesystem is") {
    const std::string a = "<disk type='file'><source file='/a'/><target dev='vda'/></disk>",
                      b = "<disk type='volume'><source pool='p' volume='v'/><target dev='sdb'/>"
                          "<boot order='2'/></disk>",
                      c = "<disk type='dir'><source dir='/c'/><target dev='vdc'/><boot order='1'/></disk>";
    CHECK_FALSE(config(container("<filesystem><source dir='/r'/><target dir='/'/></filesystem>" + a))
                    .definition()
                    .rootDisk());
    auto first = config(container(a)).definition();
    REQUIRE(first.rootDisk());
    CHECK(first.rootDisk()->source == "/a");
    auto chosen = config(container(a + b + c)).definition();
    REQUIRE(chosen.rootDisk());
    CHECK(chosen.rootDisk()->target == "vdc");
    CHECK(chosen.rootDisk()->source == "/c");
    CHECK(chosen.disks[1].source == "p/v");
}
