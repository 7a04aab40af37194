// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../temporary_dir.hpp"
#include "storage/ploop/check.hpp"
#include "storage/ploop/volume.hpp"

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <thread>

using namespace vz;
using namespace vz::ploop;

namespace {

struct Fixture {
    test::TemporaryDir dir;
    std::string path = dir / "DiskDescriptor.xml";

    Fixture() {
        Volume::CreateOptions create;
        create.sectors = 64 * 64;
        create.clusterSectors = 64;
        REQUIRE(Volume::create(hostFiles(), dir / "root.hds", create));
    }
    Result<std::unique_ptr<Volume>> open(Access access, std::chrono::milliseconds wait = {}) {
        Volume::Options options;
        options.access = access;
        options.wait = wait;
        return Volume::open(hostFiles(), path, options);
    }
    ErrorCode codeOf(Access access) {
        auto volume = open(access);
        return volume ? ErrorCode::InternalError : volume.error().code();
    }
};

} // namespace

TEST_CASE_METHOD(Fixture, "one writer or many readers, also in one process") {
    auto writer = open(Access::ReadWrite);
    REQUIRE(writer);
    CHECK(codeOf(Access::ReadWrite) == ErrorCode::ResourceBusy);
    CHECK(codeOf(Access::ReadOnly) == ErrorCode::ResourceBusy);
    writer->reset();
    auto reader = open(Access::ReadOnly);
    REQUIRE(reader);
    CHECK(open(Access::ReadOnly));
    CHECK(codeOf(Access::ReadWrite) == ErrorCode::ResourceBusy);
    reader->reset();
    CHECK(open(Access::ReadWrite));
}

TEST_CASE_METHOD(Fixture,
                 "a snapshot can be read while its image is written to, and is not removed meanwhile") {
    auto writer = *open(Access::ReadWrite);
    auto guid = *writer->snapshot();
    auto reader = Volume::openSnapshot(hostFiles(), path, guid);
    REQUIRE(reader);
    std::vector<std::byte> data(4096, std::byte(1));
    REQUIRE(writer->image().write(0, data.data(), data.size()));
    auto removed = writer->remove(guid);
    REQUIRE_FALSE(removed);
    CHECK(removed.error().code() == ErrorCode::ResourceBusy);
    reader->reset();
    CHECK(writer->remove(guid));
    std::vector<std::byte> back(4096);
    REQUIRE(writer->image().read(0, back.data(), back.size()));
    CHECK(back == data);
}

TEST_CASE_METHOD(Fixture, "who waits gets the image as it is then") {
    auto writer = open(Access::ReadWrite);
    REQUIRE((*writer)->snapshot());
    std::atomic<bool> waiting = false;
    size_t levels = 0;
    std::thread other([&] {
        waiting = true;
        auto next = open(Access::ReadWrite, std::chrono::seconds(30));
        levels = next ? (*next)->image().levels() : 0;
    });
    while (!waiting)
        std::this_thread::yield();
    REQUIRE((*writer)->snapshot());
    writer->reset();
    other.join();
    CHECK(levels == 3);
}

TEST_CASE_METHOD(Fixture, "the reference tool's lock is respected") {
    UniqueFd fd(::open((dir / "root.hds").c_str(), O_RDWR | O_CLOEXEC));
    struct flock lock {};
    lock.l_type = F_RDLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = GENERATE(200, 300);
    lock.l_len = 5;
    REQUIRE(::fcntl(fd.get(), F_OFD_SETLK, &lock) == 0);
    CHECK(codeOf(Access::ReadWrite) == ErrorCode::ResourceBusy);
    CHECK(codeOf(Access::ReadOnly) == ErrorCode::ResourceBusy);
    CheckOptions repair;
    repair.repair = true;
    CHECK_FALSE(checkDelta(hostFiles(), dir / "root.hds", repair));
}

TEST_CASE_METHOD(Fixture, "the reference tool sees our locks") {
    auto access = GENERATE(Access::ReadOnly, Access::ReadWrite);
    auto volume = open(access);
    UniqueFd fd(::open((dir / "root.hds").c_str(), O_RDWR | O_CLOEXEC));
    struct flock lock {};
    lock.l_type = F_WRLCK; // how it asks
    lock.l_whence = SEEK_SET;
    lock.l_start = 200;
    lock.l_len = 5;
    REQUIRE(::fcntl(fd.get(), F_OFD_GETLK, &lock) == 0);
    CHECK(lock.l_type != F_UNLCK);
}
