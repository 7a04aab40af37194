// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/beancounters.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

/**
 * What a container sees of itself in files in which the kernel shows the host: texts in the formats of
 * proc(5), made of the figures of its cgroups. Sizes are bytes, times nanoseconds, if not said otherwise.
 */
namespace vz::ct::view {

/** Time that the container used of one of its CPUs. */
struct CpuUse {
    uint64_t userNs = 0, systemNs = 0;
};

struct Figures {
    uint64_t memoryLimit = 0; ///< not above the host's
    uint64_t memoryUsed = 0;
    uint64_t swapLimit = 0, swapUsed = 0;
    uint64_t activeAnon = 0, inactiveAnon = 0, activeFile = 0, inactiveFile = 0, unevictable = 0;
    uint64_t cache = 0, shared = 0, mapped = 0, dirty = 0, writeback = 0;
    uint64_t slabReclaimable = 0, slabUnreclaimable = 0;
    std::vector<unsigned> cpus; ///< the host's numbers of those it may use; it sees them as 0, 1, ...
    std::vector<CpuUse> use;    ///< of each of them, since init was started
    uint64_t uptimeNs = 0;      ///< since init was started
    uint64_t processes = 0;
};

/** CPU time that a group has used, by the host's number of the CPU; one entry for all where the kernel does
 * not tell them apart (cgroup2). */
std::vector<CpuUse> cpuTimes(const std::vector<std::string>& groups);

/**
 * Reads the figures of a container: @p groups are the folders with its limits, @p init its init, @p atBoot
 * what cpuTimes() said when that was started.
 */
Figures figures(const std::vector<std::string>& groups, pid_t init, const std::vector<CpuUse>& atBoot);

std::string meminfo(const Figures& figures);
std::string swaps(const Figures& figures);
std::string uptime(const Figures& figures);
/** @p host: its /proc/stat, of which the time of the boot is taken. */
std::string stat(const Figures& figures, std::string_view host);
/** Of the host's /proc/cpuinfo the parts of the container's CPUs. */
std::string cpuinfo(const Figures& figures, std::string_view host);
/** /sys/devices/system/cpu/online */
std::string onlineCpus(const Figures& figures);
/** The disks of the host that the container has used. */
std::string diskstats(const std::vector<std::string>& groups);

/**
 * Load averages of a container: CPUs used, averaged over 1, 5 and 15 minutes. They are brought up to date
 * when they are asked for, so that nothing is done while nobody asks. What waits for a CPU does not count.
 */
class LoadAverage {
public:
    /** @p usedNs: CPU time since some moment; @p nowNs: since any other. */
    void update(uint64_t usedNs, uint64_t nowNs);
    /** /proc/loadavg; @p running and @p all are tasks. */
    std::string text(uint64_t running, uint64_t all) const;

private:
    double averages_[3] = {};
    uint64_t usedNs_ = 0, nowNs_ = 0;
};

/** /proc/user_beancounters, version 2.5; @p id is the container's number. */
std::string beancounters(uint64_t id, const std::vector<CounterStatus>& counters);

/** A number for a container that has a name or a UUID only: the name if it is one. */
uint64_t numberOf(std::string_view name, std::string_view uuid);

} // namespace vz::ct::view
