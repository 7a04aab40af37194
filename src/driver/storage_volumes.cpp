// SPDX-License-Identifier: LGPL-2.1-or-later
// Volumes of our pools, but for their content (storage_streams.cpp).
#include "base/xml.hpp"
#include "driver/storage_methods.hpp"
#include "storage/pool/volume_make.hpp"
#include "storage/pool/volume_work.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace vz::driver {

namespace {

using Use = storage::Pool::Use;

Result<std::vector<std::string>> shownVolumes(const PoolCall& call, const char* slot) {
    VZ_TRY(auto names, call.pool->volumes());
    std::erase_if(names, [&](const auto& name) { return !showsVolume(slot, *call.pool, name); });
    return names;
}

/** Formats that qemu-img reads and that libvirt's pools have. */
constexpr std::string_view readable[] = {"raw", "qcow2", "qcow",  "qed", "vmdk",  "vdi",
                                         "vpc", "vhd",   "bochs", "dmg", "cloop", "cow"};

/** A volume of another pool, by what the stock driver says about it. */
Result<storage::CopySource> foreignSource(virStorageVolPtr source) {
    auto function = stockFunction<"storageVolGetXMLDesc", &virStorageVolGetXMLDesc>();
    if (!function)
        return fail(ErrorCode::NoStorageVolume,
                    "there is no volume of that pool: libvirt's storage driver is "
                    "not in this daemon");
    std::unique_ptr<char, decltype(&std::free)> text(function(source, 0), &std::free);
    if (!text)
        return abi::lastError("the volume to copy cannot be found");
    VZ_TRY(auto doc, xml::parse(text.get()));
    auto* root = xml::root(doc);
    storage::CopySource from;
    from.path = storage::trimmedText(xml::path(root, {"target", "path"}));
    VZ_TRY(from.capacity, storage::readSize(xml::child(root, "capacity")));
    auto type = xml::attribute(root, "type");
    auto format = xml::attribute(xml::path(root, {"target", "format"}), "type");
    if (type == "ploop" || format == "ploop")
        return from;
    // A block device has no format in the XML but what libvirt found on it.
    from.format = format == "vhd"                                        ? "vpc"
                  : format.empty() || format == "iso" || type == "block" ? "raw"
                                                                         : format;
    bool local = type == "file" || type == "block";
    if (!local || std::ranges::find(readable, from.format) == std::end(readable))
        return fail(ErrorCode::OperationUnsupported, "a volume of the type '", type, "' and the format '",
                    format, "' cannot be copied into a ploop pool");
    return from;
}

Result<int> listInto(const std::vector<std::string>& from, char** names, int most) {
    int filled = 0;
    for (const auto& name : from) {
        if (filled < most)
            names[filled++] = ::strdup(name.c_str());
    }
    return filled;
}

} // namespace

Result<int> numOfVolumes(const PoolCall& call) {
    VZ_TRY(auto names, shownVolumes(call, "storagePoolNumOfVolumes"));
    return static_cast<int>(names.size());
}

Result<int> listVolumes(const PoolCall& call, char** names, int most) {
    VZ_TRY(auto all, shownVolumes(call, "storagePoolListVolumes"));
    return listInto(all, names, most);
}

Result<int> listAllVolumes(const PoolCall& call, virStorageVolPtr** volumes, unsigned int flags) {
    VZ_CHECK(allowStorageFlags(flags, 0, "virStoragePoolListAllVolumes"));
    VZ_TRY(auto names, shownVolumes(call, "storagePoolListAllVolumes"));
    int total = static_cast<int>(names.size());
    if (!volumes)
        return total;
    auto* list = static_cast<virStorageVolPtr*>(std::calloc(names.size() + 1, sizeof(virStorageVolPtr)));
    if (!list)
        throw std::bad_alloc();
    for (size_t i = 0; i < names.size(); ++i) {
        auto handle = volumeHandle(call.conn, *call.pool, names[i]);
        if (!handle) {
            while (i > 0)
                ::virStorageVolFree(list[--i]);
            std::free(list);
            return std::move(handle).takeError();
        }
        list[i] = *handle;
    }
    *volumes = list;
    return total;
}

Result<virStorageVolPtr> lookupVolumeByName(const PoolCall& call, const char* given) {
    std::string name = given;
    VZ_CHECK(call.pool->volumePath(name));
    VZ_CHECK(checkStorageAccess(call.conn, "storageVolLookupByName", call.pool.get(), &name));
    return volumeHandle(call.conn, *call.pool, name);
}

Result<virStorageVolPtr> createVolume(const PoolCall& call, const char* xml, unsigned int flags) {
    VZ_CHECK(allowStorageFlags(flags,
                               VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA | VIR_STORAGE_VOL_CREATE_VALIDATE,
                               "virStorageVolCreateXML"));
    VZ_TRY(auto request, storage::VolumeRequest::parse(xml, false, flags & VIR_STORAGE_VOL_CREATE_VALIDATE));
    VZ_CHECK(checkStorageAccess(call.conn, "storageVolCreateXML", call.pool.get(), &request.name));
    VZ_TRY(auto lease, call.pool->lease(request.name, Use::Make, "it is being made", true));
    VZ_CHECK(
        storage::makeVolume(call.pool->target(), request, flags & VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA));
    lease.exists(true);
    return volumeHandle(call.conn, *call.pool, request.name);
}

