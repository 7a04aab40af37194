// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/cgroup.hpp"
#include "domain/definition.hpp"
#include "domain/store.hpp"
#include "driver/launch.hpp"
#include "storage/export/client.hpp"

#include <chrono>
#include <optional>
#include <vector>

/** Images, volumes and block devices of the host on their way into a container and out of it. */
namespace vz::driver {

/**
 * Block devices made for a container that does not have them yet. They go by themselves unless something in
 * the container uses them when this object ends.
 */
class DiskLeases {
public:
    /** Makes all that @p definition needs. On an error what was made before stays until giveBack(). */
    Result<void> take(const domain::Definition& definition);
    Result<void> take(const domain::Filesystem& filesystem);
    /** @p root: it has the container's root file system. */
    Result<void> take(const domain::Disk& disk, bool root);

    std::vector<domain::UsedDisk> disks() const;
    /** The processes that serve the images become part of the container's groups: of its supervisor's. */
    Result<void> moveTo(const ct::Cgroup& cgroup) const;
    /** Gives all up and waits until the images are closed. Logs what fails. */
    void giveBack();

private:
    struct Lease {
        domain::UsedDisk disk;
        std::optional<exports::Attachment> attachment;
        UniqueFd holder;
    };
    /** How a disk is to be opened. */
    struct Mode {
        bool readOnly = false, shareable = false;
    };
    static Result<Lease> open(const std::string& path, Mode mode);
    static Result<void> openImage(Lease& lease, const std::string& path, Mode mode);

    std::vector<Lease> leases_;
};

/** Where the image or device is on the host; that of a volume is known to its pool (volumePath()). */
Result<std::string> hostPathOf(const domain::Filesystem& filesystem);
Result<std::string> hostPathOf(const domain::Disk& disk);

/** Whether what a <filesystem> mounts is on a disk of its own. */
bool isOnDisk(const domain::Filesystem& filesystem);

/** What the kernel has counted for a block device (Documentation/block/stat.rst). */
Result<std::string> blockStatistics(const std::string& device);

/** The one with that name; null if there is none. */
const domain::UsedDisk* diskNamed(const std::vector<domain::UsedDisk>& disks, const std::string& name);

/** The mount of one that has a file system; @p uids empty: owners are not mapped. */
ct::Mount mountOf(const domain::UsedDisk& disk, const std::vector<ct::IdRange>& uids);
/** The nodes of one that has none: the whole device and its partitions. */
Result<std::vector<DeviceGrant>> nodesOf(const domain::UsedDisk& disk);

/** The processes that serve the images of these. */
std::vector<pid_t> serversOf(const std::vector<domain::UsedDisk>& disks);
/** How long awaitClosed() waits for all images together: what was written shortly before is on its way. */
constexpr std::chrono::seconds closeLimit(30);
/** Waits until the images of a container that is gone are closed; OperationTimeout if one is not soon. */
Result<void> awaitClosed(const std::vector<domain::UsedDisk>& disks);

} // namespace vz::driver
