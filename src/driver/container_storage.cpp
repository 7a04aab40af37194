// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/container_storage.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "domain/config.hpp"
#include "driver/volumes.hpp"
#include "storage/export/partitions.hpp"
#include "storage/ploop/locate.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace vz::driver {

namespace {

using Located = ploop::Located;

using Clock = std::chrono::steady_clock;

std::chrono::milliseconds untilThen(Clock::time_point deadline) {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    return std::max(left, std::chrono::milliseconds(0));
}

/** Mounted, or part of something else: two file systems on one device destroy it. */
Result<void> checkFree(const std::string& device) {
    UniqueFd exclusive(::open(device.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK));
    if (exclusive)
        return {};
    if (errno == EBUSY)
        return fail(ErrorCode::ResourceBusy, device,
                    " is in use on the host: it is mounted, or part of another device");
    return failErrno(errno, "cannot open ", device);
}

Result<void> findFileSystem(domain::UsedDisk& disk) {
    VZ_TRY(auto all, exports::fileSystemsOn(disk.device));
    auto found = exports::mainFileSystem(all);
    if (!found)
        return {};
    VZ_TRY(disk.partition, exports::pathOf(disk.device, found->part));
    disk.fsType = found->type;
    return {};
}

Error nothingOn(const std::string& source) {
    return fail(ErrorCode::ConfigUnsupported, source,
                " has no file system that is known, neither on the whole of it nor in a partition");
}

/** The kernel's names of the partitions of a device: "loop3p1". */
std::vector<std::string> partitionsOf(const std::string& device) {
    std::vector<std::string> names;
    auto name = device.substr(device.rfind('/') + 1);
    auto all = file::list(cat("/sys/class/block/", name));
    if (!all)
        return names;
    for (auto& one : *all) {
        if (one.starts_with(name) && file::exists(cat("/sys/class/block/", one, "/partition")))
            names.push_back(std::move(one));
    }
    return names;
}

Result<DeviceGrant> grantOf(const std::string& device, const std::string& place, bool readOnly) {
    struct stat info {};
    if (::stat(device.c_str(), &info) < 0)
        return failErrno(errno, "cannot look at ", device);
    DeviceGrant grant;
    grant.node = {.path = place,
                  .type = 'b',
                  .major = ::major(info.st_rdev),
                  .minor = ::minor(info.st_rdev),
                  .mode = readOnly ? 0400u : 0600u,
                  .uid = 0,
                  .gid = 0,
                  .hold = device};
    grant.rule = {
        .type = 'b', .major = grant.node.major, .minor = grant.node.minor, .access = readOnly ? "rm" : "rwm"};
    return grant;
}

} // namespace

Result<std::string> hostPathOf(const domain::Filesystem& filesystem) {
    if (filesystem.type == domain::Filesystem::Type::Volume)
        return volumePath(filesystem.source);
    return filesystem.source;
}

Result<std::string> hostPathOf(const domain::Disk& disk) {
    return disk.type == domain::Disk::Type::Volume ? volumePath(disk.source)
                                                   : Result<std::string>(disk.source);
}

bool isOnDisk(const domain::Filesystem& filesystem) {
    using Type = domain::Filesystem::Type;
    return filesystem.type == Type::File || filesystem.type == Type::Block || filesystem.type == Type::Volume;
}

Result<void> DiskLeases::take(const domain::Definition& definition) {
    for (const auto& filesystem : definition.filesystems)
        VZ_CHECK(take(filesystem));
    const auto* root = definition.rootDisk();
    for (const auto& disk : definition.disks)
        VZ_CHECK(take(disk, &disk == root));
    return {};
}

Result<void> DiskLeases::take(const domain::Filesystem& filesystem) {
    if (!isOnDisk(filesystem))
        return {};
    VZ_TRY(auto path, hostPathOf(filesystem));
    VZ_TRY(auto lease, open(path, {filesystem.readOnly, false}));
    if (lease.disk.partition.empty())
        return nothingOn(path);
    lease.disk.name = lease.disk.place = filesystem.target;
    lease.disk.mounted = true;
    leases_.push_back(std::move(lease));
    return {};
}

Result<void> DiskLeases::take(const domain::Disk& disk, bool root) {
    VZ_TRY(auto path, hostPathOf(disk));
    VZ_TRY(auto lease, open(path, {disk.readOnly, disk.shareable}));
    lease.disk.name = disk.target;
    lease.disk.mounted = !lease.disk.partition.empty();
    if (root && !lease.disk.mounted)
        return nothingOn(path).within(cat("the disk ", disk.target, " is to be the root"));
    lease.disk.place = root                 ? "/"
                       : lease.disk.mounted ? cat("/mnt/", disk.target)
                                            : cat("/dev/", disk.target);
    leases_.push_back(std::move(lease));
    return {};
}

