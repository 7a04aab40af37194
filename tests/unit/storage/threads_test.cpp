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

/** Writers on a volume of their own, running from the start to finish(). */
class Work {
public:
    explicit Work(bool direct) {
        Volume::CreateOptions create;
        create.sectors = writers * perWriter;
        create.clusterSectors = cluster;
        REQUIRE(Volume::create(hostFiles(), dir_ / "root.hds", create));
        Volume::Options options;
        options.access = Access::ReadWrite;
        options.direct = direct;
        auto opened = Volume::open(hostFiles(), dir_ / "DiskDescriptor.xml", options);
        REQUIRE(opened);
        volume_ = *std::move(opened);
        for (size_t i = 0; i < writers; ++i)
            work_.emplace_back(volume_->image(), i);
        for (auto& writer : work_)
            threads_.emplace_back([&] { writer.run(stop_); });
    }
    ~Work() { join(); }

    Volume& volume() { return *volume_; }

    /** Ends the writers and looks whether all is as it should be, also after opening the image again. */
    void finish(const Result<void>& maintained) {
        join();
        if (!maintained)
            FAIL(maintained.error().message());
        test::Stamps expected;
        for (auto& writer : work_) {
            CHECK(writer.problem() == "");
            expected.insert(expected.end(), writer.stamps().begin(), writer.stamps().end());
        }
        verify(volume_->image(), expected);
        REQUIRE(volume_->close());
        volume_.reset();
        auto report = checkVolume(hostFiles(), dir_ / "DiskDescriptor.xml", {});
        REQUIRE(report);
        for (const auto& finding : report->findings)
            UNSCOPED_INFO(finding.text);
        CHECK(report->clean());
        verify((*Volume::open(hostFiles(), dir_ / "DiskDescriptor.xml", {}))->image(), expected);
        CHECK(file::list(dir_.path())->size() == 2);
    }

private:
    void join() {
        stop_ = true;
        for (auto& thread : threads_)
            thread.join();
        threads_.clear();
    }
    static void verify(Image& image, const test::Stamps& expected) {
        std::vector<std::byte> data(expected.size() * sectorSize);
        REQUIRE(image.read(0, data.data(), data.size()));
        test::Stamps stamps(expected.size());
        for (size_t i = 0; i < stamps.size(); ++i)
            std::memcpy(&stamps[i], data.data() + i * sectorSize, 8);
        CHECK(test::same(stamps, expected));
    }

    test::TemporaryDir dir_;
    std::unique_ptr<Volume> volume_;
    std::atomic<bool> stop_ = false;
    std::vector<Writer> work_;
    std::vector<std::thread> threads_;
};

/** So many clusters that the table needs a second cluster, and data has to move. */
constexpr uint64_t largeTable = 8300;

} // namespace

TEST_CASE("threads write while the image is snapshotted, merged, compacted and grown") {
    Work work(GENERATE(false, true));
    auto& volume = work.volume();
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
        VZ_CHECK(volume.resize(largeTable * volume.image().clusterBytes()));
        return volume.compact();
    };
    work.finish(maintain());
}

TEST_CASE("threads write while the table grows over their data") {
    for (int round = 0; round < 12; ++round) {
        Work work(false);
        auto& volume = work.volume();
        auto maintain = [&]() -> Result<void> {
            // Something for the table to run into, and places that become free below it.
            while (volume.image().top().allocatedClusters() < 40)
                std::this_thread::yield();
            return volume.resize(largeTable * volume.image().clusterBytes());
        };
        work.finish(maintain());
    }
}

TEST_CASE("what is only read stays the same while it is moved about and others flush") {
    test::TemporaryDir dir;
    constexpr uint64_t clusters = 96;
    Volume::CreateOptions create;
    create.sectors = clusters * cluster;
    create.clusterSectors = cluster;
    REQUIRE(Volume::create(hostFiles(), dir / "root.hds", create));
    Volume::Options options;
    options.access = Access::ReadWrite;
    auto opened = Volume::open(hostFiles(), dir / "DiskDescriptor.xml", options);
    REQUIRE(opened);
    auto& volume = **opened;
    auto& image = volume.image();
    // Of each three clusters one is read, one is written and flushed, one comes and goes.
    auto write = [&](uint64_t index, uint64_t stamp) {
        auto data = test::stamped(stamp, cluster);
        return image.write(index * image.clusterBytes(), data.data(), data.size());
    };
    for (uint64_t i = 0; i < clusters; ++i)
        REQUIRE(write(i, i + 1));

    std::atomic<bool> stop = false;
    std::atomic<uint64_t> wrong = 0;
    std::vector<std::thread> threads;
    for (uint32_t seed = 0; seed < 3; ++seed) {
        threads.emplace_back([&, seed] {
            std::mt19937 random(seed);
            std::vector<std::byte> data(image.clusterBytes());
            while (!stop) {
                uint64_t index = random() % (clusters / 3) * 3;
                bool read = static_cast<bool>(image.read(index * data.size(), data.data(), data.size()));
                wrong += !read || data != test::stamped(index + 1, cluster);
            }
        });
    }
    threads.emplace_back([&] {
        for (uint64_t i = 0; !stop; ++i)
            wrong += !write(i % (clusters / 3) * 3 + 1, i) || !image.flush();
    });
    auto maintain = [&]() -> Result<void> {
        for (uint64_t round = 0; round < 10; ++round) {
            for (uint64_t i = 2; i < clusters; i += 3) {
                if ((i + round) % 2)
                    VZ_CHECK(image.zero(i * image.clusterBytes(), image.clusterBytes()));
            }
            VZ_CHECK(volume.compact());
            VZ_TRY(auto guid, volume.snapshot());
            // Copied into the new top, and from there back by the merge.
            for (uint64_t i = 0; i < clusters; i += 3)
                VZ_CHECK(write(i, i + 1));
            for (uint64_t i = 2; i < clusters; i += 3)
                VZ_CHECK(write(i, 1000 + round));
            VZ_CHECK(volume.remove(guid));
        }
        return {};
    };
    auto maintained = maintain();
    stop = true;
    for (auto& thread : threads)
        thread.join();
    if (!maintained)
        FAIL(maintained.error().message());
    CHECK(wrong == 0);
}
