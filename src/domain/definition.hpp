// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/beancounters.hpp"
#include "ct/launch_spec.hpp"
#include "ct/network.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

/** The typed domain model, read from libvirt's canonical domain XML. Sizes in bytes unless a name says KiB.
 */
namespace vz::domain {

enum class GuestType : uint8_t { Container, Machine }; ///< <os><type> exe / hvm

struct Filesystem {
    enum class Type : uint8_t { Mount, Bind, Ram, Block, File, Template, Volume };
    Type type = Type::Mount;
    std::string source; ///< folder, file, device, template name, or "pool/volume"
    std::string target;
    bool readOnly = false;
    uint64_t ramBytes = 0; ///< Ram
    std::string driverType, driverFormat;
    std::string alias;
};

/** Most I/O of one disk per second; 0 = no limit. */
struct DiskThrottle {
    uint64_t totalBytes = 0, readBytes = 0, writeBytes = 0; ///< total: either direction may have as much
    uint64_t totalOps = 0, readOps = 0, writeOps = 0;
};

struct Disk {
    enum class Type : uint8_t { File, Block, Volume };
    Type type = Type::File;
    std::string source; ///< image, device, or "pool/volume"
    std::string target; ///< "vda"
    bool readOnly = false, shareable = false;
    unsigned bootOrder = 0; ///< 0: none
    DiskThrottle throttle;  ///< <iotune>
    std::string alias;
};

/** One direction of a <bandwidth>, in KiB per second; burst in KiB. 0: not given. */
struct NetRate {
    uint64_t average = 0, peak = 0, burst = 0, floor = 0;
    bool operator==(const NetRate&) const = default;
};

/** <bandwidth>: inbound is towards the guest. */
struct NetBandwidth {
    std::optional<NetRate> inbound, outbound;
    bool operator==(const NetBandwidth&) const = default;
};

/** <filterref>: a network filter of the stock nwfilter driver. */
struct FilterRef {
    std::string name;
    std::vector<std::pair<std::string, std::string>> parameters;
    bool operator==(const FilterRef&) const = default;
};

/** <vlan>: tags of a port of a VLAN-aware bridge. */
struct VlanTag {
    unsigned id = 0;
    std::string nativeMode; ///< "tagged", "untagged"; empty: not the native one
    bool operator==(const VlanTag&) const = default;
};
struct Vlan {
    bool trunk = false;
    std::vector<VlanTag> tags;
    bool operator==(const Vlan&) const = default;
};

/** <virtualport>: for Open vSwitch. */
struct VirtualPort {
    std::string type;                                            ///< "openvswitch"
    std::vector<std::pair<std::string, std::string>> parameters; ///< interfaceid, profileid
    bool operator==(const VirtualPort&) const = default;
};

/** What interfaces in a bridge may send: anything, what comes from their MAC address, or also from their IP
 * addresses only. */
enum class AntiSpoofing : uint8_t { Off, Mac, Address };

struct Interface {
    std::string type; ///< as defined: "bridge", "network", "direct", "ethernet", ...
    /** How it is plugged: the type, or for a network what that tells (libvirt's <actual>): "bridge", also for
     * networks with a bridge of their own, "direct", "ethernet"; "network" until the network was asked. */
    std::string plug;
    std::string mac;
    std::string network, portGroup;
    std::string portId;             ///< live: UUID of the network's port
    std::string bridge;             ///< plug "bridge"
    std::string device;             ///< plug "direct": of the host
    std::string mode;               ///< plug "direct": vepa, bridge, private, passthrough
    std::string script, downScript; ///< plug "ethernet": programs run with the host's name, before and after
    std::string targetDev;          ///< host-side name
    std::string guestDev;           ///< <guest dev=>; live: the name inside
    bool linkUp = true;
    bool isolated = false; ///< <port isolated='yes'/>
    bool routed = false;   ///< OpenVZ's network: type "ethernet", and inside its name is venet0
    std::optional<AntiSpoofing> antiSpoofing; ///< the domain's <vz:anti-spoofing>
    unsigned mtu = 0;
    std::vector<ct::IpAddress> addresses;
    std::vector<ct::IpRoute> routes;
    // With a network those in force, which may be the network's own.
    NetBandwidth bandwidth;
    std::optional<FilterRef> filter;
    std::optional<Vlan> vlan;
    std::optional<VirtualPort> virtualPort;
    std::string alias;
};

struct Console {
    std::string sourceType; ///< "pty" (others are refused)
    std::string ptyPath;    ///< live only
    std::string logFile;
    bool logAppend = false;
    std::string alias;
};

struct HostDevice {
    enum class Type : uint8_t { Character, Block, Network };
    Type type = Type::Character;
    std::string path;                     ///< host path of the device (<char>, <block>) or interface name
    std::string target;                   ///< path inside; the same as path in libvirt's format
    std::vector<ct::IpAddress> addresses; ///< Network
    std::vector<ct::IpRoute> routes;      ///< Network
    std::string alias;
};

struct SecurityLabel {
    std::string model, type, label; ///< as in <seclabel>
};

/** How fast CPU time may be used: @c quotaUs of every @c periodUs, for all CPUs together. */
struct CpuBandwidth {
    std::optional<uint64_t> periodUs;
    std::optional<int64_t> quotaUs; ///< absent or not above 0: no limit
};

/** <blkiotune><device>: what the container may do with one disk of the host; 0 = no limit. */
struct BlockDeviceTune {
    std::string path;
    unsigned weight = 0;
    uint64_t readBytes = 0, writeBytes = 0; ///< per second
    uint64_t readOps = 0, writeOps = 0;     ///< per second
};

/** <vz:network>. Names take effect at a start. */
struct NetworkSettings {
    std::string hostname; ///< empty: the container's name, and its root stays as it is
    std::vector<std::string> nameservers, searchDomains;
    std::optional<AntiSpoofing> antiSpoofing; ///< absent: Mac, where the host can
};

/** <vz:memory><vz:guarantee>: how much of its memory a guest is sure of. */
struct MemoryGuarantee {
    enum class Kind : uint8_t { Auto, Percent, Bytes };
    Kind kind = Kind::Auto;
    uint64_t amount = 0; ///< percent of the limit, or bytes
};

/** <vz:quota>: what a container may have in the file system that its root folder is in. */
struct DiskQuota {
    struct Amount {
        uint64_t soft = 0, hard = 0; ///< 0: no limit
        bool operator==(const Amount&) const = default;
    };
    Amount space; ///< bytes
    Amount inodes;
    bool operator==(const DiskQuota&) const = default;
};

/** The driver's own settings, from <vz:container>. Further groups (ubc, io, ...) belong to later features. */
struct Extension {
    ct::Beancounters beancounters; ///< <vz:ubc>
    NetworkSettings network;
    std::optional<uint64_t> cpuUnits;         ///< <vz:cpu><vz:units>: share of CPU time, 8...500000
    std::optional<uint64_t> cpuLimitPercent;  ///< <vz:cpu><vz:limit>: of one CPU
    std::optional<uint64_t> cpuLimitMHz;      ///< <vz:cpu><vz:mhz>
    std::optional<uint64_t> ioPriority;       ///< <vz:io><vz:prio>: 0 (least) to 7
    std::optional<uint64_t> ioBytes;          ///< <vz:io><vz:limit>: per second, disk and direction
    std::optional<uint64_t> ioOps;            ///< <vz:io><vz:iops>: per second, disk and direction
    std::optional<MemoryGuarantee> guarantee; ///< <vz:memory>
    std::optional<DiskQuota> quota;           ///< <vz:quota>
    std::optional<bool> nesting; ///< <vz:features><vz:nesting state='on'/>: user namespaces inside
    std::optional<bool> fuse;    ///< /dev/fuse inside
    std::optional<bool> noNewPrivileges;
    std::optional<bool> seccomp;       ///< state='off' drops the filter
    std::optional<bool> userNamespace; ///< state='off': privileged container, on explicit request only
};

struct Definition {
    std::string name;
    std::string uuid;
    std::string virtType; ///< "vz" or "parallels", as it was defined
    GuestType guestType = GuestType::Container;
    std::string arch;
    std::string title, description;
    uint64_t maxMemoryKiB = 0; ///< <memory>
    uint64_t memoryKiB = 0;    ///< <currentMemory>
    unsigned maxVcpus = 1, vcpus = 1;

