// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace vz::driver {

/** One thread that does, in order, what must not be done on the reactor: work that may wait a little. */
class Worker {
public:
    Worker();
    /** Does what is queued, then ends. */
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /** From any thread. @p task must not throw. */
    void post(std::function<void()> task);

private:
    void run();

    std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> tasks_;
    bool ending_ = false;
    std::thread thread_;
};

} // namespace vz::driver
