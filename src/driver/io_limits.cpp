// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/io_limits.hpp"

#include "base/file.hpp"
#include "base/mount_table.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace vz::driver {

namespace {

/** Limits come one by one; each device has one entry, with the lowest of each figure. */
class Collected {
public:
    void add(dev_t device, const ct::BlockLimit& limit) {
        auto& into = of(device);
        for (auto member : {&ct::BlockLimit::readBytes, &ct::BlockLimit::writeBytes, &ct::BlockLimit::readOps,
                            &ct::BlockLimit::writeOps})
            into.*member = lowest(into.*member, limit.*member);
        if (limit.weight)
            into.weight = limit.weight;
    }
    std::vector<ct::BlockLimit> take() { return std::move(limits_); }

private:
    static uint64_t lowest(uint64_t one, uint64_t other) {
        return one && other ? std::min(one, other) : std::max(one, other); // 0 is no limit
    }
    ct::BlockLimit& of(dev_t device) {
        auto found = std::ranges::find_if(limits_, [&](const auto& limit) {
            return limit.major == major(device) && limit.minor == minor(device);
        });
        if (found != limits_.end())
            return *found;
        return limits_.emplace_back(ct::BlockLimit{.major = major(device), .minor = minor(device)});
    }

    std::vector<ct::BlockLimit> limits_;
};

std::optional<dev_t> deviceNumber(std::string_view text) {
    auto parts = split(trim(text), ':');
    if (parts.size() != 2)
        return std::nullopt;
    auto high = parseNumber<unsigned>(parts[0]), low = parseNumber<unsigned>(parts[1]);
    return high && low ? std::optional(makedev(*high, *low)) : std::nullopt;
}

/** The disk that a partition is on, or the device itself. */
dev_t wholeDisk(dev_t device) {
    auto folder = cat("/sys/dev/block/", major(device), ":", minor(device));
    if (!file::exists(folder + "/partition"))
        return device;
    auto disk = file::read(folder + "/../dev");
    return disk ? deviceNumber(*disk).value_or(device) : device;
}

std::optional<dev_t> numberOfNode(const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) < 0 || !S_ISBLK(info.st_mode))
        return std::nullopt;
    return info.st_rdev;
}

/** The block device of the host that has the folder's file system; none for those without one. */
std::optional<dev_t> deviceUnder(const std::string& folder) {
    struct stat info {};
    if (::stat(folder.c_str(), &info) < 0)
        return std::nullopt;
    if (major(info.st_dev) != 0)
        return info.st_dev;
    // Some file systems that are on a device, like btrfs, have a number of their own.
    auto mounts = mountTable().valueOr({});
    auto wanted = cat(major(info.st_dev), ":", minor(info.st_dev));
    for (const auto& mount : mounts) {
        if (mount.device == wanted && mount.source.starts_with('/'))
            return numberOfNode(mount.source);
    }
    return std::nullopt;
}

Result<dev_t> tunedDevice(const domain::BlockDeviceTune& tune) {
    struct stat info {};
    if (::stat(tune.path.c_str(), &info) < 0)
        return failErrno(errno, "cannot look at the <device> ", tune.path, " of <blkiotune>");
    if (!S_ISBLK(info.st_mode))
        return fail(ErrorCode::InvalidArg, "the <device> ", tune.path,
                    " of <blkiotune> is not a block device");
    return info.st_rdev;
}

ct::BlockLimit limitOf(const domain::DiskThrottle& throttle) {
    auto either = [](uint64_t total, uint64_t one) { return total ? total : one; };
    return {.readBytes = either(throttle.totalBytes, throttle.readBytes),
            .writeBytes = either(throttle.totalBytes, throttle.writeBytes),
            .readOps = either(throttle.totalOps, throttle.readOps),
            .writeOps = either(throttle.totalOps, throttle.writeOps)};
}

bool isFolder(const domain::Filesystem& filesystem) {
    return filesystem.type == domain::Filesystem::Type::Mount ||
           filesystem.type == domain::Filesystem::Type::Bind;
}

/** The disks that the container uses, each once: of images and devices, and of the host under its folders. */
std::vector<dev_t> disksUnder(const domain::Definition& definition,
                              const std::vector<domain::UsedDisk>& disks) {
    std::vector<dev_t> devices;
    auto add = [&](std::optional<dev_t> device) {
        if (device && std::ranges::find(devices, wholeDisk(*device)) == devices.end())
            devices.push_back(wholeDisk(*device));
    };
    for (const auto& disk : disks)
        add(numberOfNode(disk.device));
    for (const auto& filesystem : definition.filesystems) {
        if (isFolder(filesystem))
            add(deviceUnder(filesystem.source));
    }
    return devices;
}

Result<void> addForAll(const domain::Definition& definition, const std::vector<domain::UsedDisk>& disks,
                       Collected& limits) {
    const auto& settings = definition.extension;
    uint64_t bytes = settings.ioBytes.value_or(0), ops = settings.ioOps.value_or(0);
    if (!bytes && !ops)
        return {};
    auto devices = disksUnder(definition, disks);
    for (auto device : devices)
        limits.add(device, {.readBytes = bytes, .writeBytes = bytes, .readOps = ops, .writeOps = ops});
    if (!devices.empty())
        return {};
    return fail(ErrorCode::ConfigUnsupported, "nothing of the container is on a block device of the host, "
                                              "so there is nothing that <vz:io> could limit");
}

} // namespace

std::optional<unsigned> blockWeight(const domain::Definition& definition) {
    // OpenVZ's priorities; 4 is usual.
    constexpr std::array<unsigned, 8> weights = {320, 365, 410, 460, 500, 550, 600, 640};
    if (auto priority = definition.extension.ioPriority)
        return weights.at(*priority);
    return definition.blockWeight;
}

Result<std::vector<ct::BlockLimit>> blockLimits(const domain::Definition& definition,
                                                const std::vector<domain::UsedDisk>& disks) {
    Collected limits;
    for (const auto& tune : definition.blockDevices) {
        VZ_TRY(auto device, tunedDevice(tune));
        limits.add(device, {.weight = tune.weight,
                            .readBytes = tune.readBytes,
                            .writeBytes = tune.writeBytes,
                            .readOps = tune.readOps,
                            .writeOps = tune.writeOps});
    }
    for (const auto& disk : definition.disks) {
        auto limit = limitOf(disk.throttle);
        auto used = std::ranges::find(disks, disk.target, &domain::UsedDisk::name);
        if (used == disks.end() || limit == ct::BlockLimit{})
            continue;
        if (auto device = numberOfNode(used->device))
            limits.add(wholeDisk(*device), limit);
    }
    VZ_CHECK(addForAll(definition, disks, limits));
    return limits.take();
}

std::vector<std::string> idleWeights(const domain::Definition& definition,
                                     const std::vector<domain::UsedDisk>& disks) {
    std::vector<std::string> findings;
    if (!blockWeight(definition))
        return findings;
    for (auto device : disksUnder(definition, disks)) {
        auto name = cat(major(device), ":", minor(device));
        auto scheduler = file::read(cat("/sys/dev/block/", name, "/queue/scheduler"));
        if (!scheduler || scheduler->find("[bfq]") == std::string::npos)
            findings.push_back(
                cat("the I/O weight has no effect on the disk ", name, ", whose I/O scheduler is not bfq"));
    }
    return findings;
}

} // namespace vz::driver
