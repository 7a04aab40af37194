// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/export/fuse_call.hpp"
#include "storage/export/io_ring.hpp"

#include <condition_variable>
#include <deque>
#include <thread>

namespace vz::exports {

/**
 * Serves a FUSE connection by one thread that never waits for the disk: reads and writes of clusters that are
 * in place go through an io_uring, straight between the request's buffer and the image's file. So do the
 * requests and the answers themselves: one that comes alone costs two system calls. All that may
 * have to wait (new clusters, flushes, holes) is done by a few other threads.
 */
class FuseRing {
public:
    /** @p fd: /dev/fuse, non-blocking. Run() has to be called by the same thread. */
    static Result<std::unique_ptr<FuseRing>> create(FuseDisk& disk, int fd, unsigned helpers);
    ~FuseRing();
    FuseRing(const FuseRing&) = delete;
    FuseRing& operator=(const FuseRing&) = delete;

    /** Returns when the file system has gone. */
    void run();

private:
    /** A request under way. */
    struct Slot {
        Slot(FuseDisk& disk, int fd, unsigned own) : call(disk, fd), number(own) {}
        FuseCall call;
        const unsigned number;
        std::optional<ploop::Pass> pass; ///< keeps the places of the extents
        ploop::Range range{0, 0};
        std::vector<ploop::Image::Extent> extents;
        unsigned pending = 0;
        bool failed = false;
        bool writing = false;
    };

    FuseRing(FuseDisk& disk, int fd, IoRing ring);
    Slot* freeSlot();
    void await();
    void received(int got);
    void receiveMore();
    void begin(Slot& slot);
    bool beginInPlace(Slot& slot);
    void queue(Slot& slot);
    void answered(const io_uring_cqe& answer);
    void finishOne(Slot& slot);
    void answer(Slot& slot);
    void shrink();
    void hand(Slot& slot);
    void help();

    FuseDisk& disk_;
    int fd_;
    IoRing ring_;
    std::vector<std::unique_ptr<Slot>> slots_;
    std::vector<Slot*> free_;
    Slot* awaiting_ = nullptr; ///< which the next request goes into
    bool ended_ = false;
    unsigned inRing_ = 0;  ///< transfers
    unsigned answers_ = 0; ///< under way
    bool large_ = false;   ///< there were large requests since shrink()
    bool timing_ = false;  ///< a timer runs
    uint64_t requests_ = 0, requestsBefore_ = 0;

    UniqueFd wake_;    ///< written by helpers if this thread waits for a slot
    std::mutex mutex_; ///< of all below
    std::condition_variable work_;
    std::deque<Slot*> waiting_;
    std::vector<Slot*> returned_;
    bool starving_ = false;
    bool stopping_ = false;
    std::vector<std::thread> helpers_;
};

} // namespace vz::exports
