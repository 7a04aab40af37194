// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/pool/volume_work.hpp"

#include "base/file.hpp"
#include "storage/export/client.hpp"
#include "storage/export/mounts.hpp"
#include "storage/export/resize.hpp"
#include "storage/ploop/buffer.hpp"
#include "storage/pool/volume_names.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <sys/stat.h>

namespace vz::storage {

using namespace ploop;

namespace {

constexpr auto lockWait = std::chrono::seconds(5);

std::string descriptorOf(const std::string& path) {
    return path + "/DiskDescriptor.xml";
}

/** Every attachment of an image, also those for reading. */
Result<std::vector<exports::Attachment>> attachmentsOf(const std::string& path) {
    std::vector<exports::Attachment> found;
    auto real = exports::realPath(descriptorOf(path));
    if (!real && (real.error().systemError() == ENOENT || real.error().systemError() == ELOOP))
        return found; // without a descriptor there is nothing to attach
    if (!real)
        return std::move(real).takeError();
    VZ_TRY(auto all, exports::list());
    std::ranges::copy_if(all, std::back_inserter(found),
                         [&](const auto& one) { return one.descriptor == *real; });
    return found;
}

Result<std::unique_ptr<Volume>> openForWriting(const std::string& path, bool recover = false) {
    Volume::Options options;
    options.access = Access::ReadWrite;
    options.recover = recover;
    auto volume = Volume::open(hostFiles(), descriptorOf(path), options);
    if (!volume)
        return usedBy(path, std::move(volume).takeError());
    return volume;
}

/** Locks every file of a volume, whether it can be read as an image or not. */
Result<std::vector<FilePtr>> lockFiles(const std::string& path) {
    std::vector<FilePtr> locked;
    VZ_TRY(auto names, hostFiles().list(path));
    for (const auto& name : names) {
        auto file = cat(path, "/", name);
        // A link or a device would lead elsewhere.
        struct stat info;
        if (name == "DiskDescriptor.xml")
            continue;
        bool known = ::lstat(file.c_str(), &info) == 0;
        if (!known && errno != ENOENT)
            return failErrno(errno, "cannot look at ", file);
        if (!known || !S_ISREG(info.st_mode))
            continue;
        auto opened = hostFiles().open(file, Access::ReadWrite);
        if (!opened && opened.error().systemError() == ENOENT)
            continue;
        if (!opened)
            return std::move(opened).takeError();
        if (auto got = (*opened)->lock(Lock::Writer, std::chrono::milliseconds(0)); !got)
            return std::move(got).takeError();
        locked.push_back(*std::move(opened));
    }
    return locked;
}

Result<void> writeZeros(Image& image, Range range) {
    constexpr size_t part = 1u << 20;
    Buffer zeros(part);
    std::memset(zeros.data(), 0, part);
    for (uint64_t done = 0; done < range.length;) {
        size_t size = std::min<uint64_t>(part, range.length - done);
        VZ_CHECK(image.write(range.offset + done, zeros.data(), size));
        done += size;
    }
    return {};
}

/** Takes the space for every cluster that the image has not. */
Result<void> allocateAll(const std::string& path) {
    VZ_TRY(auto volume, openForWriting(path));
    auto& image = volume->image();
    if (image.levels() > 1)
        return fail(ErrorCode::OperationUnsupported, path,
                    " has snapshots: the space of its present state cannot be taken in advance");
    if (image.top().plain()) {
        VZ_CHECK(image.top().file().reserve({0, image.bytes()}));
    } else {
        VZ_TRY(auto taken, image.allocated());
        taken.push_back({image.bytes(), 0});
        uint64_t at = 0;
        for (const auto& range : taken) {
            VZ_CHECK(writeZeros(image, {at, range.offset - at}));
            at = range.offset + range.length;
        }
        // Within its clusters the file may have holes.
        auto& file = image.top().file();
        VZ_TRY(uint64_t length, file.size());
        VZ_CHECK(file.reserve({0, length}));
    }
    VZ_CHECK(image.flush());
    return volume->close();
}

/** Grows a volume that is a block device just now. */
Result<void> growAttached(const exports::Attachment& attachment, uint64_t bytes) {
    VZ_CHECK(exports::call(attachment, {"resize", cat(bytes), "table"}));
    VZ_TRY(auto points, exports::mountPoints(attachment));
    // If it is mounted elsewhere, as in a container, its file system grows from there.
    return points.empty() ? Result<void>() : exports::growFileSystem(points.front(), attachment.partition);
}

} // namespace

Error usedBy(const std::string& path, Error error) {
    if (error.code() != ErrorCode::ResourceBusy)
        return error;
    auto attachments = attachmentsOf(path).valueOr({});
    if (attachments.empty())
        return fail(ErrorCode::ResourceBusy, "the volume ", path,
                    " is in use by another process (a virtual machine, or a tool that has it open): ",
                    error.message());
    const auto& one = attachments.front();
    return fail(ErrorCode::ResourceBusy, "the volume ", path, " is in use: it is the block device ",
                one.device, " (vz-ploopd process ", one.pid, ")");
}

Result<void> deleteVolume(const std::string& target, const std::string& name) {
    auto path = cat(target, "/", name);
    auto locked = lockFiles(path);
    if (!locked)
        return usedBy(path, std::move(locked).takeError());
    // A plain loop device, made by others, has no lock.
    VZ_TRY(auto attachments, attachmentsOf(path));
    if (!attachments.empty())
        return usedBy(path, fail(ErrorCode::ResourceBusy, attachments.front().device));
    return removeVolumeFolder(target, name);
}

Result<void> wipeVolume(const std::string& path) {
    // What an interrupted wipe has left open can be wiped again.
    VZ_TRY(auto volume, openForWriting(path, true));
    auto& image = volume->image();
    if (image.levels() > 1 || volume->descriptor().shots.size() > 1)
        return fail(ErrorCode::OperationInvalid, path,
                    " has snapshots, which would keep the data: delete them first");
    VZ_TRY(auto ranges, image.allocated());
    for (const auto& range : ranges)
        VZ_CHECK(writeZeros(image, range));
    VZ_CHECK(image.flush());
    if (volume->descriptor().mode == Descriptor::Mode::Expanded) {
        for (const auto& range : ranges)
            VZ_CHECK(image.discard(range.offset, range.length));
        VZ_CHECK(image.flush());
    }
    return volume->close();
}

Result<void> resizeVolume(const std::string& path, const ResizeRequest& request) {
    VZ_TRY(auto facts, readVolume(path));
    if (request.capacity < facts.capacity && !request.shrink)
        return fail(ErrorCode::InvalidArg, "can't shrink capacity below current capacity unless shrink flag "
                                           "explicitly specified");
    if (request.capacity == 0)
        return fail(ErrorCode::InvalidArg, "a volume with a capacity of 0 is not possible");
    VZ_TRY(auto running, exports::find(descriptorOf(path)));
    if (running) {
        if (request.capacity < facts.capacity)
            return usedBy(path, fail(ErrorCode::ResourceBusy, "it cannot be made smaller"));
        if (request.allocate)
            return fail(ErrorCode::OperationInvalid, path, " is the block device ", running->device,
                        " just now; its space cannot be taken in advance while it is in use");
        auto grown = growAttached(*running, request.capacity);
        if (grown || !exports::wasGone(grown.error()))
            return grown;
    }
    if (request.capacity < facts.capacity && facts.snapshots)
        return fail(ErrorCode::OperationInvalid, path,
                    " has snapshots: a disk can be made smaller only without any");
    if (auto failed = exports::resizeImage(descriptorOf(path), request.capacity, lockWait))
        return usedBy(path, std::move(failed->error));
    return request.allocate ? allocateAll(path) : Result<void>();
}

} // namespace vz::storage
