// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "driver/container_domain.hpp"

#include <cstdint>
#include <string>
#include <vector>

/** Figures of the disks of running containers. */
namespace vz::driver {

struct BlockSizes {
    uint64_t capacity = 0;   ///< bytes of the disk
    uint64_t allocation = 0; ///< bytes that its files take on the host
    uint64_t physical = 0;   ///< bytes from the beginning to the end of its files
};

/** Since the device was made. */
struct BlockCounters {
    uint64_t reads = 0, readBytes = 0, readNs = 0;
    uint64_t writes = 0, writeBytes = 0, writeNs = 0;
    uint64_t flushes = 0, flushNs = 0;
};

struct BlockReport {
    std::string name, path;
    BlockSizes sizes;
    BlockCounters counters;
};

/** The target of the disk or mounted image that a client names by target, source or alias; empty if there is
 * none. */
std::string targetOf(const domain::Definition& definition, const std::string& name);
/** What is said of a name that means none. */
Error noDisk(const std::string& name);

/** Of all images and devices that it uses; none if it does not run. What cannot be found out is 0. */
std::vector<BlockReport> blockReports(const ContainerDomain& domain);

} // namespace vz::driver
