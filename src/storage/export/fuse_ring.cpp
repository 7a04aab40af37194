// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/fuse_ring.hpp"

#include "base/log.hpp"

#include <cerrno>
#include <cstring>
#include <sys/eventfd.h>

namespace vz::exports {

namespace {

constexpr unsigned slotCount = 64;
/** A request that lies in more pieces is left to the helpers. */
constexpr unsigned mostExtents = 8;
/** Requests at other offsets need the image's own care. */
constexpr uint64_t alignment = 4096;
/** Tags of a slot's answer, and of what is not a slot. */
constexpr uint64_t firstAnswerTag = slotCount * mostExtents;
constexpr uint64_t tagFuse = UINT64_MAX, tagWake = UINT64_MAX - 1, tagIdle = UINT64_MAX - 2;
/** What a request may leave behind in memory that nobody has used for a while. */
constexpr size_t keptData = 64 << 10;
constexpr std::chrono::seconds idleTime{1};

} // namespace

Result<std::unique_ptr<FuseRing>> FuseRing::create(FuseDisk& disk, int fd, unsigned helpers) {
    constexpr unsigned watches = 3;
    VZ_TRY(auto ring, IoRing::create(slotCount * 2, slotCount * (mostExtents + 1) + watches));
    std::unique_ptr<FuseRing> server(new FuseRing(disk, fd, std::move(ring)));
    server->wake_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!server->wake_)
        return failErrno(errno, "cannot make an event descriptor");
    for (unsigned i = 0; i < helpers; ++i)
        server->helpers_.emplace_back([server = server.get()] { server->help(); });
    return server;
}

FuseRing::FuseRing(FuseDisk& disk, int fd, IoRing ring) : disk_(disk), fd_(fd), ring_(std::move(ring)) {
    for (unsigned i = 0; i < slotCount; ++i) {
        slots_.push_back(std::make_unique<Slot>(disk, fd, i));
        free_.push_back(slots_.back().get());
    }
}

