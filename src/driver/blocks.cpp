// SPDX-License-Identifier: LGPL-2.1-or-later
// What libvirt asks and wants of single disks. A disk is named by its target ("vdb"; "/" for a filesystem),
// its source, or its alias.
#include "driver/blocks.hpp"

#include "base/file.hpp"
#include "driver/container_storage.hpp"
#include "driver/methods.hpp"
#include "driver/typed_params.hpp"
#include "storage/export/partitions.hpp"
#include "storage/export/resize.hpp"
#include "storage/ploop/locate.hpp"
#include "storage/ploop/volume.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace vz::driver {

namespace {

Result<domain::UsedDisk> usedDisk(const ContainerDomain& domain, const std::string& name) {
    VZ_TRY(auto disks, domain.disks());
    const auto* found = diskNamed(disks, targetOf(domain.current().definition(), name));
    if (found)
        return *found;
    auto byPath =
        std::find_if(disks.begin(), disks.end(), [&](const auto& disk) { return disk.path == name; });
    if (byPath == disks.end())
        return noDisk(name);
    return *byPath;
}

Result<void> addFile(BlockSizes& sizes, const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) < 0)
        return failErrno(errno, "cannot look at ", path);
    constexpr uint64_t unit = 512; // of st_blocks
    sizes.allocation += static_cast<uint64_t>(info.st_blocks) * unit;
    sizes.physical += static_cast<uint64_t>(info.st_size);
    return {};
}

/** Sizes of an image that may be in use: nothing is locked. */
Result<BlockSizes> imageSizes(const ploop::Located& found) {
    BlockSizes sizes;
    if (found.kind != ploop::Located::Kind::Image) {
        VZ_CHECK(addFile(sizes, found.path));
        sizes.capacity = sizes.physical;
        if (found.kind == ploop::Located::Kind::Delta) {
            VZ_TRY(auto file, file::open(found.path, O_RDONLY));
            std::array<std::byte, ploop::headerSize> start{};
            if (::pread(file.get(), start.data(), start.size(), 0) < 0)
                return failErrno(errno, "cannot read ", found.path);
            VZ_TRY(auto header, ploop::decode(start, sizes.physical));
            sizes.capacity = header.sectors * ploop::sectorSize;
        }
        return sizes;
    }
    VZ_TRY(auto model, ploop::Volume::read(ploop::hostFiles(), found.path));
    VZ_TRY(auto chain, ploop::chainOf(found.path, model, model.top));
    for (const auto& link : chain)
        VZ_CHECK(addFile(sizes, link.path));
    sizes.capacity = model.sectors * ploop::sectorSize;
    return sizes;
}

Result<BlockSizes> sizesAt(const std::string& path) {
    VZ_TRY(auto found, ploop::locate(ploop::hostFiles(), path));
    if (found.kind != ploop::Located::Kind::Device)
        return imageSizes(found);
    VZ_TRY(auto bytes, exports::bytesOf(found.path));
    return BlockSizes{bytes, bytes, bytes};
}

/** Of a container that does not run: what its definition leads to. */
Result<BlockSizes> sizesOfDefined(const domain::Definition& definition, const std::string& name) {
    auto target = targetOf(definition, name);
    for (const auto& disk : definition.disks) {
        if (disk.target != target)
            continue;
        VZ_TRY(auto path, hostPathOf(disk));
        return sizesAt(path);
    }
    for (const auto& filesystem : definition.filesystems) {
        if (filesystem.target != target || !isOnDisk(filesystem))
            continue;
        VZ_TRY(auto path, hostPathOf(filesystem));
        return sizesAt(path);
    }
    return noDisk(name);
}

/** Makes the file system as large as its device, if it has one. */
Result<void> growInside(const DomainCall& call, const domain::UsedDisk& disk) {
    if (!disk.mounted)
        return {};
    VZ_TRY(auto container, call.domain.running());
    VZ_TRY(auto mount, container->openMount(disk.place));
    auto grown = exports::growFileSystem(cat("/proc/self/fd/", mount.get()), disk.partition);
    if (grown)
        return {};
    return failErrno(grown.error().systemError(), "the disk ", disk.name,
                     " has grown, but not the file system that it has at ", disk.place);
}

