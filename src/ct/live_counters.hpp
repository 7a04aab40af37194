// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/beancounters.hpp"
#include "ct/container.hpp"

#include <optional>

namespace vz::ct {

/** OperationUnsupported if a counter that changes can be given at the start of a container only; @p init:
 * its. */
Result<void> checkChange(pid_t init, const Beancounters& from, const Beancounters& to);

/**
 * Puts in force in a running container, and for its reboots, what launchLimits() says of @p to and not of
 * @p from: the limits of each of its processes, the number of terminals, System V shared memory, and
 * the buffers that TCP sockets get. @p owner: the host id of its root, if it has a user namespace.
 * Call checkChange() before. An error in the midst leaves part of it set. Raising the limits of processes
 * needs CAP_SYS_RESOURCE.
 */
Result<void> changeCounters(Container& container, const Cgroup& group, const Beancounters& from,
                            const Beancounters& to, std::optional<uint32_t> owner);

} // namespace vz::ct
