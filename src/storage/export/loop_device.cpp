// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/loop_device.hpp"

#include "base/file.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/loop.h>
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

Result<LoopDevice> LoopDevice::attach(int file, const Options& options, UniqueFd& held) {
    VZ_TRY(auto control, file::open("/dev/loop-control", O_RDWR));
    auto config = configFor(file, options);
    // Between the two calls another process may take the free device.
    constexpr int tries = 64;
    for (int i = 0; i < tries; ++i) {
        int number;
        if (!options.device.empty()) {
            VZ_TRY(auto given, numberOf(options.device, pathStart));
            number = static_cast<int>(given);
            if (::ioctl(control.get(), LOOP_CTL_ADD, number) < 0 && errno != EEXIST)
                return failErrno(errno, "cannot make ", options.device);
        } else if ((number = ::ioctl(control.get(), LOOP_CTL_GET_FREE)) < 0) {
            return failErrno(errno, "cannot get a free loop device");
        }
        LoopDevice device(cat(pathStart, number), 0);
        VZ_TRY(auto fd, file::open(device.path(), options.readOnly ? O_RDONLY : O_RDWR));
        if (::ioctl(fd.get(), LOOP_CONFIGURE, &config) < 0) {
            if (errno == EBUSY && options.device.empty())
                continue;
            if (errno == EBUSY)
                return fail(ErrorCode::ResourceBusy, device.path(), " is in use");
            return failErrno(errno, "cannot bind ", device.path());
        }
        loop_info64 info{};
        if (::ioctl(fd.get(), LOOP_GET_STATUS64, &info) == 0)
            device.directIo_ = info.lo_flags & LO_FLAGS_DIRECT_IO;
        device.setSequence(device.readSequence());
        held = std::move(fd);
        return device;
    }
    return fail(ErrorCode::ResourceBusy, "other processes take all free loop devices");
}

/** Documentation/ABI/stable/sysfs-block, since 5.15; 0 where there is none. */
uint64_t LoopDevice::readSequence() const {
    auto text = file::read(attribute("diskseq"));
    return text ? parseNumber<uint64_t>(trim(*text)).value_or(0) : 0;
}

/** LOOP_GET_STATUS64 would be of no use here: it fails if the file cannot be reached any more. */
bool LoopDevice::bound() const {
    return file::exists(attribute("loop/backing_file")) && readSequence() == sequence();
}

Result<void> LoopDevice::refresh(const Section& part) const {
    VZ_TRY(auto fd, open());
    loop_info64 info{};
    if (::ioctl(fd.get(), LOOP_GET_STATUS64, &info) < 0)
        return failErrno(errno, "cannot ask ", path());
    if (info.lo_sizelimit != part.length) {
        info.lo_sizelimit = part.length;
        if (::ioctl(fd.get(), LOOP_SET_STATUS64, &info) < 0)
            return failErrno(errno, "cannot change the size of ", path());
    }
    if (::ioctl(fd.get(), LOOP_SET_CAPACITY, 0) < 0)
        return failErrno(errno, "cannot change the size of ", path());
    return {};
}

Result<void> LoopDevice::setAutoclear(bool on) const {
    VZ_TRY(auto fd, open());
    loop_info64 info{};
    if (::ioctl(fd.get(), LOOP_GET_STATUS64, &info) < 0)
        return failErrno(errno, "cannot ask ", path());
    info.lo_flags = on ? info.lo_flags | LO_FLAGS_AUTOCLEAR : info.lo_flags & ~uint32_t(LO_FLAGS_AUTOCLEAR);
    if (::ioctl(fd.get(), LOOP_SET_STATUS64, &info) < 0)
        return failErrno(errno, "cannot change the flags of ", path());
    return {};
}

Result<void> LoopDevice::release() const {
    VZ_TRY(auto fd, open());
    if (::ioctl(fd.get(), LOOP_CLR_FD, 0) < 0 && errno != ENXIO)
        return failErrno(errno, "cannot release ", path());
    return {};
}

} // namespace vz::exports
