// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/cgroup.hpp"
#include "domain/definition.hpp"
#include "domain/store.hpp"
#include "driver/driver.hpp"

/** From the resources in a container's definition to the limits of its cgroups. */
namespace vz::driver {

/**
 * The CPUs that a container runs on, as a list; empty for all of the host. <vcpu cpuset=>, <vcpupin> and
 * <emulatorpin> say which may be used; if they are more than the container's vcpus, those are chosen that the
 * fewest other containers were given, and those in @p present before all others. A container sees as many
 * CPUs as it is allowed to run on, so this is what makes <vcpu> a number of CPUs.
 */
Result<std::string> chooseCpus(Driver& driver, const domain::Definition& definition,
                               const std::string& present);

/** All limits of a container that runs on @p cpus and uses @p disks. No device rules. */
Result<ct::CgroupLimits> limitsOf(Driver& driver, const domain::Definition& definition,
                                  const std::string& cpus, const std::vector<domain::UsedDisk>& disks);

/** What it is guaranteed, and where: for Guarantees. InvalidArg if that is more than it may have. */
Result<Guarantees::Guest> guaranteeOf(const Driver& driver, const domain::Definition& definition);

/** What has to be set to get from one to the other; a limit that @p to lacks gets its default. */
ct::CgroupLimits changes(const ct::CgroupLimits& from, const ct::CgroupLimits& to);

} // namespace vz::driver
