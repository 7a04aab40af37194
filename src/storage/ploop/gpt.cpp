// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/gpt.hpp"

#include <algorithm>
#include <cstring>
#include <random>

namespace vz::ploop {

namespace {

constexpr size_t tableHeaderSize = 92, entrySize = 128, entryCount = 128;
constexpr uint64_t entrySectors = entryCount * entrySize / sectorSize;
constexpr std::string_view signature = "EFI PART";
using Sector = std::array<std::byte, sectorSize>;
using Entries = std::vector<std::byte>;

/** 0FC63DAF-8483-4772-8E79-3D69D8477DE4: Linux data, the first three groups little-endian. */
constexpr std::array<uint8_t, 16> linuxData{0xAF, 0x3D, 0xC6, 0x0F, 0x83, 0x84, 0x72, 0x47,
                                            0x8E, 0x79, 0x3D, 0x69, 0xD8, 0x47, 0x7D, 0xE4};

uint32_t crc32(const std::byte* data, size_t size) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; ++i) {
        crc ^= static_cast<uint8_t>(data[i]);
        for (int bit = 0; bit < 8; ++bit)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

void randomId(std::byte* to) {
    std::random_device random;
    for (size_t i = 0; i < 16; i += 4)
        store32(to + i, random());
    to[7] = (to[7] & std::byte(0x0F)) | std::byte(0x40);
    to[8] = (to[8] & std::byte(0x3F)) | std::byte(0x80);
}

/** The fields of a table header that matter here, in sectors. */
struct Table {
    uint64_t self = 0, other = 0, entriesAt = 0;
    std::array<std::byte, 16> disk{};
    Entries entries;
};

Sector encodeHeader(const Table& table, uint64_t sectors) {
    Sector header{};
    auto* at = header.data();
    std::memcpy(at, signature.data(), signature.size());
    store32(at + 8, 0x10000);
    store32(at + 12, tableHeaderSize);
    store64(at + 24, table.self);
    store64(at + 32, table.other);
    store64(at + 40, entrySectors + 2);
    store64(at + 48, sectors - entrySectors - 2);
    std::memcpy(at + 56, table.disk.data(), table.disk.size());
    store64(at + 72, table.entriesAt);
    store32(at + 80, entryCount);
    store32(at + 84, entrySize);
    store32(at + 88, crc32(table.entries.data(), table.entries.size()));
    store32(at + 16, crc32(at, tableHeaderSize));
    return header;
}

/** The sector that keeps tools that know no GPT away: one partition over the whole disk. */
Sector protectiveSector(uint64_t sectors) {
    Sector sector{};
    auto* entry = sector.data() + 446;
    store32(entry, 0x00020000);
    store32(entry + 4, 0xFFFFFFEE);
    store32(entry + 8, 1);
    store32(entry + 12, static_cast<uint32_t>(std::min<uint64_t>(sectors - 1, 0xFFFFFFFF)));
    sector[510] = std::byte(0x55);
    sector[511] = std::byte(0xAA);
    return sector;
}

uint64_t lastSector(uint64_t sectors, uint64_t cluster) {
    return (sectors - entrySectors - 2) / cluster * cluster - 1;
}

/** The second copy first, each on the disk before the next is touched. */
Result<void> writeBoth(Image& image, const Table& table, uint64_t sectors) {
    Table second = table;
    second.self = sectors - 1;
    second.other = 1;
    second.entriesAt = sectors - 1 - entrySectors;
    std::vector<std::byte> bytes = second.entries;
    auto header = encodeHeader(second, sectors);
    bytes.insert(bytes.end(), header.begin(), header.end());
    VZ_CHECK(image.write(second.entriesAt * sectorSize, bytes.data(), bytes.size()));
    VZ_CHECK(image.flush());

    Table first = table;
    first.self = 1;
    first.other = sectors - 1;
    first.entriesAt = 2;
    auto start = protectiveSector(sectors);
    header = encodeHeader(first, sectors);
    bytes.assign(start.begin(), start.end());
    bytes.insert(bytes.end(), header.begin(), header.end());
    bytes.insert(bytes.end(), first.entries.begin(), first.entries.end());
    VZ_CHECK(image.write(0, bytes.data(), bytes.size()));
    return image.flush();
}

Result<std::optional<Table>> readAt(Image& image, uint64_t sector) {
    std::optional<Table> none;
    uint64_t sectors = image.bytes() / sectorSize;
    Sector header;
    if (sector >= sectors)
        return none;
    VZ_CHECK(image.read(sector * sectorSize, header.data(), header.size()));
    auto* at = header.data();
    uint32_t crc = load32(at + 16);
    store32(at + 16, 0);
    bool usual = std::memcmp(at, signature.data(), signature.size()) == 0 &&
                 load32(at + 12) == tableHeaderSize && crc == crc32(at, tableHeaderSize) &&
                 load64(at + 24) == sector && load32(at + 80) == entryCount && load32(at + 84) == entrySize &&
                 load64(at + 72) < sectors - entrySectors;
    if (!usual)
        return none;
    Table table;
    table.self = sector;
    table.other = load64(at + 32);
    table.entriesAt = load64(at + 72);
    std::memcpy(table.disk.data(), at + 56, table.disk.size());
    table.entries.resize(entryCount * entrySize);
    VZ_CHECK(image.read(table.entriesAt * sectorSize, table.entries.data(), table.entries.size()));
    if (load32(at + 88) != crc32(table.entries.data(), table.entries.size()))
        return none;
    return std::optional(std::move(table));
}

Result<std::optional<Table>> readAny(Image& image) {
    VZ_TRY(auto table, readAt(image, 1));
    if (table)
        return table;
    return readAt(image, image.bytes() / sectorSize - 1);
}

bool inUse(const std::byte* entry) {
    return load64(entry) != 0 || load64(entry + 8) != 0;
}

/** Entry @p index of the table. */
Partition partitionAt(const Table& table, size_t index) {
    const auto* entry = table.entries.data() + index * entrySize;
    uint64_t first = load64(entry + 32), last = load64(entry + 40);
    return {first * sectorSize, (last + 1 - first) * sectorSize, static_cast<unsigned>(index + 1)};
}

} // namespace

Result<Partition> writeTable(Image& image) {
    uint64_t sectors = image.bytes() / sectorSize, cluster = image.clusterBytes() / sectorSize;
    // There must be a cluster left between the two copies.
    if (sectors < 3 * cluster || cluster < entrySectors + 2)
        return fail(ErrorCode::InvalidArg, "a disk of ", sectors,
                    " sectors is too small for a partition table");
    Table table;
    table.entries.resize(entryCount * entrySize);
    randomId(table.disk.data());
    auto* entry = table.entries.data();
    std::memcpy(entry, linuxData.data(), linuxData.size());
    randomId(entry + 16);
    store64(entry + 32, cluster);
    uint64_t last = lastSector(sectors, cluster);
    store64(entry + 40, last);
    VZ_CHECK(writeBoth(image, table, sectors));
    return Partition{cluster * sectorSize, (last + 1 - cluster) * sectorSize};
}

Result<std::optional<Partition>> readTable(Image& image) {
    VZ_TRY(auto table, readAny(image));
    if (!table)
        return std::optional<Partition>();
    uint64_t sectors = image.bytes() / sectorSize;
    for (size_t i = 0; i < entryCount; ++i) {
        const auto* entry = table->entries.data() + i * entrySize;
        uint64_t first = load64(entry + 32), last = load64(entry + 40);
        if (inUse(entry) && first <= last && last < sectors)
            return std::optional(partitionAt(*table, i));
    }
    return std::optional<Partition>();
}

namespace {

/** The table as it is to be on a disk of @p bytes, which is smaller, and its first partition. */
Result<std::optional<std::pair<Table, Partition>>> shrunk(Image& image, uint64_t bytes) {
    std::optional<std::pair<Table, Partition>> none;
    VZ_TRY(auto table, readAny(image));
    uint64_t sectors = bytes / sectorSize, cluster = image.clusterBytes() / sectorSize;
    if (!table)
        return none;
    if (sectors < 3 * cluster || cluster < entrySectors + 2)
        return fail(ErrorCode::InvalidArg, "a disk of ", sectors,
                    " sectors is too small for a partition table");
    uint64_t end = lastSector(sectors, cluster);
    std::optional<Partition> first;
    for (size_t i = 0; i < entryCount; ++i) {
        auto* entry = table->entries.data() + i * entrySize;
        if (!inUse(entry))
            continue;
        uint64_t begin = load64(entry + 32);
        if (begin > end)
            return fail(ErrorCode::InvalidArg, "partition ", i + 1, " begins beyond a disk of ", sectors,
                        " sectors");
        store64(entry + 40, std::min(load64(entry + 40), end));
        if (!first)
            first = partitionAt(*table, i);
    }
    if (!first)
        return none;
    return std::optional(std::pair(*std::move(table), *first));
}

} // namespace

Result<std::optional<Partition>> shrunkPartition(Image& image, uint64_t bytes) {
    VZ_TRY(auto future, shrunk(image, bytes));
    return future ? std::optional(future->second) : std::nullopt;
}

Result<std::optional<Partition>> shrinkTable(Image& image, uint64_t bytes) {
    VZ_TRY(auto future, shrunk(image, bytes));
    if (!future)
        return std::optional<Partition>();
    VZ_CHECK(writeBoth(image, future->first, bytes / sectorSize));
    return std::optional(future->second);
}

Result<std::optional<Partition>> growTable(Image& image) {
    std::optional<Partition> none;
    VZ_TRY(auto table, readAny(image));
    uint64_t sectors = image.bytes() / sectorSize, cluster = image.clusterBytes() / sectorSize;
    if (!table)
        return none;
    std::optional<size_t> last;
    auto endOf = [&](size_t index) { return table->entries.data() + index * entrySize + 40; };
    for (size_t i = 0; i < entryCount; ++i) {
        if (inUse(table->entries.data() + i * entrySize) &&
            (!last || load64(endOf(i)) > load64(endOf(*last))))
            last = i;
    }
    if (table->self != 1 || table->other != sectors - 1) {
        uint64_t end = lastSector(sectors, cluster);
        if (last && load64(endOf(*last)) < end)
            store64(endOf(*last), end);
        uint64_t old = table->self == 1 ? table->other : table->self;
        VZ_CHECK(writeBoth(image, *table, sectors));
        // The old copy lies inside of the partition now.
        if (old > entrySectors && old < sectors - entrySectors - 1)
            VZ_CHECK(image.zero((old - entrySectors) * sectorSize, (entrySectors + 1) * sectorSize));
        VZ_CHECK(image.flush());
    }
    return last ? std::optional(partitionAt(*table, *last)) : none;
}

} // namespace vz::ploop
