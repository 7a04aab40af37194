// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/container_storage.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "storage/ploop/locate.hpp"

#include <algorithm>
#include <fcntl.h>

namespace vz::driver {

namespace {

using Located = ploop::Located;

/** What was written shortly before is on its way to the disk. */
constexpr std::chrono::seconds closeLimit(30);

bool isOnDisk(const domain::Filesystem& filesystem) {
    using Type = domain::Filesystem::Type;
    return filesystem.type == Type::File || filesystem.type == Type::Block;
}

} // namespace

Result<void> DiskLeases::take(const domain::Definition& definition) {
    for (const auto& filesystem : definition.filesystems)
        VZ_CHECK(take(filesystem));
    return {};
}

Result<void> DiskLeases::take(const domain::Filesystem& filesystem) {
    if (!isOnDisk(filesystem))
        return {};
    VZ_TRY(auto found, ploop::locate(ploop::hostFiles(), filesystem.source));
    Lease lease;
    lease.disk.name = lease.disk.place = filesystem.target;
    lease.disk.path = found.path;
    lease.disk.mounted = true;
    lease.disk.readOnly = filesystem.readOnly;
    if (found.kind == Located::Kind::Device) {
        lease.disk.device = lease.disk.partition = found.path;
    } else if (found.kind == Located::Kind::Image) {
        exports::AttachOptions options;
        options.descriptor = found.path;
        options.readOnly = filesystem.readOnly;
        auto held = exports::attachHeld(options);
        if (!held)
            return std::move(held).takeError().within(cat("cannot use the image ", filesystem.source));
        lease.disk.image = held->attachment.id;
        lease.disk.device = held->attachment.device;
        lease.disk.partition = held->attachment.partition;
        lease.attachment = std::move(held->attachment);
        lease.holder = std::move(held->holder);
    } else {
        return fail(ErrorCode::ConfigUnsupported, filesystem.source, " is no ploop image");
    }
    leases_.push_back(std::move(lease));
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
    for (auto& lease : leases_) {
        lease.holder.reset();
        if (!lease.attachment)
            continue;
        if (auto closed = exports::awaitEnd(lease.attachment->id, closeLimit); !closed)
            log::warning("an image is not closed after a failure: ", closed.error().message());
    }
    leases_.clear();
}

const domain::UsedDisk* diskNamed(const std::vector<domain::UsedDisk>& disks, const std::string& name) {
    auto found =
        std::find_if(disks.begin(), disks.end(), [&](const auto& disk) { return disk.name == name; });
    return found == disks.end() ? nullptr : &*found;
}

Result<void> awaitClosed(const std::vector<domain::UsedDisk>& disks) {
    Result<void> all;
    for (const auto& disk : disks) {
        if (disk.image.empty())
            continue;
        auto closed = exports::awaitEnd(disk.image, closeLimit);
        if (!closed)
            all = std::move(closed);
    }
    return all;
}

} // namespace vz::driver
