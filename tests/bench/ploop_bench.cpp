// SPDX-License-Identifier: LGPL-2.1-or-later
// Measures the ploop library beside plain file I/O on the same disk, turn by turn in one run.
// Usage: ploop-bench [FOLDER [SECONDS]]; the folder has to be on a disk that knows O_DIRECT and have 3 GiB
// free.
#include "base/file.hpp"
#include "storage/ploop/buffer.hpp"
#include "storage/ploop/volume.hpp"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fcntl.h>
#include <functional>
#include <random>
#include <thread>

namespace {

using namespace vz;
using namespace vz::ploop;
using Clock = std::chrono::steady_clock;

constexpr uint64_t gib = 1ull << 30, diskBytes = gib;
constexpr size_t rounds = 5;

[[noreturn]] void stop(const Error& error) {
    std::fprintf(stderr, "%s\n", error.message().c_str());
    std::exit(1);
}
template<typename T>
T need(Result<T> result) {
    if (!result)
        stop(result.error());
    return *std::move(result);
}
void need(Result<void> result) {
    if (!result)
        stop(result.error());
}

double seconds(Clock::duration time) {
    return std::chrono::duration<double>(time).count();
}
double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

/** One side of a comparison: a disk that is read and written to at offsets. */
struct Side {
    std::function<void(uint64_t, std::byte*, size_t)> read, write;
};

struct Load {
    const char* name;
    bool writing, sequential;
    size_t block;
    unsigned threads;
};

/** Requests per second. */
double measure(const Side& side, const Load& load, double duration) {
    std::atomic<uint64_t> requests = 0, next = 0;
    auto begin = Clock::now();
    auto work = [&](unsigned number) {
        Buffer buffer(load.block);
        std::fill_n(buffer.data(), load.block, std::byte(number + 1));
        std::mt19937_64 random(number + 1);
        uint64_t blocks = diskBytes / load.block, done = 0;
        while (seconds(Clock::now() - begin) < duration) {
            uint64_t offset = (load.sequential ? next++ : random()) % blocks * load.block;
            (load.writing ? side.write : side.read)(offset, buffer.data(), load.block);
            ++done;
        }
        requests += done;
    };
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < load.threads; ++i)
        threads.emplace_back(work, i);
    for (auto& thread : threads)
        thread.join();
    return static_cast<double>(requests) / seconds(Clock::now() - begin);
}

void compare(const Load& load, const char* aName, const Side& a, const char* bName, const Side& b,
             double duration, double wanted) {
    std::vector<double> left, right, ratios;
    for (size_t i = 0; i < rounds; ++i) {
        left.push_back(measure(a, load, duration));
        right.push_back(measure(b, load, duration));
        ratios.push_back(left.back() / right.back());
    }
    std::printf("%-34s %-8s %9.0f/s   %-8s %9.0f/s   ratio %.3f (wanted %.2f)\n", load.name, aName,
                median(left), bName, median(right), median(ratios), wanted);
    std::fflush(stdout);
}

Side plainSide(int fd) {
    return {[fd](uint64_t offset, std::byte* data, size_t size) {
                if (::pread(fd, data, size, static_cast<off_t>(offset)) != static_cast<ssize_t>(size))
                    stop(failErrno(errno, "pread"));
            },
            [fd](uint64_t offset, std::byte* data, size_t size) {
                if (::pwrite(fd, data, size, static_cast<off_t>(offset)) != static_cast<ssize_t>(size))
                    stop(failErrno(errno, "pwrite"));
            }};
}

Side imageSide(Image& image) {
    return {
        [&image](uint64_t offset, std::byte* data, size_t size) { need(image.read(offset, data, size)); },
        [&image](uint64_t offset, std::byte* data, size_t size) { need(image.write(offset, data, size)); }};
}

void fill(const Side& side) {
    constexpr size_t block = 1u << 20;
    Buffer buffer(block);
    std::fill_n(buffer.data(), block, std::byte(7));
    for (uint64_t offset = 0; offset < diskBytes; offset += block)
        side.write(offset, buffer.data(), block);
}

std::unique_ptr<Volume> makeVolume(const std::string& folder, uint64_t bytes) {
    need(file::makeDirs(folder));
    Volume::CreateOptions create;
    create.sectors = bytes / sectorSize;
    need(Volume::create(hostFiles(), folder + "/root.hds", create));
    Volume::Options options;
    options.access = Access::ReadWrite;
    options.direct = true;
    return need(Volume::open(hostFiles(), folder + "/DiskDescriptor.xml", options));
}

uint64_t privateKilobytes() {
    auto status = need(file::read("/proc/self/status"));
    return parseNumber<uint64_t>(split(field(status, "RssAnon"), ' ')[0]).value_or(0);
}

double milliseconds(const std::function<void()>& work) {
    auto begin = Clock::now();
    work();
    return seconds(Clock::now() - begin) * 1000;
}

