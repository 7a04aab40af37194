// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/id_map.hpp"

#include "base/file.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

namespace vz::ct {

namespace {

/** A child that only waits, so that its new namespace can be given maps; killed and reaped at the end. */
class Holder {
public:
    static Result<pid_t> start() {
        // CLONE_VM: none of the daemon's page tables are copied for a child that only waits. It has this
        // thread's C library state, so it makes plain system calls only. No signal at its end: the daemon's
        // own child handling must not see it.
        alignas(16) static thread_local char stack[4096];
        pid_t pid = ::clone(
            [](void*) -> int {
                ::syscall(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL);
                for (;;)
                    ::syscall(SYS_pause);
            },
            stack + sizeof stack, CLONE_NEWUSER | CLONE_VM, nullptr);
        if (pid < 0)
            return failErrno(errno, "cannot make a user namespace");
        return pid;
    }
    explicit Holder(pid_t pid) : pid_(pid) {}
    Holder(const Holder&) = delete;
    Holder& operator=(const Holder&) = delete;
    ~Holder() {
        ::kill(pid_, SIGKILL);
        while (::waitpid(pid_, nullptr, __WALL) < 0 && errno == EINTR) {
        }
    }

private:
    pid_t pid_;
};

std::string mapText(const std::vector<IdRange>& ranges) {
    std::string text;
    for (const auto& range : ranges)
        text += cat(range.inside, " ", range.host, " ", range.count, "\n");
    return text;
}

} // namespace

Result<UniqueFd> makeUserNamespace(const std::vector<IdRange>& uids, const std::vector<IdRange>& gids) {
    VZ_TRY(pid_t pid, Holder::start());
    Holder holder(pid);
    VZ_CHECK(file::writeValue(cat("/proc/", pid, "/uid_map"), mapText(uids)));
    VZ_CHECK(file::writeValue(cat("/proc/", pid, "/gid_map"), mapText(gids)));
    return file::open(cat("/proc/", pid, "/ns/user"), O_RDONLY);
}

Result<UniqueFd> cloneIdMapped(const std::string& path, int userNamespace) {
    UniqueFd tree(static_cast<int>(
        ::syscall(SYS_open_tree, AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
    if (!tree)
        return failErrno(errno, "cannot clone the mount of ", path);
    mount_attr attributes{};
    attributes.attr_set = MOUNT_ATTR_IDMAP;
    attributes.userns_fd = static_cast<uint64_t>(userNamespace);
    if (::syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) < 0)
        return failErrno(errno, "cannot map the owners of ", path);
    return tree;
}

} // namespace vz::ct
