// SPDX-License-Identifier: LGPL-2.1-or-later
// An image as a FUSE file, by both ways to serve it, while the image is worked on. Needs root.
#include "../temporary_dir.hpp"
#include "storage/export/fuse_file.hpp"
#include "storage/export/wire.hpp"
#include "storage/ploop/check.hpp"
#include "storage/ploop/volume.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <cstring>
#include <fcntl.h>
#include <linux/falloc.h>
#include <random>
#include <sys/socket.h>
#include <sys/stat.h>
#include <thread>

using namespace vz;
using namespace vz::exports;
using ploop::Volume;

namespace {

constexpr uint64_t clusterBytes = 64 * 512;
constexpr uint64_t perWriter = 32 * clusterBytes;
constexpr size_t writers = 6;

std::unique_ptr<Volume> makeVolume(const test::TemporaryDir& dir) {
    Volume::CreateOptions options;
    options.sectors = writers * perWriter / 512;
    options.clusterSectors = clusterBytes / 512;
    REQUIRE(Volume::create(ploop::hostFiles(), dir / "root.hds", options));
    Volume::Options opening;
    opening.access = ploop::Access::ReadWrite;
    opening.direct = true;
    auto volume = Volume::open(ploop::hostFiles(), dir / "DiskDescriptor.xml", opening);
    REQUIRE(volume);
    return *std::move(volume);
}

/** Works on its own part of the file, of which it knows every byte. */
class Writer {
public:
    Writer(int fd, size_t number)
        : fd_(fd), begin_(number * perWriter), random_(static_cast<uint32_t>(number)), known_(perWriter) {}

    void run(const std::atomic<bool>& stop) {
        while (!stop && problem_.empty())
            step();
        if (problem_.empty())
            compare(0, perWriter);
    }
    const std::string& problem() const { return problem_; }

private:
    void step() {
        // Most requests are whole pages, as a file system makes them.
        uint64_t unit = random_() % 8 == 0 ? 1 : 4096;
        uint64_t most = random_() % 4 == 0 ? 5 * clusterBytes : 16384;
        uint64_t length = std::max(unit, random_() % most / unit * unit);
        uint64_t at = random_() % (perWriter - length) / unit * unit;
        switch (random_() % 10) {
        case 0:
            clear(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, at, length);
            break;
        case 1:
            clear(FALLOC_FL_ZERO_RANGE, at, length);
            break;
        case 2:
            expect(::fdatasync(fd_) == 0, "fdatasync");
            break;
        case 3:
        case 4:
        case 5:
            compare(at, length);
            break;
        default:
            write(at, length);
        }
    }
    void write(uint64_t at, uint64_t length) {
        for (uint64_t i = 0; i < length; ++i)
            known_[at + i] = static_cast<char>(random_());
        ssize_t done = ::pwrite(fd_, known_.data() + at, length, static_cast<off_t>(begin_ + at));
        expect(done == static_cast<ssize_t>(length), "pwrite");
    }
    void clear(int mode, uint64_t at, uint64_t length) {
        std::memset(known_.data() + at, 0, length);
        expect(::fallocate(fd_, mode, static_cast<off_t>(begin_ + at), static_cast<off_t>(length)) == 0,
               "fallocate");
    }
    void compare(uint64_t at, uint64_t length) {
        std::vector<char> read(length);
        ssize_t done = ::pread(fd_, read.data(), length, static_cast<off_t>(begin_ + at));
        expect(done == static_cast<ssize_t>(length), "pread");
        expect(std::memcmp(read.data(), known_.data() + at, length) == 0, "the content");
    }
    void expect(bool good, const char* what) {
        if (!good && problem_.empty())
            problem_ = cat(what, " is wrong: ", errnoText(errno));
    }

    int fd_;
    uint64_t begin_;
    std::mt19937 random_;
    std::vector<char> known_;
    std::string problem_;
};

void maintain(Volume& volume) {
    auto first = volume.snapshot();
    auto second = volume.snapshot();
    REQUIRE((first && second));
    REQUIRE(volume.remove(*second));
    REQUIRE(volume.remove(*first));
    REQUIRE(volume.compact());
}

} // namespace

