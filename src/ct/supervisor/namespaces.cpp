// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/namespaces.hpp"

#include "base/file.hpp"
#include "ct/protocol.hpp"
#include "ct/supervisor/cgroup_entry.hpp"

#include <cerrno>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

namespace vz::supervisor {

Result<void> applyLimits(const ct::LaunchSpec& spec) {
    for (const auto& limit : spec.limits) {
        rlimit value{limit.soft, limit.hard};
        if (::setrlimit(static_cast<__rlimit_resource>(limit.resource), &value) < 0)
            return failErrno(errno, "cannot set resource limit ", limit.resource, " to ", limit.soft, "/",
                             limit.hard);
    }
    return {};
}

namespace {

/** Sends one word and waits for the answer; false if the other side is gone. */
bool exchange(int channel, const char* word) {
    if (!ct::sendMessage(channel, {word, 0, {}, {}}))
        return false;
    auto answer = ct::receiveMessage(channel);
    return answer && *answer;
}

Result<void> becomeRoot() {
    if (::setgroups(0, nullptr) < 0 || ::setresgid(0, 0, 0) < 0 || ::setresuid(0, 0, 0) < 0)
        return failErrno(errno, "cannot become root of the user namespace (is id 0 in its ranges?)");
    return {};
}

Result<void> bringLoopbackUp() {
    UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    ifreq request{};
    request.ifr_name[0] = 'l';
    request.ifr_name[1] = 'o';
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (!socket || ::ioctl(socket.get(), SIOCSIFFLAGS, &request) < 0)
        return failErrno(errno, "cannot bring up lo in the container");
    return {};
}

/** The child of makeNamespaces(): makes each namespace and waits until the parent has its handle. */
Result<void> unshareHeld(const ct::LaunchSpec& spec, int channel) {
    VZ_CHECK(applyLimits(spec));
    if (!spec.uids.empty()) {
        // The owner's counters are charged for the namespace: an id of this container alone, not root's.
        Ids owner = hostRoot(spec);
        ::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP);
        if (::setresgid(owner.gid, owner.gid, owner.gid) < 0 ||
            ::setresuid(owner.uid, owner.uid, owner.uid) < 0)
            return failErrno(errno, "cannot become the container's first host id ", owner.uid, ":",
                             owner.gid);
        if (::unshare(CLONE_NEWUSER) < 0)
            return failErrno(errno, "cannot make a user namespace");
        if (!exchange(channel, "user"))
            return {};
        VZ_CHECK(becomeRoot());
    }
    if (spec.privateNetwork) {
        if (::unshare(CLONE_NEWNET) < 0)
            return failErrno(errno, "cannot make a network namespace");
        VZ_CHECK(bringLoopbackUp());
        exchange(channel, "net");
    }
    return {};
}

std::string mapText(const std::vector<ct::IdRange>& ranges) {
    std::string text;
    for (const auto& range : ranges)
        text += cat(range.inside, ' ', range.host, ' ', range.count, '\n');
    return text;
}

/** The parent's part for one word of the child. */
Result<void> serve(const ct::LaunchSpec& spec, const std::string& word, pid_t child, HeldNamespaces& held) {
    if (word == "user") {
        VZ_CHECK(file::writeValue(cat("/proc/", child, "/uid_map"), mapText(spec.uids)));
        VZ_CHECK(file::writeValue(cat("/proc/", child, "/gid_map"), mapText(spec.gids)));
    }
    VZ_TRY(auto handle, file::open(cat("/proc/", child, "/ns/", word), O_RDONLY));
    (word == "user" ? held.user : held.net) = std::move(handle);
    return {};
}

} // namespace

Result<HeldNamespaces> makeNamespaces(const ct::LaunchSpec& spec) {
    if (spec.uids.empty() != spec.gids.empty())
        return fail(ErrorCode::InvalidArg, "the container has ranges of user ids or of group ids, not both");
    HeldNamespaces held;
    if (spec.uids.empty() && !spec.privateNetwork)
        return held;
    VZ_TRY(auto channel, ct::makeChannel());
    pid_t child = ::fork();
    if (child < 0)
        return failErrno(errno, "cannot start a process for the namespaces");
    if (child == 0) {
        channel.first.reset();
        if (auto done = unshareHeld(spec, channel.second.get()); !done)
            (void)ct::sendMessage(channel.second.get(), {"error", 0, ct::errorRecord(done.error()), {}});
        ::_exit(0);
    }
    channel.second.reset();
    Result<void> outcome;
    for (;;) {
        auto message = ct::receiveMessage(channel.first.get());
        if (!message || !*message)
            break;
        outcome = (*message)->kind == "error" ? Result<void>(ct::errorFrom((*message)->body))
                                              : serve(spec, (*message)->kind, child, held);
        if (!outcome || !ct::sendMessage(channel.first.get(), {"go", 0, {}, {}}))
            break;
    }
    channel.first.reset();
    waitFor(child);
    VZ_CHECK(outcome);
    if ((!spec.uids.empty() && !held.user) || (spec.privateNetwork && !held.net))
        return fail(ErrorCode::OperationFailed, "the process that makes the container's namespaces died");
    return held;
}

