// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "domain/config.hpp"
#include "driver/interface_rules.hpp"

#include <string>

/** Ports of libvirt's virtual networks, through the API of the stock network driver
 * (https://libvirt.org/formatnetworkport.html). */
namespace vz::driver {

/**
 * Asks the network of @p interface for a port with the UUID @p id: starts of others that get one at the same
 * time are not waited for. The calls are the client's of this thread. Errors: the network driver's own (no
 * such network, not active); ConfigUnsupported for a network that gives out PCI devices.
 */
Result<domain::Config::NetworkPort> takePort(const InterfaceOwner& owner, const domain::Interface& interface,
                                             const std::string& id);

/** Makes sure that the network, which may have been started anew, still knows the port of a running
 * container. */
Result<void> reclaimPort(const InterfaceOwner& owner, const domain::Interface& interface);

/** Gives the port back; one that the network does not know (any more) is fine. Never denied. */
Result<void> releasePort(const std::string& network, const std::string& id);
/** Whether this daemon has the network driver. */
bool canReleasePorts();

/** The addresses that the network's DHCP server has given to that MAC address. */
Result<std::vector<ct::IpAddress>> leasesOf(const std::string& network, const std::string& mac);

} // namespace vz::driver
