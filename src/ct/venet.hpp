// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <string>
#include <vector>

/**
 * OpenVZ's routed network: a pair of interfaces without a bridge between host and container. The host has a
 * route for each of the container's addresses, and answers for them (proxy ARP and NDP) on the links where
 * they would be looked for. Both ends have one hardware address and never ask for another (NOARP), so that
 * nothing but IP is exchanged; what the container sends must come from its addresses.
 */
namespace vz::ct {

struct Venet {
    std::string hostName;
    std::string guestName;
    std::vector<std::string>
        addresses; ///< IPv4 and IPv6; the first of each is what the container speaks from
};

/**
 * Makes an existing pair, or one that was configured before, what @p wanted says: also routes, default routes
 * inside and the guard (packet_guard.hpp). ResourceBusy if an address is the host's own or routed elsewhere;
 * after an error the pair is to be configured as before, or removed. The rest that has to be set by hand:
 * forwarding between the host's links (net.ipv4.ip_forward, net.ipv6.conf.all.forwarding) is not switched on.
 */
Result<void> configureVenet(int netns, const Venet& wanted);

/** Takes the host's routes over that host end away, and its answers; a pair that is gone is fine. */
Result<void> releaseVenet(const std::string& hostName);

/** Ends the host's answers for addresses that no pair has any more; the rest goes with the pair. */
Result<void> removeOrphanedProxies();

} // namespace vz::ct
