// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/fuse_call.hpp"

#include "base/log.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

namespace vz::exports {

namespace {

constexpr uint32_t pageBytes = 4096;
/** Requests that the loop driver does not wait for count as background work: that is not to be the limit. */
constexpr uint16_t maxBackground = 1024;
constexpr uint32_t newestMinor = 31; ///< of the protocol; all that is used here was there by then

int errnoOf(const Error& error) {
    return error.systemError() > 0 ? error.systemError() : EIO;
}

} // namespace

void FuseDisk::opened() {
    std::lock_guard lock(mutex_);
    ++openCount_;
}

void FuseDisk::released() {
    std::lock_guard lock(mutex_);
    if (openCount_ > 0 && --openCount_ == 0 && idle_)
        idle_();
}

void FuseDisk::ended() {
    std::lock_guard lock(mutex_);
    // A last release may have got lost.
    bool known = std::exchange(openCount_, 0) == 0;
    if (!known && idle_)
        idle_();
}

void FuseDisk::onIdle(std::function<void()> idle) {
    std::lock_guard lock(mutex_);
    idle_ = std::move(idle);
    if (openCount_ == 0)
        idle_();
}

FuseCall::Got FuseCall::receive() {
    ssize_t got = ::read(fd_, place().data(), place().size());
    return received(got < 0 ? -errno : got);
}

FuseCall::Got FuseCall::received(ssize_t got) {
    if (got < static_cast<ssize_t>(sizeof(fuse_in_header))) {
        if (got == -EINTR || got == -EAGAIN || got == -ENOENT)
            return Got::Nothing;
        if (got < 0 && got != -ENODEV)
            log::error("cannot read from /dev/fuse: ", errnoText(static_cast<int>(-got)));
        return Got::End;
    }
    size_ = static_cast<size_t>(got);
    unique_ = header().unique;
    return Got::Request;
}

fuse_out_header FuseCall::answerHeader(int error, size_t size) const {
    fuse_out_header out{};
    out.len = static_cast<uint32_t>(sizeof out + size);
    out.error = -error;
    out.unique = unique_;
    return out;
}

void FuseCall::reply(int error, const void* data, size_t size) {
    auto out = answerHeader(error, size);
    iovec parts[] = {{&out, sizeof out}, {const_cast<void*>(data), size}};
    // Fails if nobody waits for it any more.
    (void)!::writev(fd_, parts, size > 0 ? 2 : 1);
}

void FuseCall::finish(const Result<void>& done) {
    if (!done)
        log::error(done.error().message());
    reply(done ? 0 : errnoOf(done.error()));
}

void FuseCall::serve() {
    switch (opcode()) {
    case FUSE_READ:
        return read();
    case FUSE_WRITE:
        return write();
    case FUSE_FSYNC:
        return finish(disk_.readOnly ? Result<void>() : disk_.image.flush());
    case FUSE_FALLOCATE:
        return allocate();
    case FUSE_GETATTR:
        return attributes();
    case FUSE_OPEN:
        return open();
    case FUSE_RELEASE:
        reply(0);
        return disk_.released();
    case FUSE_STATFS:
        return statistics();
    case FUSE_INIT:
        return init();
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
        return; // not answered
    case FUSE_SETATTR:
        return reply(EPERM);
    default: // the kernel does without
        return reply(ENOSYS);
    }
}

void FuseCall::init() {
    const auto& in = argument<fuse_init_in>();
    fuse_init_out out{};
    out.major = FUSE_KERNEL_VERSION;
    out.minor = std::min(in.minor, newestMinor);
    out.max_readahead = in.max_readahead;
    out.flags = in.flags & (FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ASYNC_DIO | FUSE_MAX_PAGES);
    out.max_background = maxBackground;
    out.congestion_threshold = maxBackground;
    out.max_write = maxData;
    out.max_pages = maxData / pageBytes;
    out.time_gran = 1;
    answer(out);
}

void FuseCall::attributes() {
    fuse_attr_out out{};
    out.attr.ino = FUSE_ROOT_ID;
    out.attr.size = disk_.image.bytes();
    out.attr.blocks = out.attr.size / 512;
    out.attr.mode = S_IFREG | (disk_.readOnly ? 0400 : 0600);
    out.attr.nlink = 1;
    out.attr.blksize = pageBytes;
    answer(out);
}

void FuseCall::open() {
    if (disk_.readOnly && (argument<fuse_open_in>().flags & O_ACCMODE) != O_RDONLY)
        return reply(EROFS);
    fuse_open_out out{};
    out.open_flags = FOPEN_DIRECT_IO | FOPEN_NOFLUSH | FOPEN_PARALLEL_DIRECT_WRITES;
    disk_.opened();
    answer(out);
}

std::optional<ploop::Range> FuseCall::readRange() const {
    const auto& in = argument<fuse_read_in>();
    uint64_t end = disk_.image.bytes();
    if (in.offset >= end || in.size > maxData)
        return {};
    return ploop::Range{in.offset, std::min<uint64_t>(in.size, end - in.offset)};
}

std::optional<ploop::Range> FuseCall::writeRange() const {
    const auto& in = argument<fuse_write_in>();
    if (disk_.readOnly || headSize + uint64_t(in.size) > size_)
        return {};
    return ploop::Range{in.offset, in.size};
}

void FuseCall::read() {
    auto range = readRange();
    if (!range)
        return reply(argument<fuse_read_in>().size > maxData ? EINVAL : 0);
    if (auto done = disk_.image.read(range->offset, data(), range->length); !done)
        return finish(done);
    send(readAnswer(range->length));
}

void FuseCall::write() {
    auto range = writeRange();
    if (!range)
        return reply(disk_.readOnly ? EROFS : EINVAL);
    if (auto done = disk_.image.write(range->offset, data(), range->length); !done)
        return finish(done);
    send(writeAnswer());
}

void FuseCall::send(std::span<const std::byte> answer) {
    (void)!::write(fd_, answer.data(), answer.size());
}

std::span<const std::byte> FuseCall::readAnswer(size_t size) {
    auto out = answerHeader(0, size);
    std::byte* at = data() - sizeof out;
    std::memcpy(at, &out, sizeof out);
    return {at, sizeof out + size};
}

std::span<const std::byte> FuseCall::writeAnswer() {
    struct {
        fuse_out_header header;
        fuse_write_out written;
    } out{answerHeader(0, sizeof(fuse_write_out)), {.size = argument<fuse_write_in>().size, .padding = 0}};
    std::memcpy(head(), &out, sizeof out);
    return {head(), sizeof out};
}

void FuseCall::dropData(size_t kept) {
    (void)::madvise(data() + kept, maxData - kept, MADV_DONTNEED);
}

/** The loop driver makes the same call of a discard and of a request to write zeros: both read as zeros then.
 */
void FuseCall::allocate() {
    auto in = argument<fuse_fallocate_in>();
    uint32_t kind = in.mode & ~uint32_t(FALLOC_FL_KEEP_SIZE);
    if (kind != FALLOC_FL_PUNCH_HOLE && kind != FALLOC_FL_ZERO_RANGE)
        return reply(EOPNOTSUPP);
    if (disk_.readOnly)
        return reply(EROFS);
    uint64_t end = disk_.image.bytes();
    if (in.offset >= end)
        return reply(0);
    finish(disk_.image.zero(in.offset, std::min(in.length, end - in.offset)));
}

void FuseCall::statistics() {
    fuse_statfs_out out{};
    out.st.bsize = out.st.frsize = pageBytes; // what the loop driver takes for the granularity of discards
    out.st.blocks = disk_.image.bytes() / pageBytes;
    answer(out);
}

} // namespace vz::exports
