// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <cstdint>
#include <vector>

namespace vz::supervisor {

/** One thread waiting on many descriptors. Handlers must bear a call without cause (the descriptor number may
 * have been used anew within one round). */
class Loop {
public:
    struct Handler {
        virtual void ready(int fd, uint32_t events) = 0;

    protected:
        ~Handler() = default;
    };

    static Result<Loop> create();

    /** Watches @p fd for @p events (EPOLL*), or changes what it is watched for. */
    void watch(int fd, uint32_t events, Handler* handler);
    /** Must be called before @p fd is closed. */
    void forget(int fd);
    /** Waits for events, and calls their handlers. */
    void runOnce();

private:
    explicit Loop(UniqueFd epoll) : epoll_(std::move(epoll)) {}

    struct Entry {
        Handler* handler = nullptr;
        uint32_t events = 0;
    };
    UniqueFd epoll_;
    std::vector<Entry> entries_; // by descriptor number
};

} // namespace vz::supervisor
