// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/partitions.hpp"

#include "base/file.hpp"
#include "storage/ploop/buffer.hpp"
#include "storage/ploop/io.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace vz::exports {

namespace {

constexpr uint64_t sector = 512, block = 4096;

Result<uint64_t> bytesOf(const UniqueFd& fd, const std::string& device) {
    uint64_t bytes = 0;
    if (::ioctl(fd.get(), BLKGETSIZE64, &bytes) < 0)
        return failErrno(errno, "cannot find the size of ", device);
    return bytes;
}

/** Reads past the cache of the whole device, which would be older than what is in the partitions. */
class Device {
public:
    static Result<Device> open(const std::string& path) {
        VZ_TRY(auto fd, file::open(path, O_RDONLY | O_DIRECT));
        VZ_TRY(auto bytes, bytesOf(fd, path));
        return Device(path, std::move(fd), bytes);
    }
    uint64_t bytes() const { return bytes_; }

    /** As much of it as there is. */
    Result<std::string> read(uint64_t offset, size_t size) const {
        uint64_t begin = offset / block * block;
        size_t wanted = (offset - begin + size + block - 1) / block * block;
        ploop::Buffer buffer(wanted);
        ssize_t got =
            begin < bytes_ ? ::pread(fd_.get(), buffer.data(), wanted, static_cast<off_t>(begin)) : 0;
        if (got < 0)
            return failErrno(errno, "cannot read ", path_);
        auto there = static_cast<size_t>(got);
        size_t skipped = std::min<size_t>(offset - begin, there);
        return std::string(reinterpret_cast<const char*>(buffer.data()) + skipped,
                           std::min(size, there - skipped));
    }

private:
    Device(std::string path, UniqueFd fd, uint64_t bytes)
        : path_(std::move(path)), fd_(std::move(fd)), bytes_(bytes) {}
    std::string path_;
    UniqueFd fd_;
    uint64_t bytes_;
};

uint64_t number(std::string_view bytes, size_t at, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size && at + i < bytes.size(); ++i)
        value |= uint64_t{static_cast<unsigned char>(bytes[at + i])} << 8 * i;
    return value;
}

/** Root partitions of x86-64 and ARM64 (Discoverable Partitions Specification), as they are in a table. */
constexpr std::string_view rootTypes[] = {
    {"\xe3\xbc\x68\x4f\xcd\xe8\xb1\x4d\x96\xe7\xfb\xca\xf9\x84\xb7\x09", 16},
    {"\x45\xb0\x21\xb9\xf0\x1d\xc3\x41\xaf\x44\x4c\x6f\x28\x0d\x3f\xae", 16}};

/** UEFI 2.10, 5.3. Nothing that is read here is written to: checksums are left to those who do. */
Result<std::vector<Part>> gptAt(const Device& device, uint64_t at) {
    std::vector<Part> parts;
    VZ_TRY(auto header, device.read(at * sector, sector));
    uint64_t count = number(header, 80, 4), size = number(header, 84, 4);
    if (!header.starts_with("EFI PART") || count > 1024 || size < 128 || size > 4096)
        return parts;
    uint64_t sectors = device.bytes() / sector, where = number(header, 72, 8);
    if (where >= sectors)
        return parts;
    VZ_TRY(auto entries, device.read(where * sector, count * size));
    for (uint64_t i = 0; (i + 1) * size <= entries.size(); ++i) {
        auto entry = std::string_view(entries).substr(i * size, size);
        auto type = entry.substr(0, 16);
        uint64_t first = number(entry, 32, 8), last = number(entry, 40, 8);
        if (type.find_first_not_of('\0') == type.npos || first > last || last >= sectors)
            continue;
        parts.push_back({static_cast<unsigned>(i + 1), first * sector, (last - first + 1) * sector,
                         std::find(std::begin(rootTypes), std::end(rootTypes), type) != std::end(rootTypes)});
    }
    return parts;
}

Result<std::vector<Part>> partsOf(const Device& device) {
    VZ_TRY(auto mbr, device.read(0, sector));
    VZ_TRY(auto parts, gptAt(device, 1));
    if (parts.empty() && device.bytes() > sector) {
        VZ_TRY(parts, gptAt(device, device.bytes() / sector - 1));
    }
    if (!parts.empty() || mbr.size() < sector || number(mbr, 510, 2) != 0xAA55)
        return parts;
    for (unsigned i = 0; i < 4; ++i) {
        auto entry = std::string_view(mbr).substr(446 + i * 16, 16);
        uint64_t first = number(entry, 8, 4), length = number(entry, 12, 4);
        auto status = static_cast<unsigned char>(entry[0]);
        if (entry[4] == 0 || length == 0 || (status & 0x7F) || (first + length) * sector > device.bytes())
            continue;
        parts.push_back({i + 1, first * sector, length * sector, false});
    }
    return parts;
}

