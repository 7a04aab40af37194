// SPDX-License-Identifier: LGPL-2.1-or-later
// Cuts the power after every single change that an operation makes to the disk, and looks at what is left.
#include "stamps.hpp"
#include "storage/ploop/check.hpp"
#include "storage/ploop/convert.hpp"
#include "test_disk.hpp"

#include <catch2/catch.hpp>

#include <map>

using namespace vz;
using namespace vz::ploop;
using test::Stamps;
using test::TestDisk;

namespace {

constexpr uint32_t cluster = 64;
constexpr uint64_t diskSectors = 12 * cluster;
const std::string path = "/image/DiskDescriptor.xml";

std::unique_ptr<Volume> open(TestDisk& disk, bool recover = false) {
    Volume::Options options;
    options.access = Access::ReadWrite;
    options.recover = recover;
    auto volume = Volume::open(disk, path, options);
    if (!volume)
        FAIL(volume.error().message());
    return *std::move(volume);
}

void write(Image& image, Stamps& model, uint64_t first, uint64_t count, uint64_t stamp) {
    auto data = test::stamped(stamp, count);
    REQUIRE(image.write(first * sectorSize, data.data(), data.size()));
    std::fill_n(model.begin() + static_cast<ptrdiff_t>(first), count, stamp);
}

const Guid older = "{11111111-1111-4111-8111-111111111111}", newer = "{22222222-2222-4222-8222-222222222222}",
           branch = "{33333333-3333-4333-8333-333333333333}";

/** A disk with an image that has a history, and what each state of it holds. */
struct Start {
    TestDisk disk;
    std::map<Guid, Stamps> states;

    explicit Start(Descriptor::Mode mode = Descriptor::Mode::Expanded, bool snapshots = true) {
        Volume::CreateOptions options;
        options.sectors = diskSectors;
        options.clusterSectors = cluster;
        options.mode = mode;
        REQUIRE(Volume::create(disk, "/image/root.hds", options));
        auto volume = open(disk);
        Stamps now(diskSectors);
        auto take = [&](const Guid& guid) {
            if (!snapshots)
                return;
            REQUIRE(volume->snapshot(guid));
            states[guid] = now;
        };
        write(volume->image(), now, 0, 3 * cluster, 1);
        write(volume->image(), now, 5 * cluster + 3, 7, 2);
        take(older);
        write(volume->image(), now, cluster + 5, 2 * cluster, 3);
        if (snapshots) {
            take(branch);
            REQUIRE(volume->switchTo(older));
            now = states[older];
        }
        write(volume->image(), now, 2 * cluster - 9, 20, 4);
        write(volume->image(), now, 7 * cluster, cluster, 5);
        take(newer);
        write(volume->image(), now, 0, 10, 6);
        write(volume->image(), now, 8 * cluster, 2 * cluster, 7);
        REQUIRE(volume->image().discard(3 * cluster * sectorSize, 4 * cluster * sectorSize));
        now = test::stampsOf(volume->image());
        REQUIRE(volume->close());
        states[topGuid] = now;
        volume.reset();
        disk.settle();
    }
};

using Operation = std::function<Result<void>(TestDisk&)>;

/** What any state may hold after a cut: by default, what it held before. */
using Allowed = std::function<bool(const Guid&, const Stamps&)>;

void checkAfterCut(TestDisk& disk, const Allowed& allowed) {
    // Reading works at once, without any repair.
    auto model = Volume::read(disk, path);
    REQUIRE(model);
    for (const auto& shot : model->shots) {
        if (shot.mark != Descriptor::Mark::None)
            continue;
        auto image = Volume::openSnapshot(disk, path, shot.guid);
        if (!image)
            FAIL(image.error().message());
        auto stamps = test::stampsOf(**image);
        INFO("state " << shot.guid);
        REQUIRE(allowed(shot.guid, stamps));
    }
    // A repair that loses nothing makes the files clean.
    CheckOptions repair;
    repair.repair = true;
    auto repaired = checkVolume(disk, path, repair, true);
    if (!repaired)
        FAIL(repaired.error().message());
    for (const auto& finding : repaired->findings)
        UNSCOPED_INFO(finding.text);
    REQUIRE_FALSE(repaired->serious);
    auto volume = open(disk);
    REQUIRE(allowed(topGuid, test::stampsOf(volume->image())));
    // And it goes on.
    Stamps now(diskSectors);
    write(volume->image(), now, 4 * cluster + 1, cluster, 99);
    auto finished = volume->finishPending();
    if (!finished)
        FAIL(finished.error().message());
    REQUIRE(volume->close());
}

void cutEverywhere(const TestDisk& start, const Operation& operation, const Allowed& allowed) {
    long total;
    {
        TestDisk disk(start, 0);
        disk.stopAfter(-1);
        auto done = operation(disk);
        if (!done)
            FAIL(done.error().message());
        total = disk.changes();
    }
    REQUIRE(total > 3);
    for (long stop = 0; stop <= total; ++stop) {
        for (uint32_t seed = 0; seed < 4; ++seed) {
            INFO("cut after change " << stop << " of " << total << ", seed " << seed);
            TestDisk disk(start, 0);
            disk.stopAfter(stop);
            auto done = operation(disk);
            REQUIRE(static_cast<bool>(done) == !disk.dead());
            std::mt19937 random(seed * 1000 + static_cast<uint32_t>(stop));
            random.discard(seed);
            disk.powerCut(random);
            checkAfterCut(disk, allowed);
        }
    }
}

Allowed sameAs(const std::map<Guid, Stamps>& states) {
    return [&](const Guid& guid, const Stamps& stamps) {
        auto state = states.find(guid);
        return state == states.end() || state->second == stamps;
    };
}

} // namespace

