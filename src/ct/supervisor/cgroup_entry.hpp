// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <sys/types.h>

#include <string>
#include <vector>

/**
 * Ways into cgroups that do not wait. Moving a process through cgroup.procs makes the kernel wait for an RCU
 * grace period on a quiet host, which was more than half of a container's start. A single thread that moves
 * itself through the v1 file "tasks" does not, and in cgroup2 a child can be born in its group
 * (CLONE_INTO_CGROUP, Linux 5.7).
 */
namespace vz::supervisor {

/** Moves the calling process, which must have a single thread, into those of @p dirs that are cgroup v1. */
Result<void> enterV1Cgroups(const std::vector<std::string>& dirs);

/** fork(2), the child being born in the cgroup2 group among @p dirs if there is one. */
Result<pid_t> forkIntoCgroup(const std::vector<std::string>& dirs);

} // namespace vz::supervisor
