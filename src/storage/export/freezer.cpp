// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/freezer.hpp"

#include "base/process.hpp"

#include <cerrno>
#include <csignal>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <utility>

namespace vz::exports {

namespace {

constexpr int folderFd = 3, outcomeFd = 4; ///< of the process that freezes

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
    process::Command command;
    command.argv = {"/proc/self/exe", std::string(freezerArgument)};
    command.fds = {{folderFd, folder.get()}, {outcomeFd, theirs.get()}};
    VZ_TRY(freezer.process_, process::spawn(command));
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

int holdStill() {
    // It ends when it is told to, not before.
    for (int number : {SIGTERM, SIGINT, SIGHUP})
        ::signal(number, SIG_IGN);
    int outcome = ::ioctl(folderFd, FIFREEZE, 0) == 0 ? 0 : errno;
    if (::send(outcomeFd, &outcome, sizeof outcome, MSG_NOSIGNAL) == sizeof outcome) {
        char end;
        while (::recv(outcomeFd, &end, 1, 0) < 0 && errno == EINTR) {
        }
    }
    if (outcome == 0)
        (void)::ioctl(folderFd, FITHAW, 0);
    return 0;
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
