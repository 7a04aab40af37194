// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vm/disk_format.hpp"

#include "../temporary_dir.hpp"
#include "documents.hpp"

#include <sys/stat.h>

using namespace vz;
using namespace vz::test;
using namespace std::literals;

namespace {

/** An image file whose first bytes are these. */
std::string image(const TemporaryDir& folder, std::string_view header, size_t at = 0) {
    std::string content(4096, '\0');
    content.replace(at, header.size(), header);
    auto path = folder / "image";
    REQUIRE(file::writeAtomic(path, content));
    return path;
}

std::string formatOf(const std::string& path, bool ownChain = false) {
    auto format = vm::formatOfFile(path, ownChain);
    return format ? *format : "refused: " + format.error().message();
}

constexpr auto qcow2 = "QFI\xfb\0\0\0\3"sv;
constexpr auto backing = "\0\0\0\0\0\0\1\0"sv;

} // namespace

TEST_CASE("formats that are certain are recognized") {
    TemporaryDir folder;
    CHECK(formatOf(image(folder, "")) == "raw");
    CHECK(formatOf(image(folder, "\xeb\x63\x90"sv)) == "raw");
    CHECK(formatOf(image(folder, "LUKS\xba\xbe\0\1"sv)) == "raw");
    CHECK(formatOf(image(folder, qcow2)) == "qcow2");
    CHECK(formatOf(image(folder, "QFI\xfb\0\0\0\2"sv)) == "qcow2");
    CHECK(formatOf(image(folder, "QFI\xfb\0\0\0\1"sv)) == "qcow");
    CHECK(formatOf(image(folder, "QED\0"sv)) == "qed");
    CHECK(formatOf(image(folder, "conectix"sv)) == "vpc");
    CHECK(formatOf(image(folder, "<<< QEMU VM Virtual Disk Image >>>\n"s + std::string(29, '\0') +
                                     "\x7f\x10\xda\xbe")) == "vdi");
}

TEST_CASE("half a magic is raw") {
    TemporaryDir folder;
    CHECK(formatOf(image(folder, "\x7f\x10\xda\xbe"sv, 64)) == "raw");
    CHECK(formatOf(image(folder, "QFI"sv)) == "raw");
    CHECK(formatOf(image(folder, qcow2, 1)) == "raw");
    REQUIRE(file::writeAtomic(folder / "short", "QFI\xfb"));
    CHECK(formatOf(folder / "short") == "qcow2");
    REQUIRE(file::writeAtomic(folder / "empty", ""));
    CHECK(formatOf(folder / "empty") == "raw");
}

TEST_CASE("headers that name other files are not believed") {
    TemporaryDir folder;
    for (std::string_view magic : {qcow2, "QFI\xfb\0\0\0\1"sv}) {
        auto path = image(folder, std::string(magic) + std::string(backing));
        CHECK(contains(formatOf(path), "refused: the disk " + path));
        CHECK(contains(formatOf(path, true), "qcow"));
        CHECK(!contains(formatOf(path, true), "refused"));
    }
    auto qed = image(folder, "QED\0"s + std::string(12, '\0') + "\1");
    CHECK(contains(formatOf(qed), "refused"));
    CHECK(formatOf(qed, true) == "qed");
    // An external data file is no part of the chain.
    auto data = image(folder, std::string(qcow2) + std::string(64, '\0') + "\0\0\0\0\0\0\0\4"s);
    CHECK(contains(formatOf(data, true), "refused"));
    for (auto magic : {"KDMV"sv, "COWD"sv, "# Disk DescriptorFile\n"sv})
        CHECK(contains(formatOf(image(folder, magic), true), "type='vmdk'"));
}

TEST_CASE("what QEMU's driver cannot use is refused") {
    TemporaryDir folder;
    CHECK(contains(formatOf(image(folder, "vhdxfile")), "VHDX"));
    CHECK(contains(formatOf(image(folder, "WithoutFreeSpace")), "ploop"));
    CHECK(contains(formatOf(image(folder, "WithouFreSpacExt")), "ploop"));
    REQUIRE(file::makeDirs(folder / "disk.hdd"));
    REQUIRE(file::writeAtomic(folder / "disk.hdd/DiskDescriptor.xml", "<x/>"));
    CHECK(formatOf(folder / "disk.hdd") == "ploop");
}

TEST_CASE("what is no file is not opened, and is left to libvirt") {
    TemporaryDir folder;
    CHECK(formatOf(folder / "none") == "qcow2");
    CHECK(formatOf(folder.path()).empty());
    CHECK(formatOf("/dev/null").empty());
    REQUIRE(mkfifo((folder / "pipe").c_str(), 0600) == 0);
    CHECK(formatOf(folder / "pipe").empty());
    REQUIRE(file::writeAtomic(folder / "file", ""));
    CHECK(formatOf(folder / "file/below").empty());
}
