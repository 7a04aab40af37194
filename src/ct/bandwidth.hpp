// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <cstdint>
#include <string>

/**
 * Limits of what goes through an interface, by the kernel's traffic control at its host end, where the
 * container cannot take them away. What goes to the container waits in a queue (htb) of the host end. What
 * comes from it is redirected to a queue of an intermediate device (ifb) of its own and goes on from there;
 * such a device is named after the index of the host end, and has the host end's name as its alias.
 */
namespace vz::ct {

/** One direction, as libvirt's <bandwidth> counts: 1000 bytes per second, and 1024 bytes. */
struct BandwidthLimit {
    uint64_t average = 0; ///< kB/s; 0: no limit
    uint64_t peak = 0;    ///< kB/s at which a burst is sent; 0: as fast as it goes
    uint64_t burst = 0;   ///< KiB that may be sent faster than the average; 0: what keeps the average exact
    uint64_t floor = 0;   ///< kB/s that a network guarantees; the network sees to it, nothing here does

    explicit operator bool() const { return average != 0; }
    bool operator==(const BandwidthLimit&) const = default;
};

struct Bandwidth {
    BandwidthLimit inbound;  ///< to the container
    BandwidthLimit outbound; ///< from it

    bool operator==(const Bandwidth&) const = default;
};

/**
 * Makes @p limits those of the host end @p hostName, whatever they were. Packets that wait stay where they
 * are if there was a limit before. DeviceMissing if the interface is not there; ConfigUnsupported if the
 * kernel lacks what it takes, naming it.
 */
Result<void> setBandwidth(const std::string& hostName, const Bandwidth& limits);

/** Removes the intermediate devices of host ends that are gone. */
Result<void> removeOrphanedShapers();

} // namespace vz::ct
