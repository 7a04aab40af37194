// SPDX-License-Identifier: LGPL-2.1-or-later
// What pools and volumes there are: ours, and those of the stock storage driver.
#include "base/xml.hpp"
#include "driver/storage_methods.hpp"
#include "storage/ploop/io.hpp"

#include <cstdlib>
#include <cstring>

namespace vz::driver {

namespace {

std::vector<storage::PoolRef> shownPools(const ConnectCall& call, const char* slot) {
    auto pools = call.driver.storage().pools().all();
    std::erase_if(pools, [&](const auto& pool) { return !showsPool(slot, *pool); });
    return pools;
}

std::vector<storage::PoolRef> shownPools(const ConnectCall& call, const char* slot, bool active) {
    auto pools = shownPools(call, slot);
    std::erase_if(pools, [&](const auto& pool) { return pool->active() != active; });
    return pools;
}

template<Name slot, auto publicApi>
Result<int> count(const ConnectCall& call, bool active) {
    VZ_TRY(int others, (stockCount<slot, publicApi>(call.conn)));
    return others + static_cast<int>(shownPools(call, slot.value, active).size());
}

/** Ours first, then the stock driver's, as far as there is room. */
template<Name slot, auto publicApi>
Result<int> listNames(const ConnectCall& call, bool active, char** names, int most) {
    int filled = 0;
    for (const auto& pool : shownPools(call, slot.value, active)) {
        if (filled < most)
            names[filled++] = ::strdup(pool->name().c_str());
    }
    if (filled == most)
        return filled;
    auto others = stockCount<slot, publicApi>(call.conn, names + filled, most - filled);
    if (!others) {
        while (filled > 0)
            std::free(names[--filled]);
        return others;
    }
    return filled + *others;
}

/** Of a group of flags: true if none of them was given, or @p yes and its flag, or not and the other. */
bool matches(unsigned int flags, unsigned int ifYes, unsigned int ifNo, bool yes) {
    return !(flags & (ifYes | ifNo)) || (flags & (yes ? ifYes : ifNo));
}

bool wanted(const storage::Pool& pool, unsigned int flags) {
    // The flags for types have none for ours.
    constexpr unsigned int states = 0x3f;
    return !(flags & ~states) &&
           matches(flags, VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE, VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE,
                   pool.active()) &&
           matches(flags, VIR_CONNECT_LIST_STORAGE_POOLS_PERSISTENT, VIR_CONNECT_LIST_STORAGE_POOLS_TRANSIENT,
                   pool.persistent()) &&
           matches(flags, VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART,
                   VIR_CONNECT_LIST_STORAGE_POOLS_NO_AUTOSTART, pool.autostart());
}

Error noPool(std::string_view what) {
    return fail(ErrorCode::NoStoragePool, "no storage pool with matching ", what);
}

Result<Passed<virStoragePoolPtr>> found(const ConnectCall& call, const char* slot,
                                        const storage::PoolRef& pool) {
    VZ_CHECK(checkStorageAccess(call.conn, slot, pool.get()));
    VZ_TRY(auto* handle, poolHandle(call.conn, *pool));
    return Passed<virStoragePoolPtr>{handle};
}

/** The volume at a path, which is its key, too. */
template<Name slot, auto publicApi>
Result<Passed<virStorageVolPtr>> lookupVolume(const ConnectCall& call, const char* what, const char* path) {
    if (auto volume = call.driver.storage().pools().volumeAt(path)) {
        VZ_CHECK(checkStorageAccess(call.conn, slot.value, volume->pool.get(), &volume->name));
        VZ_TRY(auto* handle, volumeHandle(call.conn, *volume->pool, volume->name));
        return Passed<virStorageVolPtr>{handle};
    }
    auto missing = fail(ErrorCode::NoStorageVolume, "no storage vol with matching ", what, " '", path, "'");
    return stock<slot, publicApi>(std::move(missing), call.conn, path);
}

/** The element for our type in the document of pool capabilities. */
constexpr const char* ploopCapabilities =
    "<pool type='ploop' supported='yes'><volOptions><defaultFormat type='ploop'/>"
    "<enum name='targetFormatType'><value>ploop</value><value>raw</value></enum></volOptions></pool>";

} // namespace

Result<int> numOfPools(const ConnectCall& call) {
    return count<"connectNumOfStoragePools", &virConnectNumOfStoragePools>(call, true);
}

Result<int> numOfDefinedPools(const ConnectCall& call) {
    return count<"connectNumOfDefinedStoragePools", &virConnectNumOfDefinedStoragePools>(call, false);
}

Result<int> listPools(const ConnectCall& call, char** names, int most) {
    return listNames<"connectListStoragePools", &virConnectListStoragePools>(call, true, names, most);
}

Result<int> listDefinedPools(const ConnectCall& call, char** names, int most) {
    return listNames<"connectListDefinedStoragePools", &virConnectListDefinedStoragePools>(call, false, names,
                                                                                           most);
}

Result<int> listAllPools(const ConnectCall& call, virStoragePoolPtr** pools, unsigned int flags) {
    virStoragePoolPtr* list = nullptr;
    VZ_TRY(int total, (stockCount<"connectListAllStoragePools", &virConnectListAllStoragePools>(
                          call.conn, pools ? &list : nullptr, flags)));
    auto ours = shownPools(call, "connectListAllStoragePools");
    std::erase_if(ours, [&](const auto& pool) { return !wanted(*pool, flags); });
    if (!pools)
        return total + static_cast<int>(ours.size());
    // The list ends with a null. libvirt allocates with malloc.
    auto* longer = static_cast<virStoragePoolPtr*>(
        std::realloc(list, (static_cast<size_t>(total) + ours.size() + 1) * sizeof *list));
    if (!longer)
        throw std::bad_alloc();
    for (const auto& pool : ours) {
        auto handle = poolHandle(call.conn, *pool);
        if (!handle) {
            while (total > 0)
                ::virStoragePoolFree(longer[--total]);
            std::free(longer);
            return std::move(handle).takeError();
        }
        longer[total++] = *handle;
    }
    longer[total] = nullptr;
    *pools = longer;
    return total;
}

Result<Passed<virStoragePoolPtr>> lookupPoolByName(const ConnectCall& call, const char* name) {
    if (auto pool = call.driver.storage().pools().byName(name))
        return found(call, "storagePoolLookupByName", pool);
    return stock<"storagePoolLookupByName", &virStoragePoolLookupByName>(noPool(cat("name '", name, "'")),
                                                                         call.conn, name);
}

Result<Passed<virStoragePoolPtr>> lookupPoolByUuid(const ConnectCall& call, const unsigned char* uuid) {
    VZ_TRY(auto text, abi::uuidText(uuid));
    if (auto pool = call.driver.storage().pools().byUuid(text))
        return found(call, "storagePoolLookupByUUID", pool);
    return stock<"storagePoolLookupByUUID", &virStoragePoolLookupByUUID>(noPool(cat("uuid '", text, "'")),
                                                                         call.conn, uuid);
}

Result<Passed<virStoragePoolPtr>> lookupPoolByTarget(const ConnectCall& call, const char* path) {
    if (auto pool = call.driver.storage().pools().byTarget(path))
        return found(call, "storagePoolLookupByTargetPath", pool);
    return stock<"storagePoolLookupByTargetPath", &virStoragePoolLookupByTargetPath>(
        noPool(cat("target path '", path, "'")), call.conn, path);
}

Result<Passed<virStorageVolPtr>> lookupVolumeByKey(const ConnectCall& call, const char* key) {
    return lookupVolume<"storageVolLookupByKey", &virStorageVolLookupByKey>(call, "key", key);
}

Result<Passed<virStorageVolPtr>> lookupVolumeByPath(const ConnectCall& call, const char* path) {
    return lookupVolume<"storageVolLookupByPath", &virStorageVolLookupByPath>(call, "path", path);
}

Result<virStoragePoolPtr> poolOfVolume(const VolumeCall& call) {
    VZ_CHECK(checkStorageAccess(call.conn, "storagePoolLookupByVolume", call.pool.get()));
    return poolHandle(call.conn, *call.pool);
}

Result<Passed<char*>> poolCapabilities(const ConnectCall& call, unsigned int flags) {
    std::string text = "<storagepoolCapabilities/>";
    if (auto function =
            stockFunction<"connectGetStoragePoolCapabilities", &virConnectGetStoragePoolCapabilities>()) {
        std::unique_ptr<char, decltype(&std::free)> given(function(call.conn, flags), &std::free);
        if (!given)
            return Passed<char*>{nullptr};
        text = given.get();
    } else {
        VZ_CHECK(allowStorageFlags(flags, 0, "virConnectGetStoragePoolCapabilities"));
    }
    VZ_TRY(auto doc, xml::parse(text));
    VZ_TRY(auto ours, xml::parse(ploopCapabilities));
    xmlAddChild(xml::root(doc), xmlDocCopyNode(xml::root(ours), doc.get(), 1));
    return Passed<char*>{::strdup(xml::format(doc.get()).c_str())};
}

Result<Passed<char*>> findPoolSources(const ConnectCall& call, const char* type, const char* source,
                                      unsigned int flags) {
    if (std::string_view(type ? type : "") == "ploop")
        return fail(ErrorCode::NoSupport, "pool type 'ploop' does not support source discovery: a ploop pool "
                                          "has no source, only the folder that is its target");
    return stock<"connectFindStoragePoolSources", &virConnectFindStoragePoolSources>({}, call.conn, type,
                                                                                     source, flags);
}

Result<int> registerPoolEvent(const ConnectCall& call, virStoragePoolPtr pool, int eventId,
                              virConnectStoragePoolEventGenericCallback cb, void* opaque,
                              virFreeCallback ff) {
    return call.driver.storage().events().registerAny(call.conn, pool, eventId, cb, opaque, ff);
}

Result<int> deregisterPoolEvent(const ConnectCall& call, int callbackId) {
    return call.driver.storage().events().deregisterAny(call.conn, callbackId);
}

} // namespace vz::driver
