// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <chrono>
#include <cstdint>
#include <linux/io_uring.h>

namespace vz::exports {

/**
 * An io_uring (io_uring(7)) as far as it is needed here: requests of one thread, the one that made the ring.
 * Requests are queued first; wait() hands them over and waits for answers in one system call.
 */
class IoRing {
public:
    /** For @p entries requests that are queued and @p answers that have not been taken at one time.
     * SystemError where the kernel has no io_uring, or does not let us use it. */
    static Result<IoRing> create(unsigned entries, unsigned answers);
    IoRing(IoRing&& other) noexcept;
    IoRing& operator=(IoRing&&) = delete;
    ~IoRing();

    /** @p tag comes back with the answer. */
    void read(int fd, void* into, unsigned size, uint64_t offset, uint64_t tag);
    void write(int fd, const void* from, unsigned size, uint64_t offset, uint64_t tag);
    /** Answers each time that @p fd becomes readable. An answer without IORING_CQE_F_MORE is the last one. */
    void watch(int fd, uint64_t tag);

    /** Answers once after that time. One at a time. */
    void wakeAfter(std::chrono::seconds time, uint64_t tag);

    /** Hands over what is queued; returns when at least @p least answers are there. */
    Result<void> submit(unsigned least);
    /** Calls @p each(const io_uring_cqe&) for all answers that are there. */
    template<typename Each>
    void take(Each&& each) {
        unsigned head = *cqHead_;
        for (; head != __atomic_load_n(cqTail_, __ATOMIC_ACQUIRE); ++head) {
            io_uring_cqe answer = cqes_[head & cqMask_];
            __atomic_store_n(cqHead_, head + 1, __ATOMIC_RELEASE);
            each(answer);
        }
    }

private:
    void transfer(uint8_t opcode, int fd, const void* data, unsigned size, uint64_t offset, uint64_t tag);
    explicit IoRing(UniqueFd fd) : fd_(std::move(fd)) {}
    Result<void> map(const io_uring_params& params);
    io_uring_sqe& next();

    UniqueFd fd_;
    void* rings_ = nullptr; ///< both rings
    size_t ringsSize_ = 0;
    io_uring_sqe* sqes_ = nullptr;
    size_t sqesSize_ = 0;
    unsigned *sqTail_ = nullptr, *sqHead_ = nullptr, *sqArray_ = nullptr;
    unsigned *cqHead_ = nullptr, *cqTail_ = nullptr;
    const io_uring_cqe* cqes_ = nullptr;
    unsigned sqMask_ = 0, cqMask_ = 0, sqEntries_ = 0;
    unsigned queued_ = 0;
    int64_t timeout_[2] = {}; ///< struct __kernel_timespec, read at submit()
};

} // namespace vz::exports
