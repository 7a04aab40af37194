// SPDX-License-Identifier: LGPL-2.1-or-later
// What changes the layout of an image while others may be using it. docs/ploop.md gives the order of the
// steps of each and what a power cut between them leaves.
#include "storage/ploop/buffer.hpp"
#include "storage/ploop/image.hpp"

#include "base/rollback.hpp"

#include <algorithm>
#include <cerrno>

namespace vz::ploop {

namespace {

/** How much data is moved between two flushes. */
constexpr uint64_t batchBytes = 32u << 20;

size_t batchClusters(uint64_t clusterBytes) {
    return static_cast<size_t>(std::clamp<uint64_t>(batchBytes / clusterBytes, 1, 256));
}

Result<void> report(const Progress& progress, uint64_t done, uint64_t total) {
    if (progress && !progress(done, total))
        return fail(ErrorCode::OperationAborted, "stopped on request after ", done, " of ", total, " bytes");
    return {};
}

std::vector<uint64_t> slice(const std::vector<uint64_t>& all, size_t begin, size_t count) {
    auto first = all.begin() + static_cast<ptrdiff_t>(begin);
    return {first, first + static_cast<ptrdiff_t>(std::min(count, all.size() - begin))};
}

} // namespace

/** Waits until no request is at work that may have seen the map as it was before. */
void Image::drain() {
    Suspended suspended(*this);
}

/** Lets nobody write to those clusters that are seen at @p level; @p frozen gets them as they are frozen. */
Result<void> Image::freeze(const std::vector<uint64_t>& indices, size_t level,
                           std::vector<uint64_t>& frozen) {
    for (uint64_t index : indices) {
        std::lock_guard lock(stripe(index));
        VZ_TRY(Place place, map_.get(index));
        if (!place.present() || place.isDamaged() || place.level() != level)
            continue;
        map_.set(index, place.asFrozen());
        frozen.push_back(index);
    }
    drain();
    return {};
}

void Image::thaw(uint64_t index, std::optional<Place> place) {
    {
        std::lock_guard lock(stripe(index));
        if (!place) {
            auto now = map_.get(index);
            place = now ? now->thawed() : Place();
        }
        map_.set(index, *place);
    }
    thaws_.fetch_add(1, std::memory_order_release);
    thaws_.notify_all();
}

/** @p fresh: the target reads as zeros already. */
Result<void> Image::copyCluster(File& from, uint64_t fromSector, File& to, uint64_t toSector, bool fresh) {
    uint64_t partSize = std::min<uint64_t>(clusterBytes_, copyPart);
    Buffer buffer(partSize);
    for (uint64_t at = 0; at < clusterBytes_; at += partSize) {
        VZ_CHECK(from.read(fromSector * sectorSize + at, buffer.data(), partSize));
        uint64_t offset = toSector * sectorSize + at;
        if (!allZero(buffer.data(), partSize))
            VZ_CHECK(to.write(offset, buffer.data(), partSize));
        else if (!fresh)
            VZ_CHECK(to.punch({offset, partSize}));
    }
    return {};
}

/** Where @p level has the cluster, seen or hidden by a higher level; 0 if it has not. */
Result<uint64_t> Image::sectorIn(size_t level, uint64_t index) {
    VZ_TRY(Place place, map_.get(index));
    if (place.present() && place.level() == level)
        return place.sector();
    uint32_t entry = 0;
    VZ_CHECK(levels_[level]->readEntries(index, {&entry, 1}));
    return entry ? levels_[level]->header().sectorOf(entry) : 0;
}

/**
 * Moves clusters to other places in the same file. On the disk the old entry stays right until the data is
 * there;
 * @p vacate: the old places are free for others afterwards.
 */
Result<void> Image::relocate(size_t level, const std::vector<uint64_t>& indices, bool vacate,
                             const std::function<Result<uint64_t>(uint64_t)>& target) {
    auto& delta = *levels_[level];
    std::vector<uint64_t> frozen;
    std::vector<Move> moves;
    Rollback back;
    back.add([&] {
        for (uint64_t index : frozen)
            thaw(index);
    });
    VZ_CHECK(freeze(indices, level, frozen));
    back.add([&] {
        for (const auto& move : moves)
            delta.abandon(move.to);
    });
    for (uint64_t index : indices) {
        // What is not seen at the top was cleared meanwhile, though its entry may still be on the disk.
        bool seen = std::find(frozen.begin(), frozen.end(), index) != frozen.end();
        if (!seen && level + 1 == levels_.size())
            continue;
        VZ_TRY(uint64_t from, sectorIn(level, index));
        if (from == 0)
            continue;
        VZ_TRY(uint64_t to, target(from));
        moves.push_back({index, from, to});
        VZ_CHECK(copyCluster(delta.file(), from, delta.file(), to, true));
    }
    for (const auto& move : moves)
        VZ_CHECK(delta.header().entryFor(move.to));
    back.dismiss();
    for (const auto& move : moves)
        VZ_CHECK(delta.setEntry(move.index, move.to));
    auto committed = delta.commit();
    // Even after a failure: the entries are on their way, and the data is at both places.
    for (uint64_t index : frozen) {
        auto move = std::find_if(moves.begin(), moves.end(), [&](const Move& m) { return m.index == index; });
        thaw(index, move == moves.end() ? std::optional<Place>() : Place::at(level, move->to));
    }
    if (!committed)
        return std::move(committed).takeError();
    for (const auto& move : moves) {
        if (vacate)
            delta.vacate(move.from);
    }
    drain();
    return delta.recycle(*committed);
}

Result<void> Image::push(FileSystem& files, const std::string& path,
                         const std::function<Result<void>()>& commit) {
    std::lock_guard maintenance(maintenance_);
    if (!writable())
        return fail(ErrorCode::OperationDenied, "an image that is open for reading gets no new delta");
    if (levels_.size() >= 127)
        return fail(ErrorCode::OperationInvalid, "a chain has at most 127 files");
    VZ_TRY(auto fresh, Delta::open(files, path, options_));
    if (fresh->header().clusterSectors * sectorSize != clusterBytes_)
        return fail(ErrorCode::InvalidArg, path, " has another cluster size than the image");
    auto& old = top();
    bool active = ready_.load();
    if (active) {
        // Most of it is on the disk before requests have to wait.
        VZ_CHECK(flush());
        VZ_CHECK(fresh->beginWriting());
    }
    VZ_CHECK(pushReady(std::move(fresh), active, commit));
    // The snapshot is there. If others cannot be let in to read it, they find it in use, no more.
    (void)old.shareForReading(options_);
    return {};
}

/** The moment of push() in which requests wait. */
Result<void> Image::pushReady(std::unique_ptr<Delta> fresh, bool active,
                              const std::function<Result<void>()>& commit) {
    auto& old = top();
    Suspended suspended(*this);
    if (ready_.load() && !active) {
        active = true; // the first request to write came just now
        VZ_CHECK(fresh->beginWriting());
    }
    if (active)
        VZ_CHECK(flushLevels(true));
    VZ_CHECK(old.endWriting());
    if (auto committed = commit(); !committed) {
        if (active) {
            ready_ = false; // until then the next request to write has to try again
            VZ_CHECK(old.beginWriting());
            ready_ = true;
        }
        return committed;
    }
    levels_.push_back(std::move(fresh));
    writableFrom_ = allocateIn_ = levels_.size() - 1;
    return {};
}

/** Makes both levels writable files, and the lower one as large as the upper. */
Result<void> Image::prepareMerge(FileSystem& files, size_t upper) {
    size_t target = upper - 1;
    Delta::Options own = options_;
    own.access = Access::ReadWrite;
    own.recover = true; // an earlier merge may have been cut off
    std::vector<Delta*> locked;
    Rollback back;
    back.add([&] {
        Suspended suspended(*this);
        for (auto* delta : locked) {
            if (delta->endWriting())
                (void)delta->shareForReading(options_);
        }
    });
    for (size_t level : {upper, target}) {
        if (levels_[level]->writable())
            continue;
        // Somebody may be reading it: waiting for that is no reason for requests to wait.
        VZ_CHECK(levels_[level]->lockForWriting(own));
        locked.push_back(levels_[level].get());
    }
    for (auto* delta : locked) {
        Suspended suspended(*this);
        VZ_CHECK(delta->makeWritable(files, own));
    }
    VZ_CHECK(levels_[upper]->beginWriting());
    VZ_CHECK(levels_[target]->beginWriting());
    if (uint64_t sectors = levels_[upper]->header().sectors; levels_[target]->header().sectors < sectors)
        VZ_CHECK(grow(target, sectors));
    back.dismiss();
    if (upper + 1 < levels_.size())
        return {}; // both are of the past: requests write to the top as before
    Suspended suspended(*this);
    writableFrom_ = allocateIn_ = target;
    return {};
}

/** Copies clusters of the upper level into the one below, and makes them durable there. */
Result<void> Image::sink(size_t upper, const std::vector<uint64_t>& indices,
                         const std::vector<uint64_t>& frozen, std::vector<Move>& moves) {
    auto& lower = *levels_[upper - 1];
    for (uint64_t index : indices) {
        bool seen = std::find(frozen.begin(), frozen.end(), index) != frozen.end();
        // At the top it was cleared meanwhile; further down, a higher level hides it.
        if (!seen && upper + 1 == levels_.size())
            continue;
        VZ_TRY(uint64_t from, sectorIn(upper, index));
        if (from == 0)
            continue;
        VZ_TRY(Place hidden, map_.below(upper, index));
        bool reuse = hidden.present() && hidden.level() == upper - 1;
        uint64_t to = index * (clusterBytes_ / sectorSize);
        if (reuse) {
            to = hidden.sector();
        } else if (!lower.plain()) {
            VZ_TRY(to, lower.allocate());
        }
        moves.push_back({index, from, to});
        VZ_CHECK(copyCluster(levels_[upper]->file(), from, lower.file(), to, !reuse && !lower.plain()));
        if (!reuse && !lower.plain())
            VZ_CHECK(lower.setEntry(index, to));
    }
    VZ_TRY(auto freed, lower.commit());
    if (!freed.empty())
        drain();
    return lower.recycle(freed);
}

Result<void> Image::sinkBatch(size_t upper, const std::vector<uint64_t>& indices) {
    auto& delta = *levels_[upper];
    std::vector<uint64_t> frozen;
    std::vector<Move> moves;
    Rollback back;
    back.add([&] {
        for (uint64_t index : frozen)
            thaw(index);
    });
    VZ_CHECK(freeze(indices, upper, frozen));
    VZ_CHECK(sink(upper, indices, frozen, moves));
    back.dismiss();
    // From here on the copies below are what counts: nobody may write to them before the upper entries are
    // gone.
    for (const auto& move : moves)
        delta.clearEntry(move.index);
    auto committed = delta.commit();
    // Even after a failure: the next flush tries again to remove the entries above.
    for (const auto& move : moves) {
        if (std::find(frozen.begin(), frozen.end(), move.index) != frozen.end())
            thaw(move.index, Place::at(upper - 1, move.to));
    }
    if (!committed)
        return std::move(committed).takeError();
    for (const auto& move : moves)
        delta.vacate(move.from);
    drain();
    return delta.recycle(*committed);
}

Result<void> Image::mergeEntries(size_t upper, const Progress& progress) {
    std::vector<uint64_t> indices;
    {
        // After this no entry is added to the upper level any more.
        std::lock_guard lock(flushMutex_);
        VZ_CHECK(flushLevels(false));
        VZ_CHECK(levels_[upper]->forEachEntry([&](uint64_t index, uint32_t) -> Result<void> {
            if (index < map_.clusters())
                indices.push_back(index);
            return {};
        }));
    }
    size_t batch = batchClusters(clusterBytes_);
    for (size_t begin = 0; begin < indices.size(); begin += batch) {
        VZ_CHECK(report(progress, begin * clusterBytes_, indices.size() * clusterBytes_));
        VZ_CHECK(sinkBatch(upper, slice(indices, begin, batch)));
    }
    return report(progress, indices.size() * clusterBytes_, indices.size() * clusterBytes_);
}

Result<void> Image::finishMerge(size_t upper, const std::function<Result<void>()>& commit) {
    bool wasTop = upper + 1 == levels_.size();
    VZ_CHECK(dropMerged(upper, wasTop, commit));
    if (!wasTop)
        (void)levels_[upper - 1]->shareForReading(options_);
    return {};
}

/** The moment of finishMerge() in which requests wait. */
Result<void> Image::dropMerged(size_t upper, bool wasTop, const std::function<Result<void>()>& commit) {
    Suspended suspended(*this);
    VZ_CHECK(flushLevels(true));
    // A file that is not written to from now on is closed before it counts; for the top, that is for close()
    // to do.
    if (!wasTop)
        VZ_CHECK(levels_[upper - 1]->endWriting());
    VZ_CHECK(commit());
    levels_.erase(levels_.begin() + static_cast<ptrdiff_t>(upper));
    writableFrom_ = allocateIn_ = levels_.size() - 1;
    if (!wasTop)
        map_.clear(); // the levels above have other numbers now
    return {};
}

Result<void> Image::merge(FileSystem& files, size_t upper, const Progress& progress,
                          const std::function<Result<void>()>& commit) {
    std::lock_guard maintenance(maintenance_);
    if (!writable() || upper == 0 || upper >= levels_.size())
        return fail(ErrorCode::OperationInvalid, "there is nothing that could be merged");
    VZ_CHECK(beginWriting());
    auto work = [&]() -> Result<void> {
        VZ_CHECK(prepareMerge(files, upper));
        VZ_CHECK(mergeEntries(upper, progress));
        return finishMerge(upper, commit);
    };
    auto merged = work();
    if (!merged) {
        // Requests go on in both levels, which together are right at any time.
        Suspended suspended(*this);
        allocateIn_ = levels_.size() - 1;
    }
    return merged;
}

Result<void> Image::resize(uint64_t wanted) {
    std::lock_guard maintenance(maintenance_);
    VZ_CHECK(beginWriting());
    if (top().plain())
        return resizePlainTop(wanted);
    if (wanted == 0 || wanted % clusterBytes_)
        return fail(ErrorCode::InvalidArg, "a size of ", wanted, " bytes is no multiple of the cluster size ",
                    clusterBytes_);
    if (wanted == bytes())
        return {};
    if (wanted < bytes())
        return cutTop(wanted / sectorSize);
    return grow(levels_.size() - 1, wanted / sectorSize);
}

Result<void> Image::resizePlainTop(uint64_t wanted) {
    if (wanted == 0 || wanted % sectorSize)
        return fail(ErrorCode::InvalidArg, "a size of ", wanted, " bytes is no multiple of 512");
    Suspended suspended(*this);
    VZ_CHECK(top().resizePlain(wanted / sectorSize));
    map_.clear();
    map_.resize(top().header().clusters());
    bytes_ = wanted;
    return {};
}

Result<void> Image::grow(size_t level, uint64_t sectors) {
    auto& delta = *levels_[level];
    if (delta.plain()) {
        Suspended suspended(*this);
        return delta.resizePlain(sectors);
    }
    const Header old = delta.header();
    if (!old.regular())
        return fail(ErrorCode::OperationUnsupported, delta.path(), ": a file with clusters of ",
                    old.clusterSectors, " sectors can be used and converted, but not resized");
    VZ_TRY(Header grown, makeHeader(sectors, old.clusterSectors, old.version));
    if (grown.sectors != sectors)
        return fail(ErrorCode::InvalidArg, sectors,
                    " sectors are no multiple of the cluster size or too many");
    grown.mark = old.mark;
    grown.flags = old.flags;
    grown.firstBlock = std::max(grown.firstBlock, old.firstBlock);
    if (grown.firstBlock > old.firstBlock) {
        std::vector<uint64_t> inTheWay;
        // From here on nothing new comes there; what came before is in the table after the flush.
        VZ_CHECK(delta.keepFree(grown.firstBlock));
        drain();
        VZ_CHECK(flush());
        VZ_CHECK(delta.forEachEntry([&](uint64_t index, uint32_t entry) -> Result<void> {
            if (old.sectorOf(entry) < grown.firstBlock)
                inTheWay.push_back(index);
            return {};
        }));
        size_t batch = batchClusters(clusterBytes_);
        for (size_t begin = 0; begin < inTheWay.size(); begin += batch)
            VZ_CHECK(relocate(level, slice(inTheWay, begin, batch), false,
                              [&](uint64_t) { return delta.allocate(); }));
        Range table{old.firstBlock * sectorSize, (grown.firstBlock - old.firstBlock) * sectorSize};
        VZ_CHECK(delta.file().punch(table));
        VZ_CHECK(delta.file().reserve(table));
        VZ_CHECK(delta.flushFile());
    }
    Suspended suspended(*this);
    VZ_CHECK(flushLevels(true));
    VZ_CHECK(delta.replaceHeader(grown));
    VZ_CHECK(delta.renumber());
    if (level + 1 == levels_.size()) {
        map_.resize(grown.clusters());
        bytes_ = grown.bytes();
    }
    return {};
}

Result<void> Image::cutTop(uint64_t sectors) {
    auto& delta = top();
    if (levels_.size() > 1)
        return fail(ErrorCode::OperationInvalid, "an image with snapshots cannot become smaller");
    if (!delta.header().regular())
        return fail(ErrorCode::OperationUnsupported, delta.path(), ": a file with clusters of ",
                    delta.header().clusterSectors, " sectors can be used and converted, but not resized");
    VZ_TRY(Header cut, makeHeader(sectors, delta.header().clusterSectors, delta.header().version));
    cut.mark = delta.header().mark;
    cut.flags = delta.header().flags;
    Suspended suspended(*this);
    VZ_CHECK(flushLevels(true));
    VZ_CHECK(delta.forEachEntry([&](uint64_t index, uint32_t entry) -> Result<void> {
        if (index >= cut.entries) {
            delta.clearEntry(index);
            delta.vacate(delta.header().sectorOf(entry));
        }
        return {};
    }));
    VZ_TRY(auto freed, delta.commit());
    VZ_CHECK(delta.recycle(freed));
    VZ_CHECK(delta.replaceHeader(cut));
    VZ_CHECK(delta.renumber());
    VZ_CHECK(delta.truncateTail());
    map_.clear();
    map_.resize(cut.clusters());
    bytes_ = cut.bytes();
    return {};
}

Result<void> Image::compact(const Progress& progress, bool findZeros) {
    std::lock_guard maintenance(maintenance_);
    if (top().plain())
        return fail(ErrorCode::OperationUnsupported, top().path(),
                    " is a plain file: its holes are where it has zeros");
    VZ_CHECK(beginWriting());
    if (findZeros)
        VZ_CHECK(dropZeros(progress));
    VZ_CHECK(flush());
    VZ_CHECK(moveDown(progress));
    // Twice: the first makes the last removals durable, and frees their places for the second.
    Suspended suspended(*this);
    VZ_CHECK(flushLevels(true));
    return top().truncateTail();
}

Result<bool> Image::holdsZeros(Place place) {
    uint64_t partSize = std::min<uint64_t>(clusterBytes_, copyPart);
    Buffer buffer(partSize);
    for (uint64_t at = 0; at < clusterBytes_; at += partSize) {
        VZ_CHECK(
            levels_[place.level()]->file().read(place.sector() * sectorSize + at, buffer.data(), partSize));
        if (!allZero(buffer.data(), partSize))
            return false;
    }
    return true;
}

Result<void> Image::dropIfZero(uint64_t index) {
    size_t level = levels_.size() - 1;
    std::vector<uint64_t> frozen;
    Rollback back;
    back.add([&] {
        for (uint64_t each : frozen)
            thaw(each);
    });
    VZ_CHECK(freeze({index}, level, frozen));
    if (frozen.empty())
        return {};
    VZ_TRY(Place place, map_.get(index));
    place = place.thawed();
    VZ_TRY(bool zeros, holdsZeros(place)); // again: it may have been written to before it was frozen
    if (!zeros)
        return {};
    VZ_TRY(Place hidden, map_.below(level, index));
    if (hidden.present())
        return top().file().punch({place.sector() * sectorSize, clusterBytes_});
    top().clearEntry(index);
    back.dismiss();
    thaw(index, Place());
    // A request that found the cluster before is waited for before the place is used again.
    top().vacate(place.sector());
    return {};
}

Result<void> Image::dropZeros(const Progress& progress) {
    size_t level = levels_.size() - 1;
    for (uint64_t index = 0; index < map_.clusters(); ++index) {
        VZ_TRY(Place place, map_.get(index));
        if (!place.present() || place.isDamaged() || place.level() != level)
            continue;
        VZ_CHECK(report(progress, index * clusterBytes_, bytes()));
        VZ_TRY(bool zeros, holdsZeros(place));
        if (zeros)
            VZ_CHECK(dropIfZero(index));
    }
    return {};
}

/** Fills the holes of the file with the clusters at its end. */
Result<void> Image::moveDown(const Progress& progress) {
    auto& delta = top();
    std::vector<std::pair<uint64_t, uint64_t>> byPlace; // sector, index
    VZ_CHECK(delta.forEachEntry([&](uint64_t index, uint32_t entry) -> Result<void> {
        byPlace.emplace_back(delta.header().sectorOf(entry), index);
        return {};
    }));
    std::sort(byPlace.rbegin(), byPlace.rend());
    size_t batch = batchClusters(clusterBytes_), at = 0;
    bool full = false;
    while (at < byPlace.size() && !full) {
        VZ_CHECK(report(progress, at * clusterBytes_, byPlace.size() * clusterBytes_));
        std::vector<uint64_t> indices, targets;
        Rollback back;
        back.add([&] {
            for (uint64_t target : targets)
                delta.abandon(target);
        });
        for (; at < byPlace.size() && indices.size() < batch; ++at) {
            auto target = delta.allocateBelow(byPlace[at].first);
            full = !target;
            if (full)
                break;
            targets.push_back(*target);
            indices.push_back(byPlace[at].second);
        }
        for (uint64_t target : targets)
            VZ_CHECK(delta.file().punch({target * sectorSize, clusterBytes_}));
        VZ_CHECK(relocate(levels_.size() - 1, indices, true, [&](uint64_t) -> Result<uint64_t> {
            uint64_t target = targets.front();
            targets.erase(targets.begin());
            return target;
        }));
    }
    return {};
}

} // namespace vz::ploop
