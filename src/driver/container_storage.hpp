// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/cgroup.hpp"
#include "domain/definition.hpp"
#include "domain/store.hpp"
#include "storage/export/client.hpp"

#include <optional>
#include <vector>

/** Images and block devices of the host on their way into a container and out of it. */
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
    std::vector<Lease> leases_;
};

/** The one with that name; null if there is none. */
const domain::UsedDisk* diskNamed(const std::vector<domain::UsedDisk>& disks, const std::string& name);

/** Waits until the images of a container that is gone are closed; OperationTimeout if one is not soon. */
Result<void> awaitClosed(const std::vector<domain::UsedDisk>& disks);

} // namespace vz::driver