TEST_CASE("power cut: writes survive from the next flush on") {
    for (bool snapshots : {false, true}) {
        Start start(Descriptor::Mode::Expanded, snapshots);
        for (uint32_t seed = 1; seed <= 3; ++seed) {
            // The model of one run: what is safe, and what each sector may hold besides.
            Stamps flushed;
            std::vector<std::vector<uint64_t>> maybe;
            auto operation = [&](TestDisk& disk) -> Result<void> {
                flushed = start.states[topGuid];
                maybe.assign(diskSectors, {});
                std::mt19937 random(seed);
                Volume::Options options;
                options.access = Access::ReadWrite;
                VZ_TRY(auto volume, Volume::open(disk, path, options));
                auto& image = volume->image();
                for (uint64_t i = 0; i < 12; ++i) {
                    auto [first, count] = test::randomSectors(random, diskSectors, cluster);
                    uint64_t stamp = random() % 4 ? 1000 + i : 0;
                    for (uint64_t s = first; s < first + count; ++s)
                        maybe[s].push_back(stamp);
                    auto data = test::stamped(stamp, count);
                    VZ_CHECK(stamp ? image.write(first * sectorSize, data.data(), data.size())
                                   : image.zero(first * sectorSize, count * sectorSize));
                    if (i % 3 == 2) {
                        VZ_CHECK(image.flush());
                        for (uint64_t s = 0; s < diskSectors; ++s) {
                            if (!maybe[s].empty())
                                flushed[s] = maybe[s].back();
                            maybe[s].clear();
                        }
                    }
                }
                VZ_CHECK(image.compact({}));
                return volume->close();
            };
            cutEverywhere(start.disk, operation, [&](const Guid& guid, const Stamps& stamps) {
                if (guid != topGuid)
                    return start.states[guid] == stamps;
                for (uint64_t s = 0; s < diskSectors; ++s) {
                    if (stamps[s] != flushed[s] &&
                        std::find(maybe[s].begin(), maybe[s].end(), stamps[s]) == maybe[s].end())
                        return false;
                }
                return true;
            });
        }
    }
}

TEST_CASE("power cut: creating an image leaves it or nothing") {
    TestDisk empty;
    for (auto mode : {Descriptor::Mode::Expanded, Descriptor::Mode::Preallocated, Descriptor::Mode::Raw}) {
        for (long stop = 0; stop < 30; ++stop) {
            INFO("cut after change " << stop);
            TestDisk disk(empty, 0);
            disk.stopAfter(stop);
            Volume::CreateOptions options;
            options.sectors = diskSectors;
            options.clusterSectors = cluster;
            options.mode = mode;
            (void)Volume::create(disk, "/image/root.hds", options);
            std::mt19937 random(static_cast<uint32_t>(stop));
            disk.powerCut(random);
            if (disk.exists(path))
                CHECK(test::stampsOf(open(disk)->image()) == Stamps(diskSectors));
        }
    }
}

TEST_CASE("power cut: snapshot") {
    for (auto mode : {Descriptor::Mode::Expanded, Descriptor::Mode::Raw}) {
        Start start(mode, false);
        const Guid fresh = "{44444444-4444-4444-8444-444444444444}";
        start.states[fresh] = start.states[topGuid];
        cutEverywhere(
            start.disk,
            [&](TestDisk& disk) -> Result<void> {
                Volume::Options options;
                options.access = Access::ReadWrite;
                VZ_TRY(auto volume, Volume::open(disk, path, options));
                VZ_TRY(auto guid, volume->snapshot(fresh));
                return volume->close();
            },
            sameAs(start.states));
    }
}

