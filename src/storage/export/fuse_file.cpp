// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/fuse_file.hpp"

#include "base/file.hpp"
#include "storage/export/fuse_ring.hpp"

#include <cerrno>
#include <fcntl.h>
#include <future>
#include <linux/mount.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

namespace vz::exports {

namespace {

/** They wait for the disk more than for a CPU. */
constexpr unsigned threadCount = 16, helperCount = 8;

int fsopen(const char* type) {
    return static_cast<int>(::syscall(SYS_fsopen, type, FSOPEN_CLOEXEC));
}
int fsconfig(int fd, unsigned command, const char* key, const char* value) {
    return static_cast<int>(::syscall(SYS_fsconfig, fd, command, key, value, 0));
}
int fsmount(int fd, unsigned attributes) {
    return static_cast<int>(::syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes));
}

void serveAll(FuseDisk& disk, int fd) {
    FuseCall call(disk, fd);
    for (;;) {
        switch (call.receive()) {
        case FuseCall::Got::Request:
            call.serve();
            break;
        case FuseCall::Got::Nothing:
            break;
        case FuseCall::Got::End:
            return disk.ended();
        }
    }
}

} // namespace

Result<std::unique_ptr<FuseFile>> FuseFile::create(ploop::Image& image, const Options& options) {
    std::unique_ptr<FuseFile> file(new FuseFile(image, options.readOnly));
    VZ_CHECK(file->mount());
    if (options.engine != Engine::Threads) {
        auto started = file->startRing();
        if (started || options.engine == Engine::Ring) {
            VZ_CHECK(std::move(started));
            return file;
        }
    }
    VZ_CHECK(file->startThreads());
    return file;
}

FuseFile::~FuseFile() {
    // With the last descriptor of the file goes the file system, and the threads are told so.
    mount_.reset();
    for (auto& thread : threads_)
        thread.join();
}

Result<void> FuseFile::mount() {
    VZ_TRY(device_, file::open("/dev/fuse", O_RDWR));
    UniqueFd context(fsopen("fuse"));
    if (!context)
        return failErrno(errno, "cannot make a FUSE file system");
    const std::pair<const char*, std::string> options[] = {{"source", "ploop"},
                                                           {"subtype", "ploop"},
                                                           {"fd", cat(device_.get())},
                                                           {"rootmode", "100600"},
                                                           {"user_id", "0"},
                                                           {"group_id", "0"},
                                                           {"max_read", cat(FuseCall::maxData)}};
    for (const auto& [key, value] : options) {
        if (fsconfig(context.get(), FSCONFIG_SET_STRING, key, value.c_str()) < 0)
            return failErrno(errno, "cannot set ", key, " of a FUSE file system");
    }
    if (fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr) < 0)
        return failErrno(errno, "cannot make a FUSE file system");
    mount_.reset(fsmount(context.get(), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
    if (!mount_)
        return failErrno(errno, "cannot mount a FUSE file system");
    return {};
}

Result<void> FuseFile::startRing() {
    if (int flags = ::fcntl(device_.get(), F_GETFL); ::fcntl(device_.get(), F_SETFL, flags | O_NONBLOCK) < 0)
        return failErrno(errno, "cannot set up /dev/fuse");
    // The ring belongs to the thread that makes it.
    std::promise<Result<void>> ready;
    auto started = ready.get_future();
    threads_.emplace_back([this, ready = std::move(ready)]() mutable {
        auto ring = FuseRing::create(disk_, device_.get(), helperCount);
        ready.set_value(ring ? Result<void>() : std::move(ring).takeError());
        if (!ring)
            return;
        (*ring)->run();
        ring->reset();
        // Nobody waits for an answer any more, even if the ring has failed.
        device_.reset();
        disk_.ended();
    });
    return started.get();
}

Result<void> FuseFile::startThreads() {
    if (int flags = ::fcntl(device_.get(), F_GETFL); ::fcntl(device_.get(), F_SETFL, flags & ~O_NONBLOCK) < 0)
        return failErrno(errno, "cannot set up /dev/fuse");
    auto master = static_cast<uint32_t>(device_.get());
    for (unsigned i = 0; i < threadCount; ++i) {
        int fd = device_.get();
        if (i > 0) {
            VZ_TRY(auto clone, file::open("/dev/fuse", O_RDWR));
            if (::ioctl(clone.get(), FUSE_DEV_IOC_CLONE, &master) < 0)
                return failErrno(errno, "cannot make another queue of /dev/fuse");
            fd = clone.get();
            clones_.push_back(std::move(clone));
        }
        threads_.emplace_back([this, fd] { serveAll(disk_, fd); });
    }
    return {};
}

Result<UniqueFd> FuseFile::open() {
    return file::open(cat("/proc/self/fd/", mount_.get()), (disk_.readOnly ? O_RDONLY : O_RDWR) | O_DIRECT);
}

Result<void> FuseFile::refreshSize() {
    struct stat info;
    if (::fstat(mount_.get(), &info) < 0)
        return failErrno(errno, "cannot look at the exported file");
    return {};
}

} // namespace vz::exports
