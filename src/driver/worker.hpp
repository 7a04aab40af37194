// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace vz::driver {

/**
 * Does what must not be done on the reactor: work that may wait. With one thread all is done in order; with
 * more, which come when they are needed, a task that waits long does not keep the others.
 */
class Worker {
public:
    /** For @p most threads at one time. */
    explicit Worker(unsigned most = 1);
    /** Does what is queued, then ends. */
    ~Worker();
    Worker(const Worker&) = delete;
    Worker& operator=(const Worker&) = delete;

    /** From any thread. @p task must not throw. */
    void post(std::function<void()> task);

private:
    void run();
    void addThread();

    const unsigned most_;
    std::mutex mutex_; ///< of all below
    std::condition_variable changed_;
    std::deque<std::function<void()>> tasks_;
    bool ending_ = false;
    unsigned idle_ = 0; ///< threads without a task
    std::vector<std::thread> threads_;
};

} // namespace vz::driver
