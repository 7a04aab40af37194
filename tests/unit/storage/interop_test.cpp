// SPDX-License-Identifier: LGPL-2.1-or-later
// QEMU's own parallels driver reads what we write, and we read what it writes.
#include "../temporary_dir.hpp"
#include "base/process.hpp"
#include "stamps.hpp"
#include "storage/ploop/check.hpp"
#include "storage/ploop/convert.hpp"

#include <catch2/catch.hpp>

using namespace vz;
using namespace vz::ploop;

namespace {

process::Finished qemu(std::vector<std::string> arguments) {
    arguments[0] = "/usr/bin/" + arguments[0];
    process::Command command;
    command.argv = std::move(arguments);
    auto finished = process::run(command);
    if (!finished)
        FAIL(finished.error().message());
    return *finished;
}

void works(const std::vector<std::string>& arguments) {
    auto finished = qemu(arguments);
    INFO(finished.output << finished.errors);
    REQUIRE(finished.status == 0);
}

/** The chain as QEMU wants it named. */
std::string chainName(const std::vector<Image::Link>& chain) {
    std::string name;
    for (const auto& link : chain) {
        std::string backing = name.empty() ? "" : cat(",\"backing\":", name);
        name = cat("{\"driver\":\"", link.plain ? "raw" : "parallels",
                   "\",\"file\":{\"driver\":\"file\",\"filename\":\"", link.path, "\"}", backing, "}");
    }
    return "json:" + name;
}

std::unique_ptr<Volume> make(const test::TemporaryDir& dir, const Volume::CreateOptions& create) {
    auto created = Volume::create(hostFiles(), dir / "root.hds", create);
    if (!created)
        FAIL(created.error().message());
    Volume::Options options;
    options.access = Access::ReadWrite;
    return *Volume::open(hostFiles(), dir / "DiskDescriptor.xml", options);
}

void fill(Image& image, uint32_t seed, int count) {
    std::mt19937 random(seed);
    for (int i = 0; i < count; ++i) {
        auto [first, length] =
            test::randomSectors(random, image.bytes() / sectorSize, image.clusterBytes() / sectorSize);
        auto data = test::stamped(seed * 1000 + static_cast<uint64_t>(i), length);
        REQUIRE(image.write(first * sectorSize, data.data(), data.size()));
    }
}

} // namespace

TEST_CASE("QEMU reads our images, of any version and cluster size") {
    struct Kind {
        Version version;
        uint32_t cluster;
        Descriptor::Mode mode;
    };
    auto kind = GENERATE(Kind{Version::V2, 2048, Descriptor::Mode::Expanded},
                         Kind{Version::V1, 2048, Descriptor::Mode::Expanded},
                         Kind{Version::V2, 64, Descriptor::Mode::Expanded},
                         Kind{Version::V2, 8192, Descriptor::Mode::Expanded},
                         Kind{Version::V2, 256, Descriptor::Mode::Preallocated});
    test::TemporaryDir dir;
    Volume::CreateOptions create;
    create.sectors = 10 * 2048 + 5;
    create.version = kind.version;
    create.clusterSectors = kind.cluster;
    create.mode = kind.mode;
    auto volume = make(dir, create);
    fill(volume->image(), 1, 30);
    REQUIRE(volume->image().discard(0, volume->image().bytes() / 3));
    auto stamps = test::stampsOf(volume->image());
    volume.reset();

    works({"qemu-img", "check", "-f", "parallels", dir / "root.hds"});
    works({"qemu-img", "convert", "-f", "parallels", "-O", "raw", dir / "root.hds", dir / "flat"});
    auto flat = *Image::open(hostFiles(), {{dir / "flat", true}}, {});
    CHECK(test::same(test::stampsOf(*flat), stamps));
}

