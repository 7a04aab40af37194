// SPDX-License-Identifier: LGPL-2.1-or-later
// States of several images that belong together, none of which is a device.
#include "../temporary_dir.hpp"
#include "storage/export/states.hpp"

#include <catch2/catch.hpp>

#include <array>

using namespace vz;
using namespace vz::exports;
using namespace vz::ploop;

namespace {

const Guid one = "{11111111-1111-4111-8111-111111111111}", two = "{22222222-2222-4222-8222-222222222222}",
           keep = "{33333333-3333-4333-8333-333333333333}";

/** Two images, each with a byte in it that tells what state it is in. */
struct Fixture {
    test::TemporaryDir dir;
    std::vector<std::string> images;

    Fixture() {
        for (const char* name : {"a", "b"}) {
            REQUIRE(file::makeDirs(dir / name));
            Volume::CreateOptions create;
            create.sectors = 64 * 64;
            create.clusterSectors = 64;
            REQUIRE(Volume::create(hostFiles(), cat(dir / name, "/root.hds"), create));
            images.push_back(cat(dir / name, "/DiskDescriptor.xml"));
        }
    }
    std::unique_ptr<Volume> open(size_t image) {
        Volume::Options options;
        options.access = Access::ReadWrite;
        auto volume = Volume::open(hostFiles(), images[image], options);
        REQUIRE(volume);
        return *std::move(volume);
    }
    void write(char value) {
        for (size_t i = 0; i < images.size(); ++i) {
            auto volume = open(i);
            std::string data(4096, value);
            REQUIRE(volume->image().write(0, data.data(), data.size()));
            REQUIRE(volume->close());
        }
    }
    char read(size_t image) {
        char value = 0;
        REQUIRE(open(image)->image().read(0, &value, 1));
        return value;
    }
    std::string both() { return {read(0), read(1)}; }
    size_t states(size_t image) { return open(image)->descriptor().shots.size(); }
};

} // namespace

TEST_CASE_METHOD(Fixture, "all images go to a state and back") {
    write('1');
    REQUIRE(snapshotAll(images, one, {}, false));
    write('2');
    REQUIRE(snapshotAll(images, two, {}, true));
    write('3');
    REQUIRE(switchAll(images, one, keep));
    CHECK(both() == "11");
    CHECK(states(0) == 3);
    REQUIRE(switchAll(images, two, keep));
    CHECK(both() == "22");
    REQUIRE(removeFromAll(images, one));
    CHECK(both() == "22");
    CHECK(states(1) == 2);
    CHECK(!*hasState(images[0], one));
    CHECK(*hasState(images[0], two));
    REQUIRE(removeFromAll(images, one));
}

TEST_CASE_METHOD(Fixture, "no image gets a state that another cannot have") {
    write('1');
    SECTION("it is in use") {
        auto busy = open(1);
        auto made = snapshotAll(images, one, {}, false);
        REQUIRE(!made);
        CHECK(made.error().code() == ErrorCode::ResourceBusy);
    }
    SECTION("it has one of that GUID") {
        REQUIRE(snapshotAll({images[1]}, one, {}, false));
        CHECK(!snapshotAll(images, one, {}, false));
        REQUIRE(removeFromAll({images[1]}, one));
    }
    CHECK(states(0) == 1);
    CHECK(states(1) == 1);
    CHECK(both() == "11");
}

TEST_CASE_METHOD(Fixture, "no image goes back if another cannot") {
    write('1');
    REQUIRE(snapshotAll(images, one, {}, false));
    write('2');
    REQUIRE(snapshotAll(images, two, {}, false));
    REQUIRE(switchAll(images, one, keep));
    write('3');
    SECTION("it lacks the state") {
        REQUIRE(removeFromAll({images[1]}, two));
        auto done = switchAll(images, two, keep);
        REQUIRE(!done);
        CHECK(done.error().code() == ErrorCode::NoSnapshot);
        CHECK(states(0) == 3);
    }
    SECTION("the file of the state is gone, which shows only on the way") {
        auto volume = open(1);
        auto file = volume->fileOf(*volume->descriptor().delta(two));
        volume.reset();
        REQUIRE(file::remove(file));
        REQUIRE(!switchAll(images, two, keep));
        CHECK(states(0) == 3);
        CHECK(states(1) == 3);
    }
    CHECK(both() == "33");
    REQUIRE(switchAll(images, one, keep));
    CHECK(both() == "11");
}

TEST_CASE_METHOD(Fixture, "a switch that was cut off anywhere is finished") {
    write('1');
    REQUIRE(snapshotAll(images, one, {}, false));
    write('2');
    for (int step = 0; step <= 6; ++step) {
        INFO(step);
        // As switchAll() does it: all are kept, all switched, all that was kept removed.
        for (int i = 0; i < step; ++i) {
            auto volume = open(static_cast<size_t>(i % 2));
            REQUIRE((i < 2   ? volume->snapshot(keep).operator bool()
                     : i < 4 ? volume->switchTo(one).operator bool()
                             : volume->remove(keep).operator bool()));
        }
        REQUIRE(finishSwitch(images, one, keep));
        CHECK(both() == "11");
        CHECK(states(0) == 2);
        CHECK(states(1) == 2);
        write('3');
    }
}