FuseRing::~FuseRing() {
    {
        std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    work_.notify_all();
    for (auto& helper : helpers_)
        helper.join();
}

void FuseRing::run() {
    ring_.watch(wake_.get(), tagWake);
    while (!ended_ || inRing_ > 0) {
        if (!awaiting_ && !ended_)
            await();
        if (large_ && !timing_ && !ended_) {
            timing_ = true;
            requestsBefore_ = requests_;
            ring_.wakeAfter(idleTime, tagIdle);
        }
        // Answers are given while they are handed over; what is waited for comes after them.
        if (auto done = ring_.submit(answers_ + 1); !done)
            return log::error(done.error().message());
        ring_.take([this](const io_uring_cqe& answer) { answered(answer); });
    }
}

/** The one that was used last, as its memory is still in the CPU's cache. Null if all are in use. */
FuseRing::Slot* FuseRing::freeSlot() {
    if (free_.empty()) {
        std::lock_guard lock(mutex_);
        free_.swap(returned_);
        starving_ = free_.empty();
    }
    return free_.empty() ? nullptr : free_.back();
}

void FuseRing::await() {
    awaiting_ = freeSlot();
    if (!awaiting_)
        return;
    free_.pop_back();
    auto place = awaiting_->call.place();
    ring_.read(fd_, place.data(), static_cast<unsigned>(place.size()), 0, tagFuse);
}

void FuseRing::received(int got) {
    Slot& slot = *std::exchange(awaiting_, nullptr);
    switch (slot.call.received(got)) {
    case FuseCall::Got::Request: {
        // Where one comes while others are under way, there will be more.
        bool busy = inRing_ > 0;
        ++requests_;
        begin(slot);
        if (busy)
            receiveMore();
        return;
    }
    case FuseCall::Got::Nothing:
        free_.push_back(&slot);
        return;
    case FuseCall::Got::End:
        ended_ = true;
    }
}

void FuseRing::receiveMore() {
    while (Slot* slot = freeSlot()) {
        switch (slot->call.receive()) {
        case FuseCall::Got::Request:
            free_.pop_back();
            ++requests_;
            begin(*slot);
            break;
        case FuseCall::Got::Nothing:
            return;
        case FuseCall::Got::End:
            ended_ = true;
            return;
        }
    }
}

void FuseRing::begin(Slot& slot) {
    switch (slot.call.opcode()) {
    case FUSE_READ:
    case FUSE_WRITE:
        if (!beginInPlace(slot))
            hand(slot);
        return;
    case FUSE_FSYNC:
    case FUSE_FALLOCATE:
        return hand(slot);
    default:
        slot.call.serve();
        free_.push_back(&slot);
    }
}

/** Starts a request whose data lies in place, or is zeros. False if it has to be served in another way. */
bool FuseRing::beginInPlace(Slot& slot) {
    slot.writing = slot.call.opcode() == FUSE_WRITE;
    auto range = slot.writing ? slot.call.writeRange() : slot.call.readRange();
    if (!range || (range->offset | range->length) % alignment != 0)
        return false;
    // Who has closed the gate waits for requests that this thread has to finish.
    auto pass = ploop::Pass::tryEnter(disk_.image.gate());
    if (!pass)
        return false;
    slot.pass.emplace(*std::move(pass));
    auto extents = disk_.image.map(*slot.pass, *range, slot.writing);
    uint64_t mapped = 0;
    if (extents) {
        for (const auto& extent : *extents)
            mapped += extent.length;
    }
    if (mapped != range->length || extents->size() > mostExtents) {
        slot.pass.reset();
        return false;
    }
    large_ = large_ || range->length > keptData;
    slot.range = *range;
    slot.extents = *std::move(extents);
    queue(slot);
    return true;
}

void FuseRing::queue(Slot& slot) {
    slot.pending = 1; // so that it does not end before all is queued
    slot.failed = false;
    std::byte* data = slot.call.data();
    for (size_t i = 0; i < slot.extents.size(); ++i) {
        const auto& extent = slot.extents[i];
        auto size = static_cast<unsigned>(extent.length);
        uint64_t tag = slot.number * mostExtents + i;
        if (!extent.level) {
            std::memset(data, 0, size);
        } else {
            int fd = disk_.image.level(*extent.level).file().descriptor();
            if (slot.writing)
                ring_.write(fd, data, size, extent.fileOffset, tag);
            else
                ring_.read(fd, data, size, extent.fileOffset, tag);
            ++slot.pending;
            ++inRing_;
        }
        data += size;
    }
    finishOne(slot);
}

void FuseRing::answered(const io_uring_cqe& answer) {
    if (answer.user_data == tagFuse)
        return received(answer.res);
    if (answer.user_data == tagWake) {
        uint64_t count;
        (void)!::read(wake_.get(), &count, sizeof count);
        if (!(answer.flags & IORING_CQE_F_MORE))
            ring_.watch(wake_.get(), tagWake);
        return;
    }
    if (answer.user_data == tagIdle) {
        timing_ = false;
        if (requests_ == requestsBefore_)
            shrink();
        return;
    }
    // What fails of an answer: nobody waits for it any more.
    if (answer.user_data >= firstAnswerTag) {
        --answers_;
        return free_.push_back(slots_[answer.user_data - firstAnswerTag].get());
    }
    --inRing_;
    Slot& slot = *slots_[answer.user_data / mostExtents];
    const auto& extent = slot.extents[answer.user_data % mostExtents];
    // What is short (the end of the file, a full disk) is looked at by those who can wait.
    slot.failed = slot.failed || answer.res != static_cast<int>(extent.length);
    finishOne(slot);
}

void FuseRing::finishOne(Slot& slot) {
    if (--slot.pending > 0)
        return;
    if (slot.writing)
        disk_.image.noteWritten(*slot.pass, slot.range);
    slot.pass.reset();
    if (slot.failed)
        return hand(slot);
    answer(slot);
}

/** The slot is free when the ring has sent the answer. */
void FuseRing::answer(Slot& slot) {
    auto bytes = slot.writing ? slot.call.writeAnswer() : slot.call.readAnswer(slot.range.length);
    ring_.write(fd_, bytes.data(), static_cast<unsigned>(bytes.size()), 0, firstAnswerTag + slot.number);
    ++answers_;
}

/** Gives back the memory of large requests. */
void FuseRing::shrink() {
    large_ = false;
    for (auto* slot : free_)
        slot->call.dropData(keptData);
}

void FuseRing::hand(Slot& slot) {
    {
        std::lock_guard lock(mutex_);
        waiting_.push_back(&slot);
    }
    work_.notify_one();
}

void FuseRing::help() {
    std::unique_lock lock(mutex_);
    for (;;) {
        work_.wait(lock, [this] { return stopping_ || !waiting_.empty(); });
        if (waiting_.empty())
            return;
        Slot& slot = *waiting_.front();
        waiting_.pop_front();
        lock.unlock();
        slot.call.serve();
        lock.lock();
        returned_.push_back(&slot);
        if (starving_) {
            starving_ = false;
            uint64_t one = 1;
            (void)!::write(wake_.get(), &one, sizeof one);
        }
    }
}

} // namespace vz::exports
