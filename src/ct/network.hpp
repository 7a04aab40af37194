// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "ct/launch_spec.hpp"

#include <functional>
#include <string>
#include <vector>

/**
 * Network interfaces of containers by rtnetlink (libnl). Nothing here runs a program. "Here" is the network
 * namespace of the calling thread, the host's; @p netns is a handle to the container's.
 */
namespace vz::ct {

struct IpAddress {
    std::string address; ///< "10.0.0.2", "fd00::2"
    unsigned prefix = 0; ///< 0 = 32 / 128
    std::string peer;
    bool operator==(const IpAddress&) const = default;
};

struct IpRoute {
    std::string destination; ///< "0.0.0.0", "::", "10.1.0.0"
    unsigned prefix = 0;
    std::string gateway;
    unsigned metric = 0;
    bool operator==(const IpRoute&) const = default;
};

enum class LinkKind : uint8_t {
    Veth,    ///< a pair with one end here
    Macvlan, ///< on an interface of the host; nothing of it is here
    Moved,   ///< an interface of the host that is lent
};

/** A VLAN that a port of a bridge is in. */
struct PortVlan {
    unsigned id = 0;
    bool native = false;   ///< of frames from the guest that have no tag
    bool untagged = false; ///< towards the guest frames have no tag
    bool operator==(const PortVlan&) const = default;
};

/** What is to be made. */
struct NetInterface {
    LinkKind kind = LinkKind::Veth;
    std::string
        hostName; ///< Veth: of the host end; empty = vnetN, N the first free. Moved: what is to be moved
    std::string guestName;       ///< name inside; empty = ethN, N the first free
    std::string mac;             ///< inside; empty = the kernel's choice (Moved: as it is)
    std::string bridge;          ///< Veth: empty = in no bridge
    std::vector<PortVlan> vlans; ///< Veth in a bridge; empty: as the bridge has it for new ports
    std::string parent;          ///< Macvlan: the interface of the host
    std::string mode;            ///< Macvlan: bridge, private, vepa or passthrough
    bool up = true;              ///< link state
    unsigned mtu = 0;            ///< 0 = that of the bridge or parent, else the kernel's default
    std::vector<IpAddress> addresses;
    std::vector<IpRoute> routes;
};

/** One that was made: what is needed to find it again. */
struct CreatedInterface {
    LinkKind kind = LinkKind::Veth;
    std::string hostName;  ///< empty for Macvlan; of a moved one its name here, where it goes back to
    std::string guestName; ///< as it was made; root inside may change it
    int guestIndex = 0;    ///< the kernel's number inside, which stays; 0: not known
    std::string mac;       ///< of the guest's end as it was made; of a moved one what it had here
    unsigned mtu = 0;      ///< of a moved one what it had here
    bool operator==(const CreatedInterface&) const = default;
};

/** Told the names just before anything is made, so that they can be written down. An error stops it. */
using Announce = std::function<Result<void>(const CreatedInterface&)>;

/**
 * Makes the interface with its end in @p netns; all ends are down and have no address yet. On failure nothing
 * remains. ConfigUnsupported names a bridge or interface that is not there or cannot be used.
 */
Result<CreatedInterface> makeInterface(int netns, const NetInterface& wanted, const Announce& announce = {});
/** Gives it addresses, sets it up, and adds routes. The caller removes it if that fails. */
Result<void> configureInterface(int netns, const NetInterface& wanted, const CreatedInterface& made);
/** Both in one; on failure nothing remains. */
Result<CreatedInterface> createInterface(int netns, const NetInterface& wanted);

/**
 * Removes it; one that is gone is fine, and so is a host end of that name that is none of ours. @p netns may
 * be -1 if the container is gone, and with it all that was only there. A moved one gets back its name, MAC
 * address and MTU, and is down; of it DeviceMissing if it cannot be found.
 */
Result<void> removeInterface(int netns, const CreatedInterface& made);

/** Whether it is still inside: root there can remove it. */
Result<bool> interfaceExists(int netns, const CreatedInterface& made);

/** Whether the host end of a veth pair is there; one of the same name that is not ours is none. */
Result<bool> hostEndExists(const CreatedInterface& made);

/** The MAC address of the host end for that of the guest's: a bridge takes the lowest of its ports', so it is
 * high. */
std::string hostMac(const std::string& guestMac);

/** What the guest sees as its cable: of a veth by the host's end, so that all inside stays as it is. */
Result<void> setLinkUp(int netns, const CreatedInterface& made, const NetInterface& wanted);
/** Addresses and routes of @p was that are not in @p now go, those that are new come. On failure all is as it
 * was. What root inside has added stays. */
Result<void> changeAddresses(int netns, const CreatedInterface& made, const NetInterface& was,
                             const NetInterface& now);
/** Both ends. */
Result<void> setMtu(int netns, const CreatedInterface& made, unsigned mtu);
/** Puts the host end into a bridge, out of the one that it was in; empty: into none. */
Result<void> setBridge(const CreatedInterface& made, const std::string& bridge);
/** The bridge or switch that a host interface is a port of; empty: none. */
Result<std::string> masterOf(const std::string& hostName);
/** Brings lo up. */
Result<void> setLoopbackUp(int netns);

struct InterfaceAddresses {
    std::string name;
    std::string mac;
    std::vector<IpAddress> addresses;
};
/** Interfaces and addresses inside, as the kernel has them. */
Result<std::vector<InterfaceAddresses>> interfaceAddresses(int netns);

/** As the guest sees them. */
struct InterfaceCounters {
    uint64_t rxBytes = 0, rxPackets = 0, rxErrors = 0, rxDropped = 0;
    uint64_t txBytes = 0, txPackets = 0, txErrors = 0, txDropped = 0;
};
/** Counters of an interface; of a veth those of the host's end, which root inside cannot remove. */
Result<InterfaceCounters> interfaceCounters(int netns, const CreatedInterface& made);

} // namespace vz::ct
