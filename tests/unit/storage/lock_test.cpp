// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../temporary_dir.hpp"
#include "storage/ploop/check.hpp"
#include "storage/ploop/volume.hpp"

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <functional>
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

TEST_CASE_METHOD(Fixture, "a merge that is refused locks no other snapshot") {
    auto writer = *open(Access::ReadWrite);
    std::vector<std::byte> data(4096, std::byte(1));
    auto first = *writer->snapshot();
    REQUIRE(writer->image().write(0, data.data(), data.size()));
    auto second = *writer->snapshot();
    auto reader = Volume::openSnapshot(hostFiles(), path, first);
    REQUIRE(reader);
    auto removed = writer->remove(first);
    REQUIRE_FALSE(removed);
    CHECK(removed.error().code() == ErrorCode::ResourceBusy);
    {
        auto other = Volume::openSnapshot(hostFiles(), path, second);
        REQUIRE(other);
        std::vector<std::byte> back(4096);
        REQUIRE((*other)->read(0, back.data(), back.size()));
        CHECK(back == data);
    }
    reader->reset();
    CHECK(writer->remove(first));
    CHECK(Volume::openSnapshot(hostFiles(), path, second));
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

namespace {

/** Tells when somebody begins to wait for a lock. */
class Waiting final : public FileSystem {
public:
    std::function<void()> waits;

    Result<FilePtr> open(const std::string& path, Access access, bool direct) override {
        VZ_TRY(auto file, hostFiles().open(path, access, direct));
        return FilePtr(std::make_unique<Told>(*this, std::move(file)));
    }
    Result<FilePtr> create(const std::string& path, unsigned mode) override {
        return hostFiles().create(path, mode);
    }
    Result<void> rename(const std::string& from, const std::string& to) override {
        return hostFiles().rename(from, to);
    }
    Result<void> link(const std::string& from, const std::string& to) override {
        return hostFiles().link(from, to);
    }
    Result<void> remove(const std::string& path) override { return hostFiles().remove(path); }
    Result<void> flushFolder(const std::string& folder) override { return hostFiles().flushFolder(folder); }
    Result<std::vector<std::string>> list(const std::string& folder) override {
        return hostFiles().list(folder);
    }
    bool exists(const std::string& path) override { return hostFiles().exists(path); }
    bool isFolder(const std::string& path) override { return hostFiles().isFolder(path); }
    void copyOwner(const std::string& like, const std::string& path) override {
        hostFiles().copyOwner(like, path);
    }

private:
    class Told final : public File {
    public:
        Told(Waiting& files, FilePtr file) : File(file->path()), files_(files), file_(std::move(file)) {}
        Result<void> read(uint64_t offset, void* into, size_t size) override {
            return file_->read(offset, into, size);
        }
        Result<void> write(uint64_t offset, const void* from, size_t size) override {
            return file_->write(offset, from, size);
        }
        Result<void> flush() override { return file_->flush(); }
        Result<uint64_t> size() override { return file_->size(); }
        Result<void> resize(uint64_t bytes) override { return file_->resize(bytes); }
        Result<void> punch(Range range) override { return file_->punch(range); }
        Result<void> reserve(Range range) override { return file_->reserve(range); }
        Result<std::optional<Range>> nextData(uint64_t from) override { return file_->nextData(from); }
        Result<uint64_t> allocatedBytes() override { return file_->allocatedBytes(); }
        Result<void> lock(Lock kind, std::chrono::milliseconds wait) override {
            if (files_.waits)
                files_.waits();
            return file_->lock(kind, wait);
        }
        Result<void> shareLock(const File& other) override {
            return file_->shareLock(*static_cast<const Told&>(other).file_);
        }

    private:
        Waiting& files_;
        FilePtr file_;
    };
};

} // namespace

TEST_CASE_METHOD(Fixture, "requests go on while a merge waits for those who read the snapshot") {
    Waiting files;
    Volume::Options options;
    options.access = Access::ReadWrite;
    auto volume = *Volume::open(files, path, options);
    std::vector<std::byte> data(4096, std::byte(1));
    REQUIRE(volume->image().write(0, data.data(), data.size()));
    auto guid = *volume->snapshot();
    unsigned served = 0;
    files.waits = [&] {
        // In the merge's own thread: if it had suspended the image, this would never end.
        REQUIRE(volume->image().write(served * 4096, data.data(), data.size()));
        REQUIRE(volume->image().read(0, data.data(), data.size()));
        REQUIRE(volume->image().flush());
        ++served;
    };
    {
        auto reader = Volume::openSnapshot(hostFiles(), path, guid);
        REQUIRE(reader);
        auto removed = volume->remove(guid);
        REQUIRE_FALSE(removed);
        CHECK(removed.error().code() == ErrorCode::ResourceBusy);
        CHECK(served > 0);
    }
    REQUIRE(volume->remove(guid));
    // The file that is written to from now on is locked by the descriptor that it is written by.
    CHECK(codeOf(Access::ReadWrite) == ErrorCode::ResourceBusy);
    files.waits = nullptr;
}

TEST_CASE_METHOD(Fixture,
                 "the lock lies on the file that is left after a merge, as long as its descriptor is open") {
    auto volume = *open(Access::ReadWrite);
    auto guid = *volume->snapshot();
    REQUIRE(volume->remove(guid));
    UniqueFd kept(::fcntl(volume->image().top().file().lockDescriptor(), F_DUPFD_CLOEXEC, 0));
    REQUIRE(kept);
    REQUIRE(volume->close());
    volume.reset();
    CHECK(codeOf(Access::ReadWrite) == ErrorCode::ResourceBusy);
    kept.reset();
    CHECK(open(Access::ReadWrite));
}
