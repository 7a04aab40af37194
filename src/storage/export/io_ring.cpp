// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/io_ring.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>

namespace vz::exports {

namespace {

// Newer than the headers this is built with may be.
constexpr unsigned setupCoopTaskrun = 1u << 8, setupSingleIssuer = 1u << 12, setupDeferTaskrun = 1u << 13;

int setup(unsigned entries, io_uring_params& params) {
    return static_cast<int>(::syscall(SYS_io_uring_setup, entries, &params));
}

} // namespace

Result<IoRing> IoRing::create(unsigned entries, unsigned answers) {
    // The best first: answers are worked on when the thread waits anyway, not by interrupting it.
    for (unsigned flags : {setupSingleIssuer | setupDeferTaskrun, setupCoopTaskrun, 0u}) {
        io_uring_params params{};
        params.flags = flags | IORING_SETUP_CQSIZE;
        params.cq_entries = answers;
        UniqueFd fd(setup(entries, params));
        if (!fd && errno == EINVAL && flags != 0)
            continue;
        if (!fd)
            return failErrno(errno, "cannot make an io_uring");
        IoRing ring(std::move(fd));
        VZ_CHECK(ring.map(params));
        return ring;
    }
    return failErrno(EINVAL, "cannot make an io_uring");
}

Result<void> IoRing::map(const io_uring_params& params) {
    if (!(params.features & IORING_FEAT_SINGLE_MMAP) || !(params.features & IORING_FEAT_NODROP))
        return failErrno(ENOSYS, "the io_uring of this kernel is too old");
    ringsSize_ = std::max<size_t>(params.sq_off.array + params.sq_entries * sizeof(unsigned),
                                  params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe));
    sqesSize_ = params.sq_entries * sizeof(io_uring_sqe);
    auto mapped = [&](size_t size, off_t offset) {
        void* at =
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd_.get(), offset);
        return at == MAP_FAILED ? nullptr : at;
    };
    rings_ = mapped(ringsSize_, IORING_OFF_SQ_RING);
    sqes_ = static_cast<io_uring_sqe*>(mapped(sqesSize_, IORING_OFF_SQES));
    if (!rings_ || !sqes_)
        return failErrno(errno, "cannot map an io_uring");
    auto* base = static_cast<char*>(rings_);
    auto number = [&](unsigned offset) { return reinterpret_cast<unsigned*>(base + offset); };
    sqHead_ = number(params.sq_off.head);
    sqTail_ = number(params.sq_off.tail);
    sqArray_ = number(params.sq_off.array);
    sqMask_ = *number(params.sq_off.ring_mask);
    sqEntries_ = params.sq_entries;
    cqHead_ = number(params.cq_off.head);
    cqTail_ = number(params.cq_off.tail);
    cqMask_ = *number(params.cq_off.ring_mask);
    cqes_ = reinterpret_cast<io_uring_cqe*>(base + params.cq_off.cqes);
    return {};
}

IoRing::IoRing(IoRing&& other) noexcept
    : fd_(std::move(other.fd_)), rings_(std::exchange(other.rings_, nullptr)), ringsSize_(other.ringsSize_),
      sqes_(std::exchange(other.sqes_, nullptr)), sqesSize_(other.sqesSize_), sqTail_(other.sqTail_),
      sqHead_(other.sqHead_), sqArray_(other.sqArray_), cqHead_(other.cqHead_), cqTail_(other.cqTail_),
      cqes_(other.cqes_), sqMask_(other.sqMask_), cqMask_(other.cqMask_), sqEntries_(other.sqEntries_),
      queued_(other.queued_) {}

IoRing::~IoRing() {
    if (sqes_)
        ::munmap(sqes_, sqesSize_);
    if (rings_)
        ::munmap(rings_, ringsSize_);
}

io_uring_sqe& IoRing::next() {
    // Full only if the kernel has not taken what was queued: it does so at once.
    while (*sqTail_ - __atomic_load_n(sqHead_, __ATOMIC_ACQUIRE) == sqEntries_)
        (void)submit(0);
    unsigned index = *sqTail_ & sqMask_;
    io_uring_sqe& entry = sqes_[index];
    std::memset(&entry, 0, sizeof entry);
    sqArray_[index] = index;
    __atomic_store_n(sqTail_, *sqTail_ + 1, __ATOMIC_RELEASE);
    ++queued_;
    return entry;
}

void IoRing::transfer(uint8_t opcode, int fd, const void* data, unsigned size, uint64_t offset,
                      uint64_t tag) {
    auto& entry = next();
    entry.opcode = opcode;
    entry.fd = fd;
    entry.addr = reinterpret_cast<uintptr_t>(data);
    entry.len = size;
    entry.off = offset;
    entry.user_data = tag;
}

void IoRing::read(int fd, void* into, unsigned size, uint64_t offset, uint64_t tag) {
    transfer(IORING_OP_READ, fd, into, size, offset, tag);
}

void IoRing::write(int fd, const void* from, unsigned size, uint64_t offset, uint64_t tag) {
    transfer(IORING_OP_WRITE, fd, from, size, offset, tag);
}

void IoRing::watch(int fd, uint64_t tag) {
    auto& entry = next();
    entry.opcode = IORING_OP_POLL_ADD;
    entry.fd = fd;
    entry.len = IORING_POLL_ADD_MULTI;
    entry.poll32_events = POLLIN;
    entry.user_data = tag;
}

void IoRing::wakeAfter(std::chrono::seconds time, uint64_t tag) {
    timeout_[0] = time.count();
    auto& entry = next();
    entry.opcode = IORING_OP_TIMEOUT;
    entry.fd = -1;
    entry.addr = reinterpret_cast<uintptr_t>(timeout_);
    entry.len = 1;
    entry.user_data = tag;
}

Result<void> IoRing::submit(unsigned least) {
    for (;;) {
        long done = ::syscall(SYS_io_uring_enter, fd_.get(), queued_, least,
                              least ? IORING_ENTER_GETEVENTS : 0, nullptr, 0);
        if (done >= 0) {
            queued_ -= static_cast<unsigned>(done);
            return {};
        }
        // Out of memory for the moment, or too many answers: they have to be taken first.
        if (errno == EAGAIN || errno == EBUSY)
            return {};
        if (errno != EINTR)
            return failErrno(errno, "cannot use an io_uring");
    }
}

} // namespace vz::exports
