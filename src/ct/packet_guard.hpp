// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <string>
#include <vector>

/**
 * What a container may send through an interface, by a BPF program (cls_bpf) at its host end, where the
 * container cannot reach it. What it may not send is dropped before a bridge or a route sees it.
 */
namespace vz::ct {

struct PacketGuard {
    enum class Kind : uint8_t {
        Mac,     ///< the source is @c mac
        Address, ///< and the senders in IP, ARP and IPv6 neighbour discovery are of @c addresses; no router
        Routed,  ///< IP from @c addresses and nothing else; the link has no hardware addresses that count
    };
    Kind kind = Kind::Mac;
    std::string mac;                    ///< "52:54:00:12:34:56"
    std::vector<std::string> addresses; ///< IPv4 and IPv6, at most mostAddresses

    static constexpr size_t mostAddresses = 256;
};

/** The program alone: for a frame it gives TC_ACT_UNSPEC (go on) or TC_ACT_SHOT. InvalidArg as below. */
Result<UniqueFd> loadPacketGuard(const PacketGuard& guard);

/**
 * Puts @p guard in the place of the one that host end @p hostName has, at once, or makes the first one.
 * DeviceMissing: no such interface. InvalidArg: what is no address. ConfigUnsupported: no cls_bpf here.
 */
Result<void> setPacketGuard(const std::string& hostName, const PacketGuard& guard);
/** Lets everything through; one that is not there is fine. */
Result<void> removePacketGuard(const std::string& hostName);

} // namespace vz::ct
