// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/format.hpp"

#include <bit>
#include <cstring>
#include <limits>

namespace vz::ploop {

static_assert(std::endian::native == std::endian::little, "load and store copy bytes as they are");

uint32_t load32(const std::byte* from) {
    uint32_t value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

uint64_t load64(const std::byte* from) {
    uint64_t value;
    std::memcpy(&value, from, sizeof value);
    return value;
}

void store32(std::byte* to, uint32_t value) {
    std::memcpy(to, &value, sizeof value);
}

void store64(std::byte* to, uint64_t value) {
    std::memcpy(to, &value, sizeof value);
}

namespace {

constexpr std::string_view magicV1 = "WithoutFreeSpace", magicV2 = "WithouFreSpacExt";
constexpr uint32_t diskType = 2;

/** Where the fields lie, after the 16 bytes of magic. */
enum Offset : size_t {
    atType = 16,
    atHeads = 20,
    atCylinders = 24,
    atCluster = 28,
    atEntries = 32,
    atSize = 36,
    atMark = 44,
    atFirstBlock = 48,
    atFlags = 52,
    atExtension = 56,
};

uint64_t roundUp(uint64_t value, uint64_t to) {
    return (value + to - 1) / to * to;
}

bool startsWith(std::span<const std::byte> start, std::string_view magic) {
    return start.size() >= magic.size() && std::memcmp(start.data(), magic.data(), magic.size()) == 0;
}

template<typename... Parts>
Error bad(const Parts&... parts) {
    return fail(ErrorCode::StorageProbeFailed, parts...);
}

} // namespace

Chs chsOf(uint64_t sectors) {
    auto limit = [](uint64_t value) {
        return static_cast<uint32_t>(std::min<uint64_t>(value, std::numeric_limits<uint32_t>::max()));
    };
    auto complete = [&](uint32_t heads, uint64_t cylinders) {
        uint64_t product = limit(cylinders) * uint64_t(heads);
        return Chs{limit(cylinders), heads, product ? limit(sectors / product) : 0};
    };
    if (sectors > 1032192 && sectors < 16777216)
        return complete(16, sectors / (16 * 63));
    for (uint32_t perTrack : {63, 32, 16, 8}) {
        if (sectors % perTrack)
            continue;
        for (uint32_t heads : {16, 8, 4, 2}) {
            if (sectors / perTrack % heads == 0)
                return complete(heads, sectors / perTrack / heads);
        }
        break;
    }
    return complete(1, sectors);
}

bool Header::regular() const {
    return std::has_single_bit(clusterSectors) && clusterSectors >= minClusterSectors &&
           clusterSectors <= maxClusterSectors && firstBlock % clusterSectors == 0 && firstBlock != 0;
}

Result<uint32_t> Header::entryFor(uint64_t sector) const {
    uint64_t entry = version == Version::V1 ? sector : sector / clusterSectors;
    if (entry >= std::numeric_limits<uint32_t>::max())
        return fail(ErrorCode::Overflow, "sector ", sector, " of the file is beyond what a version ",
                    static_cast<int>(version), " image can address");
    return static_cast<uint32_t>(entry);
}

bool Header::valid(uint32_t entry, uint64_t fileBytes) const {
    if (entry == std::numeric_limits<uint32_t>::max())
        return false;
    uint64_t sector = sectorOf(entry);
    return sector >= firstBlock && (sector - firstBlock) % clusterSectors == 0 &&
           sector + clusterSectors <= fileBytes / sectorSize;
}

uint64_t dataStartBytes(uint64_t entries, uint64_t clusterBytes) {
    return roundUp(roundUp(entryOffset(entries), sectorSize), clusterBytes);
}

Result<void> checkClusterSize(uint64_t clusterSectors) {
    if (!std::has_single_bit(clusterSectors) || clusterSectors < minClusterSectors ||
        clusterSectors > maxClusterSectors)
        return fail(ErrorCode::InvalidArg, "a cluster of ", clusterSectors,
                    " sectors is not possible: a power of two from ", minClusterSectors, " to ",
                    maxClusterSectors, " is needed");
    return {};
}

Result<Header> makeHeader(uint64_t sectors, uint32_t clusterSectors, Version version) {
    VZ_CHECK(checkClusterSize(clusterSectors));
    constexpr uint64_t most = std::numeric_limits<uint32_t>::max();
    uint64_t limit = version == Version::V1 ? most : most * clusterSectors;
    uint64_t clusters = sectors / clusterSectors + (sectors % clusterSectors != 0);
    if (clusters > limit / clusterSectors && sectors <= limit)
        clusters = limit / clusterSectors;
    if (clusters == 0 || clusters > limit / clusterSectors)
        return fail(ErrorCode::InvalidArg, "a disk of ", sectors, " sectors is not possible in version ",
                    static_cast<int>(version), ": 1 to ", limit, " sectors are");
    Header header;
    header.version = version;
    header.clusterSectors = clusterSectors;
    header.entries = static_cast<uint32_t>(clusters);
    header.sectors = clusters * clusterSectors;
    auto chs = chsOf(header.sectors);
    header.heads = chs.heads;
    header.cylinders = chs.cylinders;
    header.firstBlock = static_cast<uint32_t>(dataStartBytes(clusters, header.clusterBytes()) / sectorSize);
    header.flags = flagEmpty;
    return header;
}

bool hasMagic(std::span<const std::byte> start) {
    return startsWith(start, magicV1) || startsWith(start, magicV2);
}

Result<Header> decode(std::span<const std::byte, headerSize> bytes, uint64_t fileBytes) {
    const auto* at = bytes.data();
    if (!hasMagic(bytes))
        return bad("it has no ploop header");
    if (uint32_t type = load32(at + atType); type != diskType)
        return bad("the header is of type ", type, ", only ", diskType, " is known");
    Header header;
    header.version = startsWith(bytes, magicV1) ? Version::V1 : Version::V2;
    header.heads = load32(at + atHeads);
    header.cylinders = load32(at + atCylinders);
    header.clusterSectors = load32(at + atCluster);
    header.entries = load32(at + atEntries);
    header.sectors = load64(at + atSize);
    if (header.version == Version::V1)
        header.sectors &= 0xFFFFFFFF;
    header.mark = load32(at + atMark);
    header.firstBlock = load32(at + atFirstBlock);
    header.flags = load32(at + atFlags);
    header.extension = load64(at + atExtension);

    if (header.clusterSectors == 0 || header.clusterSectors > maxClusterSectors)
        return bad("the cluster size of ", header.clusterSectors, " sectors is out of range");
    if (header.sectors > uint64_t(std::numeric_limits<uint32_t>::max()) * header.clusterSectors)
        return bad("the disk size of ", header.sectors, " sectors is out of range");
    uint64_t tableEnd = roundUp(entryOffset(header.entries), sectorSize) / sectorSize;
    // As QEMU: the data follows the table directly where the header does not say.
    if (header.firstBlock == 0) {
        if (tableEnd > std::numeric_limits<uint32_t>::max() || header.version == Version::V2)
            return bad("the header does not say where data starts");
        header.firstBlock = static_cast<uint32_t>(tableEnd);
    }
    if (header.firstBlock < tableEnd)
        return bad("data starts at sector ", header.firstBlock, ", inside the table of ", header.entries,
                   " entries");
    if (header.version == Version::V2 && header.firstBlock % header.clusterSectors)
        return bad("data starts at sector ", header.firstBlock, ", which is no cluster boundary");
    if (entryOffset(header.entries) > fileBytes)
        return bad("the file of ", fileBytes, " bytes is too short for its table of ", header.entries,
                   " entries");
    return header;
}

std::array<std::byte, headerSize> encode(const Header& header) {
    std::array<std::byte, headerSize> bytes{};
    auto* at = bytes.data();
    auto magic = header.version == Version::V1 ? magicV1 : magicV2;
    std::memcpy(at, magic.data(), magic.size());
    store32(at + atType, diskType);
    store32(at + atHeads, header.heads);
    store32(at + atCylinders, header.cylinders);
    store32(at + atCluster, header.clusterSectors);
    store32(at + atEntries, header.entries);
    store64(at + atSize, header.sectors);
    store32(at + atMark, header.mark);
    store32(at + atFirstBlock, header.firstBlock);
    store32(at + atFlags, header.flags);
    store64(at + atExtension, header.extension);
    return bytes;
}

} // namespace vz::ploop
