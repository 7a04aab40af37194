// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/volumes.hpp"

#include "libvirt/driver_table.hpp"

#include <libvirt/libvirt.h>

#include <cstdlib>
#include <memory>

namespace vz::driver {

namespace {

template<auto function>
struct Free {
    template<typename T>
    void operator()(T* object) const {
        (void)function(object);
    }
};
using Connection = std::unique_ptr<std::remove_pointer_t<virConnectPtr>, Free<&::virConnectClose>>;
using Pool = std::unique_ptr<std::remove_pointer_t<virStoragePoolPtr>, Free<&::virStoragePoolFree>>;
using Volume = std::unique_ptr<std::remove_pointer_t<virStorageVolPtr>, Free<&::virStorageVolFree>>;
using Text = std::unique_ptr<char, Free<&std::free>>;

Result<std::string> find(const std::string& pool, const std::string& volume) {
    Connection connection(::virConnectOpen("vz:///system"));
    if (!connection)
        return abi::lastError("there is no connection to ask for storage pools");
    Pool found(::virStoragePoolLookupByName(connection.get(), pool.c_str()));
    if (!found)
        return abi::lastError("libvirt knows no such pool");
    // Of a pool that is not active, libvirt says just that.
    Volume member(::virStorageVolLookupByName(found.get(), volume.c_str()));
    if (!member)
        return abi::lastError("the pool has no such volume");
    Text path(::virStorageVolGetPath(member.get()));
    if (!path)
        return abi::lastError("the volume has no path");
    return std::string(path.get());
}

} // namespace

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
