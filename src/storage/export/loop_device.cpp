// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/loop_device.hpp"

#include "base/file.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

namespace vz::exports {

namespace {

loop_config configFor(int file, const LoopDevice::Options& options) {
    loop_config config{};
    config.fd = static_cast<uint32_t>(file);
    config.block_size = options.blockBytes;
    config.info.lo_offset = options.part.offset;
    config.info.lo_sizelimit = options.part.length;
    config.info.lo_flags = uint32_t(LO_FLAGS_DIRECT_IO | LO_FLAGS_PARTSCAN | LO_FLAGS_AUTOCLEAR) |
                           (options.readOnly ? uint32_t(LO_FLAGS_READ_ONLY) : 0u);
    return config;
}

} // namespace

Result<int> LoopDevice::numberOf(const std::string& path) {
    constexpr std::string_view start = "/dev/loop";
    auto number = path.starts_with(start) ? parseNumber<int>(std::string_view(path).substr(start.size()))
                                          : std::nullopt;
    if (!number)
        return fail(ErrorCode::InvalidArg, path, " is no loop device");
    return *number;
}

Result<LoopDevice> LoopDevice::attach(int file, const Options& options, UniqueFd& held) {
    VZ_TRY(auto control, file::open("/dev/loop-control", O_RDWR));
    auto config = configFor(file, options);
    // Between the two calls another process may take the free device.
    constexpr int tries = 64;
    for (int i = 0; i < tries; ++i) {
        int number;
        if (!options.device.empty()) {
            VZ_TRY(number, numberOf(options.device));
            if (::ioctl(control.get(), LOOP_CTL_ADD, number) < 0 && errno != EEXIST)
                return failErrno(errno, "cannot make ", options.device);
        } else if ((number = ::ioctl(control.get(), LOOP_CTL_GET_FREE)) < 0) {
            return failErrno(errno, "cannot get a free loop device");
        }
        LoopDevice device(cat("/dev/loop", number));
        VZ_TRY(auto fd, file::open(device.path_, options.readOnly ? O_RDONLY : O_RDWR));
        if (::ioctl(fd.get(), LOOP_CONFIGURE, &config) < 0) {
            if (errno == EBUSY && options.device.empty())
                continue;
            if (errno == EBUSY)
                return fail(ErrorCode::ResourceBusy, device.path_, " is in use");
            return failErrno(errno, "cannot bind ", device.path_);
        }
        loop_info64 info{};
        if (::ioctl(fd.get(), LOOP_GET_STATUS64, &info) == 0)
            device.directIo_ = info.lo_flags & LO_FLAGS_DIRECT_IO;
        device.sequence_ = device.readSequence();
        held = std::move(fd);
        return device;
    }
    return fail(ErrorCode::ResourceBusy, "other processes take all free loop devices");
}

std::optional<LoopDevice> LoopDevice::find(const std::string& path, uint64_t sequence) {
    LoopDevice device(path);
    device.sequence_ = sequence;
    if (!device.bound())
        return {};
    return device;
}

std::string LoopDevice::attribute(const char* name) const {
    return cat("/sys/block", path_.substr(path_.rfind('/')), "/", name);
}

/** Documentation/ABI/stable/sysfs-block, since 5.15; 0 where there is none. */
uint64_t LoopDevice::readSequence() const {
    auto text = file::read(attribute("diskseq"));
    return text ? parseNumber<uint64_t>(trim(*text)).value_or(0) : 0;
}

/** LOOP_GET_STATUS64 would be of no use here: it fails if the file cannot be reached any more. */
bool LoopDevice::bound() const {
    return file::exists(attribute("loop/backing_file")) && readSequence() == sequence_;
}

Result<UniqueFd> LoopDevice::open() const {
    VZ_TRY(auto fd, file::open(path_, O_RDONLY));
    // The number may belong to somebody else by now.
    if (!bound())
        return Error(ErrorCode::OperationInvalid, cat(path_, " is no longer the device of this image"),
                     ENXIO);
    return fd;
}

Result<void> LoopDevice::refresh(const Section& part) const {
    VZ_TRY(auto fd, open());
    loop_info64 info{};
    if (::ioctl(fd.get(), LOOP_GET_STATUS64, &info) < 0)
        return failErrno(errno, "cannot ask ", path_);
    if (info.lo_sizelimit != part.length) {
        info.lo_sizelimit = part.length;
        if (::ioctl(fd.get(), LOOP_SET_STATUS64, &info) < 0)
            return failErrno(errno, "cannot change the size of ", path_);
    }
    if (::ioctl(fd.get(), LOOP_SET_CAPACITY, 0) < 0)
        return failErrno(errno, "cannot change the size of ", path_);
    return {};
}

Result<void> LoopDevice::setAutoclear(bool on) const {
    VZ_TRY(auto fd, open());
    loop_info64 info{};
    if (::ioctl(fd.get(), LOOP_GET_STATUS64, &info) < 0)
        return failErrno(errno, "cannot ask ", path_);
    info.lo_flags = on ? info.lo_flags | LO_FLAGS_AUTOCLEAR : info.lo_flags & ~uint32_t(LO_FLAGS_AUTOCLEAR);
    if (::ioctl(fd.get(), LOOP_SET_STATUS64, &info) < 0)
        return failErrno(errno, "cannot change the flags of ", path_);
    return {};
}

Result<bool> LoopDevice::claimed() const {
    VZ_TRY(auto fd, open());
    // Claims of a partition count for the whole device.
    UniqueFd exclusive(::open(path_.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
    if (exclusive)
        return false;
    if (errno == EBUSY)
        return true;
    return failErrno(errno, "cannot open ", path_);
}

Result<void> LoopDevice::release() const {
    VZ_TRY(auto fd, open());
    if (::ioctl(fd.get(), LOOP_CLR_FD, 0) < 0 && errno != ENXIO)
        return failErrno(errno, "cannot release ", path_);
    return {};
}

Result<void> LoopDevice::partition(int operation, const Section& section, const char* what) const {
    VZ_TRY(auto fd, open());
    blkpg_partition data{};
    data.start = static_cast<long long>(section.offset);
    data.length = static_cast<long long>(section.length);
    data.pno = 1;
    blkpg_ioctl_arg argument{};
    argument.op = operation;
    argument.datalen = sizeof data;
    argument.data = &data;
    if (::ioctl(fd.get(), BLKPG, &argument) < 0)
        return failErrno(errno, "cannot ", what, " partition 1 of ", path_);
    return {};
}

/** Documentation/ABI/stable/sysfs-block: in sectors of 512 bytes. */
std::optional<uint64_t> LoopDevice::partitionBegin() const {
    auto name = path_.substr(path_.rfind('/')) + "p1";
    auto text = file::read(attribute((name.substr(1) + "/start").c_str()));
    auto start = text ? parseNumber<uint64_t>(trim(*text)) : std::nullopt;
    return start ? std::optional(*start * 512) : std::nullopt;
}

/** Whoever has it open is waited for by the event of its closing. */
Result<void> LoopDevice::removePartition(std::chrono::milliseconds wait) const {
    UniqueFd closings(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!closings)
        return failErrno(errno, "cannot listen to what happens to ", path_);
    (void)::inotify_add_watch(closings.get(), partitionPath().c_str(), IN_CLOSE);
    auto end = std::chrono::steady_clock::now() + wait;
    for (;;) {
        auto removed = partition(BLKPG_DEL_PARTITION, {}, "remove");
        if (removed || removed.error().systemError() == ENXIO)
            return {};
        auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        if (removed.error().systemError() != EBUSY || left.count() <= 0)
            return removed;
        pollfd watched{closings.get(), POLLIN, 0};
        (void)::poll(&watched, 1, static_cast<int>(left.count()));
        char events[4096];
        (void)!::read(closings.get(), events, sizeof events);
    }
}

Result<void> LoopDevice::setPartition(const Section& section, std::chrono::milliseconds wait) const {
    // The kernel may find one of its own between any two of these calls, when something opens the device.
    constexpr int tries = 8;
    for (int i = 1;; ++i) {
        auto added = partition(BLKPG_ADD_PARTITION, section, "make");
        if (added || added.error().systemError() != EBUSY || i == tries)
            return added;
        if (partitionBegin() == section.offset) {
            auto resized = partition(BLKPG_RESIZE_PARTITION, section, "resize");
            if (resized || resized.error().systemError() != ENXIO)
                return resized;
            continue;
        }
        VZ_CHECK(removePartition(wait));
    }
}

Result<void> LoopDevice::dropCache() const {
    VZ_TRY(auto fd, open());
    if (::ioctl(fd.get(), BLKFLSBUF, 0) < 0)
        return failErrno(errno, "cannot drop the cache of ", path_);
    return {};
}

} // namespace vz::exports
