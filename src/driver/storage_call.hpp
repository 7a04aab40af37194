// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "driver/slot.hpp"
#include "driver/storage.hpp"

/**
 * From a C++ method to a slot of libvirt's storage table. A call about a pool or volume of ours is a method;
 * about any other, it is the stock storage driver's function, with the client's own arguments: its result,
 * output and error are the client's. Calls about no pool in particular are methods that ask both.
 */
namespace vz::driver {

struct PoolCall {
    Driver& driver;
    virConnectPtr conn;
    storage::PoolRef pool;

    storage::Pools& pools() const { return driver.storage().pools(); }
};

struct VolumeCall {
    Driver& driver;
    virConnectPtr conn;
    storage::PoolRef pool;
    std::string name;
};

/** Checks the connection's right to call @p slot about @p pool, and about the volume of that name in it if
 * there is one. */
Result<void> checkStorageAccess(virConnectPtr conn, const char* slot, const storage::Pool* pool,
                                const std::string* volume = nullptr);
/** The same about a pool that is to be. */
Result<void> checkStorageAccess(virConnectPtr conn, const char* slot, const storage::PoolConfig& pool);
/** Whether the client sees the pool (or volume) in the answer of a listing slot. */
bool showsPool(const char* slot, const storage::Pool& pool);
bool showsVolume(const char* slot, const storage::Pool& pool, const std::string& volume);

/** New handles for clients. */
Result<virStoragePoolPtr> poolHandle(virConnectPtr conn, const storage::Pool& pool);
Result<virStorageVolPtr> volumeHandle(virConnectPtr conn, const storage::Pool& pool, const std::string& name);

/** The pool of ours that a client's handle means; null if it is none. */
Result<storage::PoolRef> findPool(Driver& driver, virStoragePoolPtr handle);
Result<storage::PoolRef> findPool(Driver& driver, virStorageVolPtr handle);

/** OperationUnsupported if a call about another pool is given a volume of one of ours, which the stock driver
 * does not know. */
Result<void> requireOther(Driver& driver, virStorageVolPtr argument);
template<typename T>
Result<void> requireOther(Driver&, T) {
    return {};
}

/** InvalidArg, as libvirt's own drivers, for bits that are not in @p allowed. */
Result<void> allowStorageFlags(unsigned int flags, unsigned int allowed, const char* api);

/** The stock storage driver's function for @p slot; null without that driver. */
template<Name slot, auto publicApi>
auto stockFunction() {
    static const int index = abi::storageSlot(slot.value);
    return reinterpret_cast<std::decay_t<decltype(*publicApi)>>(abi::stockStorage(index));
}

/** Calls it. Without it: NoSupport, or @p missing if there is one. */
template<Name slot, auto publicApi, typename... Args>
auto stock(std::optional<Error> missing, Args... args)
    -> Result<Passed<std::invoke_result_t<decltype(publicApi), Args...>>> {
    if (auto function = stockFunction<slot, publicApi>())
        return Passed<std::invoke_result_t<decltype(publicApi), Args...>>{function(args...)};
    if (missing)
        return *std::move(missing);
    return fail(ErrorCode::NoSupport, "this function is not supported by the connection driver: ", slot.value,
                " for pools of other types than ploop, as libvirt's storage driver is not in this daemon");
}

namespace detail {

template<Name slot, auto publicApi, auto method, typename Public>
struct StorageWrapper;

template<Name slot, auto publicApi, auto method, typename R, typename... Args>
struct StorageWrapper<slot, publicApi, method, R (*)(virStoragePoolPtr, Args...)> {
    static R call(virStoragePoolPtr handle, Args... args) noexcept {
        return guarded<R>([&]() -> Result<Passed<R>> {
            VZ_TRY(auto* driver, activeDriver());
            VZ_TRY(auto pool, findPool(*driver, handle));
            if (!pool) {
                Result<void> known;
                ((known = known ? requireOther(*driver, args) : known), ...);
                VZ_CHECK(std::move(known));
                return stock<slot, publicApi>({}, handle, args...);
            }
            auto* conn = ::virStoragePoolGetConnect(handle);
            VZ_CHECK(checkStorageAccess(conn, slot.value, pool.get()));
            return passed<R>(method(PoolCall{*driver, conn, pool}, args...));
        });
    }
};

template<Name slot, auto publicApi, auto method, typename R, typename... Args>
struct StorageWrapper<slot, publicApi, method, R (*)(virStorageVolPtr, Args...)> {
    static R call(virStorageVolPtr handle, Args... args) noexcept {
        return guarded<R>([&]() -> Result<Passed<R>> {
            VZ_TRY(auto* driver, activeDriver());
            VZ_TRY(auto pool, findPool(*driver, handle));
            if (!pool)
                return stock<slot, publicApi>({}, handle, args...);
            auto* conn = ::virStorageVolGetConnect(handle);
            std::string name = ::virStorageVolGetName(handle);
            VZ_CHECK(checkStorageAccess(conn, slot.value, pool.get(), &name));
            return passed<R>(method(VolumeCall{*driver, conn, pool, name}, args...));
        });
    }
};

template<Name slot, auto publicApi, auto method, typename R, typename... Args>
struct StorageWrapper<slot, publicApi, method, R (*)(virConnectPtr, Args...)> {
    static R call(virConnectPtr conn, Args... args) noexcept {
        return guarded<R>([&]() -> Result<Passed<R>> {
            VZ_TRY(auto* driver, activeDriver());
            VZ_CHECK(checkStorageAccess(conn, slot.value, nullptr));
            return passed<R>(method(ConnectCall{*driver, conn}, args...));
        });
    }
};

} // namespace detail

/** A table entry of the storage table: the slot, the public API of its prototype, and the method. */
template<Name slot, auto publicApi, auto method>
abi::SlotEntry storageEntry() {
    static constexpr Name name = slot;
    return {name.value,
            reinterpret_cast<void*>(
                &detail::StorageWrapper<slot, publicApi, method, std::decay_t<decltype(*publicApi)>>::call)};
}

/** Ours together with the stock driver's, for calls that count or list: the stock part of the answer, or
 * nothing if there is no such driver. */
template<Name slot, auto publicApi, typename... Args>
Result<int> stockCount(Args... args) {
    auto function = stockFunction<slot, publicApi>();
    int count = function ? function(args...) : 0;
    if (count < 0)
        return abi::lastError("the storage driver failed");
    return count;
}

/** The table of the storage slots that we fill; all others are the stock driver's. */
std::vector<abi::SlotEntry> storageTable();

} // namespace vz::driver
