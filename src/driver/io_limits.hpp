// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/cgroup.hpp"
#include "domain/definition.hpp"
#include "domain/store.hpp"

#include <optional>
#include <vector>

/** From <vz:io>, <blkiotune> and <iotune> in a container's definition to limits of block devices. */
namespace vz::driver {

/** The share of disk time, as the kernel has it; <vz:prio> goes before <weight>. */
std::optional<unsigned> blockWeight(const domain::Definition& definition);

/**
 * One limit for each device that has one: of several settings the lowest holds. <vz:io> limits the devices of
 * @p disks and the disks of the host that have the container's folders; <iotune> those of @p disks.
 * ConfigUnsupported if <vz:io> has limits and there is no such device, InvalidArg if a <device> of
 * <blkiotune> is none. Partitions count as the disk that they are on, as the kernel limits only that.
 */
Result<std::vector<ct::BlockLimit>> blockLimits(const domain::Definition& definition,
                                                const std::vector<domain::UsedDisk>& disks);

/** The disks on which a share of disk time that is set has no effect: a sentence each. */
std::vector<std::string> idleWeights(const domain::Definition& definition,
                                     const std::vector<domain::UsedDisk>& disks);

} // namespace vz::driver
