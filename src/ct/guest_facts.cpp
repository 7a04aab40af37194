// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/guest_facts.hpp"

#include "base/file.hpp"
#include "base/mount_table.hpp"
#include "ct/inside.hpp"
#include "ct/namespace_thread.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <utmp.h>

namespace vz::ct {

namespace inside {

Result<UniqueFd> rootOf(pid_t init) {
    return file::open(cat("/proc/", init, "/root"), O_PATH | O_DIRECTORY);
}

Result<UniqueFd> open(int root, const std::string& path, int flags, mode_t mode) {
    open_how how{};
    how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
    how.mode = mode;
    how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
    UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, root, path.c_str(), &how, sizeof how)));
    if (!fd)
        return failErrno(errno, "cannot open ", path, " in the container");
    return fd;
}

Result<std::string> read(int root, const std::string& path, size_t limit) {
    // Not blocking: a guest could put a pipe there.
    VZ_TRY(auto fd, open(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
    struct stat info;
    if (::fstat(fd.get(), &info) < 0)
        return failErrno(errno, "cannot look at ", path, " in the container");
    if (!S_ISREG(info.st_mode))
        return fail(ErrorCode::OperationFailed, path, " in the container is no regular file");
    return file::read(cat("/proc/self/fd/", fd.get()), limit);
}

} // namespace inside

namespace {

/** The value of KEY in an os-release text, quotes taken off (os-release(5)). */
std::string releaseValue(std::string_view text, std::string_view key) {
    for (auto line : lines(text)) {
        if (!line.starts_with(key) || !line.substr(key.size()).starts_with('='))
            continue;
        auto value = trim(line.substr(key.size() + 1));
        bool quoted = value.size() >= 2 && (value.front() == '"' || value.front() == '\'') &&
                      value.back() == value.front();
        if (quoted)
            value = value.substr(1, value.size() - 2);
        std::string out;
        for (size_t i = 0; i < value.size(); ++i) {
            if (value[i] == '\\' && i + 1 < value.size())
                ++i;
            out += value[i];
        }
        return out;
    }
    return {};
}

Result<std::string> statusOf(pid_t pid) {
    return file::read(cat("/proc/", pid, "/status"));
}

/** Identity of the pid namespace of a process, or nothing if it is gone. */
std::optional<ino_t> pidNamespace(pid_t pid) {
    struct stat info;
    if (::stat(cat("/proc/", pid, "/ns/pid").c_str(), &info) < 0)
        return std::nullopt;
    return info.st_ino;
}

bool hasStorage(std::string_view type) {
    static constexpr std::string_view without[] = {
        "proc",   "sysfs",     "cgroup",      "cgroup2", "devpts",     "mqueue",     "devtmpfs", "tmpfs",
        "ramfs",  "bpf",       "tracefs",     "debugfs", "securityfs", "pstore",     "configfs", "fusectl",
        "autofs", "hugetlbfs", "binfmt_misc", "nsfs",    "rpc_pipefs", "fuse.lxcfs", "efivarfs"};
    return std::find(std::begin(without), std::end(without), type) == std::end(without);
}

} // namespace

Result<OsInfo> osInfo(pid_t init) {
    VZ_TRY(auto root, inside::rootOf(init));
    auto text = inside::read(root.get(), "/etc/os-release");
    if (!text)
        text = inside::read(root.get(), "/usr/lib/os-release");
    auto release = std::move(text).valueOr({});
    utsname kernel;
    if (::uname(&kernel) < 0)
        return failErrno(errno, "cannot ask for the kernel's version");
    return OsInfo{releaseValue(release, "ID"),
                  releaseValue(release, "NAME"),
                  releaseValue(release, "PRETTY_NAME"),
                  releaseValue(release, "VERSION"),
                  releaseValue(release, "VERSION_ID"),
                  kernel.release,
                  kernel.version,
                  kernel.machine};
}

Result<std::string> hostname(pid_t init) {
    VZ_TRY(auto uts, file::open(cat("/proc/", init, "/ns/uts"), O_RDONLY));
    return inNamespace(uts.get(), CLONE_NEWUTS, []() -> Result<std::string> {
        utsname names;
        if (::uname(&names) < 0)
            return failErrno(errno, "cannot ask for the container's host name");
        return std::string(names.nodename);
    });
}

Result<std::vector<LoggedInUser>> loggedInUsers(pid_t init) {
    std::vector<LoggedInUser> users;
    VZ_TRY(auto root, inside::rootOf(init));
    auto content = inside::read(root.get(), "/run/utmp");
    if (!content)
        return users; // a system without the file keeps no such list
    for (size_t at = 0; at + sizeof(utmp) <= content->size(); at += sizeof(utmp)) {
        utmp entry;
        std::memcpy(&entry, content->data() + at, sizeof entry);
        if (entry.ut_type != USER_PROCESS)
            continue;
        std::string name(entry.ut_user, ::strnlen(entry.ut_user, sizeof entry.ut_user));
        uint64_t login = static_cast<uint64_t>(entry.ut_tv.tv_sec) * 1000 +
                         static_cast<uint64_t>(entry.ut_tv.tv_usec) / 1000;
        auto known = std::find_if(users.begin(), users.end(), [&](auto& user) { return user.name == name; });
        if (known == users.end())
            users.push_back({std::move(name), login});
        else
            known->loginTimeMs = std::min(known->loginTimeMs, login);
    }
    return users;
}

Result<std::vector<FileSystem>> fileSystems(pid_t init) {
    std::vector<FileSystem> found;
    VZ_TRY(auto root, inside::rootOf(init));
    VZ_TRY(auto mounts, mountTable(init));
    for (auto& mount : mounts) {
        // The root counts whatever it is on.
        if (!hasStorage(mount.type) && mount.point != "/")
            continue;
        auto fd = inside::open(root.get(), mount.point, O_PATH);
        struct statvfs space;
        struct stat info;
        // Single files and device nodes are bind mounts of this or that, not file systems of the guest.
        if (!fd || ::fstat(fd->get(), &info) < 0 || !S_ISDIR(info.st_mode) ||
            ::fstatvfs(fd->get(), &space) < 0)
            continue;
        uint64_t unit = space.f_frsize;
        found.push_back({std::move(mount.source), std::move(mount.point), std::move(mount.type),
                         space.f_blocks * unit, (space.f_blocks - space.f_bfree) * unit});
    }
    return found;
}

Result<pid_t> hostPid(pid_t init, pid_t wanted) {
    if (wanted == 1)
        return init;
    auto ours = pidNamespace(init);
    if (!ours)
        return fail(ErrorCode::OperationInvalid, "the container's init is gone");
    VZ_TRY(auto names, file::list("/proc"));
    for (const auto& name : names) {
        auto pid = parseNumber<pid_t>(name);
        if (!pid || pidNamespace(*pid) != ours)
            continue;
        auto status = statusOf(*pid);
        if (!status)
            continue;
        // NSpid: the pid in each nested namespace, the container's own last.
        auto chain = field(*status, "NSpid");
        auto last = chain.substr(chain.find_last_of(" \t") + 1);
        if (parseNumber<pid_t>(last) == wanted)
            return *pid;
    }
    return fail(ErrorCode::InvalidArg, "there is no process ", wanted, " in the container");
}

std::string apparmorLabel(pid_t pid) {
    if (!apparmorEnabled())
        return {};
    auto label = file::read(cat("/proc/", pid, "/attr/apparmor/current"));
    if (!label)
        label = file::read(cat("/proc/", pid, "/attr/current"));
    return label ? std::string(trim(*label)) : std::string();
}

bool apparmorEnabled() {
    auto enabled = file::read("/sys/module/apparmor/parameters/enabled");
    return enabled && trim(*enabled) == "Y";
}

} // namespace vz::ct
