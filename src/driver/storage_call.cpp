// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/storage_call.hpp"

namespace vz::driver {

namespace {

using abi::AccessObject;

Result<abi::StorageSubject> subjectOf(const storage::PoolConfig& pool, const std::string* volume) {
    VZ_TRY(auto subject, abi::StorageSubject::ofPool(pool.name, pool.uuid, pool.target));
    if (!volume)
        return subject;
    return subject.withVolume(*volume, cat(pool.target, "/", *volume));
}

/** Asks for all of @p rules that are about what is given. */
Result<void> check(std::span<const abi::AccessRule> rules, virConnectPtr conn,
                   const storage::PoolConfig* pool, const std::string* volume) {
    for (const auto& rule : rules) {
        if (rule.object == AccessObject::Connect) {
            VZ_CHECK(abi::checkConnectAccess(conn, rule.permission));
        } else if (rule.object == AccessObject::Pool && pool) {
            VZ_TRY(auto subject, subjectOf(*pool, nullptr));
            VZ_CHECK(abi::checkPoolAccess(subject, rule.permission));
        } else if (rule.object == AccessObject::Volume && pool && volume) {
            VZ_TRY(auto subject, subjectOf(*pool, volume));
            VZ_CHECK(abi::checkVolumeAccess(subject, rule.permission));
        }
    }
    return {};
}

} // namespace

Result<void> checkStorageAccess(virConnectPtr conn, const char* slot, const storage::Pool* pool,
                                const std::string* volume) {
    auto rules = abi::accessRules(slot);
    if (!pool)
        return check(rules, conn, nullptr, volume);
    auto config = pool->config();
    return check(rules, conn, &config, volume);
}

Result<void> checkStorageAccess(virConnectPtr conn, const char* slot, const storage::PoolConfig& pool) {
    return check(abi::accessRules(slot), conn, &pool, nullptr);
}

bool showsPool(const char* slot, const storage::Pool& pool) {
    auto config = pool.config();
    return static_cast<bool>(check(abi::accessFilters(slot), nullptr, &config, nullptr));
}

bool showsVolume(const char* slot, const storage::Pool& pool, const std::string& volume) {
    auto config = pool.config();
    return static_cast<bool>(check(abi::accessFilters(slot), nullptr, &config, &volume));
}

Result<virStoragePoolPtr> poolHandle(virConnectPtr conn, const storage::Pool& pool) {
    unsigned char uuid[VIR_UUID_BUFLEN];
    VZ_CHECK(abi::uuidBytes(pool.uuid(), uuid));
    return abi::makeStoragePool(conn, pool.name(), uuid);
}

Result<virStorageVolPtr> volumeHandle(virConnectPtr conn, const storage::Pool& pool,
                                      const std::string& name) {
    return abi::makeStorageVolume(conn, pool.name(), name, cat(pool.target(), "/", name));
}

Result<storage::PoolRef> findPool(Driver& driver, virStoragePoolPtr handle) {
    unsigned char uuid[VIR_UUID_BUFLEN];
    if (::virStoragePoolGetUUID(handle, uuid) < 0)
        return abi::lastError("the storage pool has no UUID");
    VZ_TRY(auto text, abi::uuidText(uuid));
    return driver.storage().pools().byUuid(text);
}

Result<storage::PoolRef> findPool(Driver& driver, virStorageVolPtr handle) {
    VZ_TRY(auto name, abi::poolNameOf(handle));
    auto pool = driver.storage().pools().byName(name);
    // The stock driver may have a pool of that name, too: on its own connections nobody asks for ours.
    const char* key = ::virStorageVolGetKey(handle);
    if (pool && key && cat(pool->target(), "/", ::virStorageVolGetName(handle)) == key)
        return pool;
    return storage::PoolRef();
}

Result<void> requireOther(Driver& driver, virStorageVolPtr argument) {
    VZ_TRY(auto pool, findPool(driver, argument));
    if (pool)
        return fail(
            ErrorCode::OperationUnsupported, "a volume of the ploop pool '", pool->name(),
            "' cannot be copied into a pool of another type: download it (vol-download) and upload it there");
    return {};
}

Result<void> allowStorageFlags(unsigned int flags, unsigned int allowed, const char* api) {
    if (unsigned int rest = flags & ~allowed)
        return fail(ErrorCode::InvalidArg, "unsupported flags (", rest, ") in function ", api,
                    " for ploop pools");
    return {};
}

} // namespace vz::driver
