// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/filesystem.hpp"

#include "base/file.hpp"
#include "base/process.hpp"
#include "storage/ploop/buffer.hpp"

#include <cerrno>
#include <fcntl.h>

namespace vz::ploop {

namespace {

constexpr uint64_t mib = 1u << 20;
/** As OpenVZ: the tables for growing to this size are reserved. */
constexpr uint64_t largestFileSystem = 50ull << 40;
/** Where the child has the file. */
constexpr int childFd = 3;
const std::string childPath = "/proc/self/fd/3";
/** What OpenVZ keeps in the root of a container's file system; its tools look for it. */
constexpr const char* balloon = ".balloon-c3a5ae3d-ce7f-43c4-a1ea-c61e2b4504e8";

Result<UniqueFd> unnamedFile(const std::string& folder, uint64_t bytes) {
    VZ_TRY(auto fd, file::open(folder, O_TMPFILE | O_RDWR, 0600));
    if (::ftruncate(fd.get(), static_cast<off_t>(bytes)) < 0)
        return failErrno(errno, "cannot make a temporary file of ", bytes, " bytes in ", folder);
    return fd;
}

Result<void> runTool(int fd, std::vector<std::string> argv) {
    for (const char* folder : {"/usr/sbin/", "/sbin/"}) {
        if (file::exists(folder + argv[0])) {
            argv[0] = folder + argv[0];
            break;
        }
    }
    if (!argv[0].starts_with('/'))
        return fail(ErrorCode::OperationUnsupported, "the program ", argv[0], " is not installed");
    process::Command command;
    command.argv = argv;
    command.fds = {{childFd, fd}};
    VZ_TRY(auto finished, process::run(command, {}, std::chrono::minutes(30)));
    if (finished.status == 0)
        return {};
    return fail(ErrorCode::OperationFailed, argv[0], " failed with status ", finished.status, ": ",
                trim(finished.errors.empty() ? finished.output : finished.errors));
}

Result<void> makeExt(int fd, uint64_t bytes, const FormatOptions& options) {
    std::vector<std::string> make{"mkfs." + options.type,
                                  "-q",
                                  "-F",
                                  "-j",
                                  cat("-b", options.blockBytes),
                                  "-E",
                                  cat("lazy_itable_init=", options.lazy ? 1 : 0,
                                      ",lazy_journal_init=", options.lazy ? 1 : 0,
                                      ",resize=", largestFileSystem / options.blockBytes)};
    // In a small file system a journal of that size leaves no room.
    if (bytes >= 512 * mib)
        make.insert(make.end(), {"-J", "size=128"});
    if (!options.label.empty())
        make.insert(make.end(), {"-L", options.label});
    make.push_back(childPath);
    VZ_CHECK(runTool(fd, make));
    VZ_CHECK(runTool(fd, {"tune2fs", "-o", "user_xattr,acl", "-c0", "-i0", "-e", "remount-ro", childPath}));
    VZ_CHECK(runTool(fd, {"debugfs", "-w", "-R", cat("write /dev/null ", balloon), childPath}));
    return runTool(fd, {"debugfs", "-w", "-R", cat("sif ", balloon, " mode 0100600"), childPath});
}

Result<void> makeXfs(int fd, const FormatOptions& options) {
    std::vector<std::string> make{"mkfs.xfs", "-q", "-f", cat("-bsize=", options.blockBytes)};
    if (!options.label.empty())
        make.insert(make.end(), {"-L", options.label});
    make.push_back(childPath);
    return runTool(fd, make);
}

Result<void> copyData(int fd, Image& image, Partition place) {
    constexpr uint64_t part = 64 << 10;
    Buffer buffer(part);
    for (off_t at = 0; (at = ::lseek(fd, at, SEEK_DATA)) >= 0;) {
        off_t end = ::lseek(fd, at, SEEK_HOLE);
        if (end < 0)
            return failErrno(errno, "cannot read the new file system");
        for (uint64_t offset = static_cast<uint64_t>(at); offset < static_cast<uint64_t>(end);) {
            size_t size = std::min<uint64_t>(part, static_cast<uint64_t>(end) - offset);
            ssize_t got = ::pread(fd, buffer.data(), size, static_cast<off_t>(offset));
            if (got <= 0)
                return failErrno(got < 0 ? errno : EIO, "cannot read the new file system");
            if (!allZero(buffer.data(), static_cast<size_t>(got)))
                VZ_CHECK(image.write(place.offset + offset, buffer.data(), static_cast<size_t>(got)));
            offset += static_cast<uint64_t>(got);
        }
        at = end;
    }
    return errno == ENXIO ? Result<void>() : failErrno(errno, "cannot read the new file system");
}

} // namespace

Result<void> formatDisk(Image& image, const std::string& folder, const FormatOptions& options) {
    bool ext = options.type == "ext4" || options.type == "ext3";
    if (!ext && options.type != "xfs")
        return fail(ErrorCode::InvalidArg, "the file system '", options.type,
                    "' is not known: ext3, ext4 and xfs are");
    if (ext && image.bytes() > largestFileSystem)
        return fail(ErrorCode::InvalidArg, "a disk of ", image.bytes(),
                    " bytes is too large for a file system: ", largestFileSystem, " is the most");
    Partition place{0, image.bytes()};
    if (options.partition) {
        VZ_TRY(place, writeTable(image));
    }
    VZ_TRY(auto fd, unnamedFile(folder, place.length));
    VZ_CHECK(ext ? makeExt(fd.get(), place.length, options) : makeXfs(fd.get(), options));
    VZ_CHECK(copyData(fd.get(), image, place));
    return image.flush();
}

Result<Usage> readUsage(Image& image) {
    VZ_TRY(auto partition, readTable(image));
    Partition place = partition.value_or(Partition{0, image.bytes()});
    std::array<std::byte, 1024> super{}; // linux/fs/ext4/ext4.h, struct ext4_super_block
    if (place.length < 2048)
        return fail(ErrorCode::StorageProbeFailed, "there is no file system");
    VZ_CHECK(image.read(place.offset + 1024, super.data(), super.size()));
    if ((load32(super.data() + 56) & 0xFFFF) != 0xEF53)
        return fail(ErrorCode::StorageProbeFailed, "there is no ext4 file system whose sizes could be read");
    constexpr uint32_t has64Bits = 0x80;
    bool wide = load32(super.data() + 96) & has64Bits;
    auto blocks = [&](size_t low, size_t high) {
        return load32(super.data() + low) | (wide ? uint64_t(load32(super.data() + high)) << 32 : 0);
    };
    uint64_t unit = 1ull << std::min<uint32_t>(load32(super.data() + 24), 6); // in KiB
    uint64_t total = blocks(4, 0x150), unused = blocks(12, 0x158);
    uint64_t inodes = load32(super.data()), inodesFree = load32(super.data() + 16);
    return Usage{total * unit, (total - std::min(total, unused)) * unit, inodes,
                 inodes - std::min(inodes, inodesFree)};
}

} // namespace vz::ploop
