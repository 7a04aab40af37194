// SPDX-License-Identifier: LGPL-2.1-or-later
// Disks that come to and leave a running container.
#include "base/file.hpp"
#include "base/log.hpp"
#include "base/rollback.hpp"
#include "driver/container_domain.hpp"
#include "driver/container_storage.hpp"
#include "driver/driver.hpp"

#include <algorithm>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace vz::driver {

namespace {

bool isOpenIn(pid_t pid, dev_t device) {
    auto folder = cat("/proc/", pid, "/fd/");
    auto names = file::list(folder);
    if (!names)
        return false; // it has ended
    return std::any_of(names->begin(), names->end(), [&](const auto& name) {
        struct stat info {};
        return ::stat((folder + name).c_str(), &info) == 0 && S_ISBLK(info.st_mode) && info.st_rdev == device;
    });
}

/** The kernel would take the node away from under who has it open, and keep the device for them. */
Result<void> checkUnused(const ct::Cgroup& group, const std::vector<DeviceGrant>& grants) {
    VZ_TRY(auto pids, group.processes());
    for (const auto& grant : grants) {
        auto device = ::makedev(grant.node.major, grant.node.minor);
        auto user = std::find_if(pids.begin(), pids.end(), [&](pid_t pid) { return isOpenIn(pid, device); });
        if (user != pids.end())
            return fail(ErrorCode::ResourceBusy, grant.node.path,
                        " is in use inside the container, by process ", *user,
                        " of the host; end that and try again");
    }
    return {};
}

Result<void> giveNodes(ct::Container& container, ct::Cgroup& group, const domain::UsedDisk& disk) {
    Rollback undo;
    VZ_TRY(auto grants, nodesOf(disk));
    for (const auto& grant : grants) {
        VZ_CHECK(group.allowDevice(grant.rule));
        undo.add([&group, rule = grant.rule] { (void)group.denyDevice(rule); });
        VZ_CHECK(container.attachDevice(grant.node));
        undo.add([&container, path = grant.node.path] { (void)container.detachDevice(path); });
    }
    undo.dismiss();
    return {};
}

Result<void> takeNodes(ct::Container& container, ct::Cgroup& group, const domain::UsedDisk& disk) {
    VZ_TRY(auto grants, nodesOf(disk));
    VZ_CHECK(checkUnused(group, grants));
    std::reverse(grants.begin(), grants.end());
    for (const auto& grant : grants) {
        VZ_CHECK(group.denyDevice(grant.rule));
        VZ_CHECK(container.detachDevice(grant.node.path));
    }
    return {};
}

} // namespace

Result<void> ContainerDomain::attachDisk(DiskLeases& leases, LiveParts& parts) {
    Rollback undo;
    undo.add([&] { leases.giveBack(); });
    VZ_TRY(auto container, running());
    VZ_TRY(auto group, cgroup());
    VZ_CHECK(leases.moveTo(*group));
    const auto disks = leases.disks();
    for (const auto& disk : disks) {
        VZ_CHECK(disk.mounted ? container->attachMount(mountOf(disk, parts.facts.uidMap))
                              : giveNodes(*container, *group, disk));
        parts.disks.push_back(disk);
    }
    undo.dismiss();
    return {};
}

Result<void> ContainerDomain::detachDisk(const std::string& name, LiveParts& parts) {
    VZ_TRY(auto container, running());
    VZ_TRY(auto group, cgroup());
    auto found = std::find_if(parts.disks.begin(), parts.disks.end(),
                              [&](const auto& disk) { return disk.name == name; });
    if (found == parts.disks.end())
        return fail(ErrorCode::DeviceMissing, "the container has no disk ", name);
    if (found->place == "/")
        return fail(ErrorCode::OperationInvalid, "the disk ", name,
                    " has the root file system: it cannot be detached while the container runs");
    VZ_CHECK(found->mounted ? container->detachMount(found->place) : takeNodes(*container, *group, *found));
    const auto gone = *found;
    parts.disks.erase(found);
    if (auto closed = awaitClosed({gone}); !closed)
        log::warning("a disk was detached, but ", closed.error().message());
    return {};
}

} // namespace vz::driver
