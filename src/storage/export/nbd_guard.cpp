// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/nbd_guard.hpp"

#include "base/process.hpp"
#include "base/text.hpp"
#include "storage/export/nbd_device.hpp"

#include <cerrno>
#include <csignal>
#include <sys/socket.h>
#include <sys/wait.h>
#include <utility>

namespace vz::exports {

namespace {

constexpr int lifeFd = 3; ///< of the guard: ends with who is guarded

} // namespace

Result<NbdGuard> NbdGuard::start(uint64_t sequence) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return failErrno(errno, "cannot make a socket");
    NbdGuard guard;
    guard.channel_.reset(ends[0]);
    UniqueFd theirs(ends[1]);
    process::Command command;
    command.argv = {"/proc/self/exe", std::string(guardArgument), cat(sequence)};
    command.fds = {{lifeFd, theirs.get()}};
    VZ_TRY(guard.process_, process::spawn(command));
    return guard;
}

NbdGuard::NbdGuard(NbdGuard&& other) noexcept
    : channel_(std::move(other.channel_)), process_(std::exchange(other.process_, 0)) {}

NbdGuard& NbdGuard::operator=(NbdGuard&& other) noexcept {
    if (this != &other) {
        end();
        channel_ = std::move(other.channel_);
        process_ = std::exchange(other.process_, 0);
    }
    return *this;
}

void NbdGuard::end() {
    channel_.reset();
    if (pid_t process = std::exchange(process_, 0)) {
        while (::waitpid(process, nullptr, 0) < 0 && errno == EINTR) {
        }
    }
}

int guardDevice(std::string_view sequence) {
    // It ends when who is guarded does, not before.
    for (int number : {SIGTERM, SIGINT, SIGHUP})
        ::signal(number, SIG_IGN);
    auto wanted = parseNumber<uint64_t>(sequence);
    if (!wanted)
        return 2;
    char end;
    while (::recv(lifeFd, &end, 1, 0) < 0 && errno == EINTR) {
    }
    auto left = NbdDevice::findAnywhere(*wanted);
    if (!left)
        return 0;
    return left->disconnect() ? 0 : 1;
}

} // namespace vz::exports
