// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/cluster_map.hpp"
#include "storage/ploop/gate.hpp"

namespace vz::ploop {

class DirtyMap;

/** How long work goes on: @p done of @p total bytes. Returns false to stop it (OperationAborted). */
using Progress = std::function<bool(uint64_t done, uint64_t total)>;

/**
 * The disk that a chain of deltas makes. read, write, zero, discard and flush may be called from any number
 * of threads, at any offset and length; O_DIRECT is used for what is aligned to 4 KiB. What write() wrote
 * survives a power cut after the next flush(), no matter how many of its clusters are new.
 *
 * The methods of "maintenance" may run while others do I/O: they move clusters one by one, under the
 * requests. Only one of them runs at a time; a second caller waits. Requests stop only for moments
 * (suspension of the order of one request), except those that write to a cluster that is just being moved.
 */
class Image {
public:
    /** A file of the chain. */
    struct Link {
        std::string path;
        bool plain = false; ///< disk bytes without a header; only the base can be
    };
    struct Options : Delta::Options {
        Delta::Plain plainDisk; ///< for a plain base
    };

    /** @p chain: base first, 1 to 127 files. */
    static Result<std::unique_ptr<Image>> open(FileSystem& files, const std::vector<Link>& chain,
                                               const Options& options);
    /** Flushes and closes as far as that is possible; close() tells whether it was. */
    ~Image();
    Image(const Image&) = delete;
    Image& operator=(const Image&) = delete;

    uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
    uint32_t clusterBytes() const { return clusterBytes_; }
    size_t levels() const { return levels_.size(); }
    bool writable() const { return options_.access == Access::ReadWrite; }
    Delta& level(size_t number) { return *levels_[number]; }
    Delta& top() { return *levels_.back(); }

    Result<void> read(uint64_t offset, void* into, size_t size);
    Result<void> write(uint64_t offset, const void* from, size_t size);
    /** The range reads as zeros afterwards. */
    Result<void> zero(uint64_t offset, uint64_t length);
    /** The content is not needed any more. Space is given back with the next flush; what it reads as is open.
     */
    Result<void> discard(uint64_t offset, uint64_t length);
    Result<void> flush();
    /** Checks and marks the top as open, as the first request that writes does. Not while holding a Pass. */
    Result<void> beginWriting();
    /** No more requests after this. */
    Result<void> close();
    /** From now on every flush fails: what it would promise could be undone by something else. */
    void doubt();

    /** A part of the disk that lies in one piece in one file. */
    struct Extent {
        uint64_t offset; ///< on the disk
        uint64_t length;
        std::optional<size_t> level; ///< nothing: it reads as zeros
        uint64_t fileOffset;
        bool operator==(const Extent&) const = default;
    };
    /**
     * Where a range of the disk lies, for callers that do the I/O on File::descriptor() themselves. The
     * answer holds as long as @p pass lives. For writing, which needs beginWriting() before, the list ends
     * before the first cluster that has to go through write(); and what was written is then told to
     * noteWritten().
     */
    Result<std::vector<Extent>> map(const Pass& pass, Range range, bool forWriting = false);
    void noteWritten(const Pass& pass, Range range);
    Gate& gate() { return gate_; }
    /** Allocated clusters of the chain or of one level of it, as ranges of the disk; for copies and lists of
     * changes. */
    Result<std::vector<Range>> allocated(std::optional<size_t> fromLevel = {});

    /** Runs @p work while requests wait; all that was written before is in the files. */
    Result<void> still(const std::function<Result<void>()>& work);

    /** From now on writes are noted in @p map (null: no more). It must be as large as the disk. */
    Result<void> track(std::shared_ptr<DirtyMap> map);

    // Maintenance.

