// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/**
 * The launch description: all that vz-supervisor needs to start a container and to start it again at a
 * reboot, also while libvirtd is down. Plain data, complete (the supervisor decides nothing and looks
 * nothing up), encoded as one flat text for the control socket.
 */
namespace vz::ct {

/** One line of /proc/PID/uid_map or gid_map. */
struct IdRange {
    uint32_t inside = 0;
    uint32_t host = 0;
    uint32_t count = 0;
};

struct Mount {
    enum class Kind : uint8_t {
        Bind,  ///< a host folder or file (recursive bind)
        Tmpfs, ///< new tmpfs of @c size bytes
        Block, ///< a block device with a file system on it; type in @c fsType, or probed if empty
    };
    Kind kind = Kind::Bind;
    std::string source;
    std::string target; ///< absolute path inside the container; "/" only for the root
    std::string fsType;
    bool readOnly = false;
    /** Map owners through the container's id ranges by an id-mapped mount (only for a non-empty range list).
     */
    bool idMapped = false;
    uint64_t size = 0; ///< bytes, Tmpfs only
};

/** A device node inside the container's /dev. Owner ids are ids inside the container. */
struct DeviceNode {
    std::string path; ///< absolute path inside the container
    char type = 'c';  ///< 'c' or 'b'
    uint32_t major = 0;
    uint32_t minor = 0;
    uint32_t mode = 0666;
    uint32_t uid = 0;
    uint32_t gid = 0;
    /** Host path of the same device, which the supervisor keeps open as long as the node is there. */
    std::optional<std::string> hold;
};

struct ResourceLimit {
    int resource = 0; ///< RLIMIT_*
    uint64_t soft = 0;
    uint64_t hard = 0;
};

/** What a beancounter is set to (ct/beancounters.hpp); for the container to see. */
struct CounterSetting {
    std::string name;
    uint64_t barrier = 0;
    uint64_t limit = 0;

    bool operator==(const CounterSetting&) const = default;
};

struct ConsoleSpec {
    std::string logFile; ///< host path, empty for none; bounded: rotated once to logFile.0 at 2 MiB
    bool logAppend = false;
};

/** What the supervisor does when init ends (<on_poweroff>, <on_reboot>, <on_crash>). */
enum class EndAction : uint8_t { Destroy, Restart, Preserve };

struct LaunchSpec {
    std::string name;
    std::string uuid;
    std::string runDir; ///< this container's own run folder; the supervisor makes control.sock and the "exit"
                        ///< record in it

    std::vector<std::string> argv;        ///< init and its arguments
    std::vector<std::string> environment; ///< NAME=VALUE, complete
    std::string workingDir;               ///< inside; "/" if empty
    uint32_t initUid = 0;                 ///< ids inside the container that init runs as
    uint32_t initGid = 0;
    std::string hostname; ///< UTS name; left as it is if empty

    Mount root;
    std::vector<Mount> mounts;
    uint64_t devSize = 65536 * 16; ///< bytes of the /dev tmpfs
    uint32_t maxPtys = 0;          ///< devpts max=, 0 = kernel default
    std::vector<DeviceNode> devices;
    std::vector<std::string> maskedPaths;   ///< made empty and unreadable, if they exist
    std::vector<std::string> readOnlyPaths; ///< made read-only, if they exist

    std::vector<IdRange> uids; ///< empty: no user namespace
    std::vector<IdRange> gids;

    /** Folders whose cgroup.procs the supervisor itself enters, and those that the container enters before
     * its cgroup namespace is made (one per hierarchy). */
    std::vector<std::string> supervisorCgroups;
    std::vector<std::string> payloadCgroups;
    /** How /sys/fs/cgroup looks inside: "unified" (cgroup2 only), "hybrid" (tmpfs with systemd + unified),
     * "none". */
    std::string cgroupView = "none";

    bool privateNetwork = true; ///< own network namespace (else the host's; only on explicit request)
    uint64_t capabilities = 0;  ///< bounding set, bit per CAP_*
    bool noNewPrivileges = false;
    std::string seccomp; ///< raw array of struct sock_filter, empty for none
    std::string apparmorProfile;
    std::vector<ResourceLimit> limits;
    std::optional<int> oomScoreAdj;
    /** Pages of System V shared memory (kernel.shmall); the IPC namespace then is the host's to administer.
     */
    std::optional<uint64_t> sharedMemPages;
    std::vector<CounterSetting> counters;

    std::vector<ConsoleSpec> consoles; ///< at least one; the first is /dev/console

    EndAction onPoweroff = EndAction::Destroy;
    EndAction onReboot = EndAction::Restart;
    EndAction onCrash = EndAction::Destroy;
};

struct CounterLimits;

/** One text that decode() turns back into the same description. Values may hold any byte. */
std::string encode(const LaunchSpec& spec);
/** InvalidArg for a text that is damaged, lacks a field, or has one that this version does not know: a
 * setting (of security, too) is never passed over. */
Result<LaunchSpec> decode(std::string_view text);

/** The same for the parts that are sent on their own. */
std::string encode(const Mount& mount);
std::string encode(const DeviceNode& device);
Result<Mount> decodeMount(std::string_view text);
Result<DeviceNode> decodeDevice(std::string_view text);
std::string encode(const CounterLimits& limits);
Result<CounterLimits> decodeCounters(std::string_view text);

} // namespace vz::ct
