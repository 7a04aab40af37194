// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/nbd_server.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "storage/export/nbd_connection.hpp"

#include <cerrno>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

namespace vz::exports {

namespace {

constexpr unsigned clientWorkers = 8;
constexpr timeval handshakeLimit{10, 0}, noLimit{0, 0};

bool hasHungUp(int socket) {
    pollfd state{socket, POLLRDHUP, 0};
    return ::poll(&state, 1, 0) > 0;
}

/** The number of a file among those there are; 0 if there is none. */
ino_t identityOf(const std::string& path) {
    struct stat info;
    return ::lstat(path.c_str(), &info) == 0 ? info.st_ino : 0;
}

} // namespace

Result<std::unique_ptr<NbdServer>> NbdServer::start(ploop::Image& image, const Options& options) {
    std::unique_ptr<NbdServer> server(new NbdServer(image, options));
    VZ_TRY(server->listener_, listenAt(options.socket, SOCK_STREAM, options.owner));
    server->identity_ = identityOf(options.socket);
    server->acceptor_ = std::thread([server = server.get()] { server->acceptAll(); });
    return server;
}

NbdServer::~NbdServer() {
    // The next server of the same name may be there already.
    if (identity_ != 0 && identityOf(options_.socket) == identity_)
        (void)file::remove(options_.socket);
    ::shutdown(listener_.get(), SHUT_RDWR);
    if (acceptor_.joinable())
        acceptor_.join();
    {
        std::lock_guard lock(mutex_);
        if (socket_ >= 0)
            ::shutdown(socket_, SHUT_RDWR);
    }
    if (client_.joinable())
        client_.join();
}

bool NbdServer::connected() const {
    std::lock_guard lock(mutex_);
    return socket_ >= 0;
}

/** One client at a time: who comes second is hung up on. One that has left, but whose last requests are still
 * worked on, is waited for. */
bool NbdServer::makeRoom(int next) {
    {
        std::lock_guard lock(mutex_);
        if (socket_ >= 0 && !hasHungUp(socket_))
            return false;
    }
    if (client_.joinable())
        client_.join();
    std::lock_guard lock(mutex_);
    if (ended_)
        return false;
    socket_ = next;
    return true;
}

void NbdServer::acceptAll() {
    while (UniqueFd socket = acceptNext(listener_.get())) {
        if (!makeRoom(socket.get()))
            continue;
        try {
            client_ = std::thread([this, socket = std::move(socket)]() mutable { serve(std::move(socket)); });
        } catch (const std::system_error& failure) {
            log::error("no thread for a client: ", failure.what());
            std::unique_lock lock(mutex_);
            socket_ = -1;
            endIfLeft(lock);
        }
    }
}

void NbdServer::serve(UniqueFd socket) {
    try {
        NbdConnection connection(image_, socket.get(), {options_.readOnly, options_.name});
        (void)::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &handshakeLimit, sizeof handshakeLimit);
        if (connection.negotiate()) {
            (void)::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &noLimit, sizeof noLimit);
            connection.serve(clientWorkers);
        }
    } catch (const std::exception& failure) {
        log::error("a client had to be left: ", failure.what());
    }
    std::unique_lock lock(mutex_);
    socket_ = -1;
    socket.reset();
    endIfLeft(lock);
}

/** Calls back without the lock. */
void NbdServer::endIfLeft(std::unique_lock<std::mutex>& lock) {
    if (!left_ || socket_ >= 0 || ended_ || !gone_)
        return;
    ended_ = true;
    auto gone = gone_;
    lock.unlock();
    gone();
}

void NbdServer::leave() {
    std::unique_lock lock(mutex_);
    left_ = true;
    endIfLeft(lock);
}

void NbdServer::onGone(std::function<void()> gone) {
    std::unique_lock lock(mutex_);
    gone_ = std::move(gone);
    endIfLeft(lock);
}

} // namespace vz::exports