TEST_CASE("we read and write what QEMU makes") {
    auto cluster = GENERATE("65536", "1048576", "33554432");
    test::TemporaryDir dir;
    std::string path = dir / "root.hds";
    works(
        {"qemu-img", "create", "-q", "-f", "parallels", "-o", cat("cluster_size=", cluster), path, "5632K"});
    works({"qemu-io", "-f", "parallels", "-c", "write -P 0xaa 64k 100k", "-c", "write -P 0xbb 5000k 600k",
           path});
    {
        Image::Options options;
        options.access = Access::ReadWrite;
        auto image = Image::open(hostFiles(), {{path}}, options);
        if (!image)
            FAIL(image.error().message());
        CHECK((*image)->bytes() == 5632 * 1024);
        auto stamps = test::stampsOf(**image);
        CHECK(stamps[0] == 0);
        CHECK(stamps[128] == 0xaaaaaaaaaaaaaaaa);
        CHECK(stamps[128 + 199] == 0xaaaaaaaaaaaaaaaa);
        CHECK(stamps[128 + 200] == 0);
        CHECK(stamps[11199] == 0xbbbbbbbbbbbbbbbb);
        std::vector<std::byte> data(4096, std::byte(0xcc));
        REQUIRE((*image)->write(3000 * 1024, data.data(), data.size()));
        REQUIRE((*image)->close());
    }
    works({"qemu-io", "-f", "parallels", "-c", "read -P 0xcc 3000k 4k", "-c", "read -P 0xaa 64k 100k", "-c",
           "read -P 0 3004k 100k", "-c", "write -P 0xdd 0 4k", path});
    works({"qemu-img", "check", "-f", "parallels", path});
    auto image = *Image::open(hostFiles(), {{path}}, {});
    CHECK(test::stampsOf(*image)[7] == 0xdddddddddddddddd);
    CHECK(checkDelta(hostFiles(), path, {})->clean());
}

TEST_CASE("old files with clusters of 63 sectors are read and written") {
    test::TemporaryDir dir;
    std::string path = dir / "old.hds";
    {
        Header header;
        header.version = Version::V1;
        header.clusterSectors = 63;
        header.entries = 40;
        header.sectors = 40 * 63;
        header.firstBlock = 1;
        auto file = *hostFiles().create(path);
        auto bytes = encode(header);
        REQUIRE(file->write(0, bytes.data(), bytes.size()));
        REQUIRE(file->resize(512));
    }
    Image::Options options;
    options.access = Access::ReadWrite;
    auto image = *Image::open(hostFiles(), {{path}}, options);
    fill(*image, 5, 40);
    auto stamps = test::stampsOf(*image);
    REQUIRE(image->close());
    image.reset();
    works({"qemu-img", "convert", "-f", "parallels", "-O", "raw", path, dir / "flat"});
    CHECK(test::same(test::stampsOf(**Image::open(hostFiles(), {{dir / "flat", true}}, {})), stamps));
    // Its layout is not one that could be changed; a copy of it is.
    image = *Image::open(hostFiles(), {{path}}, options);
    CHECK_FALSE(image->resize(80 * 63 * sectorSize));
}

TEST_CASE("QEMU reads a chain of ours, also on a raw base, and writes to its top") {
    auto mode = GENERATE(Descriptor::Mode::Expanded, Descriptor::Mode::Raw);
    test::TemporaryDir dir;
    Volume::CreateOptions create;
    create.sectors = 12 * 2048;
    create.clusterSectors = 256;
    create.mode = mode;
    auto volume = make(dir, create);
    for (uint32_t level = 1; level <= 4; ++level) {
        fill(volume->image(), level, 6);
        if (level < 4)
            REQUIRE(volume->snapshot());
    }
    auto stamps = test::stampsOf(volume->image());
    auto chain = *chainOf(volume->path(), volume->descriptor(), topGuid);
    REQUIRE(volume->close());
    volume.reset();
    REQUIRE(chain.size() == 4);
    works({"qemu-img", "convert", "-O", "raw", chainName(chain), dir / "flat"});
    CHECK(test::same(test::stampsOf(**Image::open(hostFiles(), {{dir / "flat", true}}, {})), stamps));
    works({"qemu-io", "-c", "write -P 9 2056k 4k", chainName(chain)});
    auto again = *Volume::open(hostFiles(), dir / "DiskDescriptor.xml", {});
    stamps[4112] = stamps[4113] = stamps[4114] = stamps[4115] = 0x0909090909090909;
    stamps[4116] = stamps[4117] = stamps[4118] = stamps[4119] = 0x0909090909090909;
    CHECK(test::same(test::stampsOf(again->image()), stamps));
}

