// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/reactor.hpp"

#include <cerrno>
#include <csignal>
#include <sys/epoll.h>
#include <sys/eventfd.h>

namespace vz {

Result<std::unique_ptr<Reactor>> Reactor::create() {
    UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
    UniqueFd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!epoll || !wake)
        return failErrno(errno, "cannot make an event loop");
    epoll_event event{EPOLLIN, {.u64 = 0}};
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wake.get(), &event) < 0)
        return failErrno(errno, "cannot watch the wake-up descriptor");
    return std::unique_ptr<Reactor>(new Reactor(std::move(epoll), std::move(wake)));
}

Reactor::Reactor(UniqueFd epoll, UniqueFd wake) : epoll_(std::move(epoll)), wake_(std::move(wake)) {
    // The daemon's signals belong to its own threads.
    sigset_t all, before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    thread_ = std::thread([this] { run(); });
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Reactor::~Reactor() {
    ::eventfd_write(wake_.get(), 1);
    thread_.join();
}

Result<Reactor::Id> Reactor::add(int fd, uint32_t events, Callback callback) {
    std::lock_guard lock(mutex_);
    Id id = next_++;
    epoll_event event{events, {.u64 = id}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0)
        return failErrno(errno, "cannot watch descriptor ", fd);
    watches_[id] = std::make_shared<Watch>(Watch{fd, std::move(callback)});
    return id;
}

void Reactor::remove(Id id) {
    std::unique_lock lock(mutex_);
    auto found = watches_.find(id);
    if (found == watches_.end())
        return;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, found->second->fd, nullptr);
    // The callback's captures may end here: not under our lock.
    auto dropped = std::move(found->second);
    watches_.erase(found);
    if (std::this_thread::get_id() != thread_.get_id())
        idle_.wait(lock, [&] { return running_ != id; });
    lock.unlock();
}

void Reactor::run() {
    for (;;) {
        epoll_event events[32];
        int count = ::epoll_wait(epoll_.get(), events, 32, -1);
        for (int i = 0; i < count; ++i) {
            Id id = events[i].data.u64;
            if (id == 0)
                return;
            std::unique_lock lock(mutex_);
            auto found = watches_.find(id);
            if (found == watches_.end())
                continue; // removed by an earlier callback of this round
            auto watch = found->second;
            running_ = id;
            lock.unlock();
            watch->callback(events[i].events);
            lock.lock();
            running_ = 0;
            lock.unlock();
            idle_.notify_all();
        }
    }
}

} // namespace vz
