// SPDX-License-Identifier: LGPL-2.1-or-later
// A pool as a whole: definition, state, information.
#include "driver/storage_methods.hpp"

#include <cerrno>
#include <sys/statvfs.h>

namespace vz::driver {

namespace {

constexpr unsigned int overwriteFlags =
    VIR_STORAGE_POOL_CREATE_WITH_BUILD_OVERWRITE | VIR_STORAGE_POOL_CREATE_WITH_BUILD_NO_OVERWRITE;

/** What flags of a call that may build say. */
Result<bool> wantsBuild(unsigned int flags, const char* api) {
    VZ_CHECK(allowStorageFlags(
        flags, VIR_STORAGE_POOL_CREATE_WITH_BUILD | overwriteFlags | VIR_STORAGE_POOL_CREATE_NORMAL, api));
    // A folder is not overwritten by building it: there is nothing these two could mean.
    if (flags & overwriteFlags)
        return fail(ErrorCode::InvalidArg, "a ploop pool is a folder: building it overwrites nothing, so the "
                                           "flags (no-)overwrite cannot be given");
    return (flags & VIR_STORAGE_POOL_CREATE_WITH_BUILD) != 0;
}

/** Reads the XML of a pool of ours that is to be defined or made. */
Result<storage::PoolConfig> readConfig(const ConnectCall& call, const char* xml, bool validate) {
    VZ_TRY(auto config, storage::PoolConfig::parse(xml, validate));
    if (config.uuid.empty()) {
        // As libvirt: without one, it means the pool of that name, if there is one.
        auto pool = call.driver.storage().pools().byName(config.name);
        config.uuid = pool ? pool->uuid() : abi::newUuid();
    }
    return config;
}

/** Room of the file system that the folder is on; nothing of an inactive pool. */
Result<storage::Space> spaceOf(const storage::Pool& pool) {
    if (!pool.active())
        return storage::Space{};
    auto target = pool.target();
    struct statvfs info;
    if (::statvfs(target.c_str(), &info) < 0)
        return failErrno(errno, "cannot look at ", target);
    uint64_t block = info.f_frsize;
    return storage::Space{info.f_blocks * block, (info.f_blocks - info.f_bfree) * block,
                          info.f_bavail * block};
}

/** For a pool of another type, which the stock driver makes: its names must not be those of one of ours. */
template<Name slot, auto publicApi>
Result<Passed<virStoragePoolPtr>> makeInStock(const ConnectCall& call, const char* xml, unsigned int flags) {
    auto& storage = call.driver.storage();
    auto names = storage::namesIn(xml);
    VZ_TRY(auto claim, storage.claim(names.name, names.uuid));
    VZ_CHECK(storage.requireFreeHere(names.name, names.uuid));
    return stock<slot, publicApi>({}, call.conn, xml, flags);
}

Result<Passed<virStoragePoolPtr>> handleOf(const ConnectCall& call, Result<storage::PoolRef> pool) {
    if (!pool)
        return std::move(pool).takeError();
    VZ_TRY(auto* handle, poolHandle(call.conn, **pool));
    return Passed<virStoragePoolPtr>{handle};
}

} // namespace

Result<Passed<virStoragePoolPtr>> definePool(const ConnectCall& call, const char* xml, unsigned int flags) {
    if (!storage::isPloopPool(xml))
        return makeInStock<"storagePoolDefineXML", &virStoragePoolDefineXML>(call, xml, flags);
    VZ_CHECK(allowStorageFlags(flags, VIR_STORAGE_POOL_DEFINE_VALIDATE, "virStoragePoolDefineXML"));
    VZ_TRY(auto config, readConfig(call, xml, flags & VIR_STORAGE_POOL_DEFINE_VALIDATE));
    VZ_CHECK(checkStorageAccess(call.conn, "storagePoolDefineXML", config));
    auto& storage = call.driver.storage();
    VZ_TRY(auto claim, storage.claim(config.name, config.uuid));
    VZ_CHECK(storage.requireFreeInStock(config.name, config.uuid));
    return handleOf(call, storage.pools().define(std::move(config)));
}

Result<Passed<virStoragePoolPtr>> createPoolXml(const ConnectCall& call, const char* xml,
                                                unsigned int flags) {
    if (!storage::isPloopPool(xml))
        return makeInStock<"storagePoolCreateXML", &virStoragePoolCreateXML>(call, xml, flags);
    VZ_TRY(bool build, wantsBuild(flags, "virStoragePoolCreateXML"));
    VZ_TRY(auto config, readConfig(call, xml, false));
    VZ_CHECK(checkStorageAccess(call.conn, "storagePoolCreateXML", config));
    auto& storage = call.driver.storage();
    VZ_TRY(auto claim, storage.claim(config.name, config.uuid));
    VZ_CHECK(storage.requireFreeInStock(config.name, config.uuid));
    return handleOf(call, storage.pools().create(std::move(config), build));
}

Result<void> buildPool(const PoolCall& call, unsigned int flags) {
    VZ_CHECK(allowStorageFlags(flags, VIR_STORAGE_POOL_BUILD_NEW, "virStoragePoolBuild"));
    VZ_TRY(auto change, call.pool->beginChange("its building"));
    return call.pool->build();
}

Result<void> undefinePool(const PoolCall& call) {
    return call.pools().undefine(call.pool);
}

Result<void> startPool(const PoolCall& call, unsigned int flags) {
    VZ_TRY(bool build, wantsBuild(flags, "virStoragePoolCreate"));
    VZ_TRY(auto change, call.pool->beginChange("its start"));
    if (build)
        VZ_CHECK(call.pool->build());
    return call.pool->start();
}

Result<void> stopPool(const PoolCall& call) {
    return call.pools().stop(call.pool);
}

Result<void> deletePool(const PoolCall& call, unsigned int flags) {
    VZ_CHECK(allowStorageFlags(flags, VIR_STORAGE_POOL_DELETE_NORMAL, "virStoragePoolDelete"));
    VZ_TRY(auto change, call.pool->beginChange("the removal of its folder"));
    return call.pool->removeTarget();
}

Result<void> refreshPool(const PoolCall& call, unsigned int flags) {
    VZ_CHECK(allowStorageFlags(flags, 0, "virStoragePoolRefresh"));
    return call.pools().refresh(call.pool);
}

Result<void> poolInfo(const PoolCall& call, virStoragePoolInfoPtr info) {
    VZ_TRY(auto space, spaceOf(*call.pool));
    *info = {};
    info->state = call.pool->active() ? VIR_STORAGE_POOL_RUNNING : VIR_STORAGE_POOL_INACTIVE;
    info->capacity = space.capacity;
    info->allocation = space.allocation;
    info->available = space.available;
    return {};
}

Result<std::string> poolXml(const PoolCall& call, unsigned int flags) {
    VZ_CHECK(allowStorageFlags(flags, VIR_STORAGE_XML_INACTIVE, "virStoragePoolGetXMLDesc"));
    bool inactive = flags & VIR_STORAGE_XML_INACTIVE;
    // A pool whose folder has gone has its XML all the same.
    auto space = spaceOf(*call.pool).valueOr(storage::Space{});
    return call.pool->config(inactive).format(inactive ? storage::Space{} : space);
}

Result<void> getPoolAutostart(const PoolCall& call, int* autostart) {
    *autostart = call.pool->autostart();
    return {};
}

Result<void> setPoolAutostart(const PoolCall& call, int autostart) {
    return call.pool->setAutostart(autostart != 0);
}

Result<int> poolIsActive(const PoolCall& call) {
    return call.pool->active();
}

Result<int> poolIsPersistent(const PoolCall& call) {
    return call.pool->persistent();
}

} // namespace vz::driver
