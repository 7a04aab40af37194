// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/format.hpp"

#include <catch2/catch.hpp>

#include <cstring>

using namespace vz;
using namespace vz::ploop;

namespace {

std::array<uint32_t, 11> words(const Header& header) {
    auto bytes = encode(header);
    std::array<uint32_t, 11> out;
    std::memcpy(out.data(), bytes.data() + 16, sizeof out);
    return out;
}

Result<Header> patched(Header header, size_t at, uint32_t value, uint64_t fileBytes) {
    auto bytes = encode(header);
    store32(bytes.data() + at, value);
    return decode(bytes, fileBytes);
}

} // namespace

TEST_CASE("new headers are those of the reference tool") {
    using Words = std::array<uint32_t, 11>;
    // type heads cylinders cluster entries size size in_use first flags extension
    CHECK(words(*makeHeader(131072, 2048, Version::V2)) ==
          Words{2, 16, 256, 2048, 64, 131072, 0, 0, 2048, 1, 0});
    CHECK(words(*makeHeader(20000, 2048, Version::V1)) ==
          Words{2, 16, 40, 2048, 10, 20480, 0, 0, 2048, 1, 0});
    CHECK(words(*makeHeader(131072, 128, Version::V2)) ==
          Words{2, 16, 256, 128, 1024, 131072, 0, 0, 128, 1, 0});
    CHECK(words(*makeHeader(1228800, 2048, Version::V2)) ==
          Words{2, 16, 1219, 2048, 600, 1228800, 0, 0, 2048, 1, 0});
    CHECK(words(*makeHeader(20971520, 2048, Version::V2)) ==
          Words{2, 16, 40960, 2048, 10240, 20971520, 0, 0, 2048, 1, 0});
    auto bytes = encode(*makeHeader(131072, 2048, Version::V1));
    CHECK(std::memcmp(bytes.data(), "WithoutFreeSpace", 16) == 0);
}

TEST_CASE("a header survives encoding and decoding") {
    auto header = *makeHeader(1u << 20, 64, Version::V2);
    header.mark = markExtension;
    header.extension = 77 * 64;
    CHECK(*decode(encode(header), 1u << 20) == header);
}

TEST_CASE("large disks fit where the version can hold them") {
    CHECK(makeHeader((1ull << 48) / 512, 2048, Version::V2)->entries == (1u << 28));
    CHECK(makeHeader(0xFFFFFFFFull * 131072, 131072, Version::V2)->entries == 0xFFFFFFFF);
    CHECK_FALSE(makeHeader(0xFFFFFFFFull * 131072 + 1, 131072, Version::V2));
    CHECK_FALSE(makeHeader(6442450944, 2048, Version::V1)); // 3 TiB
    // Rounding up would be too much for version 1, so it is rounded down.
    CHECK(makeHeader(0xFFFFFFFF, 2048, Version::V1)->sectors == 0xFFFFF800);
    CHECK_FALSE(makeHeader(0, 2048, Version::V2));
    CHECK_FALSE(makeHeader(4096, 63, Version::V2));
    CHECK_FALSE(makeHeader(4096, 32, Version::V2));
    CHECK_FALSE(makeHeader(4096, 262144, Version::V2));
}

TEST_CASE("hostile headers are refused") {
    auto header = *makeHeader(131072, 2048, Version::V2);
    uint64_t size = 1u << 20;
    CHECK(decode(encode(header), size));
    CHECK_FALSE(patched(header, 0, 0, size));  // magic
    CHECK_FALSE(patched(header, 16, 3, size)); // type
    CHECK_FALSE(patched(header, 28, 0, size)); // cluster
    CHECK_FALSE(patched(header, 28, 131073, size));
    CHECK_FALSE(patched(header, 32, 0xFFFFFFFF, size)); // entries beyond the first block
    CHECK_FALSE(patched(header, 40, 0xFFFFFFFF, size)); // disk size
    CHECK_FALSE(patched(header, 48, 0, size));          // no first block
    CHECK_FALSE(patched(header, 48, 2049, size));       // not on a cluster
    CHECK_FALSE(decode(encode(header), 256));           // table beyond the end
    // Odd marks and bits are accepted on reading.
    CHECK(patched(header, 44, 12345, size));
}

TEST_CASE("foreign headers of version 1 are read as QEMU reads them") {
    Header old;
    old.version = Version::V1;
    old.clusterSectors = 63;
    old.entries = 100;
    old.sectors = 6300;
    auto bytes = encode(old);
    store32(bytes.data() + 40, 0xDEAD); // upper half of the size: not part of version 1
    auto header = *decode(bytes, 4096);
    CHECK(header.sectors == 6300);
    CHECK(header.firstBlock == 1);
    CHECK_FALSE(header.regular());
}

TEST_CASE("entries count in sectors or clusters") {
    auto v1 = *makeHeader(131072, 2048, Version::V1), v2 = *makeHeader(131072, 2048, Version::V2);
    CHECK(v1.sectorOf(4096) == 4096);
    CHECK(v2.sectorOf(2) == 4096);
    CHECK(*v1.entryFor(4096) == 4096);
    CHECK(*v2.entryFor(4096) == 2);
    CHECK_FALSE(v1.entryFor(1ull << 33));
    CHECK_FALSE(v2.entryFor(uint64_t(0xFFFFFFFF) * 2048));
    uint64_t file = 3u << 20;
    CHECK(v2.valid(2, file));
    CHECK_FALSE(v2.valid(3, file));
    CHECK_FALSE(v2.valid(0xFFFFFFFF, ~0ull));
    CHECK_FALSE(v1.valid(2049, file));
    CHECK_FALSE(v1.valid(0, file)); // the table itself
}
