// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "ct/launch_spec.hpp"

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

/**
 * Control groups of containers on cgroup v1, hybrid and v2 hosts behind one interface. Per hierarchy there is
 * UNIT/ct (limits, owned by root) with UNIT/ct/payload (delegated to the container, the root of its cgroup
 * namespace), and, in the hierarchy that systemd (or nobody) uses to track processes, UNIT/supervisor.
 * UNIT is PARTITION/vz-NAME on plain hosts and a delegated scope in PARTITION's slice under systemd.
 */
namespace vz::ct {

/** What the host offers; probed once. */
struct CgroupHost {
    enum class Layout : uint8_t { V1, Hybrid, V2 };
    struct Hierarchy {
        std::string mountPoint; ///< "/sys/fs/cgroup/memory"
        std::vector<std::string>
            controllers; ///< {"memory"}, {"cpu","cpuacct"}, {"name=systemd"}; v2: those it has
        bool v2 = false;
    };
    Layout layout = Layout::V1;
    std::vector<Hierarchy> hierarchies;
    bool systemd = false; ///< systemd is PID 1: groups come as scopes over D-Bus

    /** Reads /proc/self/mountinfo and /proc/cgroups (or the files given, for tests). */
    static Result<CgroupHost> probe();
    static Result<CgroupHost> probe(std::string_view mountInfo, bool systemd);
    bool has(std::string_view controller) const;
};

struct CpuTime {
    uint64_t totalNs = 0;
    uint64_t userNs = 0;
    uint64_t systemNs = 0;
};

struct MemoryUse {
    uint64_t used = 0;  ///< bytes charged
    uint64_t cache = 0; ///< bytes of page cache in it
    uint64_t swap = 0;  ///< bytes
    uint64_t majorFaults = 0;
    uint64_t minorFaults = 0;
    uint64_t swapIn = 0; ///< bytes, 0 where the kernel does not tell
    uint64_t swapOut = 0;
};

struct BlockUse {
    uint64_t readBytes = 0, writeBytes = 0, readOps = 0, writeOps = 0;
};

/** Sockets that a container has, had at most, and was refused. */
struct SocketCount {
    uint64_t held = 0, most = 0, refused = 0;
};

/** What the cgroups know of beancounters: bytes and items, and the files that limit or count. A name that is
 * empty: this host has no such thing. */
struct CounterFacts {
    bool hasPids = false;
    uint64_t pids = 0, pidsPeak = 0, pidsFailures = 0;
    uint64_t memory = 0, memoryPeak = 0, memoryFailures = 0;
    uint64_t swap = 0, swapPeak = 0, swapFailures = 0;
    uint64_t kernel = 0, kernelPeak = 0;
    uint64_t reclaimableSlab = 0;
    uint64_t shared = 0;
    bool hasSockets = false;
    bool hasDatagrams = false;            ///< sockets of UDP get limited buffers
    SocketCount tcpSockets, otherSockets; ///< of the internet protocols
    std::string memoryFile, swapFile, kernelFile, slabFile, guaranteeFile;
};

/** A device rule of the allow-list. major/minor -1 = any. */
struct DeviceRule {
    char type = 'c'; ///< 'c', 'b' or 'a'
    int64_t major = -1;
    int64_t minor = -1;
    std::string access = "rwm";
};

/** What a container may do with one disk of the host, per second; 0 = no limit. */
struct BlockLimit {
    uint32_t major = 0, minor = 0;
    unsigned weight = 0; ///< 0: the container's own
    uint64_t readBytes = 0, writeBytes = 0, readOps = 0, writeOps = 0;

    bool operator==(const BlockLimit&) const = default;
};

/** The most bytes that one socket of a container has for sending and receiving; 0: as the host allows. */
struct BufferLimits {
    uint64_t send = 0, receive = 0;           ///< TCP
    uint64_t otherSend = 0, otherReceive = 0; ///< all others; local ones and those of UDP for the most part

    bool operator==(const BufferLimits&) const = default;
};

/** How many internet sockets a container may have. */
struct SocketLimits {
    static constexpr uint64_t unlimited = INT64_MAX;

    uint64_t tcp = unlimited, other = unlimited;
    BufferLimits buffers; ///< what is asked for is cut; see tcp_memory.hpp for what is not asked for

