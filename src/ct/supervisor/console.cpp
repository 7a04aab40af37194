// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/console.hpp"

#include "base/file.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

namespace vz::supervisor {

namespace {

constexpr uint64_t logLimit = 2u << 20;
constexpr size_t inputLimit = 4096; // unread input kept for the container; then its sender waits

} // namespace

void Backlog::push(std::string_view bytes) {
    bytes_ += bytes;
    if (size() > limit)
        begin_ = bytes_.size() - limit;
    if (begin_ > limit / 2) {
        bytes_.erase(0, begin_);
        begin_ = 0;
    }
}

bool Backlog::drain(int fd) {
    while (!empty()) {
        ssize_t put = ::write(fd, bytes_.data() + begin_, size());
        if (put < 0)
            return errno == EAGAIN || errno == EINTR;
        begin_ += static_cast<size_t>(put);
    }
    clear();
    return true;
}

void Backlog::clear() {
    begin_ = 0;
    if (bytes_.capacity() > inputLimit)
        bytes_ = {};
    else
        bytes_.clear();
}

Result<void> ConsoleLog::openFile(int extraFlags) {
    VZ_TRY(file_,
           file::open(path_, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NOCTTY | extraFlags, 0600));
    off_t end = ::lseek(file_.get(), 0, SEEK_END);
    size_ = end > 0 ? static_cast<uint64_t>(end) : 0;
    return {};
}

Result<void> ConsoleLog::open(const ct::ConsoleSpec& spec) {
    path_ = spec.logFile;
    if (path_.empty())
        return {};
    auto opened = openFile(spec.logAppend ? 0 : O_TRUNC);
    if (!opened)
        return std::move(opened).takeError().within("cannot keep a console log");
    return {};
}

void ConsoleLog::write(std::string_view bytes) {
    if (!file_)
        return;
    if (size_ + bytes.size() > logLimit) {
        std::string old = path_ + ".0";
        if (::rename(path_.c_str(), old.c_str()) < 0 || !openFile(O_TRUNC)) {
            if (!file_ || ::ftruncate(file_.get(), 0) < 0)
                return;
            size_ = 0;
        }
    }
    // A full disk must not stop the container: what does not fit is lost.
    ssize_t put = ::write(file_.get(), bytes.data(), bytes.size());
    if (put > 0)
        size_ += static_cast<uint64_t>(put);
}

Result<std::unique_ptr<Console>> Console::create(Loop& loop, const ct::ConsoleSpec& spec) {
    std::unique_ptr<Console> console(new Console(loop));
    VZ_CHECK(console->log_.open(spec));
    UniqueFd master(::open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    int unlock = 0;
    unsigned number = 0;
    if (!master || ::ioctl(master.get(), TIOCSPTLCK, &unlock) < 0 ||
        ::ioctl(master.get(), TIOCGPTN, &number) < 0)
        return failErrno(errno, "cannot make a host terminal for a console");
    UniqueFd slave(::ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    termios mode{};
    if (!slave || ::tcgetattr(slave.get(), &mode) < 0)
        return failErrno(errno, "cannot open the host terminal of a console");
    ::cfmakeraw(&mode);
    ::tcsetattr(slave.get(), TCSANOW, &mode);
    console->hostPath_ = cat("/dev/pts/", number);
    console->hostMaster_ = std::move(master);
    console->hostSlave_ = std::move(slave);
    console->updateInterest();
    return console;
}

Console::~Console() {
    disconnectGuest();
    dropClient();
    loop_.forget(hostMaster_.get());
}

void Console::connectGuest(GuestTerminal guest) {
    disconnectGuest();
    guest_ = std::move(guest);
    updateInterest();
}

void Console::disconnectGuest() {
    if (!guest_.master)
        return;
    readGuest();
    loop_.forget(guest_.master.get());
    guest_ = {};
    toGuest_.clear();
    flush();
}

Result<UniqueFd> Console::connectClient() {
    dropClient();
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return failErrno(errno, "cannot make a console stream");
    client_.reset(ends[0]);
    ::fcntl(client_.get(), F_SETFL, O_NONBLOCK);
    updateInterest();
    return UniqueFd(ends[1]);
}

void Console::dropClient() {
    if (!client_)
        return;
    loop_.forget(client_.get());
    client_.reset();
    toClient_.clear();
}

void Console::readGuest() {
    char buffer[4096];
    // Bounded, so that a container that prints without end does not keep the loop from anything else.
    for (int i = 0; i < 8 && guest_.master; ++i) {
        ssize_t got = ::read(guest_.master.get(), buffer, sizeof buffer);
        if (got <= 0)
            return;
        std::string_view bytes(buffer, static_cast<size_t>(got));
        log_.write(bytes);
        toHost_.push(bytes);
        if (client_)
            toClient_.push(bytes);
    }
}

void Console::readInput(int fd) {
    char buffer[inputLimit];
    ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got > 0 && guest_.master)
        toGuest_.push(std::string_view(buffer, static_cast<size_t>(got)));
    if (fd == client_.get() && (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)))
        dropClient();
}

void Console::flush() {
    toHost_.drain(hostMaster_.get());
    if (guest_.master)
        toGuest_.drain(guest_.master.get());
    if (client_ && !toClient_.drain(client_.get()))
        dropClient();
}

void Console::ready(int fd, uint32_t events) {
    if (fd == guest_.master.get() && (events & EPOLLIN))
        readGuest();
    else if ((fd == hostMaster_.get() || fd == client_.get()) && (events & (EPOLLIN | EPOLLHUP)))
        readInput(fd);
    flush();
    updateInterest();
}

void Console::updateInterest() {
    uint32_t input = toGuest_.size() < inputLimit ? uint32_t{EPOLLIN} : 0;
    loop_.watch(hostMaster_.get(), input | (toHost_.empty() ? 0 : uint32_t{EPOLLOUT}), this);
    if (guest_.master)
        loop_.watch(guest_.master.get(), EPOLLIN | (toGuest_.empty() ? 0 : uint32_t{EPOLLOUT}), this);
    if (client_)
        loop_.watch(client_.get(), input | (toClient_.empty() ? 0 : uint32_t{EPOLLOUT}), this);
}

} // namespace vz::supervisor
