// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor_start.hpp"

#include "base/file.hpp"
#include "base/process.hpp"
#include "ct/pidfd.hpp"
#include "ct/protocol.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>

#include <sys/socket.h>
#include <sys/un.h>

namespace vz::ct {

namespace {

using Clock = std::chrono::steady_clock;

/** Waits until there is something to read; false at the deadline. */
bool readable(int fd, Clock::time_point deadline) {
    for (;;) {
        auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
        pollfd poll{fd, POLLIN, 0};
        int got = ::poll(&poll, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
        if (got > 0)
            return true;
        if (got == 0 || errno != EINTR)
            return false;
    }
}

/** A description may be longer than a packet: it travels as a file. */
Result<UniqueFd> asFile(const std::string& text) {
    UniqueFd file(::memfd_create("vz-launch", MFD_CLOEXEC));
    if (!file)
        return failErrno(errno, "cannot make a file for the launch description");
    VZ_CHECK(file::writeAll(file.get(), text));
    return file;
}

/** Takes what hello{} and started{} say. */
Result<SupervisorLink> linkFrom(UniqueFd control, Message greeting) {
    if (greeting.fds.empty())
        return fail(ErrorCode::InternalError, "the supervisor's greeting has no descriptors");
    SupervisorLink link;
    link.control = std::move(control);
    link.supervisor = std::move(greeting.fds[0]);
    if (greeting.fds.size() > 1)
        link.init = std::move(greeting.fds[1]);
    link.boots = static_cast<unsigned>(greeting.body.number("boots"));
    for (auto path : greeting.body.all("console"))
        link.consoles.emplace_back(path);
    return link;
}

/** One start: owns the half-made supervisor and ends it unless all went well. */
class Starter {
public:
    Starter(LaunchSpec& spec, const Container::StartOptions& options)
        : spec_(spec), options_(options), deadline_(Clock::now() + options.limit) {}
    Starter(const Starter&) = delete;
    Starter& operator=(const Starter&) = delete;

    ~Starter() {
        if (supervisor_)
            (void)::pidfd_send_signal(supervisor_.get(), SIGKILL, nullptr, 0);
        reapLauncher();
        if (supervisor_)
            readable(supervisor_.get(), Clock::now() + std::chrono::seconds(5));
        else
            drain();
    }

    Result<SupervisorLink> run() {
        VZ_CHECK(spawn());
        if (options_.prepare)
            VZ_CHECK(options_.prepare(launcher_, spec_));
        VZ_CHECK(sendLaunch());
        for (;;) {
            VZ_TRY(auto message, next());
            if (message.kind == "started") {
                reapLauncher();
                supervisor_.reset();
                return linkFrom(std::move(channel_), std::move(message));
            }
            VZ_CHECK(answer(std::move(message)));
        }
    }

private:
    Result<void> spawn() {
        VZ_TRY(auto channel, makeChannel());
        channel_ = std::move(channel.first);
        process::Command command;
        command.argv = {options_.supervisorPath};
        command.fds = {{3, channel.second.get()}};
        VZ_TRY(launcher_, process::spawn(command));
        return {};
    }

    Result<void> sendLaunch() {
        VZ_TRY(auto file, asFile(encode(spec_)));
        Message message{"launch", 1, {}, {}};
        message.body.add("network", options_.network ? 1 : 0).add("hold", options_.beforeInit ? 1 : 0);
        return sendMessage(channel_.get(), message, {file.get()});
    }

    Result<Message> next() {
        if (!readable(channel_.get(), deadline_))
            return fail(ErrorCode::OperationTimeout, "the container '", spec_.name, "' did not start within ",
                        options_.limit.count(), " ms");
        VZ_TRY(auto message, receiveMessage(channel_.get()));
        if (!message)
            return fail(ErrorCode::OperationFailed, "the supervisor ", options_.supervisorPath,
                        " ended while it started '", spec_.name, "'");
        return *std::move(message);
    }

    Result<void> answer(Message message) {
        if (message.kind == "error")
            return errorFrom(message.body);
        if (message.fds.size() != 1)
            return fail(ErrorCode::InternalError, "the supervisor sent '", message.kind,
                        "' without its descriptor");
        if (message.kind == "supervisor") {
            supervisor_ = std::move(message.fds[0]);
            reapLauncher();
            return {};
        }
        if (message.kind == "network")
            VZ_CHECK(options_.network(message.fds[0].get()));
        else if (message.kind == "held")
            VZ_CHECK(options_.beforeInit(pidOf(message.fds[0].get())));
        return sendMessage(channel_.get(), {"go", 0, {}, {}});
    }

    /** The first process ends by itself as soon as it has handed over; one that has not is ended. */
    void reapLauncher() {
        if (launcher_ <= 0)
            return;
        if (!supervisor_ && channel_)
            ::kill(launcher_, SIGKILL);
        (void)process::wait(launcher_);
        launcher_ = 0;
    }

    /** Waits until no process holds the other end any more. */
    void drain() {
        if (!channel_)
            return;
        ::shutdown(channel_.get(), SHUT_WR);
        auto deadline = Clock::now() + std::chrono::seconds(5);
        while (readable(channel_.get(), deadline)) {
            auto message = receiveMessage(channel_.get());
            if (message && !*message)
                return;
        }
    }

    LaunchSpec& spec_;
    const Container::StartOptions& options_;
    const Clock::time_point deadline_;
    pid_t launcher_ = 0;
    UniqueFd channel_;
    UniqueFd supervisor_;
};

} // namespace

Result<SupervisorLink> startSupervisor(LaunchSpec& spec, const Container::StartOptions& options) {
    return Starter(spec, options).run();
}

Result<SupervisorLink> findSupervisor(const std::string& runDir) {
    auto dir = file::open(runDir, O_PATH | O_DIRECTORY);
    if (!dir)
        return fail(ErrorCode::NoDomain, "no container runs for ", runDir);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::string path = cat("/proc/self/fd/", dir->get(), "/control.sock");
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    if (!socket)
        return failErrno(errno, "cannot make a socket");
    if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
        return fail(ErrorCode::NoDomain, "no supervisor answers at ", runDir,
                    "/control.sock: ", errnoText(errno));
    if (!readable(socket.get(), Clock::now() + std::chrono::seconds(10)))
        return fail(ErrorCode::OperationTimeout, "the supervisor at ", runDir, " does not greet");
    auto message = receiveMessage(socket.get());
    if (!message)
        return std::move(message).takeError();
    if (!*message || (*message)->kind != "hello")
        return fail(ErrorCode::NoDomain, "the supervisor at ", runDir, " is ending");
    return linkFrom(std::move(socket), std::move(**message));
}

pid_t pidOf(int pidFd) {
    auto text = file::read(cat("/proc/self/fdinfo/", pidFd));
    return text ? parseNumber<pid_t>(field(*text, "Pid")).value_or(-1) : -1;
}

} // namespace vz::ct
