// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/convert.hpp"

#include "base/rollback.hpp"
#include "storage/ploop/buffer.hpp"

#include <algorithm>
#include <cstring>
#include <filesystem>

namespace vz::ploop {

namespace {

constexpr std::string_view temporaryEnd = ".tmp";
constexpr std::string_view redoMagic = "vz-ploop-tables1";

std::string redoPath(const std::string& delta) {
    return delta + ".redo";
}

Result<void> copyData(Image& source,
                      const std::function<Result<void>(uint64_t, const std::byte*, size_t)>& write,
                      const Progress& progress) {
    VZ_TRY(auto ranges, source.allocated());
    uint64_t total = 0, done = 0;
    for (const auto& range : ranges)
        total += range.length;
    Buffer buffer(copyPart);
    for (const auto& range : ranges) {
        for (uint64_t at = 0; at < range.length;) {
            if (progress && !progress(done, total))
                return fail(ErrorCode::OperationAborted, "stopped on request");
            size_t part = std::min<uint64_t>(copyPart, range.length - at);
            VZ_CHECK(source.read(range.offset + at, buffer.data(), part));
            if (!allZero(buffer.data(), part))
                VZ_CHECK(write(range.offset + at, buffer.data(), part));
            at += part;
            done += part;
        }
    }
    if (progress)
        (void)progress(total, total);
    return {};
}

Result<void> writeRaw(FileSystem& files, Image& source, const std::string& target, const Progress& progress) {
    VZ_TRY(auto file, files.create(target));
    VZ_CHECK(file->resize(source.bytes()));
    VZ_CHECK(copyData(
        source,
        [&](uint64_t offset, const std::byte* data, size_t size) { return file->write(offset, data, size); },
        progress));
    return file->flush();
}

Result<void> writeDelta(FileSystem& files, Image& source, const std::string& target, bool full,
                        Version version, const Progress& progress) {
    VZ_TRY(Header header,
           makeHeader(source.bytes() / sectorSize, source.clusterBytes() / sectorSize, version));
    VZ_CHECK(full ? Delta::createPreallocated(files, target, header) : Delta::create(files, target, header));
    Image::Options options;
    options.access = Access::ReadWrite;
    VZ_TRY(auto image, Image::open(files, {{target}}, options));
    VZ_CHECK(copyData(
        source,
        [&](uint64_t offset, const std::byte* data, size_t size) { return image->write(offset, data, size); },
        progress));
    return image->close();
}

} // namespace

Result<void> writeCopy(FileSystem& files, Image& source, const std::string& target, Descriptor::Mode mode,
                       Version version, const Progress& progress) {
    if (files.exists(target))
        return fail(ErrorCode::StorageVolExist, target, " exists already");
    auto written =
        mode == Descriptor::Mode::Raw
            ? writeRaw(files, source, target, progress)
            : writeDelta(files, source, target, mode == Descriptor::Mode::Preallocated, version, progress);
    if (!written)
        (void)files.remove(target);
    return written;
}

Result<bool> shareCopy(FileSystem& files, Image& source, const std::string& target, Descriptor::Mode mode) {
    auto& top = source.top();
    bool plain = mode == Descriptor::Mode::Raw;
    if (source.levels() != 1 || mode == Descriptor::Mode::Preallocated || top.plain() != plain)
        return false;
    VZ_TRY(uint64_t size, top.file().size());
    bool same =
        plain ? size == source.bytes() : top.header().mark != markOpen && top.header().version == Version::V2;
    if (!same || files.exists(target))
        return false;
    return files.share(top.path(), target);
}

Result<void> copyContent(Image& source, Image& target, const Progress& progress) {
    return copyData(
        source,
        [&](uint64_t offset, const std::byte* data, size_t size) { return target.write(offset, data, size); },
        progress);
}

Result<void> convertMode(FileSystem& files, const std::string& descriptor, Descriptor::Mode mode,
                         const Progress& progress) {
    Volume::Options options;
    options.access = Access::ReadWrite;
    VZ_TRY(auto volume, Volume::open(files, descriptor, options));
    auto& model = volume->descriptor();
    if (model.deltas.size() != 1)
        return fail(ErrorCode::OperationInvalid, descriptor, " has snapshots, so its type cannot be changed");
    if (model.mode == mode)
        return {};
    auto& image = volume->image();
    Version version = image.top().plain() ? Version::V2 : image.top().header().version;
    std::string old = volume->fileOf(model.deltas.front()), fresh = old + ".tmp";
    VZ_CHECK(files.remove(fresh)); // of an earlier attempt; the lock says that nobody works on it
    VZ_CHECK(writeCopy(files, image, fresh, mode, version, progress));
    files.copyOwner(old, fresh);
    Rollback back;
    back.add([&] { (void)files.remove(fresh); });

    bool plain = mode == Descriptor::Mode::Raw;
    bool sameFormat = plain == model.deltas.front().plain;
    std::string name = model.deltas.front().file;
    model.mode = mode;
    model.sectors = image.bytes() / sectorSize;
    if (!plain)
        model.sectors += (model.clusterSectors - model.sectors % model.clusterSectors) % model.clusterSectors;
    if (sameFormat) {
        VZ_CHECK(files.rename(fresh, old));
        back.dismiss();
        VZ_CHECK(files.flushFolder(folderOf(old)));
        return Volume::store(files, descriptor, model);
    }
    // Descriptor and file cannot change in one step. So first the descriptor gets the new file by its
    // temporary name.
    model.deltas.front().file = cat(name, temporaryEnd);
    model.deltas.front().plain = plain;
    VZ_CHECK(Volume::store(files, descriptor, model));
    back.dismiss();
    return finishModeChange(files, descriptor, model);
}

bool modeChangeUnfinished(const Descriptor& model) {
    return model.deltas.size() == 1 && model.deltas.front().file.ends_with(temporaryEnd);
}

Result<void> finishModeChange(FileSystem& files, const std::string& descriptor, Descriptor& model) {
    std::string name = model.deltas.front().file;
    std::string path = name.starts_with('/') ? name : cat(folderOf(descriptor), "/", name);
    std::string wanted = path.substr(0, path.size() - temporaryEnd.size());
    VZ_CHECK(files.remove(wanted));
    VZ_CHECK(files.link(path, wanted));
    VZ_CHECK(files.flushFolder(folderOf(path)));
    model.deltas.front().file = name.substr(0, name.size() - temporaryEnd.size());
    VZ_CHECK(Volume::store(files, descriptor, model));
    VZ_CHECK(files.remove(path));
    return files.flushFolder(folderOf(path));
}

namespace {

/** Writes what the start of the file, up to the end of the table, is to become. */
Result<void> writeRedo(FileSystem& files, Delta& delta, const Header& target) {
    std::string path = redoPath(delta.path()), temporary = path + ".tmp";
    VZ_CHECK(files.remove(temporary));
    VZ_TRY(auto file, files.create(temporary));
    VZ_CHECK(file->write(0, redoMagic.data(), redoMagic.size()));
    auto start = encode(target);
    VZ_CHECK(file->write(redoMagic.size(), start.data(), start.size()));
    std::vector<uint32_t> block(16384);
    for (uint64_t first = 0; first < target.entries; first += block.size()) {
        std::span<uint32_t> part(block.data(), std::min<uint64_t>(block.size(), target.entries - first));
        VZ_CHECK(delta.readEntries(first, part));
        for (auto& entry : part) {
            if (entry != 0) {
                VZ_TRY(entry, target.entryFor(delta.header().sectorOf(entry)));
            }
        }
        VZ_CHECK(file->write(redoMagic.size() + entryOffset(first), part.data(), part.size_bytes()));
    }
    VZ_CHECK(file->flush());
    VZ_CHECK(files.rename(temporary, path));
    return files.flushFolder(folderOf(path));
}

Result<void> writeHeader(File& file, Header header) {
    auto bytes = encode(header);
    VZ_CHECK(file.write(0, bytes.data(), bytes.size()));
    return file.flush();
}

Result<Header> readHeader(File& file) {
    VZ_TRY(uint64_t size, file.size());
    std::array<std::byte, headerSize> start{};
    VZ_CHECK(file.read(0, start.data(), start.size()));
    auto header = decode(start, size);
    if (!header)
        return std::move(header).takeError().within(file.path());
    return header;
}

/** The table of a file that is marked as being converted is written, and then the header that makes it count.
 */
Result<void> replayRedo(File& file, File& redo) {
    std::string magic(redoMagic.size(), '\0');
    VZ_CHECK(redo.read(0, magic.data(), magic.size()));
    std::array<std::byte, headerSize> start{};
    VZ_CHECK(redo.read(redoMagic.size(), start.data(), start.size()));
    VZ_TRY(uint64_t bytes, file.size());
    VZ_TRY(Header target, decode(start, bytes));
    VZ_TRY(uint64_t size, redo.size());
    if (magic != redoMagic || size != redoMagic.size() + entryOffset(target.entries))
        return fail(ErrorCode::StorageProbeFailed, redo.path(), " is not what a conversion of ", file.path(),
                    " has left");
    std::vector<std::byte> block(65536);
    for (uint64_t at = headerSize, end = entryOffset(target.entries); at < end;) {
        size_t part = std::min<uint64_t>(block.size(), end - at);
        VZ_CHECK(redo.read(redoMagic.size() + at, block.data(), part));
        VZ_CHECK(file.write(at, block.data(), part));
        at += part;
    }
    VZ_CHECK(file.flush());
    return writeHeader(file, target);
}

Result<void> changeVersion(FileSystem& files, Delta& delta, Version version) {
    Header target = delta.header();
    if (target.version == version)
        return {};
    if (!target.regular())
        return fail(ErrorCode::OperationUnsupported, delta.path(),
                    " has a layout that version 2 does not know");
    if (version == Version::V1 && target.sectors > UINT32_MAX)
        return fail(ErrorCode::InvalidArg, delta.path(), " is too large for version 1");
    target.version = version;
    target.mark = markClosed;
    target.extension = 0;
    VZ_CHECK(writeRedo(files, delta, target));
    VZ_TRY(auto file, files.open(delta.path(), Access::ReadWrite));
    Header busy = delta.header();
    busy.mark = markOpen;
    busy.extension = 0;
    busy.flags |= flagConverting;
    VZ_CHECK(writeHeader(*file, busy));
    return finishVersionChange(files, delta.path());
}

} // namespace

Result<void> finishVersionChange(FileSystem& files, const std::string& path) {
    std::string redo = redoPath(path);
    if (!files.exists(redo))
        return {};
    VZ_TRY(auto file, files.open(path, Access::ReadWrite));
    VZ_TRY(Header header, readHeader(*file));
    // Without the flag it was not begun, or is complete; the file may have been used since.
    if (header.flags & flagConverting) {
        VZ_TRY(auto log, files.open(redo, Access::ReadOnly));
        VZ_CHECK(replayRedo(*file, *log));
    }
    VZ_CHECK(files.remove(redo));
    return files.flushFolder(folderOf(path));
}

Result<void> convertVersion(FileSystem& files, const std::string& descriptor, Version version) {
    Volume::Options options;
    options.access = Access::ReadWrite;
    VZ_TRY(auto volume, Volume::open(files, descriptor, options));
    for (const auto& entry : volume->descriptor().deltas) {
        if (entry.plain && volume->descriptor().shot(entry.guid)->parent == noGuid)
            continue;
        Delta::Options own;
        std::string path = volume->fileOf(entry);
        own.lock = entry.guid != volume->descriptor().top; // that one the volume holds
        VZ_TRY(auto delta, Delta::open(files, path, own));
        if (delta->header().mark == markOpen)
            return fail(ErrorCode::OperationInvalid, path, " was not closed properly; check it first");
        VZ_CHECK(changeVersion(files, *delta, version));
    }
    return {};
}

namespace {

std::string relativeTo(const std::string& folder, const std::string& path) {
    namespace fs = std::filesystem;
    auto relative =
        fs::absolute(path).lexically_normal().lexically_relative(fs::absolute(folder).lexically_normal());
    return relative.empty() ? path : relative.string();
}

Result<Descriptor> describeRaw(File& file, uint32_t clusterSectors) {
    VZ_TRY(uint64_t bytes, file.size());
    uint32_t cluster = clusterSectors ? clusterSectors : defaultClusterSectors;
    while (!clusterSectors && cluster > minClusterSectors && bytes % (cluster * sectorSize))
        cluster /= 2;
    VZ_CHECK(checkClusterSize(cluster));
    if (bytes == 0 || bytes % (cluster * sectorSize))
        return fail(ErrorCode::InvalidArg, file.path(), ": ", bytes,
                    " bytes are no multiple of a cluster of ", cluster, " sectors");
    return Descriptor::make(bytes / sectorSize, cluster, Descriptor::Mode::Raw);
}

} // namespace

Result<void> restoreDescriptor(FileSystem& files, const std::string& folder, const std::string& delta,
                               const RestoreOptions& options) {
    std::string descriptor = folder + "/DiskDescriptor.xml";
    if (files.exists(descriptor))
        return fail(ErrorCode::StorageVolExist, descriptor, " exists already");
    VZ_TRY(auto file, files.open(delta, Access::ReadOnly));
    bool raw = options.mode == Descriptor::Mode::Raw;
    Descriptor model;
    if (raw) {
        VZ_TRY(model, describeRaw(*file, options.clusterSectors));
    } else {
        VZ_TRY(Header header, readHeader(*file));
        VZ_TRY(model, Descriptor::make(header.sectors, header.clusterSectors, options.mode));
    }
    model.add({topGuid, raw, relativeTo(folder, delta)}, {topGuid, noGuid});
    return Volume::store(files, descriptor, model);
}

Result<void> replaceDelta(FileSystem& files, const std::string& descriptor, const Guid& guid,
                          const std::string& path, const ReplaceOptions& options) {
    Volume::Options opening;
    opening.access = Access::ReadWrite;
    VZ_TRY(auto volume, Volume::open(files, descriptor, opening));
    auto& model = volume->descriptor();
    auto* entry = model.delta(guid);
    if (!entry)
        return fail(ErrorCode::NoSnapshot, "there is no snapshot ", guid);
    std::string old = volume->fileOf(*entry);
    VZ_TRY(auto fresh, files.open(path, Access::ReadOnly));
    VZ_CHECK(fresh->lock(Lock::Writer, std::chrono::milliseconds(0)));
    VZ_TRY(auto now, files.open(old, Access::ReadOnly));
    if (entry->plain && model.shot(guid)->parent == noGuid) {
        VZ_TRY(uint64_t size, fresh->size());
        VZ_TRY(uint64_t wanted, now->size());
        if (size != wanted)
            return fail(ErrorCode::InvalidArg, path, " has ", size, " bytes, ", old, " has ", wanted);
    } else {
        VZ_TRY(Header header, readHeader(*fresh));
        VZ_TRY(Header wanted, readHeader(*now));
        if (header.mark == markOpen || wanted.mark == markOpen)
            return fail(ErrorCode::OperationInvalid, header.mark == markOpen ? path : old,
                        " was not closed properly; check it first");
        if (header.sectors != wanted.sectors || header.clusterSectors != wanted.clusterSectors ||
            header.version != wanted.version)
            return fail(ErrorCode::InvalidArg, path, " is not of the size, cluster size and version of ",
                        old);
    }
    if (options.keepName) {
        VZ_CHECK(files.rename(path, old));
        return files.flushFolder(folderOf(old));
    }
    entry->file = relativeTo(folderOf(descriptor), path);
    return Volume::store(files, descriptor, model);
}

} // namespace vz::ploop
