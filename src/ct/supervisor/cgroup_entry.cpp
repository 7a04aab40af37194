// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/cgroup_entry.hpp"

#include "base/file.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <linux/sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace vz::supervisor {

namespace {

bool isV1(const std::string& dir) {
    return file::exists(dir + "/tasks");
}

} // namespace

Result<void> enterV1Cgroups(const std::vector<std::string>& dirs) {
    for (const auto& dir : dirs) {
        if (isV1(dir))
            VZ_CHECK(file::writeValue(dir + "/tasks", "0"));
    }
    return {};
}

Result<pid_t> forkIntoCgroup(const std::vector<std::string>& dirs) {
    clone_args arguments{};
    arguments.exit_signal = SIGCHLD;
    UniqueFd group;
    for (const auto& dir : dirs) {
        if (isV1(dir))
            continue;
        VZ_TRY(group, file::open(dir, O_RDONLY | O_DIRECTORY));
        arguments.flags = CLONE_INTO_CGROUP;
        arguments.cgroup = static_cast<uint64_t>(group.get());
    }
    long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid < 0)
        return failErrno(errno, "cannot start a process for the container");
    return static_cast<pid_t>(pid);
}

} // namespace vz::supervisor
