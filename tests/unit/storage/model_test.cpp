// SPDX-License-Identifier: LGPL-2.1-or-later
// Thousands of random operations on an image, its snapshots and its size, compared with plain arrays.
#include "stamps.hpp"
#include "storage/ploop/check.hpp"
#include "storage/ploop/copy.hpp"
#include "test_disk.hpp"

#include <catch2/catch.hpp>

#include <map>

using namespace vz;
using namespace vz::ploop;
using test::Stamps;

namespace {

constexpr uint32_t cluster = 64;
const std::string path = "/image/DiskDescriptor.xml";

/** An image beside what it should hold. */
class Model {
public:
    Model(uint32_t seed, Descriptor::Mode mode, Version version) : random_(seed) {
        Volume::CreateOptions options;
        options.sectors = 24 * cluster;
        options.clusterSectors = version == Version::V1 ? defaultClusterSectors : cluster;
        if (version == Version::V1)
            options.sectors = 3 * defaultClusterSectors;
        options.version = version;
        options.mode = mode;
        clusterSectors_ = options.clusterSectors;
        REQUIRE(Volume::create(disk_, "/image/root.hds", options));
        now_.resize(options.sectors);
        open();
    }

    void step() {
        // How often of 40 steps.
        const std::pair<unsigned, std::function<void()>> kinds[] = {
            {19, [&] { write(); }},   {5, [&] { zero(); }},
            {5, [&] { discard(); }},  {3, [&] { REQUIRE(volume_->image().flush()); }},
            {2, [&] { verify(); }},   {1, [&] { snapshot(); }},
            {1, [&] { switchTo(); }}, {1, [&] { remove(); }},
            {1, [&] { reopen(); }},   {1, [&] { resize(); }},
            {1, [&] { compact(); }},
        };
        unsigned number = random_() % 40;
        for (const auto& [often, run] : kinds) {
            if (number < often)
                return run();
            number -= often;
        }
    }

    void verify() {
        REQUIRE(test::same(test::stampsOf(volume_->image()), now_));
        for (const auto& [guid, stamps] : states_) {
            auto image = Volume::openSnapshot(disk_, path, guid);
            INFO("snapshot " << guid);
            REQUIRE(image);
            REQUIRE(test::same(test::stampsOf(**image), stamps));
        }
    }

    void reopen() {
        volume_.reset();
        auto report = checkVolume(disk_, path, {});
        REQUIRE(report);
        for (const auto& finding : report->findings)
            UNSCOPED_INFO(finding.text);
        REQUIRE(report->clean());
        open();
    }

    size_t snapshots() const { return states_.size(); }

private:
    void open() {
        Volume::Options options;
        options.access = Access::ReadWrite;
        auto volume = Volume::open(disk_, path, options);
        if (!volume)
            FAIL(volume.error().message());
        volume_ = *std::move(volume);
    }

    std::pair<uint64_t, uint64_t> sectors() {
        return test::randomSectors(random_, now_.size(), clusterSectors_);
    }

    void write() {
        auto [first, count] = sectors();
        auto data = test::stamped(++stamp_, count);
        REQUIRE(volume_->image().write(first * sectorSize, data.data(), data.size()));
        std::fill_n(now_.begin() + static_cast<ptrdiff_t>(first), count, stamp_);
    }

    void zero() {
        auto [first, count] = sectors();
        REQUIRE(volume_->image().zero(first * sectorSize, count * sectorSize));
        std::fill_n(now_.begin() + static_cast<ptrdiff_t>(first), count, 0);
    }

    /** What was discarded reads as before or as zeros; nothing else may change. */
    void discard() {
        auto [first, count] = sectors();
        REQUIRE(volume_->image().discard(first * sectorSize, count * sectorSize));
        auto after = test::stampsOf(volume_->image());
        for (uint64_t i = first; i < first + count; ++i) {
            if (after[i] == 0)
                now_[i] = 0;
        }
        REQUIRE(test::same(after, now_));
    }

    void snapshot() {
        if (states_.size() > 12)
            return;
        auto guid = volume_->snapshot();
        if (!guid)
            FAIL(guid.error().message());
        states_[*guid] = now_;
    }

    Guid pick() {
        auto state = states_.begin();
        std::advance(state, random_() % states_.size());
        return state->first;
    }

    void switchTo() {
        if (states_.empty())
            return;
        Guid guid = pick();
        REQUIRE(volume_->switchTo(guid));
        now_ = states_[guid];
    }

    void remove() {
        if (states_.empty())
            return;
        Guid guid = pick();
        auto removed = volume_->remove(guid);
        // The base is removed by merging its child into it, so a base without one cannot be reached here.
        if (!removed)
            FAIL(removed.error().message());
        states_.erase(guid);
    }

