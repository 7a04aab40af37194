// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "ct/cgroup.hpp"
#include "ct/launch_spec.hpp"

#include <string>
#include <vector>

/** What a container may do by default; <features><capabilities> and <vz:features> widen or narrow it. */
namespace vz::ct {

/** Bit per capability. @p userNamespace: a wider set is safe when the capabilities only count inside one. */
uint64_t defaultCapabilities(bool userNamespace);

/** Bit number of "sys_admin" (any case, with or without "CAP_"); InvalidArg with the name if unknown. */
Result<int> capabilityByName(std::string_view name);

/** The compiled filter (raw struct sock_filter array). Documented in docs/security.md. */
Result<std::string> defaultSeccomp();

std::vector<std::string> defaultMaskedPaths(bool userNamespace);
std::vector<std::string> defaultReadOnlyPaths(bool userNamespace);

/** null, zero, full, random, urandom, tty, (fuse if present and allowed) and matching rules. */
std::vector<DeviceNode> defaultDevices();
std::vector<DeviceRule> defaultDeviceRules();

} // namespace vz::ct
