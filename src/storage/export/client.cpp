// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/client.hpp"

#include "base/file.hpp"
#include "base/process.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <poll.h>
#include <sys/socket.h>
#include <thread>

namespace vz::exports {

namespace {

using Clock = std::chrono::steady_clock;

std::string program() {
    const char* given = std::getenv("VZ_PLOOPD");
    return given && *given == '/' ? given : VZ_PLOOPD_PATH;
}

std::unique_ptr<BlockDevice> deviceOf(const Attachment& attachment) {
    return BlockDevice::find(attachment.device, attachment.sequence);
}

Result<bool> readable(int fd, Clock::time_point deadline) {
    for (;;) {
        auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
        pollfd poll{fd, POLLIN, 0};
        int got = ::poll(&poll, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
        if (got >= 0)
            return got > 0;
        if (errno != EINTR)
            return failErrno(errno, "cannot wait for vz-ploopd");
    }
}

/** A descriptor that is a link would make the image of another folder of this one. */
Result<void> requireNoLink(const std::string& path) {
    if (!path.ends_with(".xml"))
        return {}; // a file without one, which is what the path leads to
    VZ_CHECK(ploop::hostFiles().open(path, ploop::Access::ReadOnly));
    return {};
}

/** Starts a vz-ploopd; what it says when it is ready: "ok ID". */
Result<Packet> start(const AttachOptions& options, bool held, UniqueFd* tie) {
    VZ_CHECK(requireNoLink(options.descriptor));
    VZ_TRY(auto descriptor, realPath(options.descriptor));
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return failErrno(errno, "cannot make a socket");
    UniqueFd ours(ends[0]), theirs(ends[1]);
    process::Command command;
    command.argv = {program(),
                    descriptor,
                    options.guid.value_or(ploop::topGuid),
                    options.readOnly ? "ro" : "rw",
                    nameOf(options.mechanism),
                    options.device};
    if (options.mechanism == Mechanism::Nbd) {
        command.argv.push_back(cat("owner=", options.owner.user, ":", options.owner.group));
        command.argv.push_back("name=" + options.name);
    }
    if (tie)
        command.argv.push_back("tied");
    for (const auto& folder : options.cgroups)
        command.argv.push_back("cgroup=" + folder);
    if (held)
        command.argv.push_back("held");
    command.fds = {{channelFd, theirs.get()}};
    command.environment.push_back("VZ_PLOOP_RUNDIR=" + runFolder());
    VZ_TRY(pid_t pid, process::spawn(command));
    theirs.reset();
    auto packet = receivePacket(ours.get());
    // The process that we have started only starts another one.
    VZ_CHECK(process::wait(pid));
    if (!packet)
        return std::move(packet).takeError();
    if (!*packet)
        return fail(ErrorCode::OperationFailed, program(),
                    " has ended without a word; the system log may say why");
    if ((*packet)->texts.size() != 2 || (*packet)->texts[0] != "ok")
        return errorFrom((*packet)->texts);
    if (tie)
        *tie = std::move(ours);
    return std::move(**packet);
}

Result<Attachment> byId(const std::string& id) {
    VZ_TRY(auto found, findById(id));
    if (!found)
        return fail(ErrorCode::OperationFailed, "the device went away at once");
    return *std::move(found);
}

} // namespace

Result<std::optional<Attachment>> findById(const std::string& id) {
    VZ_TRY(auto states, readStates());
    for (auto& one : states) {
        if (one.id == id)
            return std::optional(std::move(one));
    }
    return std::optional<Attachment>();
}

Result<std::string> realPath(const std::string& path) {
    char real[PATH_MAX];
    if (!::realpath(path.c_str(), real))
        return failErrno(errno, "cannot find ", path);
    return std::string(real);
}

Result<Attachment> attach(const AttachOptions& options, UniqueFd* tie) {
    VZ_TRY(auto answer, start(options, false, tie));
    return byId(answer.texts[1]);
}

Result<Held> attachHeld(const AttachOptions& options) {
    VZ_TRY(auto answer, start(options, true, nullptr));
    VZ_TRY(auto attachment, byId(answer.texts[1]));
    return Held{std::move(attachment), std::move(answer.fd)};
}

bool alive(const Attachment& attachment) {
    return static_cast<bool>(connectTo(attachment.socketPath()));
}

Result<std::vector<Attachment>> list() {
    VZ_TRY(auto states, readStates());
    std::vector<std::string> sockets; // of the dead
    std::erase_if(states, [&](const Attachment& one) {
        if (alive(one) || deviceOf(one))
            return false;
        removeState(one);
        if (one.mechanism == Mechanism::Nbd)
            sockets.push_back(one.device);
        return true;
    });
    for (const auto& socket : sockets) {
        // Another server may have come after it, also just now.
        VZ_TRY(auto present, readStates());
        if (std::none_of(present.begin(), present.end(),
                         [&](const auto& one) { return one.device == socket; }))
            (void)file::remove(socket);
    }
    return states;
}

Result<std::optional<Attachment>> find(const std::string& given) {
    VZ_TRY(auto descriptor, realPath(given));
    VZ_TRY(auto all, readStates());
    for (auto& one : all) {
        if (one.descriptor == descriptor && !one.readOnly && alive(one))
            return std::optional(std::move(one));
    }
    return std::optional<Attachment>();
}

Result<Texts> call(const Attachment& attachment, const Texts& request, const ploop::Progress& progress,
                   int fd) {
    VZ_TRY(auto socket, connectTo(attachment.socketPath()));
    VZ_CHECK(sendPacket(socket.get(), request, fd));
    for (;;) {
        VZ_TRY(auto packet, receivePacket(socket.get()));
        if (!packet)
            return fail(ErrorCode::OperationFailed, "vz-ploopd, which has ", attachment.descriptor,
                        " open, has ended");
        auto& texts = packet->texts;
        if (texts[0] == "progress" && texts.size() == 3) {
            auto done = parseNumber<uint64_t>(texts[1]), total = parseNumber<uint64_t>(texts[2]);
            // Hanging up stops the work.
            if (progress && done && total && !progress(*done, *total))
                return fail(ErrorCode::OperationAborted, "stopped");
            continue;
        }
        if (texts[0] != "ok")
            return errorFrom(texts);
        texts.erase(texts.begin());
        return std::move(texts);
    }
}

bool wasGone(const Error& error) {
    int number = error.systemError();
    return number == ENOTCONN || number == ECONNREFUSED || number == ENOENT;
}

Result<void> detach(const Attachment& attachment) {
    auto done = call(attachment, {"detach"});
    if (done)
        return {};
    if (!wasGone(done.error()))
        return std::move(done).takeError();
    if (auto device = deviceOf(attachment)) {
        VZ_TRY(bool claimed, device->claimed());
        if (claimed)
            return fail(ErrorCode::ResourceBusy, attachment.device, " is in use");
        VZ_CHECK(device->release());
    }
    removeState(attachment);
    return {};
}

Result<void> awaitEnd(const std::string& id, std::chrono::milliseconds limit) {
    auto deadline = Clock::now() + limit;
    VZ_TRY(auto attachment, findById(id));
    auto stillOpen = [&] {
        return fail(ErrorCode::OperationTimeout, attachment ? attachment->descriptor : cat("image ", id),
                    " is not closed yet");
    };
    Attachment unnamed;
    unnamed.id = id;
    if (auto socket = connectTo(unnamed.socketPath())) {
        if (auto asked = sendPacket(socket->get(), {"wait"})) {
            VZ_TRY(bool answered, readable(socket->get(), deadline));
            if (!answered)
                return stillOpen();
            auto packet = receivePacket(socket->get());
            if (packet && *packet)
                return (*packet)->texts[0] == "ok" ? Result<void>() : errorFrom((*packet)->texts);
        }
    }
    // vz-ploopd has ended, or died: then its device may still have users, and on a plain loop device the
    // file.
    while (attachment && deviceOf(*attachment)) {
        if (Clock::now() >= deadline)
            return stillOpen();
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    if (attachment)
        removeState(*attachment);
    return {};
}

Result<void> leaveToUsers(const Attachment& attachment) {
    auto device = deviceOf(attachment);
    if (!device)
        return fail(ErrorCode::OperationInvalid, attachment.device, " has gone");
    return device->setAutoclear(true);
}

} // namespace vz::exports
