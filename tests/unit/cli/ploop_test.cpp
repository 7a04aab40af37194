// SPDX-License-Identifier: LGPL-2.1-or-later
// The programs as libvirt, Nova and people call them: command lines, output, exit statuses.
#include "../temporary_dir.hpp"
#include "base/process.hpp"
#include "cli/arguments.hpp"

#include <catch2/catch.hpp>
#include <fcntl.h>
#include <sys/stat.h>

#include <cstring>

using namespace vz;

namespace {

process::Finished run(std::vector<std::string> argv) {
    process::Command command;
    command.argv = std::move(argv);
    command.environment.push_back("VZ_PLOOPD=" VZ_PLOOPD);
    auto finished = process::run(command);
    if (!finished)
        FAIL(finished.error().message());
    return *finished;
}

/** A folder with an image of 20 MiB, and ploop to work on it. */
struct Fixture {
    test::TemporaryDir dir;
    std::string descriptor = dir / "DiskDescriptor.xml", delta = dir / "root.hds";

    process::Finished ploop(std::vector<std::string> words) {
        words.insert(words.begin(), VZ_PLOOP);
        return run(words);
    }
    std::string good(const std::vector<std::string>& words) {
        auto finished = ploop(words);
        INFO(words[0] << ": " << finished.errors);
        REQUIRE(finished.status == 0);
        REQUIRE(finished.errors == "");
        return finished.output;
    }
    int statusOf(const std::vector<std::string>& words) {
        auto finished = ploop(words);
        // Who is told that it failed is told why.
        if (finished.status != 0)
            CHECK(finished.errors != "");
        return finished.status;
    }
    void init() { good({"init", "-s", "20M", "-t", "none", delta}); }
};

constexpr const char* one = "{11111111-1111-4111-8111-111111111111}";
constexpr const char* top = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
constexpr const char* none = "{00000000-0000-0000-0000-000000000000}";

} // namespace

TEST_CASE("sizes are sectors, or have a suffix") {
    CHECK(*cli::parseSize("8") == 8);
    CHECK(*cli::parseSize("0x10") == 16);
    CHECK(*cli::parseSize("1K") == 2);
    CHECK(*cli::parseSize("3m") == 6144);
    CHECK(*cli::parseSize("2G") == 1u << 22);
    CHECK(*cli::parseSize("1T") == 1u << 31);
    for (auto wrong : {"", "M", "1.5G", "1MB", "1X", "-1", "99999999999999T"})
        CHECK_FALSE(cli::parseSize(wrong));
}

TEST_CASE("options may stand anywhere") {
    auto parsed =
        *cli::Arguments::parse({"a", "-fs10G", "b", "--long=x", "--", "-c"}, "fs:l:", {{"long", 'l'}});
    CHECK(parsed.has('f'));
    CHECK(parsed.value('s') == "10G");
    CHECK(parsed.value('l') == "x");
    CHECK(parsed.rest() == std::vector<std::string>{"a", "b", "-c"});
    CHECK_FALSE(cli::Arguments::parse({"-s"}, "s:"));
    CHECK_FALSE(cli::Arguments::parse({"-x"}, "s:"));
    CHECK_FALSE(cli::Arguments::parse({"-:"}, "s:"));
    CHECK_FALSE(cli::Arguments::parse({"--none"}, "s:"));
}

