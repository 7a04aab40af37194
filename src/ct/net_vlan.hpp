// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/network.hpp"

/** VLANs of the ports of a Linux bridge that filters them (ip-link(8), vlan_filtering). */
namespace vz::ct {

/** ConfigUnsupported, with what to do, for a bridge that does not filter VLANs or a kernel that cannot. */
Result<void> checkFiltersVlans(const std::string& bridge);

/** Makes the port a member of just these; it loses the VLAN that the bridge gives to every new port. */
Result<void> setPortVlans(const std::string& port, const std::string& bridge,
                          const std::vector<PortVlan>& vlans);

} // namespace vz::ct