Result<void> growImage(const domain::UsedDisk& disk, uint64_t bytes, uint64_t now) {
    if (bytes < now)
        return fail(ErrorCode::OperationUnsupported, "the disk ", disk.name, " has ", now,
                    " bytes and cannot be "
                    "made smaller while the container runs: shut it down and use 'ploop resize' on ",
                    disk.path);
    VZ_TRY(auto attachment, exports::findById(disk.image));
    if (!attachment)
        return fail(ErrorCode::OperationFailed, "nothing serves the image ", disk.path,
                    " any more: restart the container");
    VZ_TRY(auto done, exports::call(*attachment, {"resize", cat(bytes), "table"}));
    (void)done;
    return {};
}

/** The numbers of Documentation/block/stat.rst; those that this kernel does not have are 0. */
std::vector<uint64_t> statNumbers(std::string_view text) {
    std::vector<uint64_t> numbers;
    for (auto word : split(trim(text), ' ')) {
        if (!word.empty())
            numbers.push_back(parseNumber<uint64_t>(word).value_or(0));
    }
    numbers.resize(std::max<size_t>(numbers.size(), 17));
    return numbers;
}

/** Since the container has it; times are in milliseconds, sectors have 512 bytes. */
Result<BlockCounters> countersOf(const domain::UsedDisk& disk) {
    VZ_TRY(auto text, blockStatistics(disk.device));
    auto now = statNumbers(text), before = statNumbers(disk.statistics);
    auto since = [&](size_t index) { return now[index] - std::min(now[index], before[index]); };
    constexpr uint64_t sector = 512, ms = 1000000;
    return BlockCounters{since(0),          since(2) * sector, since(3) * ms, since(4),
                         since(6) * sector, since(7) * ms,     since(15),     since(16) * ms};
}

/** One, or, without a name, all together. */
Result<BlockCounters> countersNamed(const ContainerDomain& domain, const std::string& name) {
    if (!name.empty()) {
        VZ_TRY(auto disk, usedDisk(domain, name));
        return countersOf(disk);
    }
    BlockCounters sum;
    VZ_TRY(auto disks, domain.disks());
    for (const auto& disk : disks) {
        VZ_TRY(auto one, countersOf(disk));
        for (auto member : {&BlockCounters::reads, &BlockCounters::readBytes, &BlockCounters::readNs,
                            &BlockCounters::writes, &BlockCounters::writeBytes, &BlockCounters::writeNs,
                            &BlockCounters::flushes, &BlockCounters::flushNs})
            sum.*member += one.*member;
    }
    return sum;
}

/** What the file system at the place does not use is given back; @p minimum: smaller gaps are left. */
Result<void> trimAt(ct::Container& container, const std::string& place, uint64_t minimum) {
    VZ_TRY(auto mount, container.openMount(place));
    fstrim_range range{0, UINT64_MAX, minimum};
    if (::ioctl(mount.get(), FITRIM, &range) < 0)
        return failErrno(errno, "cannot discard what is unused at ", place);
    return {};
}

} // namespace

std::string targetOf(const domain::Definition& definition, const std::string& name) {
    for (const auto& disk : definition.disks) {
        if (name == disk.target || name == disk.source || (!name.empty() && name == disk.alias))
            return disk.target;
    }
    for (const auto& filesystem : definition.filesystems) {
        if (!isOnDisk(filesystem))
            continue;
        if (name == filesystem.target || name == filesystem.source ||
            (!name.empty() && name == filesystem.alias))
            return filesystem.target;
    }
    return {};
}

Error noDisk(const std::string& name) {
    return fail(ErrorCode::InvalidArg, "the container has no disk or image '", name, "'");
}

std::vector<BlockReport> blockReports(const ContainerDomain& domain) {
    std::vector<BlockReport> reports;
    auto disks = domain.disks();
    if (!disks)
        return reports;
    for (const auto& disk : *disks) {
        BlockReport report{disk.name, disk.path, {}, {}};
        if (auto counters = countersOf(disk))
            report.counters = *counters;
        if (auto sizes = sizesAt(disk.path))
            report.sizes = *sizes;
        reports.push_back(std::move(report));
    }
    return reports;
}