Result<virStorageVolPtr> createVolumeFrom(const PoolCall& call, const char* xml, virStorageVolPtr source,
                                          unsigned int flags) {
    VZ_CHECK(allowStorageFlags(flags,
                               VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA | VIR_STORAGE_VOL_CREATE_REFLINK |
                                   VIR_STORAGE_VOL_CREATE_VALIDATE,
                               "virStorageVolCreateXMLFrom"));
    VZ_TRY(auto request, storage::VolumeRequest::parse(xml, true, flags & VIR_STORAGE_VOL_CREATE_VALIDATE));
    VZ_CHECK(checkStorageAccess(call.conn, "storageVolCreateXMLFrom", call.pool.get(), &request.name));
    VZ_TRY(auto sourcePool, findPool(call.driver, source));
    std::optional<storage::Pool::Lease> reading;
    storage::CopySource from;
    if (sourcePool) {
        VZ_TRY(auto lease,
               sourcePool->lease(::virStorageVolGetName(source), Use::Read, "it is being copied", true));
        from.path = lease.path();
        reading.emplace(std::move(lease));
    } else {
        VZ_TRY(from, foreignSource(source));
    }
    request.capacity = std::max(request.capacity, from.capacity);
    VZ_TRY(auto lease, call.pool->lease(request.name, Use::Make, "it is being made", true));
    VZ_CHECK(storage::copyVolume(call.pool->target(), request, from,
                                 flags & VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA,
                                 flags & VIR_STORAGE_VOL_CREATE_REFLINK));
    lease.exists(true);
    return volumeHandle(call.conn, *call.pool, request.name);
}

Result<void> deleteVolume(const VolumeCall& call, unsigned int flags) {
    VZ_CHECK(allowStorageFlags(flags, VIR_STORAGE_VOL_DELETE_ZEROED | VIR_STORAGE_VOL_DELETE_WITH_SNAPSHOTS,
                               "virStorageVolDelete"));
    bool zeroed = flags & VIR_STORAGE_VOL_DELETE_ZEROED;
    VZ_TRY(auto lease, call.pool->lease(call.name, Use::Change, "it is being deleted", zeroed));
    if (zeroed)
        VZ_CHECK(storage::wipeVolume(lease.path()));
    VZ_CHECK(storage::deleteVolume(call.pool->target(), call.name));
    lease.exists(false);
    return {};
}

Result<void> wipeVolume(const VolumeCall& call, unsigned int flags) {
    return wipeVolumePattern(call, VIR_STORAGE_VOL_WIPE_ALG_ZERO, flags);
}

Result<void> wipeVolumePattern(const VolumeCall& call, unsigned int algorithm, unsigned int flags) {
    VZ_CHECK(allowStorageFlags(flags, 0, "virStorageVolWipePattern"));
    if (algorithm != VIR_STORAGE_VOL_WIPE_ALG_ZERO)
        return fail(ErrorCode::ArgumentUnsupported, "volumes of ploop pools are wiped with zeros only; other "
                                                    "patterns mean places on a disk, which an image has not");
    VZ_TRY(auto lease, call.pool->lease(call.name, Use::Change, "it is being wiped", true));
    return storage::wipeVolume(lease.path());
}

Result<void> volumeInfo(const VolumeCall& call, virStorageVolInfoPtr info) {
    return volumeInfoFlags(call, info, 0);
}

Result<void> volumeInfoFlags(const VolumeCall& call, virStorageVolInfoPtr info, unsigned int flags) {
    VZ_CHECK(allowStorageFlags(flags, VIR_STORAGE_VOL_GET_PHYSICAL, "virStorageVolGetInfoFlags"));
    VZ_TRY(auto path, call.pool->volumePath(call.name));
    VZ_TRY(auto facts, storage::readVolume(path));
    *info = {};
    info->type = VIR_STORAGE_VOL_PLOOP;
    info->capacity = facts.capacity;
    info->allocation = flags & VIR_STORAGE_VOL_GET_PHYSICAL ? facts.physical : facts.allocation;
    return {};
}

Result<std::string> volumeXml(const VolumeCall& call, unsigned int flags) {
    VZ_CHECK(allowStorageFlags(flags, 0, "virStorageVolGetXMLDesc"));
    VZ_TRY(auto path, call.pool->volumePath(call.name));
    VZ_TRY(auto facts, storage::readVolume(path));
    return facts.format();
}

Result<std::string> volumePath(const VolumeCall& call) {
    return call.pool->volumePath(call.name);
}

Result<void> resizeVolume(const VolumeCall& call, unsigned long long capacity, unsigned int flags) {
    VZ_CHECK(allowStorageFlags(
        flags, VIR_STORAGE_VOL_RESIZE_ALLOCATE | VIR_STORAGE_VOL_RESIZE_DELTA | VIR_STORAGE_VOL_RESIZE_SHRINK,
        "virStorageVolResize"));
    VZ_TRY(auto lease, call.pool->lease(call.name, Use::Change, "it is being resized", true));
    storage::ResizeRequest request{capacity, (flags & VIR_STORAGE_VOL_RESIZE_ALLOCATE) != 0,
                                   (flags & VIR_STORAGE_VOL_RESIZE_SHRINK) != 0};
    if (flags & VIR_STORAGE_VOL_RESIZE_DELTA) {
        VZ_TRY(auto facts, storage::readVolume(lease.path()));
        if (request.shrink)
            request.capacity = facts.capacity - std::min<uint64_t>(capacity, facts.capacity);
        else if (__builtin_add_overflow(facts.capacity, capacity, &request.capacity))
            return fail(ErrorCode::Overflow, "capacity too large");
    }
    return storage::resizeVolume(lease.path(), request);
}

} // namespace vz::driver
