// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/partitions.hpp"
#include "storage/ploop/locate.hpp"
#include "storage/ploop/volume.hpp"

#include "../temporary_dir.hpp"
#include "base/file.hpp"

#include <catch2/catch.hpp>

using namespace vz;
using namespace vz::ploop;
using vz::test::TemporaryDir;
using Kind = Located::Kind;

namespace {

Kind kindOf(const std::string& path) {
    auto found = locate(hostFiles(), path);
    if (!found)
        FAIL(path << ": " << found.error().message());
    return found->kind;
}

void put(const std::string& path, const std::string& text) {
    REQUIRE(file::writeAtomic(path, text));
}

} // namespace

TEST_CASE("an image is found by its folder, its descriptor and its files") {
    TemporaryDir folder;
    Volume::CreateOptions options;
    options.sectors = 16384;
    REQUIRE(Volume::create(hostFiles(), folder / "root.hds", options));
    for (const auto& path : {folder.path(), folder / "DiskDescriptor.xml", folder / "root.hds"}) {
        auto found = locate(hostFiles(), path);
        REQUIRE(found);
        CHECK(found->kind == Kind::Image);
        CHECK(found->path == folder / "DiskDescriptor.xml");
    }
    // What only lies beside it is something else.
    put(folder / "config.img", std::string(4096, '\0'));
    CHECK(kindOf(folder / "config.img") == Kind::Raw);
}

TEST_CASE("files are what their beginning says") {
    TemporaryDir folder;
    put(folder / "empty", "");
    CHECK(kindOf(folder / "empty") == Kind::Raw);
    put(folder / "delta", "WithouFreSpacExt" + std::string(4096, '\0'));
    CHECK(kindOf(folder / "delta") == Kind::Delta);
    for (auto [start, format] :
         {std::pair("QFI\xfb", "qcow2"), std::pair("KDMV", "vmdk"), std::pair("vhdxfile", "vhdx")}) {
        put(folder / "other", start + std::string(600, '\0'));
        auto found = locate(hostFiles(), folder / "other");
        REQUIRE(found);
        CHECK(found->kind == Kind::Other);
        CHECK(found->format == format);
    }
    CHECK_FALSE(locate(hostFiles(), folder / "missing"));
    CHECK_FALSE(locate(hostFiles(), folder.path()));
    CHECK_FALSE(locate(hostFiles(), "/dev/null"));
}

TEST_CASE("the file system that is meant") {
    using exports::FileSystem;
    auto part = [](unsigned number, uint64_t length, const char* label = "", bool root = false) {
        return FileSystem{{number, number * 1000, length, root}, "ext4", label};
    };
    auto chosen = [](const std::vector<FileSystem>& all) {
        auto found = exports::mainFileSystem(all);
        return found ? static_cast<int>(found->part.number) : -1;
    };
    CHECK(chosen({}) == -1);
    CHECK(chosen({part(0, 5)}) == 0);
    CHECK(chosen({part(1, 5), part(2, 50), part(3, 20)}) == 2);
    CHECK(chosen({part(1, 5, "cloudimg-rootfs"), part(2, 50, "data")}) == 1);
    CHECK(chosen({part(1, 50, "data"), part(2, 5, "", true), part(3, 20)}) == 2);
    CHECK(chosen({part(1, 5, "root"), part(2, 7, "", true)}) == 2);
}
