// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/delta.hpp"

#include "storage/ploop/extension.hpp"

#include <algorithm>
#include <cerrno>

namespace vz::ploop {

bool Places::take(uint64_t place) {
    bool fresh;
    if (place < near_.size()) {
        fresh = !near_[place];
        near_[place] = true;
    } else {
        fresh = far_.insert(place).second;
    }
    count_ += fresh;
    return fresh;
}

void Places::give(uint64_t place) {
    if (!taken(place))
        return;
    if (place < near_.size())
        near_[place] = false;
    else
        far_.erase(place);
    --count_;
    hint_ = std::max(floor_, std::min(hint_, place));
}

void Places::setFloor(uint64_t place) {
    floor_ = place;
    hint_ = std::max(hint_, floor_);
}

bool Places::taken(uint64_t place) const {
    return place < near_.size() ? near_[place] : far_.contains(place);
}

std::optional<uint64_t> Places::firstFree(uint64_t end) {
    while (hint_ < end && taken(hint_))
        ++hint_;
    return hint_ < end ? std::optional(hint_) : std::nullopt;
}

uint64_t Places::end() const {
    uint64_t last = 0;
    for (uint64_t place : far_)
        last = std::max(last, place + 1);
    if (last > 0)
        return last;
    for (uint64_t place = near_.size(); place > 0; --place) {
        if (near_[place - 1])
            return place;
    }
    return 0;
}

Error Delta::broken() const {
    return Error(ErrorCode::SystemError,
                 cat(path_, ": an earlier flush failed, so nothing more is written; open the image again"),
                 EIO);
}

Result<void> Delta::checkMark(bool recover) const {
    if (header_.mark != markOpen || recover)
        return {};
    return fail(ErrorCode::OperationInvalid, path_,
                " was not closed properly or is in use elsewhere; check it first");
}

Result<std::unique_ptr<Delta>> Delta::open(FileSystem& files, const std::string& path,
                                           const Options& options) {
    VZ_TRY(auto file, files.open(path, options.access, options.direct));
    bool writable = options.access == Access::ReadWrite;
    if (options.lock)
        VZ_CHECK(file->lock(writable ? Lock::Writer : Lock::Reader, options.wait));
    std::unique_ptr<Delta> delta(new Delta(path, std::move(file)));
    VZ_TRY(delta->fileBytes_, delta->file_->size());
    if (delta->fileBytes_ < headerSize)
        return fail(ErrorCode::StorageProbeFailed, path, ": ", delta->fileBytes_,
                    " bytes are too short for an image");
    std::array<std::byte, headerSize> start;
    VZ_CHECK(delta->file_->read(0, start.data(), start.size()));
    auto header = decode(start, delta->fileBytes_);
    if (!header)
        return std::move(header).takeError().within(path);
    delta->header_ = *header;
    delta->writable_ = writable;
    if (writable) {
        VZ_CHECK(delta->checkMark(options.recover));
        if (header->flags & flagConverting)
            return fail(ErrorCode::OperationInvalid, path, ": a conversion was cut off; check it first");
    }
    return delta;
}

Result<std::unique_ptr<Delta>> Delta::openPlain(FileSystem& files, const std::string& path,
                                                const Plain& plain, const Options& options) {
    VZ_TRY(auto file, files.open(path, options.access, options.direct));
    if (options.lock)
        VZ_CHECK(file->lock(options.access == Access::ReadWrite ? Lock::Writer : Lock::Reader, options.wait));
    std::unique_ptr<Delta> delta(new Delta(path, std::move(file)));
    VZ_TRY(delta->fileBytes_, delta->file_->size());
    delta->plain_ = true;
    delta->writable_ = options.access == Access::ReadWrite;
    delta->header_.clusterSectors = plain.clusterSectors;
    delta->header_.sectors = plain.sectors ? plain.sectors : delta->fileBytes_ / sectorSize;
    delta->header_.firstBlock = 0;
    return delta;
}

static Result<FilePtr> createFile(FileSystem& files, const std::string& path, const Header& header,
                                  uint64_t bytes) {
    VZ_TRY(auto file, files.create(path));
    auto fill = [&]() -> Result<void> {
        VZ_CHECK(file->resize(bytes));
        // So that a full disk cannot keep an entry from being written later.
        VZ_CHECK(file->reserve({0, entryOffset(header.entries)}));
        auto start = encode(header);
        return file->write(0, start.data(), start.size());
    };
    if (auto filled = fill(); !filled) {
        (void)files.remove(path);
        return std::move(filled).takeError();
    }
    return file;
}

Result<void> Delta::create(FileSystem& files, const std::string& path, const Header& header) {
    VZ_TRY(auto file, createFile(files, path, header, header.firstBlock * sectorSize));
    return file->flush();
}

Result<void> Delta::createPreallocated(FileSystem& files, const std::string& path, const Header& header) {
    uint64_t start = header.firstBlock * sectorSize, data = header.entries * header.clusterBytes();
    Header filled = header;
    filled.flags &= ~flagEmpty;
    VZ_TRY(auto file, createFile(files, path, filled, start + data));
    auto fill = [&]() -> Result<void> {
        VZ_CHECK(file->reserve({start, data}));
        std::vector<std::byte> block(65536);
        for (uint64_t index = 0; index < header.entries;) {
            size_t count = std::min<uint64_t>(block.size() / 4, header.entries - index);
            for (size_t i = 0; i < count; ++i) {
                VZ_TRY(uint32_t entry,
                       header.entryFor(header.firstBlock + (index + i) * header.clusterSectors));
                store32(&block[i * 4], entry);
            }
            VZ_CHECK(file->write(entryOffset(index), block.data(), count * 4));
            index += count;
        }
        return file->flush();
    };
    auto done = fill();
    if (!done)
        (void)files.remove(path);
    return done;
}

Result<void> Delta::readEntries(uint64_t first, std::span<uint32_t> into) {
    uint64_t known = first < header_.entries ? std::min<uint64_t>(into.size(), header_.entries - first) : 0;
    if (known > 0)
        VZ_CHECK(file_->read(entryOffset(first), into.data(), known * 4));
    std::fill(into.begin() + static_cast<ptrdiff_t>(known), into.end(), 0);
    return {};
}

Result<void> Delta::forEachEntry(const std::function<Result<void>(uint64_t, uint32_t)>& each) {
    std::vector<uint32_t> block(16384);
    for (uint64_t first = 0; first < header_.entries; first += block.size()) {
        std::span<uint32_t> part(block.data(), std::min<uint64_t>(block.size(), header_.entries - first));
        VZ_CHECK(readEntries(first, part));
        for (size_t i = 0; i < part.size(); ++i) {
            if (part[i] != 0)
                VZ_CHECK(each(first + i, part[i]));
        }
    }
    return {};
}

Result<void> Delta::scan() {
    VZ_TRY(uint64_t bytes, file_->size());
    std::lock_guard lock(mutex_);
    constexpr uint64_t slack = 65536;
    places_ = Places(uint64_t(header_.entries) + slack);
    endSector_ = header_.firstBlock;
    if (uint64_t sectors = bytes / sectorSize; sectors > header_.firstBlock)
        endSector_ += (sectors - header_.firstBlock) / header_.clusterSectors * header_.clusterSectors;
    return forEachEntry([&](uint64_t index, uint32_t entry) -> Result<void> {
        if (!header_.valid(entry, bytes))
            return fail(ErrorCode::StorageProbeFailed, path_, " is damaged: cluster ", index, " lies at ",
                        entry, ", which is no place in the file; check it first");
        if (!places_.take(placeOf(header_.sectorOf(entry))))
            return fail(ErrorCode::StorageProbeFailed, path_, " is damaged: cluster ", index,
                        " shares its place with another one; check it first");
        return {};
    });
}

Result<void> Delta::lockForWriting(const Options& options) {
    // On the descriptor that there is: its own lock does not stand in its way.
    return options.lock ? file_->lock(Lock::Writer, options.wait) : Result<void>();
}

Result<void> Delta::makeWritable(FileSystem& files, const Options& options) {
    VZ_TRY(auto file, files.open(path_, Access::ReadWrite, options.direct));
    if (!plain_)
        VZ_CHECK(checkMark(options.recover));
    // Whoever is handed the new descriptor keeps the lock with it.
    if (options.lock)
        VZ_CHECK(file->shareLock(*file_));
    file_ = std::move(file);
    writable_ = true;
    return {};
}

Result<void> Delta::shareForReading(const Options& options) {
    writable_ = false;
    if (!options.lock)
        return {};
    return file_->lock(Lock::Reader, options.wait);
}

Result<void> Delta::beginWriting() {
    std::lock_guard commit(commitMutex_);
    if (writing())
        return {};
    if (!plain_) {
        if (header_.clusters() > header_.entries)
            return fail(ErrorCode::StorageProbeFailed, path_, " is damaged: its table of ", header_.entries,
                        " entries is too short for the disk");
        if (header_.extension != 0 && header_.mark == markExtension)
            VZ_CHECK(checkExtensionMayGo(*file_, header_));
        VZ_CHECK(scan());
        // A dirty bitmap would be wrong after the first write: without it, who needs one makes a full copy.
        header_.mark = markOpen;
        header_.extension = 0;
        VZ_CHECK(writeHeader());
        VZ_CHECK(flushFile());
    }
    writing_.store(true, std::memory_order_release);
    return {};
}

Result<void> Delta::flushFile() {
    // The kernel forgets what it could not write, so a second flush would succeed for nothing, whoever asks.
    auto flushed = file_->flush();
    broken_ = broken_ || !flushed;
    return flushed;
}

Result<void> Delta::writeHeader() {
    auto bytes = encode(header_);
    return file_->write(0, bytes.data(), bytes.size());
}

Result<void> Delta::replaceHeader(const Header& header) {
    header_ = header;
    VZ_CHECK(writeHeader());
    return flushFile();
}

Result<void> Delta::endWriting() {
    if (!writing())
        return {};
    VZ_TRY(auto freed, commit());
    if (plain_) {
        writing_ = false;
        return {};
    }
    VZ_CHECK(recycle(freed));
    VZ_CHECK(truncateTail());
    Header closed = header_;
    closed.mark = markClosed;
    if (allocatedClusters() > 0)
        closed.flags &= ~flagEmpty;
    VZ_CHECK(flushFile());
    if (auto replaced = replaceHeader(closed); !replaced) {
        header_.mark = markOpen; // it goes on being written
        return replaced;
    }
    writing_ = false;
    return {};
}

Result<void> Delta::truncateTail() {
    std::lock_guard lock(mutex_);
    endSector_ = sectorOf(places_.end());
    return file_->resize(endSector_ * sectorSize);
}

uint64_t Delta::allocatedClusters() const {
    std::lock_guard lock(mutex_);
    return places_.count();
}

Result<void> Delta::extendTo(uint64_t sector) {
    // In steps, so that not every new cluster changes the size of the file.
    constexpr uint64_t step = (8u << 20) / sectorSize;
    uint64_t least = std::max<uint64_t>(step / header_.clusterSectors, 1) * header_.clusterSectors;
    uint64_t end = std::max(sector, endSector_ + least);
    VZ_CHECK(file_->resize(end * sectorSize));
    endSector_ = end;
    return {};
}

Result<uint64_t> Delta::allocate() {
    if (broken_)
        return broken();
    std::lock_guard lock(mutex_);
    uint64_t end = placeOf(endSector_);
    auto place = places_.firstFree(end);
    uint64_t sector = sectorOf(place.value_or(end));
    VZ_CHECK(header_.entryFor(sector));
    if (place)
        VZ_CHECK(file_->punch(bytesAt(sector))); // it may have had another content
    else
        VZ_CHECK(extendTo(sector + header_.clusterSectors));
    places_.take(placeOf(sector));
    return sector;
}

std::optional<uint64_t> Delta::allocateBelow(uint64_t sector) {
    std::lock_guard lock(mutex_);
    auto place = places_.firstFree(placeOf(sector));
    if (!place)
        return std::nullopt;
    places_.take(*place);
    return sectorOf(*place);
}

void Delta::abandon(uint64_t sector) {
    std::lock_guard lock(mutex_);
    places_.give(placeOf(sector));
}

Result<void> Delta::setEntry(uint64_t index, uint64_t sector) {
    VZ_TRY(uint32_t entry, header_.entryFor(sector));
    std::lock_guard lock(mutex_);
    pending_.emplace_back(index, entry);
    return {};
}

void Delta::clearEntry(uint64_t index) {
    std::lock_guard lock(mutex_);
    pending_.emplace_back(index, 0);
}

void Delta::vacate(uint64_t sector) {
    std::lock_guard lock(mutex_);
    vacated_.push_back(sector);
}

Result<std::vector<uint64_t>> Delta::commit() {
    std::lock_guard commit(commitMutex_);
    if (broken_)
        return broken();
    std::vector<std::pair<uint64_t, uint32_t>> entries;
    std::vector<uint64_t> freed;
    {
        std::lock_guard lock(mutex_);
        entries.swap(pending_);
        freed.swap(vacated_);
    }
    VZ_CHECK(flushFile());
    if (entries.empty())
        return freed;
    if (auto written = writeEntries(entries); !written) {
        std::lock_guard lock(mutex_);
        pending_.insert(pending_.begin(), entries.begin(), entries.end());
        vacated_.insert(vacated_.begin(), freed.begin(), freed.end());
        return std::move(written).takeError();
    }
    VZ_CHECK(flushFile());
    return freed;
}

Result<void> Delta::writeEntries(std::vector<std::pair<uint64_t, uint32_t>> entries) {
    // Stable: of two changes of one entry the later one counts.
    std::stable_sort(entries.begin(), entries.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    constexpr uint64_t perBlock = 1024;
    std::vector<uint32_t> block;
    for (size_t begin = 0; begin < entries.size();) {
        uint64_t first = entries[begin].first;
        size_t end = begin;
        while (end < entries.size() && entries[end].first < first + perBlock)
            ++end;
        block.resize(entries[end - 1].first - first + 1);
        VZ_CHECK(readEntries(first, block));
        for (; begin < end; ++begin)
            block[entries[begin].first - first] = entries[begin].second;
        VZ_CHECK(file_->write(entryOffset(first), block.data(), block.size() * 4));
    }
    return {};
}

Result<void> Delta::recycle(const std::vector<uint64_t>& sectors) {
    for (uint64_t sector : sectors) {
        VZ_CHECK(file_->punch(bytesAt(sector)));
        std::lock_guard lock(mutex_);
        places_.give(placeOf(sector));
    }
    return {};
}

Result<void> Delta::keepFree(uint64_t firstBlock) {
    std::lock_guard lock(mutex_);
    places_.setFloor(placeOf(firstBlock));
    if (endSector_ < firstBlock)
        VZ_CHECK(extendTo(firstBlock));
    return {};
}

Result<void> Delta::renumber() {
    return scan();
}

Result<void> Delta::resizePlain(uint64_t sectors) {
    VZ_CHECK(file_->resize(sectors * sectorSize));
    VZ_CHECK(flushFile());
    header_.sectors = sectors;
    return {};
}

} // namespace vz::ploop
