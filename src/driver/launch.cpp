// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/launch.hpp"

#include "base/file.hpp"
#include "ct/id_ranges.hpp"
#include "ct/policy.hpp"
#include "driver/container_storage.hpp"
#include "driver/limits.hpp"

#include <cerrno>
#include <cstdlib>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace vz::driver {

namespace {

/** The container's own host name to begin with: what of its name is allowed in one. */
std::string hostnameOf(const std::string& name) {
    std::string out;
    for (char c : name) {
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        out += letter ? c : '-';
    }
    out = out.substr(0, 63);
    while (!out.empty() && out.back() == '-')
        out.pop_back();
    return out.empty() ? "container" : out;
}

std::vector<std::string> environmentOf(const domain::Definition& definition) {
    std::vector<std::string> out{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                                 "TERM=linux", "container=libvirt-vz",
                                 cat("container_uuid=", definition.uuid),
                                 cat("LIBVIRT_VZ_NAME=", definition.name)};
    out.insert(out.end(), definition.initEnv.begin(), definition.initEnv.end());
    return out;
}

Result<uint64_t> capabilitiesOf(const domain::Definition& definition, bool userNamespace) {
    uint64_t set = ct::defaultCapabilities(userNamespace);
    if (definition.capabilitiesPolicy == "allow")
        set = ~uint64_t(0);
    else if (definition.capabilitiesPolicy == "deny")
        set = 0;
    for (const auto& [name, on] : definition.capabilities) {
        VZ_TRY(int bit, ct::capabilityByName(name));
        set = on ? set | uint64_t(1) << bit : set & ~(uint64_t(1) << bit);
    }
    return set;
}

/** Opens a file below a folder; no link leads out of it. */
Result<std::string> readInside(const std::string& root, const std::string& path) {
    VZ_TRY(auto folder, file::open(root, O_PATH | O_DIRECTORY));
    open_how how{.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .mode = 0, .resolve = RESOLVE_IN_ROOT};
    UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, folder.get(), path.c_str(), &how, sizeof how)));
    if (!fd)
        return failErrno(errno, "cannot open ", path, " in ", root);
    return file::read(cat("/proc/self/fd/", fd.get()), 1 << 20);
}

/** "+12", "12" or a name, which is looked up in the container's own passwd or group file. */
Result<uint32_t> idInside(const std::string& wanted, const domain::Filesystem* root, const char* database,
                          const char* element) {
    std::string_view digits = wanted;
    if (digits.starts_with('+'))
        digits.remove_prefix(1);
    if (auto number = parseNumber<uint32_t>(digits))
        return *number;
    if (!root ||
        (root->type != domain::Filesystem::Type::Mount && root->type != domain::Filesystem::Type::Bind))
        return fail(ErrorCode::ConfigUnsupported, "<", element, "> '", wanted,
                    "' must be a number where the root is no folder of the host");
    VZ_TRY(auto content, readInside(root->source, database));
    for (auto line : lines(content)) {
        auto parts = split(line, ':');
        if (parts.size() > 2 && parts[0] == wanted) {
            if (auto id = parseNumber<uint32_t>(parts[2]))
                return *id;
        }
    }
    return fail(ErrorCode::ConfigUnsupported, "<", element, "> '", wanted, "' is not in the container's ",
                database);
}

/** Whether the tree belongs to the container's ids already, is to be mapped, or neither (an error). */
Result<bool> needsIdMap(const std::string& source, const std::vector<ct::IdRange>& uids) {
    if (uids.empty())
        return false;
    struct stat info;
    if (::stat(source.c_str(), &info) < 0)
        return failErrno(errno, "cannot look at ", source);
    for (const auto& range : uids) {
        if (info.st_uid >= range.host && info.st_uid - range.host < range.count)
            return false;
    }
    VZ_TRY(bool mappable, ct::canIdMap(source));
    if (mappable)
        return true;
    return fail(ErrorCode::ConfigUnsupported, "the file system of ", source,
                " cannot map owners to the container's user namespace, and the folder belongs to host user ",
                info.st_uid, ", which is not in the container's range starting at ", uids.front().host,
                ": give the tree to that range, or move it to ext4, xfs or btrfs");
}

