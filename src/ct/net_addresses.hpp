// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/netlink.hpp"
#include "ct/network.hpp"

/** Addresses and routes of one interface. */
namespace vz::ct {

enum class IfThere : uint8_t { Error, Fine };

/** Of the interface with this number, in the namespace of the socket. ConfigUnsupported for what is no
 * address. */
Result<void> addAddress(nl_sock* socket, int index, const IpAddress& wanted, IfThere ifThere);
/** @p onLink: the gateway is a neighbour, whatever the addresses say. */
Result<void> addRoute(nl_sock* socket, int index, const IpRoute& wanted, bool onLink, IfThere ifThere);
/** What is gone already is fine. */
Result<void> removeAddress(nl_sock* socket, int index, const IpAddress& unwanted);
Result<void> removeRoute(nl_sock* socket, int index, const IpRoute& unwanted);

} // namespace vz::ct
