// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/volumes.hpp"

#include "driver/self_connection.hpp"
#include "libvirt/driver_table.hpp"

namespace vz::driver {

namespace {

using VolumeHandle = std::unique_ptr<std::remove_pointer_t<virStorageVolPtr>, abi::Unref>;

Result<std::string> find(const std::string& pool, const std::string& volume) {
    VZ_TRY(auto connection, connectSelf());
    return volumePath(connection.get(), pool, volume);
}

} // namespace

Result<PoolHandle> poolNamed(virConnectPtr conn, const std::string& name) {
    PoolHandle pool(::virStoragePoolLookupByName(conn, name.c_str()));
    if (!pool)
        return abi::lastError(cat("the storage pool '", name, "' cannot be found"));
    return pool;
}

Result<std::string> volumePath(virConnectPtr conn, const std::string& pool, const std::string& volume) {
    VZ_TRY(auto found, poolNamed(conn, pool));
    // Of a pool that is not active, libvirt says just that.
    VolumeHandle member(::virStorageVolLookupByName(found.get(), volume.c_str()));
    auto missing = cat("the volume '", volume, "' of the pool '", pool, "' cannot be found");
    if (!member)
        return abi::lastError(missing);
    return abi::takeText(::virStorageVolGetPath(member.get()), missing);
}

Result<std::string> volumePath(const std::string& poolAndVolume) {
    auto slash = poolAndVolume.find('/');
    if (slash == 0 || slash == poolAndVolume.npos || slash + 1 == poolAndVolume.size())
        return fail(ErrorCode::XmlError, "a source of the type volume needs both a pool and a volume, not '",
                    poolAndVolume, "'");
    auto path = find(poolAndVolume.substr(0, slash), poolAndVolume.substr(slash + 1));
    if (!path)
        return std::move(path).takeError().within(cat("cannot use the volume '", poolAndVolume, "'"));
    return path;
}

} // namespace vz::driver
