// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/extension.hpp"

namespace vz::ploop {

namespace {

constexpr uint64_t extensionMagic = 0xAB234CEF23DCEA87, bitmapMagic = 0x20385FAE252CB34A;
constexpr uint64_t necessary = 1;
constexpr size_t preamble = 24;               // magic, MD5
constexpr size_t featureHead = 24;            // magic, flags, size, padding
constexpr size_t bitmapHead = 8 + 16 + 4 + 4; // disk size, id, granularity, entries of the table

Error damaged(const File& file) {
    return fail(ErrorCode::StorageProbeFailed, file.path(), ": the format extension is damaged");
}

bool readBitmap(const std::byte* at, size_t size, Extension& into) {
    if (size < bitmapHead)
        return false;
    uint32_t tableSize = load32(at + bitmapHead - 4);
    if (tableSize > (size - bitmapHead) / 8)
        return false;
    for (uint32_t i = 0; i < tableSize; ++i) {
        // 0 and 1 are pieces that are all clear and all set.
        if (uint64_t sector = load64(at + bitmapHead + i * 8); sector > 1)
            into.clusters.push_back(sector);
    }
    ++into.bitmaps;
    return true;
}

} // namespace

Result<Extension> readExtension(File& file, const Header& header) {
    VZ_TRY(uint64_t bytes, file.size());
    uint64_t sectors = bytes / sectorSize;
    if (header.extension < header.firstBlock || header.extension >= sectors ||
        sectors - header.extension < header.clusterSectors)
        return damaged(file);
    std::vector<std::byte> cluster(header.clusterBytes());
    VZ_CHECK(file.read(header.extension * sectorSize, cluster.data(), cluster.size()));
    if (load64(cluster.data()) != extensionMagic)
        return damaged(file);
    Extension found;
    found.clusters.push_back(header.extension);
    for (size_t at = preamble; at + featureHead <= cluster.size();) {
        uint64_t magic = load64(&cluster[at]), flags = load64(&cluster[at + 8]);
        size_t size = load32(&cluster[at + 16]), data = at + featureHead;
        if (magic == 0)
            return found;
        if (size > cluster.size() - data)
            return damaged(file);
        if (magic == bitmapMagic) {
            if (!readBitmap(cluster.data() + data, size, found))
                return damaged(file);
        } else if (flags & necessary) {
            found.unknownNecessary = true;
        }
        at = data + (size + 7) / 8 * 8;
    }
    return found;
}

Result<void> checkExtensionMayGo(File& file, const Header& header) {
    auto extension = readExtension(file, header);
    if (!extension && extension.error().code() != ErrorCode::StorageProbeFailed)
        return std::move(extension).takeError();
    if (extension && extension->unknownNecessary)
        return fail(ErrorCode::OperationUnsupported, file.path(),
                    " has a format extension that is needed for writing and not known here");
    return {};
}

} // namespace vz::ploop
