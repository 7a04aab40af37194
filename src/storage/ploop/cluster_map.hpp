// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/delta.hpp"

namespace vz::ploop {

/** Where the content of one cluster of the disk lies: a level of the chain (0 = base) and a sector of its
 * file. */
class Place {
public:
    Place() = default;
    static Place at(size_t level, uint64_t sector) {
        return Place((uint64_t(level) + 1) << levelShift | sector);
    }
    /** An entry that points to no valid place. */
    static Place damaged(size_t level) { return Place((uint64_t(level) + 1) << levelShift | damagedBit); }

    bool present() const { return bits_ >> levelShift != 0; }
    bool isDamaged() const { return bits_ & damagedBit; }
    /** Being moved: it may be read, but who wants to write waits. */
    bool frozen() const { return bits_ & frozenBit; }
    Place asFrozen() const { return Place(bits_ | frozenBit); }
    Place thawed() const { return Place(bits_ & ~frozenBit); }
    size_t level() const { return (bits_ >> levelShift) - 1; }
    uint64_t sector() const { return bits_ & sectorMask; }

    bool operator==(const Place&) const = default;

private:
    friend class ClusterMap;
    explicit Place(uint64_t bits) : bits_(bits) {}

    // 2^32 clusters of 2^17 sectors need 49 bits, a chain has at most 127 levels.
    static constexpr int levelShift = 56;
    static constexpr uint64_t frozenBit = 1ull << 55, damagedBit = 1ull << 54, sectorMask = damagedBit - 1;
    uint64_t bits_ = 0;
};

/**
 * The BATs of all levels of a chain merged into one table, so that a read costs the same however long the
 * chain is. It is built page by page when first needed: opening a large image reads nothing. Lookups take no
 * lock.
 */
class ClusterMap {
public:
    using Levels = std::vector<std::unique_ptr<Delta>>;

    explicit ClusterMap(const Levels& levels) : levels_(levels) {}
    ClusterMap(const ClusterMap&) = delete;
    ClusterMap& operator=(const ClusterMap&) = delete;

    Result<Place> get(uint64_t index) {
        const Page* page = pages_[index / pageEntries].load(std::memory_order_acquire);
        if (!page) {
            VZ_TRY(page, load(index / pageEntries));
        }
        return Place((*page)[index % pageEntries].load(std::memory_order_acquire));
    }
    /** Only for entries that get() has been called for. */
    void set(uint64_t index, Place place) {
        (*pages_[index / pageEntries].load(std::memory_order_acquire))[index % pageEntries].store(
            place.bits_, std::memory_order_release);
    }

    /** The table gets that many entries; nobody may use it meanwhile. */
    void resize(uint64_t clusters);
    /** Forgets all: the levels have changed. Nobody may use it meanwhile. */
    void clear();
    /** Where the cluster would lie without the levels from @p above on. */
    Result<Place> below(size_t above, uint64_t index) const;
    uint64_t clusters() const { return clusters_; }

private:
    static constexpr size_t pageEntries = 2048;
    using Page = std::array<std::atomic<uint64_t>, pageEntries>;

    Result<Page*> load(size_t number);
    Result<void> merge(size_t level, uint64_t first, std::span<Place> into) const;

    const Levels& levels_;
    uint64_t clusters_ = 0;
    std::vector<std::atomic<Page*>> pages_;
    std::vector<std::unique_ptr<Page>> owned_;
    std::mutex loading_;
};

} // namespace vz::ploop