struct Kind {
    const char* type;
    size_t magicAt;
    std::string_view magic;
    size_t labelAt, labelSize;
};

/** Superblocks: Documentation/filesystems of Linux, and the headers of each. */
constexpr Kind kinds[] = {{"ext4", 1080, "\x53\xEF", 1144, 16},
                          {"xfs", 0, "XFSB", 108, 12},
                          {"btrfs", 65600, "_BHRfS_M", 65835, 256},
                          {"squashfs", 0, "hsqs", 0, 0},
                          {"iso9660", 32769, "CD001", 32808, 32},
                          {"vfat", 82, "FAT32 ", 71, 11},
                          {"vfat", 54, "FAT16 ", 43, 11},
                          {"vfat", 54, "FAT12 ", 43, 11},
                          {"exfat", 3, "EXFAT ", 0, 0},
                          {"f2fs", 1024, "\x10\x20\xF5\xF2", 0, 0},
                          {"erofs", 1024, "\xE2\xE1\xF5\xE0", 0, 0}};

Result<std::optional<FileSystem>> fileSystemIn(const Device& device, const Part& part) {
    VZ_TRY(auto bytes, device.read(part.offset, std::min<uint64_t>(part.length, 66560)));
    for (const auto& kind : kinds) {
        if (bytes.size() < kind.magicAt ||
            !std::string_view(bytes).substr(kind.magicAt).starts_with(kind.magic))
            continue;
        FileSystem found{part, kind.type, {}};
        if (bytes.size() > kind.labelAt + kind.labelSize)
            found.label = bytes.substr(kind.labelAt, kind.labelSize).c_str();
        return std::optional(std::move(found));
    }
    return std::optional<FileSystem>();
}

bool isRoot(const FileSystem& one) {
    constexpr std::string_view labels[] = {"/", "root", "ROOT", "rootfs", "cloudimg-rootfs"};
    return one.part.root || std::find(std::begin(labels), std::end(labels), one.label) != std::end(labels);
}

/** Where the kernel has a partition, in sectors; nothing if it has none of that name. */
std::optional<uint64_t> startOf(const std::string& partition) {
    struct stat info {};
    if (::stat(partition.c_str(), &info) < 0 || !S_ISBLK(info.st_mode))
        return {};
    auto text = file::read(cat("/sys/dev/block/", major(info.st_rdev), ":", minor(info.st_rdev), "/start"));
    return text ? parseNumber<uint64_t>(trim(*text)) : std::nullopt;
}

} // namespace

Result<uint64_t> bytesOf(const std::string& device) {
    VZ_TRY(auto fd, file::open(device, O_RDONLY));
    return bytesOf(fd, device);
}

Result<std::vector<FileSystem>> fileSystemsOn(const std::string& path) {
    VZ_TRY(auto device, Device::open(path));
    std::vector<FileSystem> found;
    VZ_TRY(auto whole, fileSystemIn(device, {0, 0, device.bytes(), false}));
    if (whole) {
        found.push_back(*std::move(whole));
        return found;
    }
    VZ_TRY(auto parts, partsOf(device));
    std::sort(parts.begin(), parts.end(), [](auto& a, auto& b) { return a.offset < b.offset; });
    for (const auto& part : parts) {
        VZ_TRY(auto one, fileSystemIn(device, part));
        if (one)
            found.push_back(*std::move(one));
    }
    return found;
}

std::optional<FileSystem> mainFileSystem(const std::vector<FileSystem>& all) {
    auto rank = [](const FileSystem& one) { return std::pair(isRoot(one), one.part.length); };
    auto best = std::max_element(all.begin(), all.end(), [&](auto& a, auto& b) { return rank(a) < rank(b); });
    return best == all.end() ? std::nullopt : std::optional(*best);
}

Result<std::string> pathOf(const std::string& device, const Part& part) {
    if (part.number == 0)
        return device;
    bool digit = device.back() >= '0' && device.back() <= '9';
    std::string path = cat(device, digit ? "p" : "", part.number);
    if (startOf(path) == part.offset / sector)
        return path;
    VZ_TRY(auto fd, file::open(device, O_RDONLY));
    blkpg_partition data{};
    data.start = static_cast<long long>(part.offset);
    data.length = static_cast<long long>(part.length);
    data.pno = static_cast<int>(part.number);
    blkpg_ioctl_arg argument{};
    argument.op = BLKPG_ADD_PARTITION;
    argument.datalen = sizeof data;
    argument.data = &data;
    if (::ioctl(fd.get(), BLKPG, &argument) < 0)
        return failErrno(errno, "cannot make partition ", part.number, " of ", device);
    return path;
}

} // namespace vz::exports
