// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <sys/types.h>

#include <string>

/** Files of a running container, opened through /proc/INIT/root so that no link of the guest leads to the
 * host. */
namespace vz::ct::inside {

/** The root folder of the process (O_PATH). */
Result<UniqueFd> rootOf(pid_t init);
/** openat2(2) with RESOLVE_IN_ROOT; @p path as the guest would name it. */
Result<UniqueFd> open(int root, const std::string& path, int flags, mode_t mode = 0);
/** A file's content, at most @p limit bytes. */
Result<std::string> read(int root, const std::string& path, size_t limit = 1 << 20);

} // namespace vz::ct::inside
