// SPDX-License-Identifier: LGPL-2.1-or-later
// What init does between its first moment and exec. It already has all its namespaces.
#include "ct/supervisor/namespaces.hpp"

#include "base/file.hpp"
#include "ct/protocol.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace vz::supervisor {

namespace {

constexpr unsigned kernelMount = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

class Init {
public:
    Init(const ct::LaunchSpec& spec, const InitOptions& options, int channel)
        : spec_(spec), options_(options), channel_(channel) {}

    /** All steps in their order; returns only at the first that fails, which the supervisor is told. */
    void run() {
        using Step = Result<void> (Init::*)();
        static constexpr Step steps[] = {
            &Init::cleanProcess,  &Init::openKernelFs, &Init::changeRoot,  &Init::placeKernelFs,
            &Init::placeCgroups,  &Init::placeIpcFs,   &Init::placeView,   &Init::maskPaths,
            &Init::lockPaths,     &Init::setHostname,  &Init::openConsole, &Init::enterFolder,
            &Init::setProfile,    &Init::waitForGo,    &Init::limitRights, &Init::changeIds,
            &Init::installFilter, &Init::dropRights,   &Init::execute,
        };
        for (auto step : steps)
            if (auto done = (this->*step)(); !done)
                return (void)ct::sendMessage(channel_, {"error", 0, ct::errorRecord(done.error()), {}});
    }

private:
    /** Nothing of the supervisor goes along: descriptors, signals, mask. */
    Result<void> cleanProcess() {
        std::vector<int> kept{channel_};
        for (const auto& each : options_.view)
            kept.push_back(each.mount.get());
        closeOthers(std::move(kept));
        for (int number = 1; number < NSIG; ++number)
            ::signal(number, SIG_DFL);
        sigset_t none;
        sigemptyset(&none);
        ::sigprocmask(SIG_SETMASK, &none, nullptr);
        ::umask(022);
        ::setsid();
        return {};
    }

    /** While the host's /proc and /sys can still be seen: the kernel asks for that in a user namespace. */
    Result<void> openKernelFs() {
        VZ_TRY(proc_, newMount("proc", {}, kernelMount));
        if (!spec_.privateNetwork)
            return {}; // the supervisor has mounted the host's
        VZ_TRY(sys_, newMount("sysfs", {}, kernelMount | MOUNT_ATTR_RDONLY));
        return {};
    }

    /** The root (the current folder: a path to it may be closed to the container's ids) is bound onto itself
     * first: as a copy of the supervisor's mount it is locked in its place. */
    Result<void> changeRoot() {
        if (::mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) < 0)
            return failErrno(errno, "cannot make the container's mounts its own");
        VZ_TRY(auto tree, cloneMount(AT_FDCWD, "", true));
        VZ_CHECK(placeMount(tree.get(), AT_FDCWD, "the container's root"));
        if (::fchdir(tree.get()) < 0 || ::syscall(SYS_pivot_root, ".", ".") < 0 ||
            ::umount2(".", MNT_DETACH) < 0 || ::chdir("/") < 0)
            return failErrno(errno, "cannot change to the container's root");
        return {};
    }

    // From here on every path is one inside the container, and no link can lead out.

    Result<void> placeKernelFs() {
        VZ_CHECK(placeMount(proc_.get(), "/proc"));
        return sys_ ? placeMount(sys_.get(), "/sys") : Result<void>();
    }

    static Result<void> mountNew(const char* type, const FsOptions& options, unsigned attributes,
                                 const char* path) {
        VZ_TRY(auto mount, newMount(type, options, attributes));
        return placeMount(mount.get(), path);
    }

    Result<void> placeCgroups() {
        if (spec_.cgroupView == "unified")
            return mountNew("cgroup2", {}, kernelMount, "/sys/fs/cgroup");
        if (spec_.cgroupView != "hybrid")
            return {};
        VZ_CHECK(mountNew("tmpfs", {{"mode", "755"}, {"size", "64k"}}, kernelMount, "/sys/fs/cgroup"));
        if (::mkdir("/sys/fs/cgroup/systemd", 0755) < 0 || ::mkdir("/sys/fs/cgroup/unified", 0755) < 0)
            return failErrno(errno, "cannot make the folders of /sys/fs/cgroup");
        VZ_CHECK(
            mountNew("cgroup", {{"none", ""}, {"name", "systemd"}}, kernelMount, "/sys/fs/cgroup/systemd"));
        return mountNew("cgroup2", {}, kernelMount, "/sys/fs/cgroup/unified");
    }

    Result<void> placeIpcFs() {
        // Only who administers the IPC namespace may mount it: see LaunchSpec::sharedMemPages.
        if (!spec_.sharedMemPages)
            VZ_CHECK(mountNew("mqueue", {}, kernelMount, "/dev/mqueue"));
        return mountNew("tmpfs", {{"mode", "1777"}}, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, "/dev/shm");
    }

    /** What does not work out leaves the host's figures to be seen, and the container usable. */
    Result<void> placeView() {
        for (const auto& each : options_.view) {
            if (identify(AT_FDCWD, each.target)) {
                VZ_CHECK(placeMount(each.mount.get(), each.target));
            } else if (!each.otherwise.empty()) {
                VZ_TRY([[maybe_unused]] auto file,
                       file::open(each.otherwise, O_CREAT | O_RDONLY | O_NOFOLLOW, 0400));
                VZ_CHECK(placeMount(each.mount.get(), each.otherwise));
            }
        }
        return {};
    }

