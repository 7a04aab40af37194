// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/block_device.hpp"

#include "base/file.hpp"
#include "storage/export/loop_device.hpp"
#include "storage/export/nbd_device.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>

namespace vz::exports {

std::unique_ptr<BlockDevice> BlockDevice::find(const std::string& path, uint64_t sequence) {
    std::unique_ptr<BlockDevice> device;
    if (path.starts_with(NbdDevice::pathStart))
        device = std::make_unique<NbdDevice>(path, sequence);
    else
        device = std::make_unique<LoopDevice>(path, sequence);
    return device->bound() ? std::move(device) : nullptr;
}

Result<unsigned> BlockDevice::numberOf(const std::string& path, std::string_view start) {
    auto number = path.starts_with(start) ? parseNumber<unsigned>(std::string_view(path).substr(start.size()))
                                          : std::nullopt;
    if (!number)
        return fail(ErrorCode::InvalidArg, path, " is no device of the kind ", start, "0");
    return *number;
}

std::string BlockDevice::attribute(const char* name) const {
    return cat("/sys/block", path_.substr(path_.rfind('/')), "/", name);
}

Result<UniqueFd> BlockDevice::open() const {
    VZ_TRY(auto fd, file::open(path_, O_RDONLY));
    // The number may belong to somebody else by now.
    if (!bound())
        return Error(ErrorCode::OperationInvalid, cat(path_, " is no longer the device of this image"),
                     ENXIO);
    return fd;
}

Result<bool> BlockDevice::claimed() const {
    VZ_TRY(auto fd, open());
    // Claims of a partition count for the whole device.
    UniqueFd exclusive(::open(path_.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
    if (exclusive)
        return false;
    if (errno == EBUSY)
        return true;
    return failErrno(errno, "cannot open ", path_);
}

Result<void> BlockDevice::partition(int operation, unsigned number, const Section& section,
                                    const char* what) const {
    VZ_TRY(auto fd, open());
    blkpg_partition data{};
    data.start = static_cast<long long>(section.offset);
    data.length = static_cast<long long>(section.length);
    data.pno = static_cast<int>(number);
    blkpg_ioctl_arg argument{};
    argument.op = operation;
    argument.datalen = sizeof data;
    argument.data = &data;
    if (::ioctl(fd.get(), BLKPG, &argument) < 0)
        return failErrno(errno, "cannot ", what, " partition ", number, " of ", path_);
    return {};
}

/** Documentation/ABI/stable/sysfs-block: in sectors of 512 bytes. */
std::optional<uint64_t> BlockDevice::partitionBegin(unsigned number) const {
    auto path = partitionPath(number);
    auto text = file::read(attribute((path.substr(path.rfind('/') + 1) + "/start").c_str()));
    auto start = text ? parseNumber<uint64_t>(trim(*text)) : std::nullopt;
    return start ? std::optional(*start * 512) : std::nullopt;
}

/** Whoever has it open is waited for by the event of its closing. */
Result<void> BlockDevice::removePartition(unsigned number, std::chrono::milliseconds wait) const {
    UniqueFd closings(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!closings)
        return failErrno(errno, "cannot listen to what happens to ", path_);
    (void)::inotify_add_watch(closings.get(), partitionPath(number).c_str(), IN_CLOSE);
    auto end = std::chrono::steady_clock::now() + wait;
    for (;;) {
        auto removed = partition(BLKPG_DEL_PARTITION, number, {}, "remove");
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

Result<void> BlockDevice::setPartition(const Section& section, std::chrono::milliseconds wait,
                                       unsigned number) const {
    // The kernel may find one of its own between any two of these calls, when something opens the device.
    constexpr int tries = 8;
    for (int i = 1;; ++i) {
        auto added = partition(BLKPG_ADD_PARTITION, number, section, "make");
        if (added || added.error().systemError() != EBUSY || i == tries)
            return added;
        if (partitionBegin(number) == section.offset) {
            auto resized = partition(BLKPG_RESIZE_PARTITION, number, section, "resize");
            if (resized || resized.error().systemError() != ENXIO)
                return resized;
            continue;
        }
        VZ_CHECK(removePartition(number, wait));
    }
}

Result<void> BlockDevice::dropCache() const {
    VZ_TRY(auto fd, open());
    if (::ioctl(fd.get(), BLKFLSBUF, 0) < 0)
        return failErrno(errno, "cannot drop the cache of ", path_);
    return {};
}

} // namespace vz::exports