namespace {

/** Made before the container's user namespace is entered, the IPC namespace is not the container's own: its
 * root cannot raise the limit. */
Result<void> limitSharedMemory(uint64_t pages) {
    if (::unshare(CLONE_NEWIPC) < 0)
        return failErrno(errno, "cannot make the container's IPC namespace");
    return file::writeValue("/proc/sys/kernel/shmall", cat(pages));
}

Result<void> enter(const ct::LaunchSpec& spec, const InitOptions& options) {
    if (spec.oomScoreAdj) {
        auto set = file::writeValue("/proc/self/oom_score_adj", cat(*spec.oomScoreAdj));
        // A lower one needs CAP_SYS_RESOURCE; what is in force can be seen.
        if (!set && (*spec.oomScoreAdj >= 0 || set.error().systemError() != EACCES))
            return set;
    }
    VZ_CHECK(enterV1Cgroups(spec.payloadCgroups));
    VZ_CHECK(applyLimits(spec));
    if (spec.sharedMemPages)
        VZ_CHECK(limitSharedMemory(*spec.sharedMemPages));
    // A new mount namespace takes the current folder along; by path the container's ids might not get there.
    if (::chdir(options.root.c_str()) < 0)
        return failErrno(errno, "cannot enter the container's root");
    if (options.userNs >= 0) {
        if (::setns(options.userNs, CLONE_NEWUSER) < 0)
            return failErrno(errno, "cannot enter the container's user namespace");
        VZ_CHECK(becomeRoot());
    }
    ::prctl(PR_SET_SECUREBITS, 0);
    if (options.netNs >= 0 && ::setns(options.netNs, CLONE_NEWNET) < 0)
        return failErrno(errno, "cannot enter the container's network namespace");
    int ipc = spec.sharedMemPages ? 0 : CLONE_NEWIPC;
    if (::unshare(CLONE_NEWNS | CLONE_NEWUTS | ipc | CLONE_NEWCGROUP | CLONE_NEWPID) < 0)
        return failErrno(errno, "cannot make the container's mount, UTS, IPC, cgroup and pid namespaces");
    return {};
}

/** Forks init as a brother: it is the supervisor's child from its first moment. */
Result<pid_t> forkBrother() {
    clone_args arguments{};
    arguments.flags = CLONE_PARENT;
    long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid < 0)
        return failErrno(errno, "cannot start the container's first process");
    return static_cast<pid_t>(pid);
}

/** @p channel: to the supervisor for this process; @p initChannel: for init. */
[[noreturn]] void runMiddle(const ct::LaunchSpec& spec, const InitOptions& options, int channel,
                            int initChannel) {
    auto start = [&]() -> Result<pid_t> {
        VZ_CHECK(enter(spec, options));
        return forkBrother();
    };
    auto init = start();
    if (init && *init == 0) {
        becomeInit(spec, options, initChannel);
        ::_exit(1);
    }
    ct::Message message{init ? "init" : "error", 0, init ? ct::Record() : ct::errorRecord(init.error()), {}};
    if (init)
        message.body.add("pid", *init);
    (void)ct::sendMessage(channel, message);
    ::_exit(0);
}

} // namespace

Result<InitProcess> forkInit(const ct::LaunchSpec& spec, const InitOptions& options) {
    VZ_TRY(auto middleChannel, ct::makeChannel());
    VZ_TRY(auto initChannel, ct::makeChannel());
    VZ_TRY(pid_t middle, forkIntoCgroup(spec.payloadCgroups));
    if (middle == 0)
        runMiddle(spec, options, middleChannel.second.get(), initChannel.second.get());
    middleChannel.second.reset();
    initChannel.second.reset();
    auto message = ct::receiveMessage(middleChannel.first.get());
    waitFor(middle);
    if (!message || !*message)
        return fail(ErrorCode::OperationFailed, "the process that starts the container's init died");
    if ((*message)->kind == "error")
        return ct::errorFrom((*message)->body);
    InitProcess init;
    init.pid = static_cast<pid_t>((*message)->body.number("pid"));
    VZ_TRY(init.pidFd, openPidFd(init.pid));
    init.channel = std::move(initChannel.first);
    return init;
}

} // namespace vz::supervisor
