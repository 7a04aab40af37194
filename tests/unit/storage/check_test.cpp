// SPDX-License-Identifier: LGPL-2.1-or-later
// Damaged images: what is found, what is repaired, and that nothing is written to before.
#include "stamps.hpp"
#include "storage/ploop/check.hpp"
#include "storage/ploop/volume.hpp"
#include "test_disk.hpp"

#include <catch2/catch.hpp>

using namespace vz;
using namespace vz::ploop;

namespace {

constexpr uint32_t cluster = 64;
const std::string path = "/image/root.hds", descriptor = "/image/DiskDescriptor.xml";

/** An image with stamps 1, 2, 3 in its clusters 0, 1 and 2, and ways to damage it. */
struct Fixture {
    test::TestDisk disk;
    Version version = Version::V2;

    explicit Fixture(Version wanted = Version::V2) : version(wanted) {
        Volume::CreateOptions create;
        create.sectors = 2048 * 8;
        create.clusterSectors = version == Version::V1 ? 2048 : cluster;
        create.version = version;
        REQUIRE(Volume::create(disk, path, create));
        auto volume = open();
        auto bytes = volume->image().clusterBytes();
        for (uint64_t i = 0; i < 3; ++i) {
            auto data = test::stamped(i + 1, bytes / 512);
            REQUIRE(volume->image().write(i * bytes, data.data(), data.size()));
        }
        REQUIRE(volume->close());
    }
    std::unique_ptr<Volume> open() {
        auto volume = tryOpen();
        if (!volume)
            FAIL(volume.error().message());
        return *std::move(volume);
    }
    Result<std::unique_ptr<Volume>> tryOpen() {
        Volume::Options options;
        options.access = Access::ReadWrite;
        return Volume::open(disk, descriptor, options);
    }
    void patch(uint64_t at, uint32_t value) {
        auto file = *disk.open(path, Access::ReadWrite, false);
        REQUIRE(file->write(at, &value, sizeof value));
    }
    CheckReport check(bool repair, bool force = false) {
        CheckOptions options;
        options.repair = repair;
        options.force = force;
        auto report = checkDelta(disk, path, options);
        if (!report)
            FAIL(report.error().message());
        return *report;
    }
    uint64_t stampOf(uint64_t index) {
        auto volume = open();
        uint64_t stamp = 0;
        REQUIRE(volume->image().read(index * volume->image().clusterBytes(), &stamp, sizeof stamp));
        return stamp;
    }
    /** Writing must fail, and not by half. */
    bool refusesWriting() {
        auto volume = tryOpen();
        uint32_t value = 5;
        return !volume || !(*volume)->image().write(0, &value, sizeof value);
    }
};

} // namespace

TEST_CASE("a clean image is clean") {
    CHECK(Fixture().check(false).clean());
    CHECK(Fixture(Version::V1).check(false).clean());
}

TEST_CASE("an image that was not closed is read, but not written to before a check") {
    Fixture image;
    image.patch(44, markOpen);
    CHECK(image.tryOpen().error().code() == ErrorCode::OperationInvalid);
    CHECK(Volume::open(image.disk, descriptor, {}));
    auto report = image.check(false);
    CHECK(report.serious);
    CHECK_FALSE(image.check(true).serious);
    CHECK(image.check(false).clean());
    CHECK(image.stampOf(1) == 2);
    // Who knows that nobody else has it can go on at once: all entries are checked.
    image.patch(44, markOpen);
    Volume::Options recover;
    recover.access = Access::ReadWrite;
    recover.recover = true;
    REQUIRE((*Volume::open(image.disk, descriptor, recover))->close());
    CHECK(image.check(false).clean());
}

TEST_CASE("entries that point nowhere are dropped only by force") {
    auto version = GENERATE(Version::V1, Version::V2);
    Fixture image(version);
    uint32_t wrong = GENERATE(0xFFFFFFFFu, 1000000u, 4097u);
    if (version == Version::V2 && wrong == 4097u)
        wrong = 5;
    image.patch(entryOffset(1), wrong);
    CHECK(image.refusesWriting());
    auto report = image.check(true);
    CHECK(report.serious);
    CHECK(image.refusesWriting());
    report = image.check(true, true);
    CHECK_FALSE(report.serious);
    CHECK(image.check(false).clean());
    CHECK(image.stampOf(0) == 1);
    CHECK(image.stampOf(1) == 0);
    CHECK(image.stampOf(2) == 3);
}

TEST_CASE("reading a cluster without a valid place fails, others can be read") {
    Fixture image;
    image.patch(entryOffset(1), 5000);
    auto volume = *Volume::open(image.disk, descriptor, {});
    uint64_t stamp;
    auto failed = volume->image().read(volume->image().clusterBytes(), &stamp, sizeof stamp);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().systemError() == EIO);
    REQUIRE(volume->image().read(0, &stamp, sizeof stamp));
    CHECK(stamp == 1);
}

