// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/image.hpp"

#include "storage/ploop/buffer.hpp"
#include "storage/ploop/dirty_map.hpp"

#include <algorithm>
#include <cerrno>

namespace vz::ploop {

Result<std::unique_ptr<Image>> Image::open(FileSystem& files, const std::vector<Link>& chain,
                                           const Options& options) {
    if (chain.empty() || chain.size() > mostLevels)
        return fail(ErrorCode::InvalidArg, "a chain of ", chain.size(), " files is not possible: 1 to ",
                    mostLevels, " are");
    std::unique_ptr<Image> image(new Image(options));
    for (size_t i = 0; i < chain.size(); ++i) {
        Delta::Options own = options;
        if (i + 1 < chain.size())
            own.access = Access::ReadOnly;
        std::unique_ptr<Delta> delta;
        if (chain[i].plain && i > 0)
            return fail(ErrorCode::StorageProbeFailed, chain[i].path,
                        ": only the base of a chain can be a plain file");
        if (chain[i].plain) {
            VZ_TRY(delta, Delta::openPlain(files, chain[i].path, options.plainDisk, own));
        } else {
            VZ_TRY(delta, Delta::open(files, chain[i].path, own));
        }
        if (i > 0 && delta->header().clusterSectors != image->levels_.front()->header().clusterSectors)
            return fail(ErrorCode::StorageProbeFailed, chain[i].path, ": its clusters are of ",
                        delta->header().clusterSectors, " sectors, those of the base of ",
                        image->levels_.front()->header().clusterSectors);
        image->levels_.push_back(std::move(delta));
    }
    const auto& top = image->top().header();
    image->clusterBytes_ = static_cast<uint32_t>(top.clusterBytes());
    image->bytes_ = top.bytes();
    image->writableFrom_ = chain.size() - 1;
    image->allocateIn_ = chain.size() - 1;
    image->map_.resize(top.clusters());
    if (options.access == Access::ReadWrite && options.recover)
        VZ_CHECK(image->beginWriting());
    return image;
}

Image::~Image() {
    if (writable() && !closed_)
        (void)close();
}

Result<void> Image::checkRange(uint64_t offset, uint64_t length) const {
    if (offset > bytes() || length > bytes() - offset)
        return Error(ErrorCode::InvalidArg,
                     cat(length, " bytes at ", offset, " are beyond the disk of ", bytes(), " bytes"),
                     EINVAL);
    return {};
}

Error Image::damaged(uint64_t index, Place place) const {
    return Error(ErrorCode::StorageProbeFailed,
                 cat(levels_[place.level()]->path(), " is damaged: cluster ", index,
                     " has no valid place in the file"),
                 EIO);
}

Image::Piece Image::pieceAt(uint64_t offset, uint64_t length) const {
    uint64_t inner = offset % clusterBytes_;
    return {offset / clusterBytes_, inner, std::min(length, clusterBytes_ - inner)};
}

/** Only the first request finds something to do: images that are opened and not written to stay as they are.
 */
Result<void> Image::beginWriting() {
    if (ready_.load(std::memory_order_acquire))
        return {};
    if (!writable())
        return Error(ErrorCode::OperationDenied, cat("the image is open for reading only"), EROFS);
    // Whoever replaces the top holds this, too.
    std::lock_guard lock(flushMutex_);
    if (closed_)
        return fail(ErrorCode::OperationInvalid, "the image is closed");
    for (size_t level = writableFrom_; level < levels_.size(); ++level)
        VZ_CHECK(levels_[level]->beginWriting());
    ready_.store(true, std::memory_order_release);
    return {};
}

Result<void> Image::read(uint64_t offset, void* into, size_t size) {
    Pass pass(gate_);
    VZ_CHECK(checkRange(offset, size));
    auto* to = static_cast<std::byte*>(into);
    while (size > 0) {
        auto piece = pieceAt(offset, size);
        VZ_TRY(Place place, map_.get(piece.index));
        uint64_t run = piece.length;
        if (!place.present()) {
            std::memset(to, 0, run);
        } else if (place.isDamaged()) {
            return damaged(piece.index, place);
        } else {
            uint64_t next = place.sector() * sectorSize + clusterBytes_;
            for (uint64_t index = piece.index + 1; run < size; ++index, next += clusterBytes_) {
                VZ_TRY(Place following, map_.get(index));
                if (following.thawed() != Place::at(place.level(), next / sectorSize))
                    break;
                run += std::min<uint64_t>(size - run, clusterBytes_);
            }
            VZ_CHECK(levels_[place.level()]->file().read(place.sector() * sectorSize + piece.inner, to, run));
        }
        to += run;
        offset += run;
        size -= run;
    }
    return {};
}

Result<void> Image::write(uint64_t offset, const void* data, size_t size) {
    VZ_CHECK(beginWriting());
    const auto* from = static_cast<const std::byte*>(data);
    while (size > 0) {
        VZ_CHECK(checkRange(offset, size));
        auto piece = pieceAt(offset, size);
        VZ_CHECK(writePiece(piece, from));
        from += piece.length;
        offset += piece.length;
        size -= piece.length;
    }
    return {};
}

Result<void> Image::writePiece(const Piece& piece, const std::byte* data) {
    for (;;) {
        Place place;
        uint32_t thaws = thaws_.load(std::memory_order_acquire);
        {
            Pass pass(gate_);
            VZ_TRY(place, map_.get(piece.index));
            if (place.isDamaged())
                return damaged(piece.index, place);
            bool done = isWritable(place) && !place.frozen();
            if (done) {
                VZ_CHECK(levels_[place.level()]->file().write(place.sector() * sectorSize + piece.inner, data,
                                                              piece.length));
            } else if (!place.frozen()) {
                VZ_TRY(done, writeNew(piece, data));
            }
            if (done && tracker_)
                tracker_->mark(piece.index * clusterBytes_ + piece.inner, piece.length);
            if (done)
                return {};
        }
        // Outside of the gate: who moves the cluster may be closing it.
        if (place.frozen())
            thaws_.wait(thaws, std::memory_order_acquire);
    }
}

/** Gives the cluster a place in the level that is written to. False if another thread was faster. */
Result<bool> Image::writeNew(const Piece& piece, const std::byte* data) {
    std::lock_guard lock(stripe(piece.index));
    VZ_TRY(Place place, map_.get(piece.index));
    if (place.frozen() || isWritable(place))
        return false;
    auto& delta = *levels_[allocateIn_];
    uint64_t sector = piece.index * (clusterBytes_ / sectorSize);
    if (!delta.plain()) {
        VZ_TRY(sector, delta.allocate());
    }
    auto written = copyUp(piece, data, place, sector);
    if (written && !delta.plain())
        written = delta.setEntry(piece.index, sector);
    if (!written) {
        if (!delta.plain())
            delta.abandon(sector);
        return std::move(written).takeError();
    }
    map_.set(piece.index, Place::at(allocateIn_, sector));
    return true;
}

/** Fills a new place, which reads as zeros, with the cluster's old content and the new data. */
Result<void> Image::copyUp(const Piece& piece, const std::byte* data, Place from, uint64_t sector) {
    auto& target = levels_[allocateIn_]->file();
    uint64_t base = sector * sectorSize;
    if (!from.present() || piece.length == clusterBytes_)
        return target.write(base + piece.inner, data, piece.length);
    uint64_t partSize = std::min<uint64_t>(clusterBytes_, copyPart);
    Buffer buffer(partSize);
    for (uint64_t at = 0; at < clusterBytes_; at += partSize) {
        VZ_CHECK(
            levels_[from.level()]->file().read(from.sector() * sectorSize + at, buffer.data(), partSize));
        uint64_t begin = std::max(at, piece.inner), end = std::min(at + partSize, piece.inner + piece.length);
        if (begin < end)
            std::memcpy(buffer.data() + (begin - at), data + (begin - piece.inner), end - begin);
        if (!allZero(buffer.data(), partSize))
            VZ_CHECK(target.write(base + at, buffer.data(), partSize));
    }
    return {};
}

Result<void> Image::zero(uint64_t offset, uint64_t length) {
    VZ_CHECK(beginWriting());
    while (length > 0) {
        VZ_CHECK(checkRange(offset, length));
        auto piece = pieceAt(offset, length);
        VZ_CHECK(zeroPiece(piece, true));
        offset += piece.length;
        length -= piece.length;
    }
    return {};
}

Result<void> Image::discard(uint64_t offset, uint64_t length) {
    VZ_CHECK(beginWriting());
    while (length > 0) {
        VZ_CHECK(checkRange(offset, length));
        auto piece = pieceAt(offset, length);
        VZ_CHECK(zeroPiece(piece, false));
        offset += piece.length;
        length -= piece.length;
    }
    return {};
}

Result<void> Image::zeroPiece(const Piece& piece, bool mustBeZero) {
    for (;;) {
        Place place;
        uint32_t thaws = thaws_.load(std::memory_order_acquire);
        {
            Pass pass(gate_);
            uint64_t left = bytes() - piece.index * clusterBytes_;
            bool whole = piece.inner == 0 && piece.length == std::min<uint64_t>(clusterBytes_, left);
            VZ_TRY(place, map_.get(piece.index));
            if (place.isDamaged())
                return damaged(piece.index, place);
            bool done = !place.present() || (!isWritable(place) && !mustBeZero);
            if (!done && !place.frozen()) {
                if (whole) {
                    VZ_TRY(done, clearWhole(piece.index));
                } else if (isWritable(place)) {
                    VZ_CHECK(levels_[place.level()]->file().punch(
                        {place.sector() * sectorSize + piece.inner, piece.length}));
                    done = true;
                } else {
                    std::vector<std::byte> zeros(piece.length);
                    VZ_TRY(done, writeNew(piece, zeros.data()));
                }
            }
            if (done && place.present() && tracker_)
                tracker_->mark(piece.index * clusterBytes_ + piece.inner, piece.length);
            if (done)
                return {};
        }
        if (place.frozen())
            thaws_.wait(thaws, std::memory_order_acquire);
    }
}

/** Makes a whole cluster read as zeros without writing any. False if it is just being moved. */
Result<bool> Image::clearWhole(uint64_t index) {
    std::lock_guard lock(stripe(index));
    VZ_TRY(Place place, map_.get(index));
    if (place.frozen())
        return false;
    if (!place.present())
        return true;
    if (isWritable(place)) {
        auto& delta = *levels_[place.level()];
        VZ_TRY(Place hidden, map_.below(place.level(), index));
        if (!delta.plain() && !hidden.present()) {
            delta.clearEntry(index);
            map_.set(index, Place());
            delta.vacate(place.sector());
            return true;
        }
        VZ_CHECK(delta.file().punch({place.sector() * sectorSize, clusterBytes_}));
        return true;
    }
    // Only a place of its own hides what lies below.
    auto& delta = *levels_[allocateIn_];
    VZ_TRY(uint64_t sector, delta.allocate());
    VZ_CHECK(delta.setEntry(index, sector));
    map_.set(index, Place::at(allocateIn_, sector));
    return true;
}

Result<void> Image::flush() {
    if (!ready_.load(std::memory_order_acquire))
        return {};
    std::lock_guard lock(flushMutex_);
    return flushLevels(false);
}

/** With flushMutex_ held. Lower levels first: what leaves a level may be needed in the one below. */
Result<void> Image::flushLevels(bool suspended) {
    for (auto& level : levels_) {
        auto& delta = *level;
        if (!delta.writing())
            continue;
        VZ_TRY(auto freed, delta.commit());
        if (freed.empty())
            continue;
        // A request that found the old entry may still be reading or writing there.
        if (!suspended)
            Closed drained(gate_);
        VZ_CHECK(delta.recycle(freed));
    }
    return {};
}

void Image::doubt() {
    for (auto& level : levels_)
        level->doubt();
}

Result<void> Image::close() {
    std::lock_guard maintenance(maintenance_);
    Suspended suspended(*this);
    closed_ = true;
    for (auto& level : levels_)
        VZ_CHECK(level->endWriting());
    ready_ = false;
    return {};
}

Result<std::vector<Image::Extent>> Image::map(const Pass&, Range range, bool forWriting) {
    if (forWriting && !ready_.load(std::memory_order_acquire))
        return fail(ErrorCode::OperationInvalid, "beginWriting() was not called");
    VZ_CHECK(checkRange(range.offset, range.length));
    std::vector<Extent> extents;
    while (range.length > 0) {
        auto piece = pieceAt(range.offset, range.length);
        VZ_TRY(Place place, map_.get(piece.index));
        if (place.isDamaged())
            return damaged(piece.index, place);
        if (forWriting && (!isWritable(place) || place.frozen()))
            break;
        Extent extent{range.offset, piece.length, {}, 0};
        if (place.present()) {
            extent.level = place.level();
            extent.fileOffset = place.sector() * sectorSize + piece.inner;
        }
        auto* last = extents.empty() ? nullptr : &extents.back();
        bool follows = last && last->level == extent.level &&
                       (!extent.level || last->fileOffset + last->length == extent.fileOffset);
        if (follows)
            last->length += extent.length;
        else
            extents.push_back(extent);
        range.offset += piece.length;
        range.length -= piece.length;
    }
    return extents;
}

void Image::noteWritten(const Pass&, Range range) {
    if (tracker_)
        tracker_->mark(range.offset, range.length);
}

Result<std::vector<Range>> Image::allocated(std::optional<size_t> fromLevel) {
    Pass pass(gate_);
    std::vector<Range> ranges;
    for (uint64_t index = 0; index < map_.clusters(); ++index) {
        VZ_TRY(Place place, map_.get(index));
        if (!place.present() || (fromLevel && place.level() < *fromLevel))
            continue;
        uint64_t offset = index * clusterBytes_, length = std::min<uint64_t>(clusterBytes_, bytes() - offset);
        if (!ranges.empty() && ranges.back().offset + ranges.back().length == offset)
            ranges.back().length += length;
        else
            ranges.push_back({offset, length});
    }
    return ranges;
}

Result<void> Image::still(const std::function<Result<void>()>& work) {
    std::lock_guard maintenance(maintenance_);
    Suspended suspended(*this);
    VZ_CHECK(flushLevels(true));
    return work();
}

Result<void> Image::track(std::shared_ptr<DirtyMap> map) {
    Suspended suspended(*this);
    tracker_ = std::move(map);
    return {};
}

} // namespace vz::ploop