    std::string init; ///< "/sbin/init" if the XML names none
    std::vector<std::string> initArgs;
    std::vector<std::string> initEnv; ///< NAME=VALUE
    std::string initDir, initUser, initGroup;

    std::vector<ct::IdRange> uidMap, gidMap; ///< explicit <idmap>; empty = allocated automatically
    ct::EndAction onPoweroff = ct::EndAction::Destroy;
    ct::EndAction onReboot = ct::EndAction::Restart;
    ct::EndAction onCrash = ct::EndAction::Destroy;

    std::string partition; ///< <resource><partition>, empty = default
    std::optional<uint64_t> hardLimitKiB, softLimitKiB, swapHardLimitKiB, minGuaranteeKiB; ///< <memtune>
    std::optional<uint64_t> cpuShares;    ///< <cputune>, and all until numaMode
    CpuBandwidth vcpuTime;                ///< <period>, <quota>
    CpuBandwidth globalTime;              ///< <global_period>, <global_quota>
    std::map<unsigned, std::string> pins; ///< <vcpupin>: CPU lists by vcpu
    std::string emulatorPin;              ///< <emulatorpin>
    std::string vcpuCpuset;               ///< <vcpu cpuset=>
    std::string numaMode, numaNodes;      ///< <numatune><memory>
    std::optional<unsigned> blockWeight;  ///< <blkiotune>
    std::vector<BlockDeviceTune> blockDevices;
    std::string capabilitiesPolicy; ///< <features><capabilities policy=>, empty = default
    std::vector<std::pair<std::string, bool>> capabilities; ///< name, state
    bool privateNetwork = true; ///< <features><privnet/> or any <interface>; see validate.cpp for the default

    std::vector<Filesystem> filesystems;
    std::vector<Disk> disks;
    std::vector<Interface> interfaces;
    std::vector<Console> consoles;
    std::vector<HostDevice> hostDevices;
    std::optional<SecurityLabel> label;
    Extension extension;

    /** The filesystem whose target is "/", or null. */
    const Filesystem* root() const;
    /** The disk with the root if no filesystem is it: the first to boot from, or the first; or null. */
    const Disk* rootDisk() const;
};

} // namespace vz::domain
