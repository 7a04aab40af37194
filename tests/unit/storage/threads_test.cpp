// SPDX-License-Identifier: LGPL-2.1-or-later
// Many threads on one image while it is snapshotted, merged, compacted and grown.
#include "../temporary_dir.hpp"
#include "stamps.hpp"
#include "storage/ploop/check.hpp"
#include "storage/ploop/volume.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <thread>

using namespace vz;
using namespace vz::ploop;

namespace {

constexpr uint32_t cluster = 64;
constexpr size_t writers = 6;
constexpr uint64_t perWriter = 32 * cluster; // sectors

/** Writes, clears and reads its own part of the disk, in which it knows every sector. */
class Writer {
public:
    Writer(Image& image, size_t number)
        : image_(image), number_(number), random_(static_cast<uint32_t>(number)) {}

    void run(const std::atomic<bool>& stop) {
        while (!stop && problem_.empty())
            step();
    }
    const std::string& problem() const { return problem_; }
    const test::Stamps& stamps() const { return stamps_; }

private:
    void step() {
        auto [first, count] = test::randomSectors(random_, perWriter, cluster);
        uint64_t offset = (number_ * perWriter + first) * sectorSize, length = count * sectorSize;
        switch (random_() % 8) {
        case 0:
            check(image_.zero(offset, length));
            std::fill_n(stamps_.begin() + static_cast<ptrdiff_t>(first), count, 0);
            break;
        case 1:
            check(image_.flush());
            break;
        case 2:
        case 3: {
            std::vector<std::byte> data(length);
            check(image_.read(offset, data.data(), length));
            for (uint64_t i = 0; i < count; ++i) {
                uint64_t stamp;
                std::memcpy(&stamp, data.data() + i * sectorSize, 8);
                if (stamp != stamps_[first + i])
                    problem_ = cat("sector ", first + i, " of writer ", number_, ": ", stamp, " instead of ",
                                   stamps_[first + i]);
            }
            break;
        }
        default:
            auto data = test::stamped(++stamp_, count);
            check(image_.write(offset, data.data(), data.size()));
            std::fill_n(stamps_.begin() + static_cast<ptrdiff_t>(first), count, stamp_);
        }
    }
    void check(const Result<void>& result) {
        if (!result)
            problem_ = result.error().message();
    }

    Image& image_;
    size_t number_;
    std::mt19937 random_;
    test::Stamps stamps_ = test::Stamps(perWriter);
    uint64_t stamp_ = number_ << 32;
    std::string problem_;
};

} // namespace

TEST_CASE("threads write while the image is snapshotted, merged, compacted and grown") {
    bool direct = GENERATE(false, true);
    test::TemporaryDir dir;
    Volume::CreateOptions create;
    create.sectors = writers * perWriter;
    create.clusterSectors = cluster;
    REQUIRE(Volume::create(hostFiles(), dir / "root.hds", create));
    Volume::Options options;
    options.access = Access::ReadWrite;
    options.direct = direct;
    auto opened = Volume::open(hostFiles(), dir / "DiskDescriptor.xml", options);
    REQUIRE(opened);
    auto& volume = **opened;

    std::atomic<bool> stop = false;
    std::vector<Writer> work;
    for (size_t i = 0; i < writers; ++i)
        work.emplace_back(volume.image(), i);
    std::vector<std::thread> threads;
    for (auto& writer : work)
        threads.emplace_back([&] { writer.run(stop); });
    Result<void> maintained;
    auto maintain = [&]() -> Result<void> {
        for (int round = 0; round < 4; ++round) {
            VZ_TRY(auto first, volume.snapshot());
            VZ_TRY(auto second, volume.snapshot());
            VZ_TRY(auto third, volume.snapshot());
            VZ_CHECK(volume.compact());
            VZ_CHECK(volume.remove(second));
            VZ_CHECK(volume.remove(first));
            VZ_CHECK(volume.remove(third));
            VZ_CHECK(volume.resize(volume.image().bytes() + volume.image().clusterBytes()));
        }
        // The table needs another cluster: data is moved.
        VZ_CHECK(volume.resize(8300ull * volume.image().clusterBytes()));
        return volume.compact();
    };
    maintained = maintain();
    stop = true;
    for (auto& thread : threads)
        thread.join();
    if (!maintained)
        FAIL(maintained.error().message());
    test::Stamps expected;
    for (auto& writer : work) {
        CHECK(writer.problem() == "");
        expected.insert(expected.end(), writer.stamps().begin(), writer.stamps().end());
    }
    auto verify = [&](Image& image) {
        std::vector<std::byte> data(expected.size() * sectorSize);
        REQUIRE(image.read(0, data.data(), data.size()));
        test::Stamps stamps(expected.size());
        for (size_t i = 0; i < stamps.size(); ++i)
            std::memcpy(&stamps[i], data.data() + i * sectorSize, 8);
        CHECK(test::same(stamps, expected));
    };
    verify(volume.image());
    REQUIRE(volume.close());
    opened->reset();
    auto report = checkVolume(hostFiles(), dir / "DiskDescriptor.xml", {});
    REQUIRE(report);
    for (const auto& finding : report->findings)
        UNSCOPED_INFO(finding.text);
    CHECK(report->clean());
    verify((*Volume::open(hostFiles(), dir / "DiskDescriptor.xml", {}))->image());
    CHECK(file::list(dir.path())->size() == 2);
}
