// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "domain/definition.hpp"
#include "driver/interface_rules.hpp"

#include <string>

/** Ports of Open vSwitch, by its program ovs-vsctl(8): its database is no interface of the kernel's. */
namespace vz::driver {

/** The host end @p port becomes a port of the switch, with the names that controllers look for
 * (external-ids). */
Result<void> addSwitchPort(const InterfaceOwner& owner, const domain::Interface& interface,
                           const std::string& port);
/** Also if the interface or the port is not there any more. */
Result<void> removeSwitchPort(const std::string& port);

} // namespace vz::driver
