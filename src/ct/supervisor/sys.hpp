// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "ct/launch_spec.hpp"

#include <sys/mount.h>
#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

/** The kernel calls that the supervisor is made of, with errors that say what was asked. */
namespace vz::supervisor {

struct Ids {
    uint32_t uid = 0;
    uint32_t gid = 0;
};

/** Host ids of ids inside the container; InvalidArg if its ranges do not have them. */
Result<Ids> hostIds(const ct::LaunchSpec& spec, Ids inside);
/** Host ids of the container's root; (0, 0) without a user namespace. */
Ids hostRoot(const ct::LaunchSpec& spec);

/** While it lives, files are made as @p ids. Needs SECBIT_NO_SETUID_FIXUP, so that no capability is lost. */
class FileOwner {
public:
    explicit FileOwner(Ids ids);
    ~FileOwner();
    FileOwner(const FileOwner&) = delete;
    FileOwner& operator=(const FileOwner&) = delete;

private:
    Ids old_;
};

/** Opens @p path as a process whose root folder is @p root would: links in it never lead out. */
Result<UniqueFd> openInRoot(int root, const std::string& path, int flags);

/** A path descriptor of @p path in @p root; what is missing is made as @p owner, the last part as a folder or
 * as an empty file. */
Result<UniqueFd> makeInRoot(int root, const std::string& path, bool folder, Ids owner);

using FsOptions = std::vector<std::pair<std::string, std::string>>; ///< empty value = flag

/** A new file system, mounted nowhere yet. @p attributes: MOUNT_ATTR_*. */
/** Sets all options of the file system of a mount anew. */
Result<void> changeOptions(int mount, const std::string& type, const FsOptions& options);
Result<UniqueFd> newMount(const std::string& type, const FsOptions& options, unsigned attributes);
/** A detached copy of the mount at @p path (relative to @p dir). */
Result<UniqueFd> cloneMount(int dir, const std::string& path, bool recursive);
/** mount_setattr(2) on a mount descriptor. @p what is for the message: "make X read-only". */
Result<void> changeMount(int mount, const mount_attr& change, bool recursive, const std::string& what);
/** Puts a detached mount on the file or folder behind @p target. */
Result<void> placeMount(int mount, int target, const std::string& name);
/** Puts a detached mount on @p path. */
Result<void> placeMount(int mount, const std::string& path);

struct FileIdentity {
    uint64_t device = 0, inode = 0, mountId = 0;
    uint32_t mode = 0, uid = 0;
};
/** Identity of @p path relative to @p dir (of @p dir itself if empty); a link itself, not its target. */
Result<FileIdentity> identify(int dir, const std::string& path);

/** Closes all descriptors but those and the standard ones; all are above these. */
void closeOthers(std::vector<int> kept);

Result<UniqueFd> openPidFd(pid_t pid);
/** Waits for a child; its raw status, or -1 if there is no such child. */
int waitFor(pid_t pid);

} // namespace vz::supervisor
