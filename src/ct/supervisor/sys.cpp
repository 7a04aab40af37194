// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/sys.hpp"

#include "base/file.hpp"
#include "ct/pidfd.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/fsuid.h>

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

namespace vz::supervisor {

namespace {

std::optional<uint32_t> mapId(const std::vector<ct::IdRange>& ranges, uint32_t inside) {
    for (const auto& range : ranges)
        if (inside >= range.inside && inside - range.inside < range.count)
            return range.host + (inside - range.inside);
    return ranges.empty() ? std::optional(inside) : std::nullopt;
}

} // namespace

Result<Ids> hostIds(const ct::LaunchSpec& spec, Ids inside) {
    auto uid = mapId(spec.uids, inside.uid);
    auto gid = mapId(spec.gids, inside.gid);
    if (!uid || !gid)
        return fail(ErrorCode::InvalidArg, "the owner ", inside.uid, ":", inside.gid,
                    " lies outside the container's id ranges");
    return Ids{*uid, *gid};
}

Ids hostRoot(const ct::LaunchSpec& spec) {
    return hostIds(spec, {}).valueOr(Ids{});
}

FileOwner::FileOwner(Ids ids)
    : old_{static_cast<uint32_t>(::setfsuid(ids.uid)), static_cast<uint32_t>(::setfsgid(ids.gid))} {}

FileOwner::~FileOwner() {
    ::setfsuid(old_.uid);
    ::setfsgid(old_.gid);
}

Result<UniqueFd> openInRoot(int root, const std::string& path, int flags) {
    open_how how{};
    how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    long fd = -1;
    // EAGAIN: the guest renamed a folder on the way; a guest that does so for ever only loses its own mount.
    for (int i = 0; i < 100; ++i) {
        fd = ::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how);
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    if (fd < 0)
        return failErrno(errno, "cannot open '", path, "' in the container");
    return UniqueFd(static_cast<int>(fd));
}

namespace {

/** Makes the last part of @p path in @p root, whose folder exists. */
Result<void> makeEntry(int root, const std::string& path, bool folder, Ids owner) {
    size_t slash = path.rfind('/');
    std::string parent = slash == 0 ? "/" : path.substr(0, slash);
    std::string name = path.substr(slash + 1);
    VZ_TRY(auto dir, openInRoot(root, parent, O_PATH | O_DIRECTORY));
    FileOwner as(owner);
    int failed = folder ? ::mkdirat(dir.get(), name.c_str(), 0755)
                        : ::mknodat(dir.get(), name.c_str(), S_IFREG | 0644, 0);
    if (failed < 0 && errno != EEXIST)
        return failErrno(errno, "cannot make the mount point '", path, "' in the container");
    return {};
}

} // namespace

Result<UniqueFd> makeInRoot(int root, const std::string& path, bool folder, Ids owner) {
    if (path.empty() || path[0] != '/')
        return fail(ErrorCode::InvalidArg, "the target '", path, "' is not an absolute path");
    std::string done;
    auto parts = split(std::string_view(path).substr(1), '/');
    while (!parts.empty() && parts.back().empty())
        parts.pop_back();
    for (size_t i = 0; i < parts.size(); ++i) {
        if (parts[i].empty())
            continue;
        done += cat('/', parts[i]);
        auto there = openInRoot(root, done, O_PATH);
        if (!there && there.error().systemError() == ENOENT)
            VZ_CHECK(makeEntry(root, done, folder || i + 1 < parts.size(), owner));
        else if (!there)
            return std::move(there).takeError();
    }
    return openInRoot(root, done.empty() ? "/" : done, O_PATH);
}

namespace {

/** What the file system itself said about the failure, if anything. */
std::string fsMessage(int context) {
    char buffer[256];
    ssize_t got = ::read(context, buffer, sizeof buffer);
    if (got <= 2)
        return {};
    return cat(" (", trim(std::string_view(buffer, static_cast<size_t>(got)).substr(2)), ")");
}

Result<void> setOptions(int context, const std::string& type, const FsOptions& options) {
    for (const auto& [key, value] : options) {
        int failed = value.empty() ? ::fsconfig(context, FSCONFIG_SET_FLAG, key.c_str(), nullptr, 0)
                                   : ::fsconfig(context, FSCONFIG_SET_STRING, key.c_str(), value.c_str(), 0);
        if (failed < 0)
            return failErrno(errno, "cannot set ", key, "=", value, " for a mount of type ", type,
                             fsMessage(context));
    }
    return {};
}

} // namespace

Result<void> changeOptions(int mount, const std::string& type, const FsOptions& options) {
    UniqueFd context(::fspick(mount, "", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC));
    if (!context)
        return failErrno(errno, "cannot change a mount of type ", type);
    VZ_CHECK(setOptions(context.get(), type, options));
    if (::fsconfig(context.get(), FSCONFIG_CMD_RECONFIGURE, nullptr, nullptr, 0) < 0) {
        int error = errno;
        return failErrno(error, "cannot change a mount of type ", type, fsMessage(context.get()));
    }
    return {};
}

Result<UniqueFd> newMount(const std::string& type, const FsOptions& options, unsigned attributes) {
    UniqueFd context(::fsopen(type.c_str(), FSOPEN_CLOEXEC));
    if (!context)
        return failErrno(errno, "cannot use the file system type '", type, "'");
    VZ_CHECK(setOptions(context.get(), type, options));
    if (::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) < 0) {
        int error = errno;
        return failErrno(error, "cannot make a mount of type ", type, fsMessage(context.get()));
    }
    UniqueFd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, attributes));
    if (!mount)
        return failErrno(errno, "cannot mount a file system of type ", type);
    return mount;
}

