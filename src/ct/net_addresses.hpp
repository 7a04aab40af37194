// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/netlink.hpp"
#include "ct/network.hpp"

/** Addresses and routes of one interface. */
namespace vz::ct {

/** Of the interface with this number, in the namespace of the socket. ConfigUnsupported for what is no
 * address. */
Result<void> addAddress(nl_sock* socket, int index, const IpAddress& wanted);
/** @p onLink: the gateway is a neighbour, whatever the addresses say. */
Result<void> addRoute(nl_sock* socket, int index, const IpRoute& wanted, bool onLink);

} // namespace vz::ct
