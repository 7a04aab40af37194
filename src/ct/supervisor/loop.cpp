// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/loop.hpp"

#include <cerrno>
#include <sys/epoll.h>

namespace vz::supervisor {

Result<Loop> Loop::create() {
    UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll)
        return failErrno(errno, "cannot make an event loop");
    return Loop(std::move(epoll));
}

void Loop::watch(int fd, uint32_t events, Handler* handler) {
    auto at = static_cast<size_t>(fd);
    if (entries_.size() <= at)
        entries_.resize(at + 1);
    Entry& entry = entries_[at];
    epoll_event event{};
    event.events = events;
    event.data.fd = fd;
    if (!entry.handler)
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
    else if (entry.events != events)
        ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
    entry = {handler, events};
}

void Loop::forget(int fd) {
    auto at = static_cast<size_t>(fd);
    if (fd < 0 || at >= entries_.size() || !entries_[at].handler)
        return;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    entries_[at] = {};
}

void Loop::runOnce() {
    epoll_event events[16];
    int count = ::epoll_wait(epoll_.get(), events, 16, -1);
    for (int i = 0; i < count; ++i) {
        auto at = static_cast<size_t>(events[i].data.fd);
        if (at < entries_.size() && entries_[at].handler)
            entries_[at].handler->ready(events[i].data.fd, events[i].events);
    }
}

} // namespace vz::supervisor
