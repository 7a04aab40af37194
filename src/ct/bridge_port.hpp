// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <string>

namespace vz::ct {

/**
 * Whether host end @p hostName, a port of a Linux bridge, may exchange nothing with other isolated ports.
 * DeviceMissing: no such interface; ConfigUnsupported: it is in no Linux bridge.
 */
Result<void> setPortIsolated(const std::string& hostName, bool isolated);

} // namespace vz::ct