    /** Puts the delta at @p path, an empty one, on top. The old top is flushed, closed and only read from
     * then on.
     * @p commit runs while I/O is suspended; if it fails, all is as before. */
    Result<void> push(FileSystem& files, const std::string& path,
                      const std::function<Result<void>()>& commit);
    /**
     * Moves all of the delta at @p upper (1 or higher) into the one below it and drops it from the chain; its
     * file stays, empty. A power cut at any point leaves a chain with the same content. @p commit runs while
     * I/O is suspended, before the drop; if it fails, the chain stays as it is, with an empty upper delta.
     */
    Result<void> merge(FileSystem& files, size_t upper, const Progress& progress,
                       const std::function<Result<void>()>& commit);
    /** Larger, or, without snapshots below, smaller: what lies beyond is lost. Whole clusters, except for
     * plain images. */
    Result<void> resize(uint64_t bytes);
    /** Frees clusters that hold only zeros, moves the rest to the start of the file and shortens it. */
    Result<void> compact(const Progress& progress, bool findZeros = true);

private:
    struct Piece {
        uint64_t index;  ///< cluster
        uint64_t inner;  ///< offset in it
        uint64_t length; ///< up to its end
    };
    /** Stops maintenance jobs from overlapping, and flushes from closing the gate meanwhile, if it is closed.
     */
    struct Suspended {
        explicit Suspended(Image& image) : lock(image.flushMutex_), closed(image.gate_) {}
        std::lock_guard<std::mutex> lock;
        Closed closed;
    };

    explicit Image(const Options& options) : options_(options), map_(levels_) {}

    Result<void> checkRange(uint64_t offset, uint64_t length) const;
    Piece pieceAt(uint64_t offset, uint64_t length) const;
    bool isWritable(Place place) const { return place.present() && place.level() >= writableFrom_; }
    Error damaged(uint64_t index, Place place) const;

    Result<void> writePiece(const Piece& piece, const std::byte* data);
    Result<bool> writeNew(const Piece& piece, const std::byte* data);
    Result<void> copyUp(const Piece& piece, const std::byte* data, Place from, uint64_t sector);
    Result<void> zeroPiece(const Piece& piece, bool mustBeZero);
    Result<bool> dropCluster(uint64_t index);
    Result<bool> clearWhole(uint64_t index);
    Result<void> flushLevels(bool suspended);
    Result<void> closeLevels();

    Result<void> freeze(const std::vector<uint64_t>& indices, size_t level, std::vector<uint64_t>& frozen);
    void thaw(uint64_t index, std::optional<Place> place = {});
    void drain();
    Result<void> copyCluster(File& from, uint64_t fromSector, File& to, uint64_t toSector, bool fresh);
    Result<uint64_t> sectorIn(size_t level, uint64_t index);
    /** A cluster on its way from one place to another. */
    struct Move {
        uint64_t index, from, to;
    };
    Result<void> relocate(size_t level, const std::vector<uint64_t>& indices, bool vacate,
                          const std::function<Result<uint64_t>(uint64_t)>& target);
    Result<void> sinkBatch(size_t upper, const std::vector<uint64_t>& indices);
    Result<void> sink(size_t upper, const std::vector<uint64_t>& indices, const std::vector<uint64_t>& frozen,
                      std::vector<Move>& moves);
    Result<void> pushReady(std::unique_ptr<Delta> fresh, bool active,
                           const std::function<Result<void>()>& commit);
    Result<void> dropMerged(size_t upper, bool wasTop, const std::function<Result<void>()>& commit);
    Result<void> prepareMerge(FileSystem& files, size_t upper);
    Result<void> mergeEntries(size_t upper, const Progress& progress);
    Result<void> finishMerge(size_t upper, const std::function<Result<void>()>& commit);
    Result<void> grow(size_t level, uint64_t sectors);
    Result<void> cutTop(uint64_t sectors);
    Result<void> resizePlainTop(uint64_t bytes);
    Result<void> dropZeros(const Progress& progress);
    Result<bool> holdsZeros(Place place);
    Result<void> dropIfZero(uint64_t index);
    Result<void> moveDown(const Progress& progress);

    std::mutex& stripe(uint64_t index) { return stripes_[index % stripes_.size()]; }

    Options options_;
    ClusterMap::Levels levels_;
    ClusterMap map_;
    std::atomic<uint64_t> bytes_ = 0;
    uint32_t clusterBytes_ = 0;
    size_t writableFrom_ = 0; ///< levels from here on may be written in place
    size_t allocateIn_ = 0;   ///< the level that new clusters go to
    std::atomic<bool> ready_ = false;
    bool closed_ = false;
    std::shared_ptr<DirtyMap> tracker_;

    // Order: maintenance_, flushMutex_, gate_ (closed), a stripe, then the mutexes of a Delta.
    std::mutex maintenance_;
    std::mutex flushMutex_;
    Gate gate_;
    std::array<std::mutex, 64> stripes_;
    std::atomic<uint32_t> thaws_ = 0; ///< counts; who finds a frozen cluster waits for the next one
};

} // namespace vz::ploop