Result<void> blockResize(const DomainCall& call, const char* name, unsigned long long size,
                         unsigned int flags) {
    VZ_CHECK(allowFlags(flags, VIR_DOMAIN_BLOCK_RESIZE_BYTES, "virDomainBlockResize"));
    uint64_t bytes = size;
    if (!(flags & VIR_DOMAIN_BLOCK_RESIZE_BYTES)) {
        if (bytes > UINT64_MAX / 1024)
            return fail(ErrorCode::Overflow, "a size of ", bytes, " KiB is too large");
        bytes *= 1024;
    }
    VZ_TRY(auto job, call.modify());
    VZ_TRY(auto disk, usedDisk(call.domain, name));
    if (disk.readOnly)
        return fail(ErrorCode::OperationInvalid, "the disk ", disk.name, " is read-only");
    VZ_TRY(auto now, exports::bytesOf(disk.device));
    if (!disk.image.empty())
        VZ_CHECK(growImage(disk, bytes, now));
    else if (bytes != now)
        return fail(ErrorCode::OperationUnsupported, disk.path, " is a device of the host with ", now,
                    " bytes: change its size there first; the same size here then makes its file system fit");
    return growInside(call, disk);
}

Result<void> getBlockInfo(const DomainCall& call, const char* name, virDomainBlockInfoPtr info,
                          unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainGetBlockInfo"));
    auto find = [&]() -> Result<BlockSizes> {
        if (!call.domain.active())
            return sizesOfDefined(call.domain.config().definition(), name);
        VZ_TRY(auto disk, usedDisk(call.domain, name));
        return sizesAt(disk.path);
    };
    VZ_TRY(auto sizes, find());
    *info = {.capacity = sizes.capacity, .allocation = sizes.allocation, .physical = sizes.physical};
    return {};
}

Result<void> blockStats(const DomainCall& call, const char* name, virDomainBlockStatsPtr stats) {
    VZ_TRY(auto counters, countersNamed(call.domain, name));
    auto number = [](uint64_t value) { return static_cast<long long>(value); };
    *stats = {.rd_req = number(counters.reads),
              .rd_bytes = number(counters.readBytes),
              .wr_req = number(counters.writes),
              .wr_bytes = number(counters.writeBytes),
              .errs = -1};
    return {};
}

Result<void> blockStatsFlags(const DomainCall& call, const char* name, virTypedParameterPtr params,
                             int* count, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, VIR_TYPED_PARAM_STRING_OKAY, "virDomainBlockStatsFlags"));
    VZ_TRY(auto counters, countersNamed(call.domain, name));
    const std::pair<const char*, uint64_t> values[] = {
        {VIR_DOMAIN_BLOCK_STATS_READ_REQ, counters.reads},
        {VIR_DOMAIN_BLOCK_STATS_READ_BYTES, counters.readBytes},
        {VIR_DOMAIN_BLOCK_STATS_READ_TOTAL_TIMES, counters.readNs},
        {VIR_DOMAIN_BLOCK_STATS_WRITE_REQ, counters.writes},
        {VIR_DOMAIN_BLOCK_STATS_WRITE_BYTES, counters.writeBytes},
        {VIR_DOMAIN_BLOCK_STATS_WRITE_TOTAL_TIMES, counters.writeNs},
        {VIR_DOMAIN_BLOCK_STATS_FLUSH_REQ, counters.flushes},
        {VIR_DOMAIN_BLOCK_STATS_FLUSH_TOTAL_TIMES, counters.flushNs}};
    ParamSlots slots(params, count);
    for (auto [field, value] : values)
        slots.add(field, static_cast<long long>(value));
    return {};
}

Result<void> fsTrim(const DomainCall& call, const char* mountPoint, unsigned long long minimum,
                    unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainFSTrim"));
    VZ_TRY(auto job, call.modify());
    VZ_TRY(auto container, call.domain.running());
    VZ_TRY(auto disks, call.domain.disks());
    bool any = false;
    for (const auto& disk : disks) {
        if (!disk.mounted || disk.readOnly || (mountPoint && disk.place != mountPoint))
            continue;
        auto trimmed = trimAt(*container, disk.place, minimum);
        // A device of the host may not be able to, which is of interest only to who has named it.
        if (!trimmed && (mountPoint || trimmed.error().systemError() != EOPNOTSUPP))
            return trimmed;
        any = true;
    }
    if (!any)
        return fail(ErrorCode::OperationUnsupported, "the container has no file system on a disk of its own",
                    mountPoint ? cat(" at ", mountPoint) : "");
    return {};
}

} // namespace vz::driver
