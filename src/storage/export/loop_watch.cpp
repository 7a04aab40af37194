// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/loop_watch.hpp"

#include <cerrno>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

namespace vz::exports {

Result<std::unique_ptr<LoopWatch>> LoopWatch::create() {
    UniqueFd events(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = 1; // those of the kernel itself
    if (!events || ::bind(events.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) < 0)
        return failErrno(errno, "cannot listen to the events of devices");
    UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
    if (!stop)
        return failErrno(errno, "cannot make an event descriptor");
    return std::unique_ptr<LoopWatch>(new LoopWatch(std::move(events), std::move(stop)));
}

LoopWatch::~LoopWatch() {
    uint64_t one = 1;
    (void)!::write(stop_.get(), &one, sizeof one);
    if (thread_.joinable())
        thread_.join();
}

void LoopWatch::start(const LoopDevice& device, std::function<void()> gone) {
    thread_ = std::thread([this, device, gone = std::move(gone)] { run(device, gone); });
}

void LoopWatch::run(const LoopDevice& device, const std::function<void()>& gone) {
    std::string name = device.path().substr(device.path().rfind('/')); // as events end their paths
    pollfd watched[] = {{events_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
    for (bool look = true;;) {
        if (look && !device.bound())
            return gone();
        if (::poll(watched, 2, -1) < 0 && errno != EINTR)
            return;
        if (watched[1].revents)
            return;
        char text[4096];
        ssize_t got = ::recv(events_.get(), text, sizeof text - 1, 0);
        // Events may have been lost: then anything is possible.
        look = got < 0 && errno == ENOBUFS;
        if (got > 0) {
            text[got] = '\0';
            look = std::string_view(text).ends_with(name);
        }
    }
}

} // namespace vz::exports
