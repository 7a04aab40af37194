// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

/**
 * The first 64 bytes of a ploop delta and the arithmetic that follows from them; no I/O. The format is that
 * of ploop 9.0 and of QEMU's docs/interop/parallels.txt; docs/ploop.md says how we use it. All numbers on
 * disk are little-endian.
 */
namespace vz::ploop {

constexpr uint64_t sectorSize = 512;
constexpr size_t headerSize = 64;
constexpr size_t mostLevels = 127; ///< files of a chain

constexpr uint32_t minClusterSectors = 64;     ///< 32 KiB
constexpr uint32_t maxClusterSectors = 131072; ///< 64 MiB
constexpr uint32_t defaultClusterSectors = 2048;

/** Values of Header::inUse. */
constexpr uint32_t markOpen = 0x746F6E59;      ///< opened for writing and not closed
constexpr uint32_t markClosed = 0;             ///< closed; the extension is not valid
constexpr uint32_t markExtension = 0x312E3276; ///< closed; the extension is valid

constexpr uint32_t flagEmpty = 1;      ///< no cluster was ever allocated; not reliable, never trusted
constexpr uint32_t flagConverting = 2; ///< the reference tool was converting between v1 and v2

/** How BAT entries count: v1 in sectors ("WithoutFreeSpace"), v2 in clusters ("WithouFreSpacExt"). */
enum class Version : uint8_t { V1 = 1, V2 = 2 };

/** The informative cylinders, heads and sectors of a disk. */
struct Chs {
    uint32_t cylinders, heads, sectors;
    bool operator==(const Chs&) const = default;
};
Chs chsOf(uint64_t sectors);

/** A decoded header. Offsets and sizes in sectors. */
struct Header {
    Version version = Version::V2;
    uint32_t heads = 0;
    uint32_t cylinders = 0;
    uint32_t clusterSectors = defaultClusterSectors;
    uint32_t entries = 0; ///< BAT entries
    uint64_t sectors = 0; ///< disk size
    uint32_t mark = markClosed;
    uint32_t firstBlock = 0; ///< where data clusters start; never 0 after decoding
    uint32_t flags = 0;
    uint64_t extension = 0; ///< format extension cluster; 0 = none

    bool operator==(const Header&) const = default;

    uint64_t clusterBytes() const { return clusterSectors * sectorSize; }
    uint64_t bytes() const { return sectors * sectorSize; }
    /** Clusters the disk needs; can differ from `entries` in foreign files. */
    uint64_t clusters() const { return (sectors + clusterSectors - 1) / clusterSectors; }
    /** Of the power of two size and aligned layout that our tools and the kernel make and can restructure. */
    bool regular() const;

    /** Sector in the file that a BAT entry other than 0 means. */
    uint64_t sectorOf(uint32_t entry) const {
        return version == Version::V1 ? entry : uint64_t(entry) * clusterSectors;
    }
    /** The BAT entry for a sector of the file; Overflow if the version cannot express it. */
    Result<uint32_t> entryFor(uint64_t sector) const;
    /** Whether an entry other than 0 may mean a cluster of a file of that many bytes. */
    bool valid(uint32_t entry, uint64_t fileBytes) const;
};

/** Bytes before the first data cluster that a header with that many entries needs. */
uint64_t dataStartBytes(uint64_t entries, uint64_t clusterBytes);

/** A fresh header: size rounded up to whole clusters where the version can hold that, else down. */
Result<Header> makeHeader(uint64_t sectors, uint32_t clusterSectors, Version version);

/** Checks a cluster size for new images: a power of two from 32 KiB to 64 MiB. */
Result<void> checkClusterSize(uint64_t clusterSectors);

bool hasMagic(std::span<const std::byte> start);
/**
 * Reads a header of a file of @p fileBytes. StorageProbeFailed if it is not a ploop header, if a number in it
 * is out of its range, or if the BAT does not fit into the file; never allocates.
 */
Result<Header> decode(std::span<const std::byte, headerSize> bytes, uint64_t fileBytes);
std::array<std::byte, headerSize> encode(const Header& header);

/** Offset in the file of BAT entry @p index. */
constexpr uint64_t entryOffset(uint64_t index) {
    return headerSize + 4 * index;
}

uint32_t load32(const std::byte* from);
uint64_t load64(const std::byte* from);
void store32(std::byte* to, uint32_t value);
void store64(std::byte* to, uint64_t value);

} // namespace vz::ploop
