// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/export/loop_device.hpp"

#include <functional>
#include <memory>
#include <thread>

namespace vz::exports {

/** Learns from the kernel's events about devices (netlink(7), NETLINK_KOBJECT_UEVENT) that a loop device is
 * no longer bound. */
class LoopWatch {
public:
    static Result<std::unique_ptr<LoopWatch>> create();
    ~LoopWatch();
    LoopWatch(const LoopWatch&) = delete;
    LoopWatch& operator=(const LoopWatch&) = delete;

    /** Calls @p gone once, on a thread of its own. Events since create() count. */
    void start(const LoopDevice& device, std::function<void()> gone);

private:
    LoopWatch(UniqueFd events, UniqueFd stop) : events_(std::move(events)), stop_(std::move(stop)) {}
    void run(const LoopDevice& device, const std::function<void()>& gone);

    UniqueFd events_;
    UniqueFd stop_;
    std::thread thread_;
};

} // namespace vz::exports
