// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/element_rules.hpp"

#include <algorithm>
#include <set>

namespace vz::domain {

namespace {

enum class Inside : uint8_t { Checked, Free };

struct Rule {
    std::string_view path;
    Inside inside = Inside::Checked;
};

/** Everything a container's XML may hold. Free: what is inside is read elsewhere or has no effect. */
constexpr Rule rules[] = {
    {"name"},
    {"uuid"},
    {"title"},
    {"description"},
    {"metadata", Inside::Free},
    {"memory"},
    {"currentMemory"},
    {"memtune"},
    {"memtune/hard_limit"},
    {"memtune/soft_limit"},
    {"memtune/swap_hard_limit"},
    {"memtune/min_guarantee"},
    {"vcpu"},
    {"cputune"},
    {"cputune/shares"},
    {"cputune/period"},
    {"cputune/quota"},
    {"cputune/global_period"},
    {"cputune/global_quota"},
    {"cputune/vcpupin"},
    {"cputune/emulatorpin"},
    {"numatune"},
    {"numatune/memory"},
    {"blkiotune"},
    {"blkiotune/weight"},
    {"blkiotune/device", Inside::Free},
    {"resource"},
    {"resource/partition"},
    {"os"},
    {"os/type"},
    {"os/init"},
    {"os/initarg"},
    {"os/initenv"},
    {"os/initdir"},
    {"os/inituser"},
    {"os/initgroup"},
    {"os/boot"},
    {"idmap"},
    {"idmap/uid"},
    {"idmap/gid"},
    {"features"},
    {"features/acpi"},
    {"features/apic"},
    {"features/pae"},
    {"features/privnet"},
    {"features/capabilities", Inside::Free},
    {"clock"},
    {"on_poweroff"},
    {"on_reboot"},
    {"on_crash"},
    {"on_lockfailure"},
    {"pm"},
    {"pm/suspend-to-mem"},
    {"pm/suspend-to-disk"},
    {"seclabel"},
    {"seclabel/label"},
    {"seclabel/imagelabel"},
    {"devices"},
    {"devices/filesystem"},
    {"devices/filesystem/driver"},
    {"devices/filesystem/source"},
    {"devices/filesystem/target"},
    {"devices/filesystem/readonly"},
    {"devices/filesystem/alias"},
    {"devices/filesystem/address"},
    {"devices/disk"},
    {"devices/disk/driver"},
    {"devices/disk/source"},
    {"devices/disk/target"},
    {"devices/disk/readonly"},
    {"devices/disk/shareable"},
    {"devices/disk/serial"},
    {"devices/disk/boot"},
    {"devices/disk/iotune"},
    {"devices/disk/iotune/total_bytes_sec"},
    {"devices/disk/iotune/read_bytes_sec"},
    {"devices/disk/iotune/write_bytes_sec"},
    {"devices/disk/iotune/total_iops_sec"},
    {"devices/disk/iotune/read_iops_sec"},
    {"devices/disk/iotune/write_iops_sec"},
    {"devices/disk/backingStore", Inside::Free},
    {"devices/disk/alias"},
    {"devices/disk/address"},
    {"devices/interface"},
    {"devices/interface/mac"},
    {"devices/interface/source"},
    {"devices/interface/ip"},
    {"devices/interface/route"},
    {"devices/interface/target"},
    {"devices/interface/guest"},
    {"devices/interface/model"},
    {"devices/interface/link"},
    {"devices/interface/mtu"},
    {"devices/interface/actual", Inside::Free},
    {"devices/interface/script"},
    {"devices/interface/downscript"},
    {"devices/interface/virtualport", Inside::Free},
    {"devices/interface/vlan", Inside::Free},
    {"devices/interface/bandwidth", Inside::Free},
    {"devices/interface/filterref", Inside::Free},
    {"devices/interface/port"},
    {"devices/interface/alias"},
    {"devices/interface/address"},
    {"devices/console"},
    {"devices/console/source"},
    {"devices/console/log"},
    {"devices/console/target"},
    {"devices/console/alias"},
    {"devices/console/address"},
    {"devices/hostdev"},
    {"devices/hostdev/source"},
    {"devices/hostdev/source/block"},
    {"devices/hostdev/source/char"},
    {"devices/hostdev/source/interface"},
    {"devices/hostdev/ip"},
    {"devices/hostdev/route"},
    {"devices/hostdev/alias"},
    {"devices/hostdev/address"},
    {"devices/graphics", Inside::Free},
    {"devices/video", Inside::Free},
    {"devices/input", Inside::Free},
    {"devices/controller", Inside::Free},
    {"devices/audio", Inside::Free},
    {"devices/memballoon", Inside::Free},
};

struct Hint {
    std::string_view path;
    std::string_view text;
};

/** What to do instead, for what people try most. */
constexpr Hint hints[] = {
    {"devices/disk/iotune/group_name", "use <vz:io>, which limits all disks of the container"},
    {"devices/disk/encryption", "open the encrypted disk on the host, and use the device that it has then"},
    {"devices/disk/source/encryption", "open the encrypted disk on the host, and use its device"},
    {"devices/disk/source/host", "a disk of the network is given as the device that the host has for it"},
    {"devices/disk/mirror", "copies of running disks are not supported yet"},
    {"devices/emulator", "containers run under the driver's own supervisor; remove it"},
    {"devices/serial", "use <console type='pty'>"},
    {"devices/parallel", "use <console type='pty'>"},
    {"devices/channel", "use <console type='pty'> or bind-mount a socket with <filesystem>"},
    {"devices/filesystem/space_hard_limit", "space limits are not supported yet"},
    {"devices/filesystem/space_soft_limit", "space limits are not supported yet"},
    {"cputune/emulator_period", "a container has no emulator; use <period> or <global_period>"},
    {"cputune/emulator_quota", "a container has no emulator; use <quota> or <global_quota>"},
    {"numatune/memnode", "containers have no NUMA nodes of their own; use <memory nodeset=>"},
    {"iothreads", "containers have none"},
    {"memoryBacking", "containers use the memory of the host directly; remove it"},
    {"os/loader", "containers use the kernel of the host; remove it"},
    {"os/kernel", "containers use the kernel of the host; remove it"},
    {"os/initrd", "containers use the kernel of the host; remove it"},
    {"os/cmdline", "give arguments to init with <initarg>"},
    {"vcpus", "CPUs of containers are not plugged one by one; use <vcpu>"},
};

constexpr std::string_view deviceElements[] = {
    "filesystem", "interface",  "console", "hostdev",  "graphics",    "video",     "input",   "controller",
    "audio",      "memballoon", "disk",    "emulator", "serial",      "parallel",  "channel", "sound",
    "watchdog",   "tpm",        "rng",     "redirdev", "redirfilter", "smartcard", "hub",     "panic",
    "shmem",      "memory",     "iommu",   "vsock",    "nvram",       "lease",     "crypto"};

const Rule* ruleFor(std::string_view path) {
    const auto* found =
        std::find_if(std::begin(rules), std::end(rules), [&](const Rule& rule) { return rule.path == path; });
    return found == std::end(rules) ? nullptr : found;
}

Error refuse(xmlNode* element, std::string_view path) {
    auto slash = path.find_last_of('/');
    auto parent = slash == path.npos ? std::string_view("domain") : path.substr(0, slash);
    if (auto outer = parent.find_last_of('/'); outer != parent.npos)
        parent.remove_prefix(outer + 1);
    std::string_view hint = "remove it";
    for (const auto& known : hints) {
        if (known.path == path)
            hint = known.text;
    }
    std::string prefix = element->ns ? cat("{", reinterpret_cast<const char*>(element->ns->href), "}") : "";
    return fail(ErrorCode::ConfigUnsupported, "<", prefix, xml::name(element), "> in <", parent,
                "> is not supported for containers: ", hint);
}

Result<void> checkInside(xmlNode* parent, const std::string& prefix) {
    for (auto* element : xml::children(parent)) {
        auto path = prefix + std::string(xml::name(element));
        const auto* rule = ruleFor(path);
        if (!rule || element->ns)
            return refuse(element, path);
        if (rule->inside == Inside::Checked)
            VZ_CHECK(checkInside(element, path + "/"));
    }
    return {};
}

} // namespace

Result<void> checkElements(xmlNode* domain) {
    std::set<std::string_view> seen;
    for (auto* element : xml::children(domain)) {
        if (!seen.insert(xml::name(element)).second)
            return fail(ErrorCode::XmlError, "<", xml::name(element), "> is given twice in <domain>");
    }
    return checkInside(domain, "");
}

bool isDeviceElement(std::string_view name) {
    return std::find(std::begin(deviceElements), std::end(deviceElements), name) != std::end(deviceElements);
}

} // namespace vz::domain
