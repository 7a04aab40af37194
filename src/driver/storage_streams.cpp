// SPDX-License-Identifier: LGPL-2.1-or-later
// The content of volumes as streams: the image is made a block device for that time, and libvirt reads or
// writes that as it does with any.
#include "base/log.hpp"
#include "driver/storage_methods.hpp"
#include "storage/export/client.hpp"
#include "storage/pool/volume_work.hpp"

#include <cerrno>
#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace vz::driver {

namespace {

constexpr int closingLimit = 30000; // ms; what was written is on the disk by then

/** A volume that is a block device for a stream. If this process dies, the kernel ends all of it. */
struct Transfer {
    storage::Pool::Lease lease;
    exports::Attachment attachment{};
    UniqueFd keeper{};  ///< the device's first user, and its last: it goes with it
    UniqueFd process{}; ///< of vz-ploopd

    explicit Transfer(storage::Pool::Lease taken) : lease(std::move(taken)) {}

    Result<void> attach(bool forWriting) {
        exports::AttachOptions options;
        options.descriptor = lease.path() + "/DiskDescriptor.xml";
        options.readOnly = !forWriting;
        auto held = exports::attachHeld(options);
        if (!held)
            return storage::usedBy(lease.path(), std::move(held).takeError());
        attachment = std::move(held->attachment);
        keeper = std::move(held->holder);
        process = UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, attachment.pid, 0)));
        return {};
    }

    /** Returns when the image is closed: with its last user the device goes, and vz-ploopd ends. */
    void end() {
        keeper.reset();
        pollfd poll{process.get(), POLLIN, 0};
        int ended = 0;
        do
            ended = ::poll(&poll, 1, closingLimit);
        while (ended < 0 && errno == EINTR);
        if (process && ended == 0)
            log::error("the volume ", lease.path(), " is still open as ", attachment.device);
    }
};

/** The end of the disk is the end of the part, too: who sends more is told so with the write that is too
 * much. */
Result<abi::DeviceStream> withinDisk(const std::string& path, abi::DeviceStream part) {
    VZ_TRY(auto facts, storage::readVolume(path));
    if (part.offset >= facts.capacity || part.length > facts.capacity - part.offset)
        return fail(ErrorCode::InvalidArg, "the volume ", path, " has ", facts.capacity,
                    " bytes, which is less than offset ", part.offset, " and length ", part.length);
    if (part.length == 0)
        part.length = facts.capacity - part.offset;
    return part;
}

Result<void> openStream(const VolumeCall& call, virStreamPtr stream, const abi::DeviceStream& part,
                        bool forWriting) {
    using Use = storage::Pool::Use;
    VZ_TRY(auto lease,
           call.pool->lease(call.name, forWriting ? Use::Change : Use::Read,
                            forWriting ? "data is being uploaded to it" : "it is being downloaded", true));
    VZ_TRY(auto device, withinDisk(lease.path(), part));
    auto transfer = std::make_shared<Transfer>(std::move(lease));
    VZ_CHECK(transfer->attach(forWriting));
    device.device = transfer->attachment.device;
    // Written through: an error is that of the write which it belongs to, and the client hears of it.
    device.flags = forWriting ? O_WRONLY | O_DSYNC : O_RDONLY;
    auto joined = abi::joinDevice(stream, device, [transfer] {
        transfer->lease.ending();
        // This is libvirt's event loop, and what was written may take a while to be closed.
        if (auto* driver = theDriver())
            driver->storage().worker().post([transfer] { transfer->end(); });
        else
            transfer->end();
    });
    if (!joined)
        transfer->end();
    return joined;
}

} // namespace

Result<void> downloadVolume(const VolumeCall& call, virStreamPtr stream, unsigned long long offset,
                            unsigned long long length, unsigned int flags) {
    VZ_CHECK(allowStorageFlags(flags, VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM, "virStorageVolDownload"));
    abi::DeviceStream part{.offset = offset, .length = length};
    part.sparse = flags & VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM;
    return openStream(call, stream, part, false);
}

Result<void> uploadVolume(const VolumeCall& call, virStreamPtr stream, unsigned long long offset,
                          unsigned long long length, unsigned int flags) {
    VZ_CHECK(allowStorageFlags(flags, VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM, "virStorageVolUpload"));
    abi::DeviceStream part{.offset = offset, .length = length};
    part.sparse = flags & VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM;
    return openStream(call, stream, part, true);
}

} // namespace vz::driver
