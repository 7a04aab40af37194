// SPDX-License-Identifier: LGPL-2.1-or-later
// vz-ploopd: holds one image open and makes a block device of it. It is started by exports::attach().
#include "storage/export/server.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "storage/export/freezer.hpp"
#include "storage/export/nbd_guard.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>
#include <utility>

namespace {

using namespace vz;
using namespace vz::exports;

void toSyslog(log::Level level, const char* message) {
    int priority = level == log::Level::Error     ? LOG_ERR
                   : level == log::Level::Warning ? LOG_WARNING
                                                  : LOG_INFO;
    ::syslog(priority, "%s", message);
}

/** A disk of other processes: these wait for us when they are to give memory back. */
void protect() {
    (void)::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
    (void)file::writeValue("/proc/self/oom_score_adj", "-1000");
}

/** What a path is: device and inode, or those of the nearest folder above it that there is. */
std::pair<dev_t, ino_t> identity(std::string path) {
    struct stat info;
    while (::stat(path.c_str(), &info) < 0) {
        auto slash = path.rfind('/');
        if (slash == path.npos || path == "/")
            return {};
        path.resize(std::max<size_t>(slash, 1));
    }
    return {info.st_dev, info.st_ino};
}

/** The parent of a process; 0 if there is none to be seen. */
pid_t parentOf(pid_t process) {
    auto status = file::read(cat("/proc/", process, "/status"));
    return status ? parseNumber<pid_t>(field(*status, "PPid")).value_or(0) : 0;
}

/** The mount namespace of the farthest ancestor that lets us have it: mostly the system's own. */
UniqueFd outermostMounts() {
    UniqueFd found;
    for (pid_t process = ::getppid(); process > 0; process = parentOf(process)) {
        UniqueFd mounts(::open(cat("/proc/", process, "/ns/mnt").c_str(), O_RDONLY | O_CLOEXEC));
        if (mounts)
            found = std::move(mounts);
    }
    return found;
}

/**
 * Goes to an outer mount namespace if the image and our run folder are the same there. In the caller's, the
 * file system on the image might be mounted when nobody but us is left in it: it would stay mounted, and if
 * we were killed the kernel would wait for ever for a device that waits for our end.
 */
void leaveMounts(const UniqueFd& outer, const std::string& image) {
    UniqueFd own(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
    struct stat here, there;
    if (!own || !outer || ::fstat(own.get(), &here) < 0 || ::fstat(outer.get(), &there) < 0 ||
        here.st_ino == there.st_ino)
        return;
    auto ids = [&] { return std::pair(identity(image), identity(runFolder())); };
    auto before = ids();
    if (::setns(outer.get(), CLONE_NEWNS) == 0 && ids() != before)
        (void)::setns(own.get(), CLONE_NEWNS);
    (void)::chdir("/");
}

struct Options {
    Server::Options server;
    bool tied = false; ///< to who has started us
};

/** "USER:GROUP", as numbers. */
Result<SocketOwner> ownerFrom(std::string_view text) {
    auto colon = text.find(':');
    auto user = parseNumber<uid_t>(text.substr(0, colon));
    auto group = colon == text.npos ? std::nullopt : parseNumber<gid_t>(text.substr(colon + 1));
    if (!user || !group)
        return fail(ErrorCode::InvalidArg, "there is no owner '", text, "'");
    return SocketOwner{*user, *group};
}

/** What exports::attach() gives behind the fixed arguments: "tied", "held" or NAME=VALUE. */
Result<void> useOption(std::string_view option, Options& options) {
    constexpr std::string_view cgroup = "cgroup=", owner = "owner=", name = "name=";
    if (option.starts_with(cgroup))
        // There is one thread only, so version 1 moves all of us, too.
        return file::writeValue(cat(option.substr(cgroup.size()), "/cgroup.procs"), "0");
    if (option.starts_with(owner)) {
        VZ_TRY(options.server.owner, ownerFrom(option.substr(owner.size())));
        return {};
    }
    if (option.starts_with(name)) {
        options.server.name = option.substr(name.size());
        return {};
    }
    options.tied = options.tied || option == "tied";
    options.server.held = options.server.held || option == "held";
    return option == "tied" || option == "held"
               ? Result<void>()
               : fail(ErrorCode::InvalidArg, "there is no option '", option, "'");
}

Result<Options> optionsFrom(int argc, char** argv) {
    constexpr int fixed = 6;
    if (argc < fixed)
        return fail(
            ErrorCode::InvalidArg,
            "Usage: vz-ploopd DESCRIPTOR GUID ro|rw best|loop|fuse|nbd|nbd-device DEVICE|'' [OPTION]...");
    Options options;
    for (int i = fixed; i < argc; ++i)
        VZ_CHECK(useOption(argv[i], options));
    options.server.descriptor = argv[1];
    options.server.guid = argv[2];
    options.server.readOnly = std::string_view(argv[3]) == "ro";
    auto mechanism = mechanismNamed(argv[4]);
    if (!mechanism)
        return fail(ErrorCode::InvalidArg, "there is no mechanism '", argv[4], "'");
    options.server.mechanism = *mechanism;
    options.server.device = argv[5];
    return options;
}

/** Whether who has started us still waits, and nobody wants us to end. */
bool isWanted(int channel) {
    sigset_t pending;
    pollfd other{channel, 0, 0};
    bool asked = ::sigpending(&pending) == 0 &&
                 (::sigismember(&pending, SIGTERM) == 1 || ::sigismember(&pending, SIGINT) == 1);
    return !asked && ::poll(&other, 1, 0) == 0;
}

/** With the end of who has started us the device is left to its users. */
void watch(const std::shared_ptr<Server>& server, UniqueFd channel) {
    std::thread([server, channel = std::move(channel)] {
        pollfd other{channel.get(), 0, 0};
        while (::poll(&other, 1, -1) < 0 && errno == EINTR) {
        }
        server->leaveToUsers();
    }).detach();
}

/** A device that is in use stays until its users are done, also at the end of the system. */
void obey(const std::shared_ptr<Server>& server, sigset_t signals) {
    std::thread([server, signals] {
        for (int number; ::sigwait(&signals, &number) == 0;)
            server->endIfUnused();
    }).detach();
}

int serve(UniqueFd channel, const UniqueFd& outerMounts, int argc, char** argv) {
    sigset_t signals; // for all threads
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGTERM);
    ::sigaddset(&signals, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    auto options = optionsFrom(argc, argv);
    if (options)
        leaveMounts(outerMounts, options->server.descriptor);
    if (options)
        options->server.progress = [&](uint64_t, uint64_t) { return isWanted(channel.get()); };
    auto started = options ? Server::start(options->server) : std::move(options).takeError();
    if (!started) {
        (void)sendPacket(channel.get(), errorTexts(started.error()));
        return 1;
    }
    std::shared_ptr<Server> server = *std::move(started);
    obey(server, signals);
    {
        // If nobody is there to take it, it is the last user of a device that goes by itself.
        UniqueFd holder = server->takeHolder();
        (void)sendPacket(channel.get(), {"ok", server->attachment().id}, holder.get());
    }
    if (options->tied)
        watch(server, std::move(channel));
    channel.reset();
    auto done = server->run();
    if (!done)
        log::error(done.error().message());
    return done ? 0 : 1;
}

} // namespace

int main(int argc, char** argv) {
    if (argc == 2 && argv[1] == freezerArgument)
        return holdStill();
    if (argc == 3 && argv[1] == guardArgument)
        return guardDevice(argv[2]);
    UniqueFd channel(channelFd);
    auto outerMounts = outermostMounts();
    // Whoever starts us does not wait for our end, and may end before.
    pid_t child = ::fork();
    if (child != 0)
        return child > 0 ? 0 : 1;
    (void)::setsid();
    (void)::chdir("/");
    ::umask(022);
    ::openlog("vz-ploopd", LOG_PID, LOG_DAEMON);
    log::setSink(toSyslog);
    protect();
    ::signal(SIGPIPE, SIG_IGN);
    ::signal(SIGHUP, SIG_IGN);
    try {
        // The thread for signals is left as it is.
        ::_exit(serve(std::move(channel), outerMounts, argc, argv));
    } catch (const std::exception& failure) {
        log::error(failure.what());
        return 1;
    }
}
