// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/unique_fd.hpp"
#include "storage/export/fuse_call.hpp"

#include <thread>
#include <vector>

namespace vz::exports {

/**
 * An image as a file: a FUSE file system (linux/fuse.h) that consists of one file with the content of the
 * disk. It is mounted nowhere: only who has a descriptor of the file can reach it, and when the last one is
 * closed, or when this process dies, the kernel drops all of it.
 *
 * Requests bypass the page cache. Holes punched into the file read as zeros and give their space back;
 * fsync(2) is Image::flush().
 */
class FuseFile {
public:
    enum class Engine {
        Best,    ///< io_uring if the kernel lets us use it, else threads
        Ring,    ///< FuseRing
        Threads, ///< each with a queue of its own, and waiting for the disk
    };
    struct Options {
        bool readOnly = false;
        Engine engine = Engine::Best;
    };

    /** @p image must live longer than the object. */
    static Result<std::unique_ptr<FuseFile>> create(ploop::Image& image, const Options& options);
    /** Waits until the last descriptor of the file is closed, wherever that is. */
    ~FuseFile();
    FuseFile(const FuseFile&) = delete;
    FuseFile& operator=(const FuseFile&) = delete;

    /** A new descriptor of the file, opened with O_DIRECT. */
    Result<UniqueFd> open();
    /** The image has another size now: the kernel learns of it. */
    Result<void> refreshSize();
    FuseDisk& disk() { return disk_; }

private:
    FuseFile(ploop::Image& image, bool readOnly) : disk_(image, readOnly) {}
    Result<void> mount();
    Result<void> startRing();
    Result<void> startThreads();

    FuseDisk disk_;
    UniqueFd device_; ///< the connection
    std::vector<UniqueFd> clones_;
    UniqueFd mount_;
    std::vector<std::thread> threads_;
};

} // namespace vz::exports
