// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "ct/end_signals.hpp"

#include <sys/types.h>

#include <string>
#include <vector>

/** What is known of, or done in, a running container from outside, through /proc/INIT. Paths inside the
 * container are resolved with openat2(RESOLVE_IN_ROOT): a link in the guest never leads to the host. */
namespace vz::ct {

struct OsInfo {
    std::string id, name, prettyName, version, versionId, kernelRelease, kernelVersion, machine;
};
Result<OsInfo> osInfo(pid_t init);

/** Host name inside (its UTS namespace). */
Result<std::string> hostname(pid_t init);

struct LoggedInUser {
    std::string name;
    uint64_t loginTimeMs = 0; ///< since 1970
};
Result<std::vector<LoggedInUser>> loggedInUsers(pid_t init); ///< from utmp

struct FileSystem {
    std::string source, mountPoint, type;
    uint64_t totalBytes = 0, usedBytes = 0;
};
/** Mounted file systems with storage behind them (no proc, sysfs, cgroup, ...). */
Result<std::vector<FileSystem>> fileSystems(pid_t init);

/** Host pid of the process that has @p pid inside the container; InvalidArg if there is none. */
Result<pid_t> hostPid(pid_t init, pid_t inside);

/** Sets the password of a user in the container's /etc/shadow. @p hashed: it is a crypt(3) text already.
 *  InvalidArg if there is no such user. Written atomically, owner and mode kept. */
Result<void> setPassword(pid_t init, const std::string& user, const std::string& password, bool hashed);

/** Label of the process from its security module ("unconfined" or a profile); empty without AppArmor. */
std::string apparmorLabel(pid_t pid);
bool apparmorEnabled();

} // namespace vz::ct