Result<void> mapIds(Driver& driver, const domain::Definition& definition, ct::LaunchSpec& spec) {
    if (definition.extension.userNamespace == false)
        return {};
    if (!definition.uidMap.empty()) {
        spec.uids = definition.uidMap;
        spec.gids = definition.gidMap.empty() ? definition.uidMap : definition.gidMap;
        return {};
    }
    VZ_TRY(auto range, driver.idRanges().rangeOf(definition.uuid));
    spec.uids = spec.gids = {range};
    return {};
}

Result<void> setFilesystems(const domain::Definition& definition, const std::vector<domain::UsedDisk>& disks,
                            ct::LaunchSpec& spec) {
    for (const auto& filesystem : definition.filesystems) {
        VZ_TRY(auto mount, mountOf(filesystem, spec.uids, disks));
        if (filesystem.target == "/")
            spec.root = std::move(mount);
        else
            spec.mounts.push_back(std::move(mount));
    }
    for (const auto& disk : definition.disks) {
        const auto* used = diskNamed(disks, disk.target);
        if (!used)
            return fail(ErrorCode::InternalError, "no device was made for ", disk.target);
        if (used->place == "/")
            spec.root = mountOf(*used, spec.uids);
        else if (used->mounted)
            spec.mounts.push_back(mountOf(*used, spec.uids));
    }
    return {};
}

Result<void> setDevices(const domain::Definition& definition, const std::vector<domain::UsedDisk>& disks,
                        ct::LaunchSpec& spec) {
    spec.devices = ct::defaultDevices();
    std::erase_if(spec.devices, [&](const auto& node) {
        return node.path == "/dev/fuse" && definition.extension.fuse == false;
    });
    for (const auto& device : definition.hostDevices) {
        if (device.type == domain::HostDevice::Type::Network)
            continue;
        VZ_TRY(auto grant, deviceOf(device));
        spec.devices.push_back(std::move(grant.node));
    }
    for (const auto& disk : disks) {
        if (disk.mounted)
            continue;
        VZ_TRY(auto grants, nodesOf(disk));
        for (auto& grant : grants)
            spec.devices.push_back(std::move(grant.node));
    }
    return {};
}

Result<void> setSecurity(const domain::Definition& definition, ct::LaunchSpec& spec) {
    bool userNamespace = !spec.uids.empty();
    VZ_TRY(spec.capabilities, capabilitiesOf(definition, userNamespace));
    spec.maskedPaths = ct::defaultMaskedPaths(userNamespace);
    spec.readOnlyPaths = ct::defaultReadOnlyPaths(userNamespace);
    spec.noNewPrivileges = definition.extension.noNewPrivileges.value_or(false);
    if (definition.extension.seccomp.value_or(true)) {
        VZ_TRY(spec.seccomp, ct::defaultSeccomp());
    }
    if (definition.label && definition.label->model == "apparmor")
        spec.apparmorProfile = definition.label->label;
    return {};
}

void setCounters(const domain::Definition& definition, ct::LaunchSpec& spec) {
    auto limits = ct::launchLimits(definition.extension.beancounters);
    spec.limits = std::move(limits.rlimits);
    spec.maxPtys = limits.maxPtys;
    spec.sharedMemPages = limits.sharedMemPages;
    spec.oomScoreAdj = limits.oomScoreAdj;
    spec.counters = std::move(limits.set);
}

void setConsoles(const domain::Definition& definition, ct::LaunchSpec& spec) {
    for (const auto& console : definition.consoles)
        spec.consoles.push_back({.logFile = console.logFile, .logAppend = console.logAppend});
    if (spec.consoles.empty())
        spec.consoles.emplace_back();
}

} // namespace

