// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "libvirt/inner.hpp"

#include <memory>
#include <string>

namespace vz::driver {

using PoolHandle = std::unique_ptr<std::remove_pointer_t<virStoragePoolPtr>, abi::Unref>;

/** A storage pool of any type, as the client of @p conn sees it; libvirt's own error if there is none. */
Result<PoolHandle> poolNamed(virConnectPtr conn, const std::string& name);

/** The path on the host of a volume of any storage pool. Errors: libvirt's own, as when there is no such pool
 * or it is not active. */
Result<std::string> volumePath(virConnectPtr conn, const std::string& pool, const std::string& volume);

/** The same of "pool/volume", asked as the present client, whose rights count. */
Result<std::string> volumePath(const std::string& poolAndVolume);

} // namespace vz::driver
