// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/export/block_export.hpp"

namespace vz::exports {

/** BlockExport::start() for Mechanism::NbdDevice: the kernel's nbd driver is the client of an NbdConnection
 * per CPU, up to four. An NbdGuard sees to its end. */
Result<std::unique_ptr<BlockExport>> startNbdDevice(ploop::Image& image, const BlockExport::Options& options);

} // namespace vz::exports
