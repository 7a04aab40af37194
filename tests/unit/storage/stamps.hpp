// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/image.hpp"

#include <catch2/catch.hpp>

#include <cstring>
#include <random>
#include <set>

namespace vz::test {

constexpr size_t stampedSector = 512;

/** A disk as it should be: each sector is filled with one number, 0 for one never written to. */
using Stamps = std::vector<uint64_t>;

inline std::vector<std::byte> stamped(uint64_t stamp, size_t sectors) {
    std::vector<uint64_t> words(sectors * stampedSector / 8, stamp);
    std::vector<std::byte> bytes(sectors * stampedSector);
    std::memcpy(bytes.data(), words.data(), bytes.size());
    return bytes;
}

/** The stamp of each sector of an image; ~0 for one that is not filled with one number. */
inline Stamps stampsOf(ploop::Image& image) {
    Stamps stamps(image.bytes() / stampedSector);
    std::vector<std::byte> bytes(image.bytes());
    if (!image.read(0, bytes.data(), bytes.size()))
        return {};
    for (size_t i = 0; i < stamps.size(); ++i) {
        const auto* sector = bytes.data() + i * stampedSector;
        std::memcpy(&stamps[i], sector, 8);
        if (std::memcmp(sector, sector + 8, stampedSector - 8) != 0)
            stamps[i] = ~0ull;
    }
    return stamps;
}

/** Compares without printing thousands of numbers; tells the first that differs. */
inline bool same(const Stamps& a, const Stamps& b) {
    size_t size = std::min(a.size(), b.size());
    for (size_t i = 0; i < size; ++i) {
        if (a[i] != b[i]) {
            UNSCOPED_INFO("sector " << i << ": " << a[i] << " instead of " << b[i]);
            return false;
        }
    }
    if (a.size() != b.size())
        UNSCOPED_INFO(a.size() << " sectors instead of " << b.size());
    return a.size() == b.size();
}

/** Some sectors of a disk, mostly few, sometimes several clusters. */
inline std::pair<uint64_t, uint64_t> randomSectors(std::mt19937& random, uint64_t sectors, uint64_t cluster) {
    uint64_t first = random() % sectors, length = 1;
    switch (random() % 4) {
    case 0:
        length = 1 + random() % 8;
        break;
    case 1:
        length = 1 + random() % (2 * cluster);
        break;
    case 2: // whole clusters
        first = first / cluster * cluster;
        length = cluster * (1 + random() % 3);
        break;
    default:
        break;
    }
    return {first, std::min(length, sectors - first)};
}

} // namespace vz::test
