// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

namespace vz {

/**
 * One thread that waits on many descriptors (epoll) and calls back on it. Callbacks must be short and
 * must not wait for a guest. All methods may be called from any thread, also from inside a callback.
 */
class Reactor {
public:
    using Id = uint64_t;
    /** @p events as in epoll_wait(2). */
    using Callback = std::function<void(uint32_t events)>;

    static Result<std::unique_ptr<Reactor>> create();
    ~Reactor();
    Reactor(const Reactor&) = delete;
    Reactor& operator=(const Reactor&) = delete;

    /** Watches @p fd, which stays the caller's and must stay open until remove(). */
    Result<Id> add(int fd, uint32_t events, Callback callback);

    /** Stops watching. From another thread it also waits until a callback under way has returned. */
    void remove(Id id);

private:
    struct Watch {
        int fd;
        Callback callback;
    };

    Reactor(UniqueFd epoll, UniqueFd wake);
    void run();

    UniqueFd epoll_;
    UniqueFd wake_;
    std::mutex mutex_;
    std::condition_variable idle_; // signalled when running_ goes back to 0
    std::map<Id, std::shared_ptr<Watch>> watches_;
    Id next_ = 1;
    Id running_ = 0;
    std::thread thread_;
};

} // namespace vz
