// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/supervisor.hpp"

#include "base/file.hpp"
#include "ct/supervisor/cgroup_entry.hpp"
#include "ct/supervisor/keep_namespace.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sched.h>
#include <string_view>
#include <unistd.h>

namespace vz::supervisor {

namespace {

constexpr int daemonFd = 3;

struct Launch {
    ct::LaunchSpec spec;
    StartWishes wishes;
    uint32_t serial = 0;
};

Result<Launch> receiveLaunch(int daemon) {
    VZ_TRY(auto message, ct::receiveMessage(daemon));
    if (!message || message->kind != "launch" || message->fds.size() != 1)
        return fail(ErrorCode::InvalidArg, "vz-supervisor is started by libvirtd only");
    VZ_TRY(auto text, file::read(cat("/proc/self/fd/", message->fds[0].get())));
    Launch launch;
    VZ_TRY(launch.spec, ct::decode(text));
    launch.wishes = {message->body.number("network") != 0, message->body.number("hold") != 0};
    launch.serial = message->serial;
    return launch;
}

/** Enters the supervisor's cgroups and forks the process that stays, as PID 1 of a pid namespace of its own.
 */
Result<pid_t> forkSupervisor(const Launch& launch) {
    VZ_CHECK(enterV1Cgroups(launch.spec.supervisorCgroups));
    if (::unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
        return failErrno(errno, "cannot make the supervisor's pid and mount namespaces");
    return forkIntoCgroup(launch.spec.supervisorCgroups);
}

void tell(int daemon, uint32_t serial, const Error& error) {
    (void)ct::sendMessage(daemon, {"error", serial, ct::errorRecord(error), {}});
}

[[noreturn]] void supervise(Launch launch) {
    uint32_t serial = launch.serial;
    auto begin = [&]() -> Result<void> {
        VZ_TRY(auto loop, Loop::create());
        Supervisor supervisor(std::move(loop), std::move(launch.spec), UniqueFd(daemonFd), serial);
        auto started = supervisor.start(launch.wishes);
        if (!started) {
            tell(daemonFd, serial, started.error());
            ::_exit(1); // with it the kernel ends all that was begun
        }
        supervisor.run();
    };
    if (auto done = begin(); !done)
        tell(daemonFd, serial, done.error());
    ::_exit(1);
}

int launch() {
    ::fcntl(daemonFd, F_SETFD, FD_CLOEXEC);
    auto launch = receiveLaunch(daemonFd);
    if (!launch) {
        tell(daemonFd, 0, launch.error());
        return 1;
    }
    auto pid = forkSupervisor(*launch);
    if (!pid) {
        tell(daemonFd, launch->serial, pid.error());
        return 1;
    }
    if (*pid == 0)
        supervise(*std::move(launch));
    // The daemon needs the handle before anything else comes: the child has it to itself from here on.
    auto handle = openPidFd(*pid);
    if (handle)
        (void)ct::sendMessage(daemonFd, {"supervisor", 0, {}, {}}, {handle->get()});
    return 0;
}

} // namespace

} // namespace vz::supervisor

int main(int count, char** arguments) {
    std::string_view use = count == 3 ? arguments[1] : "";
    if (use == "keep")
        return vz::supervisor::keepNamespace(arguments[2]);
    if (use == "drop")
        return vz::supervisor::dropNamespace(arguments[2]);
    return vz::supervisor::launch();
}
