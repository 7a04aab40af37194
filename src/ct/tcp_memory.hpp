// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/cgroup.hpp"

namespace vz::ct {

/**
 * Limits the buffers that TCP sockets of a network namespace get by themselves (tcp_wmem and tcp_rmem,
 * Documentation/networking/ip-sysctl.rst). A limit of 0: as in this process's namespace. @p netns: a handle.
 */
Result<void> setTcpMemory(int netns, const BufferLimits& limits);

} // namespace vz::ct