    void resize() {
        if (volume_->descriptor().sectors > 80 * clusterSectors_)
            return;
        uint64_t sectors = now_.size() + clusterSectors_ * (1 + random_() % 4);
        if (states_.empty() && random_() % 2 && now_.size() > 8 * clusterSectors_)
            sectors = now_.size() - clusterSectors_ * (1 + random_() % 4);
        auto resized = volume_->resize(sectors * sectorSize);
        if (!resized)
            FAIL(resized.error().message());
        now_.resize(sectors);
    }

    void compact() {
        if (volume_->image().top().plain())
            return;
        REQUIRE(volume_->compact());
    }

    std::mt19937 random_;
    test::TestDisk disk_;
    uint32_t clusterSectors_;
    std::unique_ptr<Volume> volume_;
    Stamps now_;
    std::map<Guid, Stamps> states_;
    uint64_t stamp_ = 0;
};

void play(uint32_t seed, Descriptor::Mode mode, Version version, int steps) {
    INFO("seed " << seed);
    Model model(seed, mode, version);
    for (int i = 0; i < steps; ++i)
        model.step();
    model.verify();
    model.reopen();
    model.verify();
}

} // namespace

TEST_CASE("an image holds what a byte array would") {
    for (uint32_t seed = 1; seed <= 6; ++seed)
        play(seed, Descriptor::Mode::Expanded, Version::V2, 500);
}

TEST_CASE("a raw image with overlays holds what a byte array would") {
    for (uint32_t seed = 21; seed <= 23; ++seed)
        play(seed, Descriptor::Mode::Raw, Version::V2, 400);
}

TEST_CASE("a preallocated image holds what a byte array would") {
    play(31, Descriptor::Mode::Preallocated, Version::V2, 400);
}

TEST_CASE("a version 1 image holds what a byte array would") {
    play(41, Descriptor::Mode::Expanded, Version::V1, 150);
}

TEST_CASE("a chain of the greatest length works, and no longer one") {
    test::TestDisk disk;
    Volume::CreateOptions create;
    create.sectors = 140 * cluster;
    create.clusterSectors = cluster;
    REQUIRE(Volume::create(disk, "/image/root.hds", create));
    Volume::Options options;
    options.access = Access::ReadWrite;
    auto volume = *Volume::open(disk, path, options);
    for (uint64_t i = 0; i < 126; ++i) {
        auto data = test::stamped(i + 1, 1);
        REQUIRE(volume->image().write(i * cluster * sectorSize, data.data(), data.size()));
        REQUIRE(volume->snapshot());
    }
    CHECK_FALSE(volume->snapshot());
    volume.reset();
    volume = *Volume::open(disk, path, options);
    auto stamps = test::stampsOf(volume->image());
    for (uint64_t i = 0; i < 126; ++i)
        CHECK(stamps[i * cluster] == i + 1);
}

TEST_CASE("a live copy catches up with its writers") {
    test::TestDisk disk;
    Volume::CreateOptions create;
    create.sectors = 40 * cluster;
    create.clusterSectors = cluster;
    REQUIRE(Volume::create(disk, "/image/root.hds", create));
    Volume::Options options;
    options.access = Access::ReadWrite;
    auto volume = *Volume::open(disk, path, options);
    auto& image = volume->image();
    std::mt19937 random(7);
    Stamps expected(create.sectors), copied(create.sectors);
    auto write = [&](uint64_t stamp) {
        auto [first, count] = test::randomSectors(random, create.sectors, cluster);
        auto data = test::stamped(stamp, count);
        REQUIRE(image.write(first * sectorSize, data.data(), data.size()));
        std::fill_n(expected.begin() + static_cast<ptrdiff_t>(first), count, stamp);
    };
    for (uint64_t i = 1; i < 20; ++i)
        write(i);
    auto copy = *LiveCopy::begin(image);
    uint64_t stamp = 100;
    auto sink = [&](Range range, const std::byte* data) -> Result<void> {
        for (uint64_t i = 0; i < range.length / sectorSize; ++i) {
            uint64_t value = 0;
            if (data)
                std::memcpy(&value, data + i * sectorSize, 8);
            copied[range.offset / sectorSize + i] = value;
        }
        if (stamp < 150)
            write(++stamp);
        return {};
    };
    for (int i = 0; i < 4; ++i)
        REQUIRE(copy.pass(sink));
    REQUIRE(image.zero(0, 3 * cluster * sectorSize));
    std::fill_n(expected.begin(), 3 * cluster, 0);
    stamp = 1000; // the writers stop
    REQUIRE(*copy.pass(sink) > 0);
    CHECK(*copy.pass(sink) == 0);
    CHECK(test::same(copied, expected));
}
