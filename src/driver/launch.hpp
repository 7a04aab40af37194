// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/cgroup.hpp"
#include "ct/launch_spec.hpp"
#include "domain/definition.hpp"
#include "domain/store.hpp"
#include "driver/driver.hpp"

namespace vz::driver {

/** The launch description of a container, from its definition; cgroup folders are filled in later. */
Result<ct::LaunchSpec> launchSpec(Driver& driver, const domain::Definition& definition,
                                  const std::string& runDir, const std::vector<domain::UsedDisk>& disks);

/** Limits and device rules that its cgroups start with; @p cpus as chosen for it. */
Result<ct::CgroupLimits> startLimits(Driver& driver, const domain::Definition& definition,
                                     const std::string& cpus, const std::vector<domain::UsedDisk>& disks);

/** One <filesystem> as a mount; decides whether owners are mapped (@p uids empty: never). @p disks has those
 * that are on images. */
Result<ct::Mount> mountOf(const domain::Filesystem& filesystem, const std::vector<ct::IdRange>& uids,
                          const std::vector<domain::UsedDisk>& disks);

/** The node and the rule for a host device. */
struct DeviceGrant {
    ct::DeviceNode node;
    ct::DeviceRule rule;
};
Result<DeviceGrant> deviceOf(const domain::HostDevice& device);

} // namespace vz::driver