Result<ct::Mount> mountOf(const domain::Filesystem& filesystem, const std::vector<ct::IdRange>& uids,
                          const std::vector<domain::UsedDisk>& disks) {
    using Type = domain::Filesystem::Type;
    ct::Mount mount;
    mount.source = filesystem.source;
    mount.target = filesystem.target;
    mount.readOnly = filesystem.readOnly;
    switch (filesystem.type) {
    case Type::Mount:
    case Type::Bind: {
        mount.kind = ct::Mount::Kind::Bind;
        VZ_TRY(mount.idMapped, needsIdMap(filesystem.source, uids));
        return mount;
    }
    case Type::Ram:
        mount.kind = ct::Mount::Kind::Tmpfs;
        mount.size = filesystem.ramBytes;
        return mount;
    case Type::Block:
    case Type::File:
    case Type::Volume: {
        const auto* disk = diskNamed(disks, filesystem.target);
        if (!disk)
            return fail(ErrorCode::InternalError, "no device was made for ", filesystem.source);
        return mountOf(*disk, uids);
    }
    default:
        return fail(
            ErrorCode::ConfigUnsupported, "<filesystem> '", filesystem.target,
            "' has a type that this version cannot mount; use type 'mount', 'bind', 'ram' or 'block'");
    }
}

Result<DeviceGrant> deviceOf(const domain::HostDevice& device) {
    struct stat info;
    if (::stat(device.path.c_str(), &info) < 0)
        return failErrno(errno, "cannot look at host device ", device.path);
    bool block = device.type == domain::HostDevice::Type::Block;
    if (block ? !S_ISBLK(info.st_mode) : !S_ISCHR(info.st_mode))
        return fail(ErrorCode::ConfigUnsupported, "host device ", device.path, " is not a ",
                    block ? "block" : "character", " device");
    DeviceGrant grant;
    grant.node = {.path = device.target.empty() ? device.path : device.target,
                  .type = block ? 'b' : 'c',
                  .major = ::major(info.st_rdev),
                  .minor = ::minor(info.st_rdev),
                  .mode = 0600};
    grant.rule = {
        .type = grant.node.type, .major = grant.node.major, .minor = grant.node.minor, .access = "rwm"};
    return grant;
}

Result<ct::LaunchSpec> launchSpec(Driver& driver, const domain::Definition& definition,
                                  const std::string& runDir, const std::vector<domain::UsedDisk>& disks) {
    ct::LaunchSpec spec;
    spec.name = definition.name;
    spec.uuid = definition.uuid;
    spec.runDir = runDir;
    spec.argv = {definition.init};
    spec.argv.insert(spec.argv.end(), definition.initArgs.begin(), definition.initArgs.end());
    spec.environment = environmentOf(definition);
    spec.workingDir = definition.initDir;
    const auto& names = definition.extension.network;
    spec.hostname = names.hostname.empty() ? hostnameOf(definition.name) : names.hostname;
    spec.writeHostname = !names.hostname.empty();
    spec.nameservers = names.nameservers;
    spec.searchDomains = names.searchDomains;
    spec.privateNetwork = definition.privateNetwork;
    spec.onPoweroff = definition.onPoweroff;
    spec.onReboot = definition.onReboot;
    spec.onCrash = definition.onCrash;
    const auto* root = definition.root();
    VZ_CHECK(mapIds(driver, definition, spec));
    if (!definition.initUser.empty()) {
        VZ_TRY(spec.initUid, idInside(definition.initUser, root, "/etc/passwd", "inituser"));
    }
    if (!definition.initGroup.empty()) {
        VZ_TRY(spec.initGid, idInside(definition.initGroup, root, "/etc/group", "initgroup"));
    }
    VZ_CHECK(setFilesystems(definition, disks, spec));
    VZ_CHECK(setDevices(definition, disks, spec));
    VZ_CHECK(setSecurity(definition, spec));
    setCounters(definition, spec);
    setConsoles(definition, spec);
    return spec;
}

Result<ct::CgroupLimits> startLimits(Driver& driver, const domain::Definition& definition,
                                     const std::string& cpus, const std::vector<domain::UsedDisk>& disks) {
    VZ_TRY(auto limits, limitsOf(driver, definition, cpus, disks));
    limits.devices = ct::defaultDeviceRules();
    for (const auto& device : definition.hostDevices) {
        if (device.type == domain::HostDevice::Type::Network)
            continue;
        VZ_TRY(auto grant, deviceOf(device));
        limits.devices.push_back(std::move(grant.rule));
    }
    for (const auto& disk : disks) {
        if (disk.mounted)
            continue;
        VZ_TRY(auto grants, nodesOf(disk));
        for (auto& grant : grants)
            limits.devices.push_back(std::move(grant.rule));
    }
    return limits;
}

} // namespace vz::driver
