// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "ct/launch_spec.hpp"
#include "ct/network.hpp"

#include <string>
#include <vector>

namespace vz::domain {

/** Folders of the driver; moved as a whole for tests through vz.conf or the daemon's root. */
struct Paths {
    std::string config = "/etc/libvirt/vz";  ///< NAME.xml, autostart/NAME.xml
    std::string run = "/run/libvirt/vz";     ///< UUID/ of running containers
    std::string lib = "/var/lib/libvirt/vz"; ///< id ranges
    std::string log = "/var/log/libvirt/vz"; ///< NAME-console.log only if asked for
};

/** Persistent configs on disk. Every change is atomic; the comment libvirt puts on top is there too. Not
 * thread-safe per name. */
class Store {
public:
    explicit Store(std::string configDir) : dir_(std::move(configDir)) {}

    Result<void> save(const std::string& name, const std::string& xml);
    Result<void> remove(const std::string& name); ///< config and autostart link
    /** Renames config and autostart link so that a crash leaves exactly one of the two names. */
    Result<void> rename(const std::string& from, const std::string& to, const std::string& xml);
    Result<void> setAutostart(const std::string& name, bool on);
    bool autostart(const std::string& name) const;

    struct Entry {
        std::string name;
        std::string xml;
    };
    /** All configs; unreadable ones are logged and left alone. */
    Result<std::vector<Entry>> load() const;

private:
    std::string dir_;
};

/** An image or block device of the host that a running container uses. */
struct UsedDisk {
    std::string name;      ///< in the XML: target folder of a <filesystem>, target device of a <disk>
    std::string path;      ///< of the image or device
    std::string image;     ///< id of its attachment (exports::Attachment); empty for a device of the host
    std::string device;    ///< block device on the host
    std::string partition; ///< what has the file system; empty if none was found
    std::string fsType;
    std::string place;      ///< inside: where it is mounted, or its device node
    std::string statistics; ///< of an image's device when it was attached: loop devices go on counting
    bool mounted = false;
    bool readOnly = false;
};

/**
 * An interface that a running container has, or one that is being made or removed: all that is needed to
 * remove it, whoever does. It is on disk before anything of it is made, and until all of it is gone.
 */
struct UsedInterface {
    std::string name;            ///< which one: MAC of an <interface>, source of a <hostdev>
    ct::CreatedInterface link;   ///< with no names: nothing of it was made yet
    std::string network, portId; ///< the network's port to give back; empty: none
    std::string switchBridge;    ///< Open vSwitch bridge that has the host end as a port; empty: none
    std::string downScript;      ///< to be run with the host's name when it is removed; empty: none
    bool filtered = false;       ///< a network filter may be bound to its host end
    bool shaped = false;         ///< it may have an intermediate device
    bool routed = false;         ///< the host may answer for its addresses
    bool operator==(const UsedInterface&) const = default;
};

/** The one with that name; null if there is none. */
const UsedInterface* interfaceNamed(const std::vector<UsedInterface>& interfaces, const std::string& name);

/** Runtime state of one running domain, RUN/UUID/state.xml: survives the daemon. */
struct RuntimeState {
    std::string liveXml; ///< with extension and live parts
    std::string cgroup;  ///< ct::Cgroup::save()
    bool persistent = true;
    bool paused = false;
    int reason = 0;           ///< virDomain*Reason of the present state
    bool starting = false;    ///< its start has not succeeded yet
    bool autodestroy = false; ///< dies with the connection that started it
    unsigned boots = 1;
    std::vector<ct::IdRange> uidMap, gidMap; ///< the id ranges in force
    std::string tuning;                      ///< live XML whose limits are just being set, else empty
    std::string cpus;                        ///< those it was given, as a list; empty: all
    std::vector<UsedInterface> interfaces;
    std::vector<UsedDisk> disks;
};
Result<void> saveState(const std::string& runDir, const RuntimeState& state);
Result<RuntimeState> loadState(const std::string& runDir);

} // namespace vz::domain
