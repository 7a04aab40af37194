// SPDX-License-Identifier: LGPL-2.1-or-later
// vz-ploopd: holds one image open and makes a block device of it. It is started by exports::attach().
#include "storage/export/server.hpp"

#include "base/file.hpp"
#include "base/log.hpp"

#include <csignal>
#include <cstdio>
#include <exception>
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

/** What exports::attach() gives behind the fixed arguments: "held" or NAME=VALUE. */
Result<void> useOption(std::string_view option, Server::Options& options) {
    if (option == "held") {
        options.held = true;
        return {};
    }
    constexpr std::string_view cgroup = "cgroup=";
    if (!option.starts_with(cgroup))
        return fail(ErrorCode::InvalidArg, "there is no option '", option, "'");
    // There is one thread only, so version 1 moves all of us, too.
    return file::writeValue(cat(option.substr(cgroup.size()), "/cgroup.procs"), "0");
}

Result<Server::Options> optionsFrom(int argc, char** argv) {
    constexpr int fixed = 6;
    if (argc < fixed)
        return fail(ErrorCode::InvalidArg,
                    "Usage: vz-ploopd DESCRIPTOR GUID ro|rw best|loop|fuse DEVICE|'' [OPTION]...");
    Server::Options options;
    for (int i = fixed; i < argc; ++i)
        VZ_CHECK(useOption(argv[i], options));
    options.descriptor = argv[1];
    options.guid = argv[2];
    options.readOnly = std::string_view(argv[3]) == "ro";
    auto mechanism = mechanismNamed(argv[4]);
    if (!mechanism)
        return fail(ErrorCode::InvalidArg, "there is no mechanism '", argv[4], "'");
    options.mechanism = *mechanism;
    options.device = argv[5];
    return options;
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
    auto started = options ? Server::start(*options) : std::move(options).takeError();
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