TEST_CASE("QEMU reads grown, compacted, merged and converted images") {
    test::TemporaryDir dir;
    Volume::CreateOptions create;
    create.sectors = 100 * 64;
    create.clusterSectors = 64;
    auto volume = make(dir, create);
    fill(volume->image(), 1, 20);
    REQUIRE(volume->snapshot());
    fill(volume->image(), 2, 20);
    REQUIRE(volume->resize(9000 * 64 * sectorSize)); // the table grows over data
    auto before = *volume->descriptor().chain(topGuid);
    REQUIRE(volume->remove(before.front()->guid));
    REQUIRE(volume->image().zero(0, 20 * 64 * sectorSize));
    REQUIRE(volume->compact());
    auto stamps = test::stampsOf(volume->image());
    volume.reset();
    auto same = [&] {
        works({"qemu-img", "check", "-f", "parallels", dir / "root.hds"});
        works({"qemu-img", "convert", "-f", "parallels", "-O", "raw", dir / "root.hds", dir / "flat"});
        CHECK(test::same(test::stampsOf(**Image::open(hostFiles(), {{dir / "flat", true}}, {})), stamps));
    };
    same();
    REQUIRE(convertVersion(hostFiles(), dir / "DiskDescriptor.xml", Version::V1));
    same();
    auto first = *file::read(dir / "root.hds", 64u << 20);
    REQUIRE(convertVersion(hostFiles(), dir / "DiskDescriptor.xml", Version::V2));
    same();
    REQUIRE(convertVersion(hostFiles(), dir / "DiskDescriptor.xml", Version::V1));
    CHECK(*file::read(dir / "root.hds", 64u << 20) == first);
    REQUIRE(convertMode(hostFiles(), dir / "DiskDescriptor.xml", Descriptor::Mode::Raw));
    auto raw = *Volume::open(hostFiles(), dir / "DiskDescriptor.xml", {});
    CHECK(raw->image().top().plain());
    CHECK(test::same(test::stampsOf(raw->image()), stamps));
    raw.reset();
    REQUIRE(convertMode(hostFiles(), dir / "DiskDescriptor.xml", Descriptor::Mode::Expanded));
    same();
}

TEST_CASE("a disk of 48 bits") {
    test::TemporaryDir dir;
    Volume::CreateOptions create;
    create.sectors = (1ull << 48) / sectorSize; // 256 TiB
    create.clusterSectors = maxClusterSectors;
    auto volume = make(dir, create);
    auto& image = volume->image();
    CHECK(image.bytes() == 1ull << 48);
    auto data = test::stamped(77, 8);
    for (uint64_t offset : std::vector<uint64_t>{0, (1ull << 41) + 4096, (1ull << 48) - 4096})
        REQUIRE(image.write(offset, data.data(), data.size()));
    CHECK_FALSE(image.write((1ull << 48) - 2048, data.data(), data.size()));
    REQUIRE(image.close());
    volume.reset();
    works({"qemu-io", "-r", "-f", "parallels", "-c", "read -P 0 4096 4096", "-c",
           cat("read ", (1ull << 48) - 4096, " 4096"), dir / "root.hds"});
    auto again = *Volume::open(hostFiles(), dir / "DiskDescriptor.xml", {});
    std::vector<std::byte> back(data.size());
    REQUIRE(again->image().read((1ull << 48) - 4096, back.data(), back.size()));
    CHECK(back == data);
    // A sparse file has no clusters of its own beyond 2^32 either: version 1 refuses.
    CHECK_FALSE(convertVersion(hostFiles(), dir / "DiskDescriptor.xml", Version::V1));
}

TEST_CASE("QEMU and we keep each other out") {
    test::TemporaryDir dir;
    Volume::CreateOptions create;
    create.sectors = 8 * 2048;
    auto volume = make(dir, create);
    auto top = dir / "root.hds";
    CHECK(qemu({"qemu-io", "-f", "parallels", "-c", "write 0 4k", top}).status != 0);
    CHECK(qemu({"qemu-io", "-r", "-f", "parallels", "-c", "read 0 4k", top}).status != 0);
    // Looking is allowed, as Nova does it.
    CHECK(qemu({"qemu-img", "info", "-U", "-f", "parallels", top}).status == 0);
    volume.reset();
    auto reader = *Volume::open(hostFiles(), dir / "DiskDescriptor.xml", {});
    CHECK(qemu({"qemu-io", "-f", "parallels", "-c", "write 0 4k", top}).status != 0);
    CHECK(qemu({"qemu-io", "-r", "-f", "parallels", "-c", "read 0 4k", top}).status == 0);
    reader.reset();
    CHECK(qemu({"qemu-io", "-f", "parallels", "-c", "write 0 4k", top}).status == 0);
}
