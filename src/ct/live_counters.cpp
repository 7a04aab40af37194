// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/live_counters.hpp"

#include "base/file.hpp"
#include "ct/namespace_thread.hpp"
#include "ct/tcp_memory.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <set>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <thread>
#include <unistd.h>

namespace vz::ct {

namespace {

using Rlimit = __rlimit_resource;

/** kernel.shmall of a new IPC namespace. */
constexpr uint64_t defaultSharedPages = UINT64_MAX - (uint64_t(1) << 24);

/** What a process of the container has without a counter: as its supervisor. */
Result<ResourceLimit> usual(pid_t supervisor, int resource) {
    rlimit found{};
    if (::prlimit(supervisor, static_cast<Rlimit>(resource), nullptr, &found) < 0)
        return failErrno(errno, "cannot read the resource limits of a container's supervisor");
    return ResourceLimit{resource, found.rlim_cur, found.rlim_max};
}

/** Those of @p to that @p from does not have so; those that are in @p from only as they usually are. */
Result<std::vector<ResourceLimit>> changed(const std::vector<ResourceLimit>& from,
                                           const std::vector<ResourceLimit>& to, pid_t supervisor) {
    auto find = [](const auto& limits, int resource) {
        return std::ranges::find(limits, resource, &ResourceLimit::resource);
    };
    std::vector<ResourceLimit> out;
    for (const auto& limit : to) {
        auto before = find(from, limit.resource);
        if (before == from.end() || before->hard != limit.hard)
            out.push_back(limit);
    }
    for (const auto& gone : from) {
        if (find(to, gone.resource) != to.end())
            continue;
        VZ_TRY(auto limit, usual(supervisor, gone.resource));
        out.push_back(limit);
    }
    return out;
}

/** A process that has lowered its own limit keeps that. A process that has ended has none. */
Result<void> setOf(pid_t pid, const ResourceLimit& limit) {
    auto resource = static_cast<Rlimit>(limit.resource);
    rlimit value{};
    if (::prlimit(pid, resource, nullptr, &value) < 0)
        return errno == ESRCH ? Result<void>()
                              : failErrno(errno, "cannot read the resource limits of process ", pid);
    bool lowered = value.rlim_cur < value.rlim_max;
    value.rlim_cur = lowered ? std::min<rlim_t>(value.rlim_cur, limit.hard) : limit.soft;
    bool raises = limit.hard > value.rlim_max;
    value.rlim_max = limit.hard;
    if (::prlimit(pid, resource, &value, nullptr) == 0 || errno == ESRCH)
        return {};
    if (errno == EPERM && raises)
        return fail(
            ErrorCode::OperationUnsupported,
            "the limits of running processes can be lowered but not raised here, as the daemon "
            "has no CAP_SYS_RESOURCE: change the persistent config (--config) and restart the container");
    return failErrno(errno, "cannot set resource limit ", limit.resource, " of process ", pid);
}

Result<void> setOfAll(const Cgroup& group, const std::vector<ResourceLimit>& limits) {
    std::set<pid_t> done;
    // Those that were forked meanwhile have what their parents had.
    for (bool more = true; more;) {
        more = false;
        VZ_TRY(auto pids, group.processes());
        for (pid_t pid : pids) {
            if (!done.insert(pid).second)
                continue;
            more = true;
            for (const auto& limit : limits)
                VZ_CHECK(setOf(pid, limit));
        }
    }
    return {};
}

/** As the owner of the container's user namespace, who has all rights in it, whatever the daemon lacks. */
Result<void> setAsOwner(const Cgroup& group, const std::vector<ResourceLimit>& limits, uint32_t owner) {
    Result<void> result;
    std::thread([&] {
        // Of this thread only, unlike seteuid(3).
        if (::syscall(SYS_setresuid, -1, owner, -1) < 0)
            result = failErrno(errno, "cannot become the container's first host id ", owner);
        else
            result = setOfAll(group, limits);
    }).join();
    return result;
}

Result<void> setLimits(const Cgroup& group, const std::vector<ResourceLimit>& limits,
                       std::optional<uint32_t> owner) {
    if (limits.empty())
        return {};
    auto done = setOfAll(group, limits);
    return !done && done.error().systemError() == EPERM && owner ? setAsOwner(group, limits, *owner)
                                                                 : std::move(done);
}

/** Only an IPC namespace that is the host's keeps its limit from the container's root. */
Result<bool> isHosts(int ipc) {
    UniqueFd owner(::ioctl(ipc, NS_GET_USERNS));
    struct stat one {
    }, own{};
    if (!owner || ::fstat(owner.get(), &one) < 0 || ::stat("/proc/self/ns/user", &own) < 0)
        return failErrno(errno, "cannot find the owner of the container's IPC namespace");
    return one.st_ino == own.st_ino && one.st_dev == own.st_dev;
}

/** Best effort: to lower it needs CAP_SYS_RESOURCE, and a process that has one of its own keeps that. */
void setScore(const Cgroup& group, int from, int to) {
    auto pids = group.processes();
    if (!pids || from == to)
        return;
    for (pid_t pid : *pids) {
        auto path = cat("/proc/", pid, "/oom_score_adj");
        auto now = file::read(path);
        if (now && parseNumber<int>(trim(*now)) == from)
            (void)file::writeValue(path, cat(to));
    }
}

Result<UniqueFd> ipcNamespace(pid_t init) {
    return file::open(cat("/proc/", init, "/ns/ipc"), O_RDONLY);
}

Result<void> setSharedMemory(pid_t init, uint64_t pages) {
    VZ_TRY(auto ipc, ipcNamespace(init));
    return inNamespace(ipc.get(), CLONE_NEWIPC,
                       [&] { return file::writeValue("/proc/sys/kernel/shmall", cat(pages)); });
}

} // namespace

Result<void> checkChange(pid_t init, const Beancounters& from, const Beancounters& to) {
    if (launchLimits(from).sharedMemPages == launchLimits(to).sharedMemPages)
        return {};
    VZ_TRY(auto ipc, ipcNamespace(init));
    VZ_TRY(bool hosts, isHosts(ipc.get()));
    if (hosts)
        return {};
    return fail(ErrorCode::OperationUnsupported,
                "<shmpages> can be changed in a container that was started with it: "
                "change the persistent config (--config) and restart it");
}

Result<void> changeCounters(Container& container, const Cgroup& group, const Beancounters& from,
                            const Beancounters& to, std::optional<uint32_t> owner) {
    auto buffers = socketLimits(to).buffers;
    if (buffers != socketLimits(from).buffers) {
        VZ_TRY(auto netns, container.networkNamespace());
        VZ_CHECK(setTcpMemory(netns.get(), buffers));
    }
    auto before = launchLimits(from), after = launchLimits(to);
    VZ_TRY(auto limits, changed(before.rlimits, after.rlimits, container.supervisor()));
    bool shared = before.sharedMemPages != after.sharedMemPages;
    if (limits.empty() && !shared && before.maxPtys == after.maxPtys && before.set == after.set)
        return {};
    auto pages = after.sharedMemPages.value_or(defaultSharedPages);
    if (shared)
        VZ_CHECK(setSharedMemory(container.init(), pages));
    if (shared || before.sharedMemPages)
        after.sharedMemPages = pages;
    VZ_CHECK(setLimits(group, limits, owner));
    setScore(group, before.oomScoreAdj.value_or(0), after.oomScoreAdj.value_or(0));
    return container.setCounters(after);
}

} // namespace vz::ct
