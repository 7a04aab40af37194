// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/freezer.hpp"

#include <algorithm>
#include <cerrno>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace vz::exports {

namespace {

void closeRange(unsigned first, unsigned last) {
    if (first <= last)
        (void)::syscall(SYS_close_range, first, last, 0u);
}

/**
 * The process that freezes; its life is that of the freeze. It is forked from one with many threads, so
 * nothing but system calls is done here. It keeps no other file: /dev/fuse open here would keep the requests
 * of a dead vz-ploopd waiting.
 */
[[noreturn]] void holdStill(int folder, int channel) {
    auto low = static_cast<unsigned>(std::min(folder, channel));
    auto high = static_cast<unsigned>(std::max(folder, channel));
    if (low > 0)
        closeRange(0, low - 1);
    closeRange(low + 1, high - 1);
    closeRange(high + 1, ~0u);
    int outcome = ::ioctl(folder, FIFREEZE, 0) == 0 ? 0 : errno;
    if (::send(channel, &outcome, sizeof outcome, MSG_NOSIGNAL) == sizeof outcome) {
        char end;
        while (::recv(channel, &end, 1, 0) < 0 && errno == EINTR) {
        }
    }
    if (outcome == 0)
        (void)::ioctl(folder, FITHAW, 0);
    ::_exit(0);
}

} // namespace

Result<Freezer> Freezer::freeze(UniqueFd folder) {
    Freezer freezer;
    if (!folder)
        return freezer;
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return failErrno(errno, "cannot make a socket");
    freezer.channel_.reset(ends[0]);
    UniqueFd theirs(ends[1]);
    freezer.process_ = ::fork();
    if (freezer.process_ < 0) {
        freezer.process_ = 0;
        return failErrno(errno, "cannot start a process that freezes the file system");
    }
    if (freezer.process_ == 0)
        holdStill(folder.get(), theirs.get());
    theirs.reset();
    folder.reset();
    ssize_t got;
    do {
        got = ::recv(freezer.channel_.get(), &freezer.outcome_, sizeof freezer.outcome_, 0);
    } while (got < 0 && errno == EINTR);
    if (got != sizeof freezer.outcome_)
        return fail(ErrorCode::OperationFailed, "the process that freezes the file system was killed");
    freezer.asked_ = true;
    return freezer;
}

Freezer::Freezer(Freezer&& other) noexcept
    : channel_(std::move(other.channel_)), process_(std::exchange(other.process_, 0)),
      asked_(std::exchange(other.asked_, false)), outcome_(other.outcome_) {}

Freezer& Freezer::operator=(Freezer&& other) noexcept {
    if (this != &other) {
        thaw();
        channel_ = std::move(other.channel_);
        process_ = std::exchange(other.process_, 0);
        asked_ = std::exchange(other.asked_, false);
        outcome_ = other.outcome_;
    }
    return *this;
}

int Freezer::failed() const {
    return outcome_ == EBUSY || outcome_ == EOPNOTSUPP ? 0 : outcome_;
}

bool Freezer::still() const {
    return asked_ && (outcome_ == 0 || outcome_ == EBUSY);
}

void Freezer::thaw() {
    channel_.reset();
    if (pid_t process = std::exchange(process_, 0)) {
        while (::waitpid(process, nullptr, 0) < 0 && errno == EINTR) {
        }
    }
    asked_ = false;
}

} // namespace vz::exports