Result<UniqueFd> cloneMount(int dir, const std::string& path, bool recursive) {
    unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
    if (recursive)
        flags |= AT_RECURSIVE;
    if (path.empty())
        flags |= AT_EMPTY_PATH;
    UniqueFd tree(::open_tree(dir, path.c_str(), flags));
    if (!tree)
        return failErrno(errno, "cannot take '", path, "' for a mount");
    return tree;
}

Result<void> changeMount(int mount, const mount_attr& change, bool recursive, const std::string& what) {
    mount_attr attributes = change;
    unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0u);
    if (::mount_setattr(mount, "", flags, &attributes, sizeof attributes) < 0)
        return failErrno(errno, "cannot ", what);
    return {};
}

Result<void> placeMount(int mount, int target, const std::string& name) {
    if (::move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
        return failErrno(errno, "cannot mount on '", name, "'");
    return {};
}

Result<void> placeMount(int mount, const std::string& path) {
    if (::move_mount(mount, "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return failErrno(errno, "cannot mount on '", path, "'");
    return {};
}

Result<FileIdentity> identify(int dir, const std::string& path) {
    struct statx info {};
    int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (path.empty() ? AT_EMPTY_PATH : 0);
    if (::statx(dir, path.c_str(), flags, STATX_BASIC_STATS | STATX_MNT_ID, &info) < 0)
        return failErrno(errno, "cannot look at '", path, "'");
    return FileIdentity{::makedev(info.stx_dev_major, info.stx_dev_minor), info.stx_ino, info.stx_mnt_id,
                        info.stx_mode, info.stx_uid};
}

void closeOthers(std::vector<int> kept) {
    std::sort(kept.begin(), kept.end());
    int next = STDERR_FILENO + 1;
    for (int fd : kept) {
        if (fd > next)
            ::close_range(static_cast<unsigned>(next), static_cast<unsigned>(fd) - 1, 0);
        next = fd + 1;
    }
    ::close_range(static_cast<unsigned>(next), ~0u, 0);
}

Result<UniqueFd> openPidFd(pid_t pid) {
    UniqueFd fd(::pidfd_open(pid, 0));
    if (!fd)
        return failErrno(errno, "cannot open a descriptor of process ", pid);
    return fd;
}

int waitFor(pid_t pid) {
    int status = -1;
    while (::waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return -1;
    }
    return status;
}

} // namespace vz::supervisor
