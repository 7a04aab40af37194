// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/cgroup.hpp"

#include <string>
#include <vector>

/** What the parts of the cgroup code share. */
namespace vz::ct::cgroups {

/** The groups of one container in one hierarchy; absolute paths. */
struct Place {
    bool v2 = false;
    bool tracking = false; ///< the supervisor has a group of its own here
    std::vector<std::string> controllers;
    std::string mountPoint;
    std::string unit; ///< below the mount point: "/machine/vz-ct1"

    std::string unitDir() const { return mountPoint + unit; }
    std::string limitDir() const { return unitDir() + "/ct"; }
    std::string payloadDir() const { return limitDir() + "/payload"; }
    /** Where a weight belongs: what a container gets beside others is decided between units, what it gets
     * beside the processes that serve it is decided inside. */
    std::vector<std::string> weightDirs() const { return {unitDir(), limitDir()}; }
    std::string supervisorDir() const { return unitDir() + "/supervisor"; }
    bool has(std::string_view controller) const;
};

/** The place whose hierarchy has the controller, or null. */
const Place* placeOf(const std::vector<Place>& places, std::string_view controller);

/** The place in the cgroup2 tree, or null. */
const Place* unifiedOf(const std::vector<Place>& places);

// cgroup_limits.cpp
Result<void> applyLimits(const std::vector<Place>& places, const CgroupLimits& limits);

// cgroup_block.cpp
Result<void> applyBlock(const std::vector<Place>& places, const CgroupLimits& limits);

// cgroup_sockets.cpp
/** Where the host cannot do that, this is logged; counterFacts() tells. */
void limitSockets(const std::string& group, const std::string& name, const SocketLimits& limits);
/** On an open cgroup2 group. */
Result<void> limitBuffers(int group, const BufferLimits& limits);
/** Whether sockets of UDP on that group get limited buffers. */
bool datagramsLimited(const std::string& group);
void addSockets(const std::string& group, CounterFacts& facts);

// cgroup_devices.cpp
Result<void> setDevices(const Place& place, const std::vector<DeviceRule>& rules);
Result<void> allowDevice(const Place& place, const DeviceRule& rule);
Result<void> denyDevice(const Place& place, const DeviceRule& rule);
/** Replaces the BPF program that decides on a cgroup2 group's devices. */
Result<void> setDeviceProgram(const std::string& group, const std::vector<DeviceRule>& rules);
std::string formatRule(const DeviceRule& rule);
std::optional<DeviceRule> parseRule(std::string_view text);

// cgroup_stats.cpp
Result<CpuTime> cpuTime(const std::vector<Place>& places);
Result<std::vector<uint64_t>> cpuTimes(const std::vector<Place>& places);
Result<MemoryUse> memoryUse(const std::vector<Place>& places);
Result<BlockUse> blockUse(const std::vector<Place>& places);

// cgroup_scope.cpp
/** Asks systemd for a delegated scope with @p pid in it and waits until it is there; its control group
 * ("/machine.slice/..."). */
Result<std::string> startScope(const std::string& unit, const std::string& slice,
                               const std::string& description, pid_t pid);
/** Lets systemd end a scope whose processes are gone, and remove its groups; false if it knows no such scope.
 */
Result<bool> stopScope(const std::string& unit);
/** Keeps that much memory for a slice and all below it. */
Result<void> protectSlice(const std::string& slice, uint64_t bytes);
/** Name of the slice that a partition stands for: "/machine" -> "machine.slice". */
std::string sliceOf(const std::string& partition);
/** A container name as one path component that is a unit name as well. */
std::string escapeName(std::string_view name);

} // namespace vz::ct::cgroups
