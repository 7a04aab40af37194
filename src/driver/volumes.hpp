// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <string>

namespace vz::driver {

/**
 * The path on the host of a volume of any storage pool, given as "pool/volume". Errors: libvirt's own, as
 * when there is no such pool or it is not active. Asks as the present client, whose rights count.
 */
Result<std::string> volumePath(const std::string& poolAndVolume);

} // namespace vz::driver
