// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <cstdint>
#include <string>
#include <vector>

namespace vz::driver {

struct HostCpu {
    unsigned id = 0;
    unsigned socket = 0;
    unsigned die = 0;
    unsigned core = 0;
    std::string siblings; ///< threads of the same core as the kernel lists them: "0,4" or "0-1"
};

struct HostPages {
    unsigned sizeKiB = 0;
    uint64_t count = 0; ///< of the system's page size: what is not set aside for larger pages
};

struct HostDistance {
    unsigned cell = 0;
    unsigned value = 10; ///< as ACPI SLIT: 10 is the cell itself
};

/** A NUMA node. A host without NUMA has one with id 0. */
struct HostCell {
    unsigned id = 0;
    uint64_t memoryKiB = 0;
    std::vector<HostPages> pages; ///< smallest size first
    std::vector<HostDistance> distances;
    std::vector<HostCpu> cpus; ///< online ones only; empty for a cell of memory alone
};

/** Counts as in virNodeInfo: sockets per cell, dies per socket, cores per die, threads per core. */
struct CpuCounts {
    unsigned sockets = 1;
    unsigned dies = 1;
    unsigned cores = 1;
    unsigned threads = 1;
};

struct HostTopology {
    std::vector<HostCell> cells; ///< never empty
    unsigned cpuMHz = 0;         ///< the highest frequency of a CPU; 0: not known

    unsigned cpuCount() const;
    /** An uneven host (cells or sockets that differ, threads switched off) is told as one socket of cores. */
    CpuCounts cpuCounts() const;
};

/**
 * Reads cells, memory, pages, distances and online CPUs from sysfs
 * (Documentation/ABI/{stable/sysfs-devices-node,stable/sysfs-devices-system-cpu}); without NUMA in the kernel
 * the memory is that of PROC/meminfo. The frequency is that of cpufreq, or else of PROC/cpuinfo. The roots
 * are parameters for tests. Errors: SystemError with the path, OperationFailed if a file there is not as the
 * kernel documents it.
 */
Result<HostTopology> readHostTopology(const std::string& sysRoot = "/sys",
                                      const std::string& procRoot = "/proc");

} // namespace vz::driver
