// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/launch_spec.hpp"

namespace vz::supervisor {

/** A file of the container's view, and where it is seen. */
struct ViewFile {
    const char* name;
    const char* target;
    uint32_t mode;
    /** Where it is if the kernel has nothing at that place that could be covered; null: nowhere. */
    const char* otherwise;
};

inline constexpr ViewFile viewFiles[] = {
    {"meminfo", "/proc/meminfo", 0444, nullptr},
    {"swaps", "/proc/swaps", 0444, nullptr},
    {"uptime", "/proc/uptime", 0444, nullptr},
    {"stat", "/proc/stat", 0444, nullptr},
    {"loadavg", "/proc/loadavg", 0444, nullptr},
    {"cpuinfo", "/proc/cpuinfo", 0444, nullptr},
    {"diskstats", "/proc/diskstats", 0444, nullptr},
    {"online", "/sys/devices/system/cpu/online", 0444, nullptr},
    // Only a kernel of OpenVZ has this name, and procfs takes no others.
    {"user_beancounters", "/proc/user_beancounters", 0400, "/dev/user_beancounters"},
};

/**
 * Serves them on @p fuse (linux/fuse.h) until that has gone or the other side of @p channel has closed. From
 * there it is told "booted" and "counters".
 */
[[noreturn]] void serveView(const ct::LaunchSpec& spec, int fuse, int channel);

} // namespace vz::supervisor