    bool operator==(const SocketLimits&) const = default;
};

/** From here on libvirt means "no limit" by an amount of memory (9007199254740991 KiB). */
inline constexpr uint64_t unlimitedBytes = 9007199254740991ull * 1024;

/** Limits of a container. Absent: left as it is, which for a new container is the kernel's default. */
struct CgroupLimits {
    std::optional<uint64_t> memoryBytes; ///< hard limit
    std::optional<uint64_t> memorySoftBytes;
    std::optional<uint64_t> memorySwapBytes; ///< RAM + swap together
    std::optional<uint64_t> memoryLowBytes;  ///< kept from being reclaimed; v1: at best effort
    std::optional<uint64_t> cpuUnits;        ///< share of CPU time, 1000 is usual; cpuShares goes before it
    std::optional<uint64_t> cpuShares; ///< v1 unit 2...262144 (raw weight on v2, as libvirt's schedinfo)
    std::optional<int64_t> cpuQuotaUs;
    std::optional<uint64_t> cpuPeriodUs;
    std::optional<std::string> cpusetCpus; ///< empty: all
    std::optional<std::string> cpusetMems; ///< empty: all
    std::optional<uint64_t> pids;
    std::optional<SocketLimits> sockets; ///< set: they are counted at least, where the host can do that
    std::optional<unsigned> blockWeight; ///< share of disk time, 100 is usual
    std::vector<BlockLimit> blockDevices;
    std::vector<DeviceRule> devices; ///< complete allow-list (everything else is denied); empty: as it is
};

/** On cgroup2 what is kept for a group is only as good as what is kept for all groups above it: so those of a
 * partition ("/machine") are told the sum. Nothing to do on v1. */
Result<void> protectPartition(const CgroupHost& host, const std::string& partition, uint64_t bytes);
/** Keeps memory for the group of a process that somebody else (QEMU's driver) has made; false if it is in
 * none of its own. */
Result<bool> protectGroupOf(const CgroupHost& host, pid_t process, uint64_t bytes);

class Cgroup {
public:
    struct Config {
        std::string name;      ///< container name, made safe for a path by create()
        std::string partition; ///< "/machine"
        std::string uuid;
    };

    /** Makes the groups; leftovers of an earlier container of this name without processes are removed first
     *  (ResourceBusy if processes are in them). @p supervisor: pid that a systemd scope starts with. */
    static Result<std::unique_ptr<Cgroup>> create(const CgroupHost& host, const Config& config,
                                                  pid_t supervisor);
    /** Finds the groups of a running container again from what save() returned. */
    static Result<std::unique_ptr<Cgroup>> open(const CgroupHost& host, const std::string& saved);
    /** Removes groups of dead containers from what save() returned; kills what still runs in them. */
    static Result<void> removeLeftovers(const CgroupHost& host, const std::string& saved);

    virtual ~Cgroup() = default;
    virtual std::string save() const = 0;

    virtual std::vector<std::string> supervisorDirs() const = 0;
    virtual std::vector<std::string> payloadDirs() const = 0;
    virtual std::string view() const = 0; ///< LaunchSpec::cgroupView

    /** Hands the payload groups to the container's root (folder, cgroup.procs, tasks, threads,
     * subtree_control). */
    virtual Result<void> delegate(uint32_t uid, uint32_t gid) = 0;
    /**
     * Sets what is there in @p limits, for new containers and running ones. A memory limit below what is in
     * use is reached by reclaiming; OperationFailed, and the limit as it was, if that is not possible. After
     * an error some of the limits may be set.
     */
    virtual Result<void> apply(const CgroupLimits& limits) = 0;
    virtual Result<void> allowDevice(const DeviceRule& rule) = 0;
    virtual Result<void> denyDevice(const DeviceRule& rule) = 0;

    /** Freezes or thaws everything inside, and waits until it is so. */
    virtual Result<void> freeze(bool frozen, std::chrono::milliseconds limit = std::chrono::seconds(10)) = 0;
    virtual Result<bool> frozen() const = 0;
    virtual Result<std::vector<pid_t>> processes() const = 0; ///< host pids, all sub-groups included

    virtual Result<CpuTime> cpuTime() const = 0;
    /** Nanoseconds on each CPU of the host; OperationUnsupported on cgroup v2, which tells the sum only. */
    virtual Result<std::vector<uint64_t>> cpuTimes() const = 0;
    virtual Result<MemoryUse> memory() const = 0;
    virtual Result<BlockUse> block() const = 0;
    virtual CounterFacts counterFacts() const = 0;

    /** Removes all groups, sub-groups included, in every hierarchy; waits for zombies to go. */
    virtual Result<void> remove() = 0;
};

} // namespace vz::ct