TEST_CASE_METHOD(Fixture, "init makes what the reference tool makes") {
    good({"init", "-s", "10000K", "-v", "1", "-t", "none", delta});
    CHECK(good({"info", "-s", descriptor}) == "size:\t\t20480\nblocksize:\t2048\nfmt_version:\t1\n");
    CHECK(good({"info", "-d", "-s", descriptor}) ==
          "size:\t\t20480\nblocksize:\t2048\nfmt_version:\t1\ndevice:\t\t\npartition:\t\n");
    struct stat info;
    REQUIRE(::stat(delta.c_str(), &info) == 0);
    CHECK(info.st_size == 1 << 20);
    CHECK((info.st_mode & 0777) == 0600);
    REQUIRE(::stat(descriptor.c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0644);
    CHECK(statusOf({"init", "-s", "10M", "-t", "none", delta}) == 17);
}

TEST_CASE_METHOD(Fixture, "wrong uses are refused and leave nothing") {
    CHECK(statusOf({}) == 38);
    CHECK(statusOf({"fly"}) == 38);
    CHECK(statusOf({"init", "-s", "10M"}) == 38);
    CHECK(statusOf({"init", "-s", "10M", "-b", "100", delta}) == 38);
    CHECK(statusOf({"init", "-s", "3T", "-v", "1", "-t", "none", delta}) == 38);
    CHECK(statusOf({"init", "-s", "20M", "-t", "zfs", delta}) == 38);
    CHECK(statusOf({"init", "-s", "20M", "-t", "ext4", "-B", "7", delta}) == 38);
    CHECK(file::list(dir.path())->empty());
    CHECK(statusOf({"snapshot", descriptor}) == 4);
    init();
    CHECK(statusOf({"snapshot", "-u", "x", descriptor}) == 38);
    CHECK(statusOf({"snapshot-delete", descriptor}) == 38);
    CHECK(statusOf({"snapshot-delete", "-u", one, descriptor}) == 43);
    CHECK(statusOf({"snapshot-delete", "-u", top, descriptor}) == 38);
    CHECK(statusOf({"snapshot-switch", "-u", top, descriptor}) == 38);
    CHECK(statusOf({"resize", "-s", "10M", descriptor}) == 38);
    CHECK(statusOf({"convert", descriptor}) == 38);
    REQUIRE(file::writeAtomic(descriptor, "<x/>"));
    CHECK(statusOf({"info", "-s", descriptor}) == 39);
}

TEST_CASE_METHOD(Fixture, "snapshot-list") {
    init();
    std::string before = good({"snapshot-list", descriptor});
    CHECK(before == cat("PARENT_UUID                            C UUID                                   "
                        "FNAME                            \n",
                        none, " * ", top, " ", delta, "\n"));
    // By this text libvirt tells an image with snapshots.
    CHECK(before.find("root.hds.") == std::string::npos);
    good({"snapshot", "-u", one, descriptor});
    std::string after = good({"snapshot-list", descriptor});
    CHECK(after.find("root.hds.{") != std::string::npos);
    CHECK(good({"snapshot-list", "-H", "-o", "uuid", descriptor}) == cat(one, "\n", top, "\n"));
    CHECK(good({"snapshot-list", "-s", "-H", "-o", "uuid,current", descriptor}) == cat(one, " *\n"));
    CHECK(good({"snapshot-list", "-H", "-o", "fname", "-u", one, descriptor}) == delta + "\n");
    CHECK(statusOf({"snapshot-list", "-o", "size", descriptor}) == 38);
}

TEST_CASE_METHOD(Fixture, "snapshots come, go and are gone back to") {
    init();
    good({"snapshot", "-u", "11111111-1111-4111-8111-111111111111", descriptor});
    CHECK(statusOf({"snapshot", "-u", one, descriptor}) == 38);
    good({"snapshot-switch", "-u", one, dir.path()});
    good({"snapshot-delete", "-u", one, descriptor});
    CHECK(*file::list(dir.path()) == std::vector<std::string>{"DiskDescriptor.xml", "root.hds"});
    good({"snapshot", descriptor});
    good({"snapshot", descriptor});
    good({"snapshot-merge", descriptor});
    good({"snapshot-merge", "-A", descriptor});
    CHECK(file::list(dir.path())->size() == 2);
    CHECK(statusOf({"snapshot-merge", descriptor}) == 38);
}

TEST_CASE_METHOD(Fixture, "a snapshot's changes are listed") {
    init();
    good({"snapshot", "-u", one, descriptor});
    CHECK(good({"snapshot-diff", "-f", one, descriptor}) == "");
    // In the new delta, at the end of the disk.
    auto file = good({"snapshot-list", "-H", "-o", "fname", descriptor});
    auto newest = split(trim(file), '\n').back();
    REQUIRE(run({"/usr/bin/qemu-io", "-f", "parallels", "-c", "write 17M 4k", std::string(newest)}).status ==
            0);
    CHECK(good({"snapshot-diff", "-f", one, descriptor}) == "17825792 1048576\n");
}

TEST_CASE_METHOD(Fixture, "an image with a file system: as libvirt makes one") {
    good({"init", "-s", "64M", "-t", "ext4", delta});
    CHECK(file::list(dir.path())->size() == 2);
    std::string info = good({"info", descriptor});
    CHECK(info.find("   resource           Size           Used\n  1k-blocks ") == 0);
    std::string flat = dir / "flat", part = dir / "part";
    REQUIRE(run({"/usr/bin/qemu-img", "convert", "-f", "parallels", "-O", "raw", delta, flat}).status == 0);
    REQUIRE(run({"/bin/dd", "if=" + flat, "of=" + part, "bs=1M", "skip=1", "count=62"}).status == 0);
    auto fsck = run({"/sbin/e2fsck", "-fn", part});
    INFO(fsck.output);
    CHECK(fsck.status == 0);
    auto listing = run({"/sbin/debugfs", "-R", "ls -l /", part}).output;
    CHECK(listing.find("100600") != std::string::npos);
    CHECK(listing.find(".balloon-c3a5ae3d-ce7f-43c4-a1ea-c61e2b4504e8") != std::string::npos);
}

TEST_CASE_METHOD(Fixture, "very small and raw images get a file system, too") {
    auto format = GENERATE("raw", "expanded", "preallocated");
    good({"init", "-s", "16M", "-f", format, "-t", "ext4", delta});
    CHECK(good({"info", descriptor}).find("inodes") != std::string::npos);
    CHECK(good({"check", descriptor}) != "");
}

TEST_CASE_METHOD(Fixture, "Nova's way: copy, describe, grow twice") {
    init();
    REQUIRE(file::remove(descriptor));
    good({"restore-descriptor", "-f", "expanded", dir.path(), delta});
    CHECK(statusOf({"restore-descriptor", dir.path(), delta}) == 17);
    for (int i = 0; i < 2; ++i) {
        auto grown =
            run({VZ_PRL_DISK_TOOL, "resize", "--size", "40M", "--resize_partition", "--hdd", dir.path()});
        INFO(grown.errors);
        CHECK(grown.status == 0);
    }
    auto info = run({"/usr/bin/qemu-img", "info", delta}).output;
    CHECK(info.find("virtual size: 40 MiB") != std::string::npos);
    CHECK(run({VZ_PRL_DISK_TOOL, "resize", "--size", "48", "--hdd", delta}).status == 0); // MiB, and a file
    CHECK(good({"info", "-s", descriptor}).find("size:\t\t98304\n") == 0);
    CHECK(run({VZ_PRL_DISK_TOOL, "resize", "--hdd", dir.path()}).status == 255);
    CHECK(run({VZ_PRL_DISK_TOOL, "fly", "--size", "4", "--hdd", dir.path()}).status == 255);
    CHECK(run({VZ_PRL_DISK_TOOL, "resize", "--size", "4x", "--hdd", dir.path()}).status == 38);
}

TEST_CASE_METHOD(Fixture, "the partition grows with the disk") {
    good({"init", "-s", "32M", "-t", "ext4", delta});
    // The file system needs a block device, and so root.
    CHECK(ploop({"resize", "-s", "64M", descriptor}).status == (::geteuid() == 0 ? 0 : 26));
    good({"convert", "-O", "raw", "-o", dir / "flat", descriptor});
    auto flat = *file::read(dir / "flat", 64u << 20);
    REQUIRE(flat.size() == 64u << 20);
    CHECK(flat.substr(512, 8) == "EFI PART");
    CHECK(flat.substr(flat.size() - 512, 8) == "EFI PART");
    uint64_t last;
    std::memcpy(&last, flat.data() + 1024 + 40, 8);
    CHECK(last == 63 * 2048 - 1);
    CHECK(flat.substr((32u << 20) - 512, 512) == std::string(512, '\0')); // no second copy where it was
}

TEST_CASE_METHOD(Fixture, "raw images are described by the largest cluster that fits") {
    REQUIRE(file::writeAtomic(delta, std::string(3 * 65536, 'x')));
    good({"restore-descriptor", "-f", "raw", dir.path(), delta});
    CHECK(good({"info", "-s", descriptor}).find("blocksize:\t128\n") != std::string::npos);
    REQUIRE(file::remove(descriptor));
    REQUIRE(file::writeAtomic(delta, std::string(1000, 'x')));
    CHECK(statusOf({"restore-descriptor", "-f", "raw", dir.path(), delta}) == 38);
    CHECK(statusOf({"restore-descriptor", "-f", "expanded", dir.path(), delta}) == 11);
    CHECK_FALSE(file::exists(descriptor));
}

TEST_CASE_METHOD(Fixture, "check tells what is wrong by its status") {
    init();
    CHECK(statusOf({"check", descriptor}) == 0);
    CHECK(statusOf({"check", delta}) == 0);
    auto patch = [&](off_t at, uint32_t value) {
        auto fd = *file::open(delta, O_RDWR);
        REQUIRE(::pwrite(fd.get(), &value, sizeof value, at) == sizeof value);
    };
    patch(44, 0x746F6E59);
    CHECK(statusOf({"snapshot", descriptor}) == 37);
    CHECK(statusOf({"check", "-r", delta}) == 11);
    CHECK(statusOf({"check", "-f", delta}) == 0);
    CHECK(statusOf({"snapshot", "-u", one, descriptor}) == 0);
    patch(64, 77);
    CHECK(statusOf({"check", "-f", delta}) == 11);
    CHECK(statusOf({"check", "-F", delta}) == 0);
    CHECK(statusOf({"fsck", descriptor}) == 0);
}

TEST_CASE_METHOD(Fixture, "types, versions and other formats") {
    good({"init", "-s", "16M", "-t", "ext4", delta});
    std::string qcow = dir / "x.qcow2", other = dir / "other";
    good({"convert", "-O", "qcow2", "-o", qcow, descriptor});
    REQUIRE(::mkdir(other.c_str(), 0755) == 0);
    good({"convert", "-i", qcow, "-I", "qcow2", other + "/root.hds"});
    auto same = [&](const std::string& file, const char* format) {
        auto compared = run({"/usr/bin/qemu-img", "compare", "-f", "qcow2", "-F", format, qcow, file});
        INFO(compared.output << compared.errors);
        CHECK(compared.status == 0);
    };
    same(other + "/root.hds", "parallels");
    good({"copy", "-s", descriptor, "-d", other + "/copy"});
    same(other + "/copy", "parallels");
    for (auto format : {"raw", "expanded", "preallocated", "raw"}) {
        good({"convert", "-f", format, descriptor});
        same(delta, std::string_view(format) == "raw" ? "raw" : "parallels");
    }
    good({"convert", "-f", "expanded", descriptor});
    good({"convert", "-v", "1", descriptor});
    CHECK(good({"info", "-s", descriptor}).find("fmt_version:\t1") != std::string::npos);
    same(delta, "parallels");
    good({"snapshot", descriptor});
    CHECK(statusOf({"convert", "-f", "raw", descriptor}) == 37);
    CHECK(file::list(dir.path())->size() == 5);
}

TEST_CASE_METHOD(Fixture, "replace puts an equal file in the place of a delta") {
    init();
    std::string fresh = dir / "fresh.hds";
    good({"copy", "-s", descriptor, "-d", fresh});
    good({"replace", "-l", "0", "-i", fresh, descriptor});
    CHECK(good({"snapshot-list", "-H", "-o", "fname", descriptor}) == fresh + "\n");
    good({"replace", "-u", top, "-i", delta, descriptor});
    good({"replace", "-o", delta, "-k", "-i", fresh, descriptor});
    CHECK_FALSE(file::exists(fresh));
    CHECK(good({"snapshot-list", "-H", "-o", "fname", descriptor}) == delta + "\n");
    good({"init", "-s", "32M", "-t", "none", [&] {
              REQUIRE(::mkdir((dir / "b").c_str(), 0755) == 0);
              return dir / "b/other.hds";
          }()});
    CHECK(statusOf({"replace", "-l", "0", "-i", dir / "b/other.hds", descriptor}) == 38);
    CHECK(statusOf({"replace", "-l", "7", "-i", dir / "b/other.hds", descriptor}) == 38);
}

TEST_CASE_METHOD(Fixture, "grow and stat") {
    init();
    CHECK(statusOf({"grow", "-s", "10M", delta}) == 38);
    good({"grow", "-s", "24M", delta});
    good({"grow", "-s", "28M", descriptor});
    CHECK(good({"info", "-s", descriptor}).find("size:\t\t57344\n") == 0);
    auto stat = good({"stat", descriptor});
    auto rows = lines(stat);
    REQUIRE(rows.size() == 2);
    CHECK(rows[1].find(delta) != std::string_view::npos);
}