TEST_CASE("power cut: snapshot of an image that is being written to") {
    Start start;
    const Guid fresh = "{44444444-4444-4444-8444-444444444444}";
    uint64_t phase = 0;
    cutEverywhere(
        start.disk,
        [&](TestDisk& disk) -> Result<void> {
            phase = 0;
            Volume::Options options;
            options.access = Access::ReadWrite;
            VZ_TRY(auto volume, Volume::open(disk, path, options));
            auto data = test::stamped(50, cluster);
            VZ_CHECK(volume->image().write(cluster * sectorSize, data.data(), data.size()));
            VZ_CHECK(volume->image().flush());
            phase = 1;
            VZ_TRY(auto guid, volume->snapshot(fresh));
            data = test::stamped(51, cluster);
            VZ_CHECK(volume->image().write(cluster * sectorSize, data.data(), data.size()));
            VZ_CHECK(volume->image().flush());
            phase = 2;
            return volume->close();
        },
        [&](const Guid& guid, const Stamps& stamps) {
            Stamps expected = start.states[guid == fresh ? topGuid : guid];
            if (guid != fresh && guid != topGuid)
                return stamps == expected;
            // Cluster 1 is old, 50 or 51 by what was done; anything else is as before.
            uint64_t least = guid == fresh ? 50 : phase == 0 ? 0 : phase == 1 ? 50 : 51;
            for (uint64_t s = 0; s < diskSectors; ++s) {
                bool inside = s >= cluster && s < 2 * cluster;
                bool old = stamps[s] == expected[s] && (!inside || least == 0);
                bool written = inside && stamps[s] >= std::max<uint64_t>(least, 50) &&
                               stamps[s] <= (guid == fresh ? 50u : 51u);
                if (!old && !written)
                    return false;
            }
            return true;
        });
}

TEST_CASE("power cut: switching to a snapshot") {
    Start start;
    auto before = start.states;
    cutEverywhere(
        start.disk,
        [&](TestDisk& disk) -> Result<void> {
            Volume::Options options;
            options.access = Access::ReadWrite;
            VZ_TRY(auto volume, Volume::open(disk, path, options));
            VZ_CHECK(volume->switchTo(branch));
            return volume->close();
        },
        [&](const Guid& guid, const Stamps& stamps) {
            return stamps == before[guid] || (guid == topGuid && stamps == before[branch]);
        });
}

TEST_CASE("power cut: removing snapshots merges without loss") {
    for (auto mode : {Descriptor::Mode::Expanded, Descriptor::Mode::Raw}) {
        Start start(mode);
        // The child is the top; a leaf; and, after that, one in the middle.
        for (auto order : {std::vector{newer}, std::vector{branch}, std::vector{branch, older},
                           std::vector{older, branch}}) {
            cutEverywhere(
                start.disk,
                [&](TestDisk& disk) -> Result<void> {
                    Volume::Options options;
                    options.access = Access::ReadWrite;
                    VZ_TRY(auto volume, Volume::open(disk, path, options));
                    for (const auto& guid : order)
                        VZ_CHECK(volume->remove(guid));
                    return volume->close();
                },
                sameAs(start.states));
        }
    }
}

TEST_CASE("power cut: removing the top goes back to its parent") {
    Start start;
    cutEverywhere(
        start.disk,
        [&](TestDisk& disk) -> Result<void> {
            Volume::Options options;
            options.access = Access::ReadWrite;
            VZ_TRY(auto volume, Volume::open(disk, path, options));
            VZ_CHECK(volume->remove(topGuid));
            return volume->close();
        },
        [&](const Guid& guid, const Stamps& stamps) {
            return stamps == start.states[guid] || (guid == topGuid && stamps == start.states[newer]);
        });
}

TEST_CASE("power cut: conversions") {
    for (auto [from, to] : {std::pair{Descriptor::Mode::Expanded, Descriptor::Mode::Raw},
                            std::pair{Descriptor::Mode::Raw, Descriptor::Mode::Expanded},
                            std::pair{Descriptor::Mode::Expanded, Descriptor::Mode::Preallocated}}) {
        Start start(from, false);
        cutEverywhere(
            start.disk, [&, to = to](TestDisk& disk) { return convertMode(disk, path, to); },
            sameAs(start.states));
    }
}