TEST_CASE("two clusters at one place get one each") {
    Fixture image;
    auto file = *image.disk.open(path, Access::ReadWrite, false);
    uint32_t entry;
    REQUIRE(file->read(entryOffset(0), &entry, sizeof entry));
    image.patch(entryOffset(7), entry);
    CHECK(image.refusesWriting());
    CHECK(image.check(false).serious);
    CHECK_FALSE(image.check(true).serious);
    CHECK(image.check(false).clean());
    CHECK(image.stampOf(7) == 1);
    auto volume = image.open();
    uint64_t stamp = 9;
    REQUIRE(volume->image().write(0, &stamp, sizeof stamp));
    REQUIRE(volume->close());
    volume.reset();
    CHECK(image.stampOf(7) == 1);
    CHECK(image.stampOf(0) == 9);
}

TEST_CASE("an entry inside the table is found") {
    Fixture image(Version::V1);
    image.patch(entryOffset(2), 1);
    CHECK(image.check(true).serious);
    CHECK(image.refusesWriting());
}

TEST_CASE("what is behind the table is cleared") {
    Fixture image;
    image.patch(entryOffset(2048 * 8 / cluster), 77);
    auto report = image.check(false);
    CHECK(report.findings.size() == 1);
    CHECK_FALSE(report.serious);
    image.check(true);
    CHECK(image.check(false).clean());
}

TEST_CASE("leaked clusters are counted and given back") {
    Fixture image;
    image.patch(entryOffset(0), 0);
    auto report = image.check(false);
    CHECK(report.leaked == 1);
    CHECK_FALSE(report.serious);
    image.check(true);
    CHECK(image.check(false).clean());
    CHECK(image.stampOf(1) == 2);
}

TEST_CASE("a file that was cut inside a cluster is completed, beyond that data is lost") {
    Fixture image;
    auto file = *image.disk.open(path, Access::ReadWrite, false);
    uint64_t size = *file->size();
    REQUIRE(file->resize(size - 1000));
    CHECK(image.check(false).serious);
    CHECK_FALSE(image.check(true).serious);
    CHECK(image.check(false).clean());
    CHECK(image.stampOf(2) == 3);
    REQUIRE(file->resize(size - cluster * 512));
    CHECK(image.check(true).serious);
}

TEST_CASE("a dangling extension is dropped, a valid one stays until the image is written to") {
    Fixture image;
    auto file = *image.disk.open(path, Access::ReadWrite, false);
    uint64_t end = *file->size();
    image.patch(56, static_cast<uint32_t>(end / 512));
    CHECK_FALSE(image.check(false).clean());
    image.check(true);
    CHECK(image.check(false).clean());

    std::vector<std::byte> extension(cluster * 512);
    store64(extension.data(), 0xAB234CEF23DCEA87);
    REQUIRE(file->write(end, extension.data(), extension.size()));
    auto mark = [&] {
        image.patch(56, static_cast<uint32_t>(end / 512));
        image.patch(44, markExtension);
    };
    mark();
    CHECK(image.check(false).clean());
    {
        auto volume = image.open(); // not yet: nothing is written
        REQUIRE(volume->close());
    }
    CHECK(image.check(false).clean());
    CHECK(*file->size() == end + extension.size());
    {
        auto volume = image.open();
        uint32_t value = 3;
        REQUIRE(volume->image().write(0, &value, sizeof value));
        REQUIRE(volume->close());
    }
    CHECK(*file->size() == end);
    CHECK(image.check(false).clean());
    // One that nobody may ignore forbids writing.
    store64(extension.data() + 24, 0x1234);
    store64(extension.data() + 32, 1);
    REQUIRE(file->write(end, extension.data(), extension.size()));
    mark();
    CHECK(image.refusesWriting());
}

TEST_CASE("a table that is too short for the disk forbids writing") {
    Fixture image;
    image.patch(32, 100);
    CHECK(image.refusesWriting());
    CHECK(image.check(true).serious);
}

TEST_CASE("a foreign tail of unused clusters is accepted and cut off when the image is closed") {
    Fixture image;
    auto file = *image.disk.open(path, Access::ReadWrite, false);
    uint64_t size = *file->size();
    REQUIRE(file->resize(size + (128u << 20)));
    CHECK(image.check(false).clean());
    auto volume = image.open();
    auto data = test::stamped(8, cluster);
    REQUIRE(volume->image().write(10 * cluster * 512, data.data(), data.size()));
    REQUIRE(volume->close());
    volume.reset();
    CHECK(*file->size() == size + cluster * 512);
    CHECK(image.stampOf(10) == 8);
}

TEST_CASE("orphans are listed, and removed by force only") {
    Fixture image;
    auto file = *image.disk.create(path + ".{deadbeef-0000-4000-8000-000000000000}", 0600);
    auto names = image.open()->orphans();
    REQUIRE(names);
    CHECK(names->size() == 1);
    CheckOptions options;
    CHECK(checkVolume(image.disk, descriptor, options)->findings.size() == 1);
    options.repair = true;
    CHECK(checkVolume(image.disk, descriptor, options)->findings.size() == 1);
    options.force = true;
    REQUIRE(checkVolume(image.disk, descriptor, options));
    CHECK(checkVolume(image.disk, descriptor, {})->clean());
}
