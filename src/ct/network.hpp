// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "ct/launch_spec.hpp"

#include <string>
#include <vector>

/** Container network interfaces by rtnetlink (libnl). Nothing here runs a program. */
namespace vz::ct {

struct IpAddress {
    std::string address; ///< "10.0.0.2", "fd00::2"
    unsigned prefix = 0; ///< 0 = 32 / 128
    std::string peer;
};

struct IpRoute {
    std::string destination; ///< "0.0.0.0", "::", "10.1.0.0"
    unsigned prefix = 0;
    std::string gateway;
    unsigned metric = 0;
};

struct NetInterface {
    std::string hostName;  ///< wanted name of the host end ("vnet0", "tapXXXX"); empty = chosen, see create()
    std::string guestName; ///< name inside; empty = ethN, N the first free
    std::string mac;
    std::string bridge; ///< empty: host end left to the user (type='ethernet')
    bool up = true;     ///< link state inside
    unsigned mtu = 0;   ///< 0 = the bridge's, else the kernel's default
    std::vector<IpAddress> addresses;
    std::vector<IpRoute> routes;
    /** Ids of the container's root, for the netns' owner; unused by veth itself. */
};

struct CreatedInterface {
    std::string hostName;
    std::string guestName;
};

/** Makes a veth pair with one end in @p netns, joins the bridge, sets address, routes and state.
 *  On failure nothing remains. A bridge that is not there is a ConfigUnsupported naming it. */
Result<CreatedInterface> createInterface(int netns, const NetInterface& wanted);
/** Removes the host end (the kernel removes its peer); one that is gone is fine. */
Result<void> removeInterface(const std::string& hostName);
Result<void> setLinkUp(int netns, const std::string& guestName, bool up);
/** Brings lo up. */
Result<void> setLoopbackUp(int netns);

struct InterfaceAddresses {
    std::string name;
    std::string mac;
    std::vector<IpAddress> addresses;
};
/** Interfaces and addresses inside, as the kernel has them. */
Result<std::vector<InterfaceAddresses>> interfaceAddresses(int netns);

struct InterfaceCounters {
    uint64_t rxBytes = 0, rxPackets = 0, rxErrors = 0, rxDropped = 0;
    uint64_t txBytes = 0, txPackets = 0, txErrors = 0, txDropped = 0;
};
/** Counters of a host interface as they are on the host side (the caller swaps directions). */
Result<InterfaceCounters> hostCounters(const std::string& hostName);

} // namespace vz::ct