    Result<void> maskPaths() {
        for (const auto& path : spec_.maskedPaths) {
            auto what = identify(AT_FDCWD, path);
            if (!what)
                continue;
            auto cover = S_ISDIR(what->mode) ? newMount("tmpfs", {{"mode", "0"}, {"size", "4k"}},
                                                        kernelMount | MOUNT_ATTR_RDONLY)
                                             : cloneMount(AT_FDCWD, "/dev/null", false);
            if (!cover)
                return std::move(cover).takeError();
            VZ_CHECK(placeMount(cover->get(), path));
        }
        return {};
    }

    Result<void> lockPaths() {
        for (const auto& path : spec_.readOnlyPaths) {
            if (!identify(AT_FDCWD, path))
                continue;
            VZ_TRY(auto tree, cloneMount(AT_FDCWD, path, true));
            mount_attr change{};
            change.attr_set = MOUNT_ATTR_RDONLY;
            VZ_CHECK(changeMount(tree.get(), change, true, cat("make ", path, " read-only")));
            VZ_CHECK(placeMount(tree.get(), path));
        }
        return {};
    }

    Result<void> setHostname() {
        if (!spec_.hostname.empty() && ::sethostname(spec_.hostname.data(), spec_.hostname.size()) < 0)
            return failErrno(errno, "cannot set the host name '", spec_.hostname, "'");
        return {};
    }

    Result<void> openConsole() {
        if (spec_.consoles.empty())
            return {};
        VZ_TRY(auto console, file::open("/dev/console", O_RDWR | O_NOCTTY));
        if (::ioctl(console.get(), TIOCSCTTY, 0) < 0)
            return failErrno(errno, "cannot take /dev/console as the terminal of init");
        for (int standard = 0; standard <= 2; ++standard)
            if (::dup2(console.get(), standard) < 0)
                return failErrno(errno, "cannot connect init to /dev/console");
        return {};
    }

    Result<void> enterFolder() {
        if (!spec_.workingDir.empty() && ::chdir(spec_.workingDir.c_str()) < 0)
            return failErrno(errno, "cannot enter the folder '", spec_.workingDir, "' of the container");
        return {};
    }

    Result<void> setProfile() {
        if (spec_.apparmorProfile.empty())
            return {};
        std::string value = cat("exec ", spec_.apparmorProfile);
        bool own = file::exists("/proc/self/attr/apparmor/exec");
        return file::writeValue(own ? "/proc/self/attr/apparmor/exec" : "/proc/self/attr/exec", value);
    }

    Result<void> waitForGo() {
        if (!options_.hold)
            return {};
        VZ_CHECK(ct::sendMessage(channel_, {"held", 0, {}, {}}));
        auto answer = ct::receiveMessage(channel_);
        if (!answer || !*answer)
            return fail(ErrorCode::OperationAborted, "the start was given up");
        return {};
    }

    Result<void> limitRights() {
        for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability) >= 0; ++capability) {
            if (!(spec_.capabilities >> capability & 1) && ::prctl(PR_CAPBSET_DROP, capability) < 0)
                return failErrno(errno, "cannot take away capability ", capability);
        }
        if (spec_.noNewPrivileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
            return failErrno(errno, "cannot set no_new_privs");
        return {};
    }

    Result<void> changeIds() {
        if (spec_.initUid == 0 && spec_.initGid == 0)
            return {};
        ::prctl(PR_SET_KEEPCAPS, 1); // the filter below still needs one
        if (::setgroups(0, nullptr) < 0 || ::setresgid(spec_.initGid, spec_.initGid, spec_.initGid) < 0 ||
            ::setresuid(spec_.initUid, spec_.initUid, spec_.initUid) < 0)
            return failErrno(errno, "cannot become ", spec_.initUid, ":", spec_.initGid, " of the container");
        return setCapabilities(1ull << CAP_SYS_ADMIN);
    }

    static Result<void> setCapabilities(uint64_t wanted) {
        __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
        __user_cap_data_struct data[2]{};
        for (int half = 0; half < 2; ++half)
            data[half].effective = data[half].permitted = static_cast<uint32_t>(wanted >> (32 * half));
        if (::syscall(SYS_capset, &header, data) < 0)
            return failErrno(errno, "cannot set the capabilities of init");
        return {};
    }

    Result<void> installFilter() {
        if (spec_.seccomp.empty())
            return {};
        sock_fprog program{};
        program.len = static_cast<unsigned short>(spec_.seccomp.size() / sizeof(sock_filter));
        program.filter = reinterpret_cast<sock_filter*>(const_cast<char*>(spec_.seccomp.data()));
        if (::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
            return failErrno(errno, "cannot install the system call filter");
        return {};
    }

    Result<void> dropRights() { return spec_.initUid != 0 ? setCapabilities(0) : Result<void>(); }

    Result<void> execute() {
        if (spec_.argv.empty())
            return fail(ErrorCode::InvalidArg, "no init is given");
        std::vector<char*> argv, environment;
        for (const auto& word : spec_.argv)
            argv.push_back(const_cast<char*>(word.c_str()));
        for (const auto* list : {&spec_.environment, &options_.extraEnvironment})
            for (const auto& word : *list)
                environment.push_back(const_cast<char*>(word.c_str()));
        argv.push_back(nullptr);
        environment.push_back(nullptr);
        ::execve(argv[0], argv.data(), environment.data());
        return failErrno(errno, "cannot run init ", spec_.argv[0]);
    }

    const ct::LaunchSpec& spec_;
    const InitOptions& options_;
    int channel_;
    UniqueFd proc_, sys_;
};

} // namespace

void becomeInit(const ct::LaunchSpec& spec, const InitOptions& options, int channel) {
    Init(spec, options, channel).run();
}

} // namespace vz::supervisor