/** The library against the file itself. */
void againstFile(const std::string& folder, double duration) {
    auto fd = need(file::open(folder + "/plain", O_RDWR | O_CREAT | O_DIRECT, 0600));
    auto volume = makeVolume(folder + "/image", diskBytes);
    auto plain = plainSide(fd.get()), image = imageSide(volume->image());
    fill(plain);
    fill(image);
    need(volume->image().flush());
    const Load loads[] = {
        {"4 KiB random read, depth 1", false, false, 4096, 1},
        {"4 KiB random read, depth 32", false, false, 4096, 32},
        {"4 KiB random write, depth 1", true, false, 4096, 1},
        {"4 KiB random write, depth 32", true, false, 4096, 32},
        {"1 MiB sequential read", false, true, 1u << 20, 1},
        {"1 MiB sequential write", true, true, 1u << 20, 1},
    };
    for (const auto& load : loads)
        compare(load, "image", image, "file", plain, duration, 0.9);
}

/** A chain of 32 deltas, each with its share of the clusters, against a single one. */
void chain(const std::string& folder, double duration) {
    auto single = makeVolume(folder + "/single", diskBytes), deep = makeVolume(folder + "/deep", diskBytes);
    fill(imageSide(single->image()));
    constexpr size_t block = 1u << 20;
    Buffer buffer(block);
    std::fill_n(buffer.data(), block, std::byte(9));
    for (uint64_t level = 0; level < 32; ++level) {
        for (uint64_t offset = level * block; offset < diskBytes; offset += 32 * block)
            need(deep->image().write(offset, buffer.data(), block));
        if (level < 31)
            need(deep->snapshot());
    }
    need(single->image().flush());
    need(deep->image().flush());
    for (const auto& load : {Load{"4 KiB random read, depth 1", false, false, 4096, 1},
                             Load{"4 KiB random read, depth 32", false, false, 4096, 32}})
        compare(load, "chain 32", imageSide(deep->image()), "chain 1", imageSide(single->image()), duration,
                0.8);
}

/** 1 TiB with every entry of its table in use; its clusters are a hole in the file. */
void largeTable(const std::string& folder) {
    std::string path = folder + "/large.hds";
    auto header = need(makeHeader((1ull << 40) / sectorSize, defaultClusterSectors, Version::V2));
    auto file = need(hostFiles().create(path));
    auto start = encode(header);
    need(file->write(0, start.data(), start.size()));
    std::vector<uint32_t> entries(header.entries);
    for (uint32_t i = 0; i < header.entries; ++i)
        entries[i] = header.firstBlock / header.clusterSectors + (i * 7919u) % header.entries;
    need(file->write(entryOffset(0), entries.data(), entries.size() * 4));
    need(file->resize(header.firstBlock * sectorSize + header.bytes()));
    need(file->flush());
    std::vector<uint32_t>().swap(entries);

    for (auto access : {Access::ReadOnly, Access::ReadWrite}) {
        std::vector<double> times;
        uint64_t before = privateKilobytes(), memory = 0;
        for (size_t i = 0; i < rounds; ++i) {
            Image::Options options;
            options.access = access;
            options.recover = access == Access::ReadWrite; // checks every entry at once
            std::unique_ptr<Image> image;
            times.push_back(milliseconds([&] {
                image = need(Image::open(hostFiles(), {{path}}, options));
                std::byte data[4096];
                need(image->read(image->bytes() / 3, data, sizeof data));
            }));
            uint64_t now = privateKilobytes();
            memory = std::max(memory, now > before ? now - before : 0);
        }
        std::printf("open 1 TiB, full table, %-12s %.2f ms (wanted 50), %.1f MiB (wanted 8)\n",
                    access == Access::ReadOnly ? "read-only" : "read/write", median(times),
                    static_cast<double>(memory) / 1024);
    }
}

void snapshots(const std::string& folder) {
    for (uint64_t bytes : {gib, 1024 * gib}) {
        auto volume = makeVolume(cat(folder, "/snapshots", bytes / gib), bytes);
        Buffer buffer(4096);
        std::vector<double> create, remove;
        for (size_t i = 0; i < 3 * rounds; ++i) {
            need(volume->image().write(i << 20, buffer.data(), 4096));
            Guid guid;
            create.push_back(milliseconds([&] { guid = need(volume->snapshot()); }));
            remove.push_back(milliseconds([&] { need(volume->remove(guid)); }));
        }
        std::printf("snapshot of %4llu GiB, idle top: create %.2f ms, delete %.2f ms (wanted 50)\n",
                    static_cast<unsigned long long>(bytes / gib), median(create), median(remove));
    }
}

} // namespace

int main(int argc, char** argv) {
    std::string base = argc > 1 ? argv[1] : "/var/tmp";
    double duration = argc > 2 ? std::atof(argv[2]) : 1.0;
    std::string folder = base + "/ploop-bench.XXXXXX";
    if (!::mkdtemp(folder.data())) {
        std::fprintf(stderr, "cannot make a folder in %s\n", base.c_str());
        return 1;
    }
    const std::function<void()> parts[] = {[&] { largeTable(folder); }, [&] { snapshots(folder); },
                                           [&] { againstFile(folder, duration); },
                                           [&] { chain(folder, duration); }};
    for (const auto& part : parts) {
        part();
        need(file::removeTree(folder));
        need(file::makeDirs(folder));
    }
    need(file::removeTree(folder));
    return 0;
}