Result<DiskLeases::Lease> DiskLeases::open(const std::string& path, Mode mode) {
    VZ_TRY(auto found, ploop::locate(ploop::hostFiles(), path));
    Lease lease;
    lease.disk.path = found.path;
    lease.disk.readOnly = mode.readOnly;
    switch (found.kind) {
    case Located::Kind::Device:
        VZ_CHECK(domain::checkNotHostRoot(found.path));
        if (!mode.shareable)
            VZ_CHECK(checkFree(found.path));
        lease.disk.device = found.path;
        break;
    case Located::Kind::Other:
        return fail(ErrorCode::ConfigUnsupported, path, " is a ", found.format,
                    " image, which containers cannot use: 'ploop convert -i' makes a ploop image of it");
    default:
        VZ_CHECK(openImage(lease, found.path, mode));
    }
    VZ_CHECK(findFileSystem(lease.disk));
    return lease;
}

Result<void> DiskLeases::openImage(Lease& lease, const std::string& path, Mode mode) {
    exports::AttachOptions options;
    options.descriptor = path;
    options.readOnly = mode.readOnly;
    auto held = exports::attachHeld(options);
    if (!held)
        return std::move(held).takeError().within(cat("cannot use the image ", path));
    lease.disk.image = held->attachment.id;
    lease.disk.device = held->attachment.device;
    lease.attachment = std::move(held->attachment);
    lease.holder = std::move(held->holder);
    lease.disk.statistics = blockStatistics(lease.disk.device).valueOr({});
    return {};
}

std::vector<domain::UsedDisk> DiskLeases::disks() const {
    std::vector<domain::UsedDisk> disks;
    for (const auto& lease : leases_)
        disks.push_back(lease.disk);
    return disks;
}

Result<void> DiskLeases::moveTo(const ct::Cgroup& cgroup) const {
    for (const auto& lease : leases_) {
        for (const auto& dir : cgroup.supervisorDirs()) {
            if (lease.attachment)
                VZ_CHECK(file::writeValue(dir + "/cgroup.procs", cat(lease.attachment->pid)));
        }
    }
    return {};
}

void DiskLeases::giveBack() {
    for (auto& lease : leases_)
        lease.holder.reset();
    auto deadline = Clock::now() + closeLimit;
    for (auto& lease : leases_) {
        if (!lease.attachment)
            continue;
        if (auto closed = exports::awaitEnd(lease.attachment->id, untilThen(deadline)); !closed)
            log::warning("an image is not closed after a failure: ", closed.error().message());
    }
    leases_.clear();
}

Result<std::string> blockStatistics(const std::string& device) {
    struct stat info {};
    if (::stat(device.c_str(), &info) < 0)
        return failErrno(errno, "cannot look at ", device);
    return file::read(cat("/sys/dev/block/", major(info.st_rdev), ":", minor(info.st_rdev), "/stat"));
}

const domain::UsedDisk* diskNamed(const std::vector<domain::UsedDisk>& disks, const std::string& name) {
    auto found =
        std::find_if(disks.begin(), disks.end(), [&](const auto& disk) { return disk.name == name; });
    return found == disks.end() ? nullptr : &*found;
}

ct::Mount mountOf(const domain::UsedDisk& disk, const std::vector<ct::IdRange>& uids) {
    ct::Mount mount;
    mount.kind = ct::Mount::Kind::Block;
    mount.source = disk.partition;
    mount.target = disk.place;
    mount.fsType = disk.fsType;
    mount.readOnly = disk.readOnly;
    mount.idMapped = !uids.empty();
    return mount;
}

Result<std::vector<DeviceGrant>> nodesOf(const domain::UsedDisk& disk) {
    std::vector<DeviceGrant> grants;
    VZ_TRY(auto whole, grantOf(disk.device, disk.place, disk.readOnly));
    grants.push_back(std::move(whole));
    for (const auto& name : partitionsOf(disk.device)) {
        VZ_TRY(auto number, file::read(cat("/sys/class/block/", name, "/partition")));
        VZ_TRY(auto part, grantOf("/dev/" + name, cat(disk.place, trim(number)), disk.readOnly));
        grants.push_back(std::move(part));
    }
    return grants;
}

std::vector<pid_t> serversOf(const std::vector<domain::UsedDisk>& disks) {
    std::vector<pid_t> servers;
    for (const auto& disk : disks) {
        if (disk.image.empty())
            continue;
        if (auto attachment = exports::findById(disk.image); attachment && *attachment)
            servers.push_back((*attachment)->pid);
    }
    return servers;
}

Result<void> awaitClosed(const std::vector<domain::UsedDisk>& disks) {
    Result<void> all;
    auto deadline = Clock::now() + closeLimit;
    for (const auto& disk : disks) {
        if (disk.image.empty())
            continue;
        auto closed = exports::awaitEnd(disk.image, untilThen(deadline));
        // That one is not closed says more than that another was closed with an error.
        if (!closed && (all || all.error().code() != ErrorCode::OperationTimeout))
            all = std::move(closed);
    }
    return all;
}

} // namespace vz::driver