TEST_CASE("power cut: change of the version") {
    Start start(Descriptor::Mode::Expanded, false);
    auto allowed = sameAs(start.states);
    long total;
    {
        TestDisk disk(start.disk, 0);
        disk.stopAfter(-1);
        REQUIRE(convertVersion(disk, path, Version::V1));
        total = disk.changes();
        CHECK(open(disk)->image().top().header().version == Version::V1);
    }
    for (long stop = 0; stop <= total; ++stop) {
        for (uint32_t seed = 0; seed < 6; ++seed) {
            INFO("cut after change " << stop << " of " << total << ", seed " << seed);
            TestDisk disk(start.disk, 0);
            disk.stopAfter(stop);
            (void)convertVersion(disk, path, Version::V1);
            std::mt19937 random(seed + static_cast<uint32_t>(stop) * 100);
            disk.powerCut(random);
            // In the middle of it the table is of both kinds: it has to be finished first, which a check
            // does.
            CheckOptions repair;
            repair.repair = true;
            auto repaired = checkVolume(disk, path, repair, true);
            REQUIRE(repaired);
            REQUIRE_FALSE(repaired->serious);
            checkAfterCut(disk, allowed);
        }
    }
}

TEST_CASE("power cut: growing moves clusters out of the way of the table") {
    Start start(Descriptor::Mode::Expanded, false);
    auto before = start.states[topGuid];
    // 8176 entries fit in the first cluster.
    constexpr uint64_t large = 8200ull * cluster;
    auto prefix = [&](Image& image) {
        Stamps stamps(diskSectors);
        std::vector<std::byte> bytes(diskSectors * sectorSize);
        REQUIRE(image.read(0, bytes.data(), bytes.size()));
        for (size_t i = 0; i < stamps.size(); ++i)
            std::memcpy(&stamps[i], bytes.data() + i * sectorSize, 8);
        return stamps;
    };
    auto grow = [&](TestDisk& disk) -> Result<void> {
        Volume::Options options;
        options.access = Access::ReadWrite;
        VZ_TRY(auto volume, Volume::open(disk, path, options));
        VZ_CHECK(volume->resize(large * sectorSize));
        return volume->close();
    };
    TestDisk whole(start.disk, 0);
    whole.stopAfter(-1);
    REQUIRE(grow(whole));
    for (long stop = 0; stop <= whole.changes(); ++stop) {
        for (uint32_t seed = 0; seed < 6; ++seed) {
            INFO("cut after change " << stop << ", seed " << seed);
            TestDisk disk(start.disk, 0);
            disk.stopAfter(stop);
            (void)grow(disk);
            std::mt19937 random(seed + static_cast<uint32_t>(stop) * 100);
            disk.powerCut(random);
            REQUIRE(test::same(prefix(**Volume::openSnapshot(disk, path, topGuid)), before));
            CheckOptions repair;
            repair.repair = true;
            REQUIRE_FALSE(checkVolume(disk, path, repair)->serious);
            auto volume = open(disk);
            CHECK(test::same(prefix(volume->image()), before));
            CHECK(volume->descriptor().sectors == volume->image().bytes() / sectorSize);
            CHECK((volume->image().bytes() == large * sectorSize ||
                   volume->image().bytes() == diskSectors * sectorSize));
        }
    }
}

TEST_CASE("a full disk in the middle of writing loses nothing that was flushed") {
    Start start;
    for (uint64_t room = 0; room < 20; ++room) {
        INFO("room for " << room << " pages");
        TestDisk disk(start.disk, 0);
        auto volume = open(disk);
        Stamps flushed = start.states[topGuid];
        auto& image = volume->image();
        write(image, flushed, 9 * cluster, 5, 70);
        REQUIRE(image.flush());
        disk.setCapacity(disk.used() + room * TestDisk::pageSize);
        std::mt19937 random(static_cast<uint32_t>(room));
        std::vector<std::vector<uint64_t>> maybe(diskSectors);
        int failures = 0;
        for (uint64_t i = 0; i < 30; ++i) {
            auto [first, count] = test::randomSectors(random, diskSectors, cluster);
            auto data = test::stamped(100 + i, count);
            auto written = image.write(first * sectorSize, data.data(), data.size());
            if (!written)
                CHECK(written.error().systemError() == ENOSPC);
            failures += !written;
            for (uint64_t s = first; s < first + count; ++s)
                maybe[s].push_back(100 + i);
        }
        CHECK(failures > 0);
        auto right = [&](const Stamps& stamps) {
            for (uint64_t s = 0; s < diskSectors; ++s) {
                if (stamps[s] != flushed[s] &&
                    std::find(maybe[s].begin(), maybe[s].end(), stamps[s]) == maybe[s].end())
                    return false;
            }
            return true;
        };
        CHECK(right(test::stampsOf(image)));
        // Snapshots fail without harm, too.
        disk.setCapacity(disk.used());
        CHECK_FALSE(volume->snapshot());
        CHECK(right(test::stampsOf(image)));
        disk.setCapacity(UINT64_MAX);
        auto after = test::stampsOf(image);
        REQUIRE(volume->close());
        volume.reset();
        CHECK(checkVolume(disk, path, {})->clean());
        CHECK(test::same(test::stampsOf(open(disk)->image()), after));
    }
}