TEST_CASE("an image as a file that many write to while it is worked on") {
    auto engine = GENERATE(FuseFile::Engine::Ring, FuseFile::Engine::Threads);
    test::TemporaryDir dir;
    auto volume = makeVolume(dir);
    uint64_t bytes = volume->image().bytes();
    auto file = FuseFile::create(volume->image(), {false, engine});
    if (!file && engine == FuseFile::Engine::Ring && file.error().systemError() == EPERM)
        return; // this machine forbids io_uring
    REQUIRE(file);
    {
        auto fd = (*file)->open();
        REQUIRE(fd);
        std::atomic<bool> stop = false;
        std::vector<std::unique_ptr<Writer>> all;
        std::vector<std::thread> threads;
        for (size_t i = 0; i < writers; ++i) {
            all.push_back(std::make_unique<Writer>(fd->get(), i));
            threads.emplace_back([&stop, writer = all.back().get()] { writer->run(stop); });
        }
        for (int round = 0; round < 5; ++round)
            maintain(*volume);
        stop = true;
        for (auto& thread : threads)
            thread.join();
        for (const auto& writer : all)
            CHECK(writer->problem() == "");

        struct stat info;
        REQUIRE(::fstat(fd->get(), &info) == 0);
        CHECK(info.st_size == static_cast<off_t>(bytes));
        REQUIRE(volume->resize(bytes * 2));
        REQUIRE((*file)->refreshSize());
        REQUIRE(::lseek(fd->get(), 0, SEEK_END) == static_cast<off_t>(bytes * 2));
        char last = 1;
        CHECK(::pread(fd->get(), &last, 1, static_cast<off_t>(bytes * 2 - 1)) == 1);
        CHECK(last == 0);
        CHECK(::pread(fd->get(), &last, 1, static_cast<off_t>(bytes * 2)) == 0);
        CHECK(::ftruncate(fd->get(), 1) < 0);
    }
    file->reset();
    REQUIRE(volume->close());
    volume.reset();
    auto report = ploop::checkVolume(ploop::hostFiles(), dir / "DiskDescriptor.xml", {});
    REQUIRE(report);
    CHECK(report->clean());
}

TEST_CASE("a file for reading cannot be opened for writing") {
    auto engine = GENERATE(FuseFile::Engine::Best, FuseFile::Engine::Threads);
    test::TemporaryDir dir;
    REQUIRE(makeVolume(dir)->close());
    auto image = Volume::openSnapshot(ploop::hostFiles(), dir / "DiskDescriptor.xml", ploop::topGuid, true);
    REQUIRE(image);
    std::atomic<bool> idle = false;
    auto file = FuseFile::create(**image, {true, engine});
    REQUIRE(file);
    auto fd = (*file)->open();
    REQUIRE(fd);
    (*file)->disk().onIdle([&] { idle = true; });
    CHECK_FALSE(idle);
    CHECK(::open(cat("/proc/self/fd/", fd->get()).c_str(), O_RDWR | O_CLOEXEC) < 0);
    char byte = 1;
    CHECK(::pread(fd->get(), &byte, 1, 5) == 1);
    CHECK(byte == 0);
    CHECK(::pwrite(fd->get(), &byte, 1, 5) < 0);
    fd->reset();
    file->reset();
    CHECK(idle);
}

TEST_CASE("messages arrive whole, with their descriptor") {
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
    UniqueFd one(ends[0]), other(ends[1]);
    REQUIRE(sendPacket(one.get(), {"verb", "", "three words here"}, one.get()));
    auto got = receivePacket(other.get());
    REQUIRE((got && *got));
    CHECK((*got)->texts == Texts{"verb", "", "three words here"});
    CHECK((*got)->fd);
    auto error = errorFrom(errorTexts(failErrno(ENOSPC, "no room")));
    CHECK(error.code() == ErrorCode::SystemError);
    CHECK(error.systemError() == ENOSPC);
    CHECK(error.message().starts_with("no room: "));
    CHECK(errorFrom({"nonsense"}).code() == ErrorCode::InternalError);
    CHECK_FALSE(sendPacket(one.get(), {std::string(1 << 20, 'x')}));
    one.reset();
    (*got)->fd.reset(); // the same end
    got = receivePacket(other.get());
    REQUIRE(got);
    CHECK_FALSE(*got);
}
