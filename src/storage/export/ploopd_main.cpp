// SPDX-License-Identifier: LGPL-2.1-or-later
// vz-ploopd: holds one image open and makes a block device of it. It is started by exports::attach().
#include "storage/export/server.hpp"

#include "base/file.hpp"
#include "base/log.hpp"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <syslog.h>

namespace {

using namespace vz;
using namespace vz::exports;

constexpr int channelFd = 3; ///< of who has started us

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

/** What exports::attach() gives behind the fixed arguments: NAME=VALUE. */
Result<void> useOption(std::string_view option, Options& options) {
    constexpr std::string_view cgroup = "cgroup=", owner = "owner=";
    if (option.starts_with(cgroup))
        // There is one thread only, so version 1 moves all of us, too.
        return file::writeValue(cat(option.substr(cgroup.size()), "/cgroup.procs"), "0");
    if (option.starts_with(owner)) {
        VZ_TRY(options.server.owner, ownerFrom(option.substr(owner.size())));
        return {};
    }
    options.tied = options.tied || option == "tied";
    return option == "tied" ? Result<void>()
                            : fail(ErrorCode::InvalidArg, "there is no option '", option, "'");
}

Result<Options> optionsFrom(int argc, char** argv) {
    constexpr int fixed = 6;
    if (argc < fixed)
        return fail(ErrorCode::InvalidArg,
                    "Usage: vz-ploopd DESCRIPTOR GUID ro|rw best|loop|fuse|nbd DEVICE|'' [OPTION]...");
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

int serve(UniqueFd channel, int argc, char** argv) {
    sigset_t signals; // for all threads
    ::sigemptyset(&signals);
    ::sigaddset(&signals, SIGTERM);
    ::sigaddset(&signals, SIGINT);
    ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
    auto options = optionsFrom(argc, argv);
    if (options)
        options->server.progress = [&](uint64_t, uint64_t) { return isWanted(channel.get()); };
    auto started = options ? Server::start(options->server) : std::move(options).takeError();
    if (!started) {
        (void)sendPacket(channel.get(), errorTexts(started.error()));
        return 1;
    }
    std::shared_ptr<Server> server = *std::move(started);
    obey(server, signals);
    (void)sendPacket(channel.get(), {"ok", server->attachment().id});
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
    UniqueFd channel(channelFd);
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
        ::_exit(serve(std::move(channel), argc, argv));
    } catch (const std::exception& failure) {
        log::error(failure.what());
        return 1;
    }
}
