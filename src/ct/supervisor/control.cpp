// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/control.hpp"

#include "base/file.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

namespace vz::supervisor {

namespace {

constexpr size_t maxConnections = 8;

bool isRoot(int connection) {
    ucred peer{};
    socklen_t size = sizeof peer;
    return ::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == 0;
}

} // namespace

Result<void> Control::listen(const std::string& runDir) {
    // Through the folder's descriptor: the path itself may be longer than a socket address.
    VZ_TRY(auto dir, file::open(runDir, O_PATH | O_DIRECTORY));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::string path = cat("/proc/self/fd/", dir.get(), "/control.sock");
    std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
    (void)::unlinkat(dir.get(), "control.sock", 0);
    listener_.reset(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    mode_t old = ::umask(0177);
    int failed = !listener_ ||
                 ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) ||
                 ::listen(listener_.get(), 8);
    int error = errno;
    ::umask(old);
    if (failed)
        return failErrno(error, "cannot make the socket ", runDir, "/control.sock");
    loop_.watch(listener_.get(), EPOLLIN, this);
    return {};
}

void Control::adopt(UniqueFd connection) {
    ::fcntl(connection.get(), F_SETFL, O_NONBLOCK);
    loop_.watch(connection.get(), EPOLLIN, this);
    connections_.push_back(std::move(connection));
}

void Control::acceptOne() {
    UniqueFd connection(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!connection || !isRoot(connection.get()) || connections_.size() >= maxConnections)
        return;
    std::vector<int> fds;
    ct::Message greeting = owner_.greeting(fds);
    if (ct::sendMessage(connection.get(), greeting, fds, MSG_DONTWAIT))
        adopt(std::move(connection));
}

void Control::broadcast(const ct::Message& news, const std::vector<int>& fds) {
    std::vector<int> broken;
    for (const auto& connection : connections_)
        if (!ct::sendMessage(connection.get(), news, fds, MSG_DONTWAIT))
            broken.push_back(connection.get());
    for (int fd : broken)
        drop(fd);
}

void Control::drop(int fd) {
    loop_.forget(fd);
    std::erase_if(connections_, [fd](const UniqueFd& connection) { return connection.get() == fd; });
}

void Control::serve(int fd) {
    auto message = ct::receiveMessage(fd, MSG_DONTWAIT);
    if (!message && message.error().systemError() == EAGAIN)
        return;
    if (!message || !*message)
        return drop(fd);
    auto answer = owner_.handle(**message);
    ct::Message reply =
        answer ? *std::move(answer) : ct::Message{"error", 0, ct::errorRecord(answer.error()), {}};
    reply.serial = (*message)->serial;
    std::vector<int> fds;
    for (const auto& item : reply.fds)
        fds.push_back(item.get());
    if (!ct::sendMessage(fd, reply, fds, MSG_DONTWAIT))
        drop(fd);
}

void Control::ready(int fd, uint32_t) {
    if (fd == listener_.get())
        acceptOne();
    else
        serve(fd);
}

} // namespace vz::supervisor
