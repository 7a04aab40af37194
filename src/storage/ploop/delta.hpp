// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/format.hpp"
#include "storage/ploop/io.hpp"

#include <atomic>
#include <functional>
#include <mutex>
#include <span>
#include <unordered_set>
#include <utility>

namespace vz::ploop {

/** Which places for clusters a delta file has, and which are taken. Places are numbered from the first data
 * cluster on. */
class Places {
public:
    Places() = default;
    /** @p near places are kept as bits; the few that foreign files have beyond, one by one. */
    explicit Places(uint64_t near) : near_(near) {}

    /** False if it was taken already. */
    bool take(uint64_t place);
    void give(uint64_t place);
    bool taken(uint64_t place) const;
    uint64_t count() const { return count_; }
    /** The lowest free place below @p end, and not below the floor. */
    std::optional<uint64_t> firstFree(uint64_t end);
    void setFloor(uint64_t place);
    /** One above the highest taken place. */
    uint64_t end() const;

private:
    std::vector<bool> near_;
    std::unordered_set<uint64_t> far_;
    uint64_t count_ = 0;
    uint64_t floor_ = 0;
    uint64_t hint_ = 0; ///< all places from the floor to this one are taken
};

/**
 * One file of a chain: a ploop delta, or a plain file of disk bytes as the base. Reading methods and those
 * between beginWriting() and endWriting() may be called from several threads.
 *
 * What makes it safe against a power cut: a BAT entry goes to the disk only in commit(), after a flush of the
 * data it points to, and a place whose entry was removed is given to another cluster only after that removal
 * is on the disk.
 */
class Delta {
public:
    struct Options {
        Access access = Access::ReadOnly;
        bool direct = false;
        bool lock = true;
        /** Accept a file that was not closed; all its entries are checked before the first write anyway. */
        bool recover = false;
        std::chrono::milliseconds wait{0}; ///< for the lock
    };
    /** What a plain file does not say itself. */
    struct Plain {
        uint64_t sectors = 0; ///< 0: as long as the file
        uint32_t clusterSectors = defaultClusterSectors;
    };

    static Result<std::unique_ptr<Delta>> open(FileSystem& files, const std::string& path,
                                               const Options& options);
    static Result<std::unique_ptr<Delta>> openPlain(FileSystem& files, const std::string& path,
                                                    const Plain& plain, const Options& options);
    /** A new empty delta, on the disk when this returns (except for its name: see FileSystem::flushFolder).
     */
    static Result<void> create(FileSystem& files, const std::string& path, const Header& header);
    /** The same with all clusters in order and space for them. */
    static Result<void> createPreallocated(FileSystem& files, const std::string& path, const Header& header);

    bool plain() const { return plain_; }
    const Header& header() const { return header_; }
    File& file() { return *file_; }
    const std::string& path() const { return path_; }
    uint64_t fileBytes() const { return fileBytes_; }
    /** Whether the file is open for writing at all. */
    bool writable() const { return writable_; }
    bool writing() const { return writing_.load(std::memory_order_acquire); }

    /** BAT entries @p first and following; those beyond the table are 0. Not for plain files. */
    Result<void> readEntries(uint64_t first, std::span<uint32_t> into);
    /** Calls @p each(index, entry) for every entry other than 0. */
    Result<void> forEachEntry(const std::function<Result<void>(uint64_t, uint32_t)>& each);

    /** Takes the writer's lock of a file that is open for reading. Others may use the delta meanwhile. */
    Result<void> lockForWriting(const Options& options);
    /** After that: opens the same file again for writing. Nobody may use the delta meanwhile. */
    Result<void> makeWritable(FileSystem& files, const Options& options);
    /** Others may read the file as well from now on. */
    Result<void> shareForReading(const Options& options);
    /** Checks every entry, then marks the file as open. Does nothing the second time. StorageProbeFailed if
     * it is damaged. */
    Result<void> beginWriting();
    /** Commits, cuts off unused space at the end, and marks the file as closed. */
    Result<void> endWriting();

    /** A place of one cluster that reads as zeros; its first sector in the file. */
    Result<uint64_t> allocate();
    /** Gives back a place that no entry ever pointed to. */
    void abandon(uint64_t sector);
    /** Entry @p index points to @p sector from the next commit on. */
    Result<void> setEntry(uint64_t index, uint64_t sector);
    /** Entry @p index becomes 0 with the next commit; its place stays taken. */
    void clearEntry(uint64_t index);
    /**
     * The place at @p sector is free after the next commit, which may be under way in another thread: so only
     * once no new request can find its way there.
     */
    void vacate(uint64_t sector);

    /**
     * Makes data and entries durable. Returns the places that have become free: they can be recycle()d as
     * soon as no reader that saw an old entry is still at work.
     */
    Result<std::vector<uint64_t>> commit();
    Result<void> recycle(const std::vector<uint64_t>& sectors);

    /** Writes the header as it is to be and flushes it. */
    Result<void> replaceHeader(const Header& header);
    /** For growing: places before @p firstBlock are never allocated again. The file gets at least that long.
     */
    Result<void> keepFree(uint64_t firstBlock);
    /** Numbers the places anew after replaceHeader() changed the first block. */
    Result<void> renumber();
    Result<void> truncateTail();
    /** For plain files: the new size of the disk. */
    Result<void> resizePlain(uint64_t sectors);

    /** See Image::doubt(). */
    void doubt() { broken_ = true; }
    /** Flushes the file alone, without the table. A failure holds for all later flushes. */
    Result<void> flushFile();

    uint64_t allocatedClusters() const;
    /** The lowest free place below @p sector, taken; for moving clusters towards the start of the file. */
    std::optional<uint64_t> allocateBelow(uint64_t sector);

private:
    Delta(std::string path, FilePtr file) : path_(std::move(path)), file_(std::move(file)) {}

    uint64_t placeOf(uint64_t sector) const { return (sector - header_.firstBlock) / header_.clusterSectors; }
    uint64_t sectorOf(uint64_t place) const { return header_.firstBlock + place * header_.clusterSectors; }
    Result<void> scan();
    Result<void> checkMark(bool recover) const;
    Result<void> writeHeader();
    Result<void> writeEntries(std::vector<std::pair<uint64_t, uint32_t>> entries);
    Result<void> extendTo(uint64_t sector);
    Range bytesAt(uint64_t sector) const { return {sector * sectorSize, header_.clusterBytes()}; }
    Error broken() const;

    std::string path_;
    FilePtr file_;
    Header header_;
    bool plain_ = false;
    bool writable_ = false;
    uint64_t fileBytes_ = 0; ///< at opening
    std::atomic<bool> writing_ = false;
    std::atomic<bool> broken_ = false; ///< a flush failed: nobody knows what is on the disk

    mutable std::mutex mutex_; ///< of all below
    Places places_;
    uint64_t endSector_ = 0; ///< of the file
    std::vector<std::pair<uint64_t, uint32_t>> pending_;
    std::vector<uint64_t> vacated_;
    std::mutex commitMutex_; ///< before mutex_
};

} // namespace vz::ploop
