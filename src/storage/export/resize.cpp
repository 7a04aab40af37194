// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/resize.hpp"

#include "base/file.hpp"
#include "base/process.hpp"
#include "base/rollback.hpp"
#include "storage/export/client.hpp"
#include "storage/export/mounts.hpp"
#include "storage/export/partitions.hpp"
#include "storage/ploop/gpt.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>

namespace vz::exports {

namespace {

using namespace ploop;

constexpr unsigned long ext4ResizeFs = _IOW('f', 16, uint64_t); ///< fs/ext4/ext4.h; not in a public header
constexpr long extMagic = 0xEF53, xfsMagic = 0x58465342, btrfsMagic = 0x9123683E;
/** The least that the reference tool lets a disk have. */
constexpr uint64_t leastClusters = 5;

Result<process::Finished> runTool(std::vector<std::string> argv) {
    for (const char* folder : {"/usr/sbin/", "/sbin/"}) {
        if (!file::exists(folder + argv[0]))
            continue;
        argv[0] = folder + argv[0];
        process::Command command;
        command.argv = std::move(argv);
        return process::run(command, {}, std::chrono::hours(6));
    }
    return fail(ErrorCode::OperationUnsupported, "the program ", argv[0], " is not installed");
}

Error toolError(const std::string& name, const process::Finished& finished) {
    return fail(ErrorCode::OperationFailed, name, " failed with status ", finished.status, ": ",
                trim(finished.errors.empty() ? finished.output : finished.errors));
}

Result<void> runGood(const std::vector<std::string>& argv) {
    VZ_TRY(auto finished, runTool(argv));
    if (finished.status != 0)
        return toolError(argv[0], finished);
    return {};
}

std::optional<ResizeFailure> in(ResizeStep step, Result<void> done) {
    if (done)
        return {};
    return ResizeFailure{step, std::move(done).takeError()};
}

/** An attachment of our own, for the time of the work. */
class OwnAttachment {
public:
    static Result<std::unique_ptr<OwnAttachment>> make(const std::string& descriptor) {
        AttachOptions options;
        options.descriptor = descriptor;
        options.mechanism = Mechanism::Fuse; // plain loop devices cannot be resized in use
        UniqueFd tie;
        VZ_TRY(auto attachment, attach(options, &tie));
        return std::make_unique<OwnAttachment>(std::move(attachment), std::move(tie));
    }
    OwnAttachment(Attachment attachment, UniqueFd tie)
        : attachment_(std::move(attachment)), tie_(std::move(tie)) {}
    OwnAttachment(const OwnAttachment&) = delete;
    OwnAttachment& operator=(const OwnAttachment&) = delete;
    ~OwnAttachment() {
        if (!detached_)
            (void)detach(attachment_);
    }
    const Attachment& operator*() const { return attachment_; }
    Result<void> end() {
        detached_ = true;
        return detach(attachment_);
    }

private:
    Attachment attachment_;
    UniqueFd tie_; ///< whatever becomes of us, it goes
    bool detached_ = false;
};

/** Grows a file system that is mounted nowhere. */
std::optional<ResizeFailure> growUnmounted(const Attachment& attachment) {
    const std::string& device = attachment.partition;
    auto kind = fileSystemOn(device);
    if (!kind)
        return ResizeFailure{ResizeStep::FileSystem, std::move(kind).takeError()};
    if (*kind == "ext4") {
        if (auto failed = in(ResizeStep::Check, checkFileSystem(device, true)))
            return failed;
        return in(ResizeStep::FileSystem, runGood({"resize2fs", device}));
    }
    if (*kind != "xfs")
        return {};
    // Can only be grown where it is mounted.
    auto mount = TemporaryMount::make(attachment);
    if (!mount)
        return ResizeFailure{ResizeStep::FileSystem, std::move(mount).takeError()};
    return in(ResizeStep::FileSystem, growFileSystem((*mount)->folder(), device));
}

/** Grows what is attached, and the file system if it is mounted here. */
std::optional<ResizeFailure> growAttached(const Attachment& attachment, uint64_t bytes) {
    auto grown = call(attachment, {"resize", cat(bytes), "table"});
    if (!grown)
        return ResizeFailure{ResizeStep::Image, std::move(grown).takeError()};
    if (attachment.mechanism == Mechanism::Nbd)
        return {};
    auto points = mountPoints(attachment);
    if (!points)
        return ResizeFailure{ResizeStep::FileSystem, std::move(points).takeError()};
    if (!points->empty())
        return in(ResizeStep::FileSystem, growFileSystem(points->front(), attachment.partition));
    auto mounted = BlockDevice::find(attachment.device, attachment.sequence);
    auto claimed = mounted ? mounted->claimed() : Result<bool>(false);
    if (claimed && *claimed)
        return ResizeFailure{ResizeStep::FileSystem,
                             fail(ErrorCode::OperationFailed,
                                  "the disk has grown, but not the file system: it is "
                                  "mounted where it cannot be seen from here")};
    return growUnmounted(attachment);
}

Result<std::unique_ptr<Volume>> openVolume(const std::string& descriptor, std::chrono::milliseconds wait) {
    Volume::Options options;
    options.access = Access::ReadWrite;
    options.wait = wait;
    return Volume::open(hostFiles(), descriptor, options);
}

/** What an image is before it is resized. */
struct Before {
    uint64_t bytes;
    uint32_t clusterBytes;
    size_t levels;
    bool fileSystem;                   ///< one that can be resized
    std::optional<Partition> shrunkTo; ///< partition 1 on a smaller disk
};

Result<bool> holdsFileSystem(Image& image) {
    VZ_TRY(auto partition, readTable(image));
    uint64_t at = partition ? partition->offset : 0;
    std::array<unsigned char, 2048> super{};
    if (image.bytes() < at + super.size())
        return false;
    VZ_CHECK(image.read(at, super.data(), super.size()));
    bool xfs = std::string_view(reinterpret_cast<const char*>(super.data()), 4) == "XFSB";
    return xfs || (super[1024 + 56] == 0x53 && super[1024 + 57] == 0xEF);
}

/** How much of the disk the ext4 file system says it has, from its superblock. */
Result<uint64_t> fileSystemBytes(Image& image) {
    VZ_TRY(auto partition, readTable(image));
    std::array<unsigned char, 2048> bytes;
    VZ_CHECK(image.read(partition ? partition->offset : 0, bytes.data(), bytes.size()));
    const unsigned char* super = bytes.data() + 1024;
    auto number = [&](size_t at) {
        return uint64_t{super[at]} | uint64_t{super[at + 1]} << 8 | uint64_t{super[at + 2]} << 16 |
               uint64_t{super[at + 3]} << 24;
    };
    constexpr uint64_t has64bit = 0x80;
    uint64_t blocks = number(4) | (number(96) & has64bit ? number(0x150) << 32 : 0);
    uint64_t shift = number(24) + 10;
    if (shift > 16 || blocks > (UINT64_MAX >> shift))
        return fail(ErrorCode::StorageProbeFailed, "the superblock of the file system makes no sense");
    return blocks << shift;
}

Result<Before> look(const std::string& descriptor, uint64_t& bytes, std::chrono::milliseconds wait) {
    VZ_TRY(auto volume, openVolume(descriptor, wait));
    auto& image = volume->image();
    uint64_t cluster = image.clusterBytes();
    bytes += (cluster - bytes % cluster) % cluster;
    Before before{image.bytes(), image.clusterBytes(), image.levels(), false, {}};
    VZ_TRY(before.fileSystem, holdsFileSystem(image));
    if (bytes < image.bytes()) {
        if (bytes < leastClusters * cluster)
            return fail(ErrorCode::InvalidArg, "a disk of ", bytes, " bytes is too small");
        if (!before.fileSystem)
            return fail(ErrorCode::InvalidArg, descriptor, " has ", image.bytes() / sectorSize,
                        " sectors, and no file system that could be made smaller before");
        VZ_TRY(before.shrunkTo, shrunkPartition(image, bytes));
    }
    VZ_CHECK(volume->close());
    return before;
}

std::optional<ResizeFailure> growDetached(const std::string& descriptor, uint64_t bytes, const Before& before,
                                          std::chrono::milliseconds wait) {
    auto work = [&]() -> Result<void> {
        VZ_TRY(auto volume, openVolume(descriptor, wait));
        if (bytes > before.bytes)
            VZ_CHECK(volume->resize(bytes));
        // Also where nothing was to do: an earlier attempt may have been cut off between the two.
        VZ_CHECK(growTable(volume->image()));
        return volume->close();
    };
    if (auto failed = in(ResizeStep::Image, work()))
        return failed;
    if (!before.fileSystem)
        return {};
    auto own = OwnAttachment::make(descriptor);
    if (!own)
        return ResizeFailure{ResizeStep::FileSystem, std::move(own).takeError().within(
                                                         "the disk has grown, but not the file system")};
    if (auto failed = growUnmounted(***own))
        return failed;
    return in(ResizeStep::Image, (*own)->end());
}

Result<void> cut(const std::string& descriptor, uint64_t bytes, const Before& before,
                 std::chrono::milliseconds wait) {
    VZ_TRY(auto volume, openVolume(descriptor, wait));
    auto& image = volume->image();
    if (before.fileSystem) {
        // Somebody else may have made it larger since we had it.
        VZ_TRY(uint64_t now, fileSystemBytes(image));
        if (now > (before.shrunkTo ? before.shrunkTo->length : bytes))
            return fail(ErrorCode::OperationInvalid, descriptor,
                        " was changed meanwhile: its file system is larger than it was made");
    }
    if (before.levels == 1 && volume->descriptor().deltas.size() == 1) {
        VZ_CHECK(shrinkTable(image, bytes));
        VZ_CHECK(volume->resize(bytes));
    } else {
        // The snapshots stay as large as they are; only what this state has beyond is given back.
        uint64_t from = before.shrunkTo ? before.shrunkTo->offset + before.shrunkTo->length : bytes;
        uint64_t to = image.bytes() - (before.shrunkTo ? before.clusterBytes : 0); // the copy of the table
        if (from < to)
            VZ_CHECK(image.discard(from, to - from));
    }
    return volume->close();
}

std::optional<ResizeFailure> shrinkDetached(const std::string& descriptor, uint64_t bytes,
                                            const Before& before, std::chrono::milliseconds wait) {
    if (before.fileSystem) {
        auto own = OwnAttachment::make(descriptor);
        if (!own)
            return ResizeFailure{ResizeStep::FileSystem, std::move(own).takeError()};
        const std::string& device = (***own).partition;
        auto kind = fileSystemOn(device);
        if (!kind || *kind != "ext4")
            return ResizeFailure{ResizeStep::FileSystem,
                                 kind ? fail(ErrorCode::OperationUnsupported, "a file system of the kind ",
                                             *kind, " cannot be made smaller")
                                      : std::move(kind).takeError()};
        if (auto failed = in(ResizeStep::Check, checkFileSystem(device, true)))
            return failed;
        uint64_t length = before.shrunkTo ? before.shrunkTo->length : bytes;
        if (auto failed = in(ResizeStep::FileSystem, runGood({"resize2fs", device, cat(length / 1024, "K")})))
            return failed;
        if (auto failed = in(ResizeStep::Image, (*own)->end()))
            return failed;
    }
    return in(ResizeStep::Image, cut(descriptor, bytes, before, wait));
}

} // namespace

Result<void> checkFileSystem(const std::string& device, bool always) {
    std::vector<std::string> argv{"e2fsck", "-p", device};
    if (always)
        argv.insert(argv.begin() + 1, "-f");
    VZ_TRY(auto finished, runTool(argv));
    // 1: errors were found and put right.
    if (finished.status > 1)
        return toolError("e2fsck", finished);
    return {};
}

namespace {

// fs/xfs/libxfs/xfs_fs.h, which comes with xfsprogs: what is at the start of the first stays so.
struct XfsGeometry {
    uint32_t blockSize, unused[6], mostInodesPercent;
    uint64_t dataBlocks, others[3];
    unsigned char rest[48];
};
struct XfsGrowth {
    uint64_t blocks;
    uint32_t mostInodesPercent;
};
constexpr unsigned long xfsGeometry = _IOR('X', 100, XfsGeometry), xfsGrow = _IOW('X', 110, XfsGrowth);

/** Not by xfs_growfs(8), which wants a mount that has a place. */
Result<void> growXfs(int fd, const std::string& folder, const std::string& device) {
    XfsGeometry geometry{};
    if (::ioctl(fd, xfsGeometry, &geometry) < 0 || geometry.blockSize == 0)
        return failErrno(errno, "cannot look at the file system at ", folder);
    VZ_TRY(uint64_t bytes, bytesOf(device));
    XfsGrowth growth{bytes / geometry.blockSize, geometry.mostInodesPercent};
    if (growth.blocks > geometry.dataBlocks && ::ioctl(fd, xfsGrow, &growth) < 0)
        return failErrno(errno, "cannot grow the file system at ", folder);
    return {};
}

Result<void> growBtrfs(int fd, const std::string& folder) {
    btrfs_ioctl_vol_args arguments{};
    std::strcpy(arguments.name, "max");
    if (::ioctl(fd, BTRFS_IOC_RESIZE, &arguments) < 0)
        return failErrno(errno, "cannot grow the file system at ", folder);
    return {};
}

} // namespace

Result<void> growFileSystem(const std::string& folder, const std::string& device) {
    VZ_TRY(auto fd, file::open(folder, O_RDONLY | O_DIRECTORY));
    struct statfs info;
    if (::fstatfs(fd.get(), &info) < 0)
        return failErrno(errno, "cannot look at ", folder);
    if (info.f_type == btrfsMagic)
        return growBtrfs(fd.get(), folder);
    if (info.f_type == xfsMagic)
        return growXfs(fd.get(), folder, device);
    if (info.f_type != extMagic)
        return {};
    VZ_TRY(uint64_t bytes, bytesOf(device));
    uint64_t blocks = bytes / static_cast<uint64_t>(info.f_bsize);
    if (::ioctl(fd.get(), ext4ResizeFs, &blocks) < 0)
        return failErrno(errno, "cannot grow the file system at ", folder);
    return {};
}

std::optional<ResizeFailure> resizeImage(const std::string& descriptor, uint64_t bytes,
                                         std::chrono::milliseconds wait) {
    auto running = find(descriptor);
    if (!running)
        return ResizeFailure{ResizeStep::Image, std::move(running).takeError()};
    if (*running) {
        auto failed = growAttached(**running, bytes);
        if (!failed || !wasGone(failed->error))
            return failed;
    }
    auto before = look(descriptor, bytes, wait);
    if (!before)
        return ResizeFailure{ResizeStep::Image, std::move(before).takeError()};
    if (bytes < before->bytes)
        return shrinkDetached(descriptor, bytes, *before, wait);
    return growDetached(descriptor, bytes, *before, wait);
}

} // namespace vz::exports
