// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "driver/forward.hpp"
#include "driver/machine_capabilities.hpp"

namespace vz::driver {

/** QEMU's driver as the capabilities ask it, on the client's connection. */
MachineDocuments machineDocuments(Driver& driver, virConnectPtr conn);

/** What types 'vz' and 'parallels' are for QEMU's driver, for a machine of this architecture. */
Result<std::string> machineType(const MachineCall& call, const std::string& arch);

} // namespace vz::driver
