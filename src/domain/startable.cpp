// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/file.hpp"
#include "base/mount_table.hpp"
#include "domain/config.hpp"
#include "domain/store.hpp"
#include "domain/validate.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <vector>

namespace vz::domain {

namespace {

/** Identity of a folder, whatever path leads to it. */
struct FileId {
    dev_t device;
    ino_t inode;
    bool operator==(const FileId&) const = default;
};

struct FreeText {
    void operator()(char* text) const { std::free(text); }
};

FileId idOf(const struct stat& info) {
    return {info.st_dev, info.st_ino};
}

/** Follows links, and opens nothing that reacts to it (O_PATH). */
Result<struct stat> statSource(const std::string& path, std::string_view what) {
    VZ_TRY(auto handle, file::open(path, O_PATH));
    struct stat info {};
    if (::fstat(handle.get(), &info) < 0)
        return failErrno(errno, "cannot look at ", what, " ", path);
    return info;
}

/** The root folders of the host: of this process and, in case it runs in a chroot or in a mount namespace of
 * its own, of init. */
std::vector<FileId> hostRoots() {
    std::vector<FileId> roots;
    for (const char* path : {"/", "/proc/self/root", "/proc/1/root"}) {
        struct stat info {};
        if (::stat(path, &info) == 0)
            roots.push_back(idOf(info));
    }
    return roots;
}

/** Whether @p folder is one of the folders on the way from @p path up to the root. */
bool isAncestor(const FileId& folder, std::string path) {
    while (!path.empty()) {
        struct stat info {};
        if (::stat(path.c_str(), &info) == 0 && idOf(info) == folder)
            return true;
        path.resize(path.find_last_of('/'));
    }
    return false;
}

/**
 * Where the host's / is mounted again below @p folder, which a recursive bind of it would bring along; empty
 * if nowhere. Two mounts show the same folder if file system and root are the same.
 */
Result<std::string> hostRootBelow(const std::string& folder) {
    VZ_TRY(auto mounts, mountTable());
    const MountEntry* host = nullptr;
    for (const auto& mount : mounts) {
        if (mount.point == "/")
            host = &mount;
    }
    for (const auto& mount : mounts) {
        if (host && mount.point.starts_with(folder + "/") && mount.device == host->device &&
            mount.root == host->root)
            return mount.point;
    }
    return std::string();
}

Result<void> checkRootFolder(const std::string& path, const struct stat& info, const Paths& paths) {
    if (!S_ISDIR(info.st_mode))
        return unsupported("the root filesystem ", path, " is not a folder");
    for (const auto& root : hostRoots()) {
        if (idOf(info) == root)
            return unsupported("the root filesystem ", path,
                               " is the host's own /: give the container a root of its own");
    }
    std::unique_ptr<char, FreeText> real(::realpath(path.c_str(), nullptr));
    if (!real)
        return failErrno(errno, "cannot resolve the root filesystem ", path);
    VZ_TRY(auto below, hostRootBelow(real.get()));
    if (!below.empty())
        return unsupported("the root filesystem ", path, " contains the host's own /, mounted at ", below);
    for (const auto& dir : {paths.config, paths.run, paths.lib, paths.log}) {
        // The folder itself and all above it; what lies below is a place for roots.
        if (isAncestor(idOf(info), dir))
            return unsupported("the root filesystem ", path, " contains ", dir,
                               " of the host: give the container a root of its own");
    }
    return {};
}

Result<void> checkFolder(const Filesystem& filesystem, bool isRoot, const Paths& paths) {
    auto info = statSource(filesystem.source, "the folder");
    if (!info)
        return unsupported("the <filesystem> source ", filesystem.source, " for ", filesystem.target,
                           " cannot be used: ", info.error().message());
    return isRoot ? checkRootFolder(filesystem.source, *info, paths) : Result<void>();
}

/** What / is mounted from by name: btrfs has device numbers of its own. */
void addMountSources(std::vector<dev_t>& devices) {
    for (pid_t process : {0, 1}) {
        auto mounts = mountTable(process);
        if (!mounts)
            continue;
        for (const auto& mount : *mounts) {
            struct stat info {};
            if (mount.point == "/" && ::stat(mount.source.c_str(), &info) == 0 && S_ISBLK(info.st_mode))
                devices.push_back(info.st_rdev);
        }
    }
}

/** The number in a "dev" file of sysfs. */
std::optional<dev_t> numberIn(const std::string& file) {
    auto text = file::read(file);
    if (!text)
        return std::nullopt;
    auto parts = split(trim(*text), ':');
    auto major = parts.size() == 2 ? parseNumber<unsigned>(parts[0]) : std::nullopt;
    auto minor = parts.size() == 2 ? parseNumber<unsigned>(parts[1]) : std::nullopt;
    return major && minor ? std::optional(makedev(*major, *minor)) : std::nullopt;
}

/** All block devices that the host's / is on: the partition, the disk, and what they are made of. */
std::vector<dev_t> hostRootDevices() {
    std::vector<dev_t> devices;
    for (const auto& root : hostRoots())
        devices.push_back(root.device);
    addMountSources(devices);
    for (size_t i = 0; i < devices.size(); ++i) {
        auto folder = cat("/sys/dev/block/", major(devices[i]), ":", minor(devices[i]));
        auto add = [&](const std::string& below) {
            auto number = numberIn(cat(folder, below, "/dev"));
            if (number && std::find(devices.begin(), devices.end(), *number) == devices.end())
                devices.push_back(*number);
        };
        if (file::exists(folder + "/partition"))
            add("/..");
        if (auto slaves = file::list(folder + "/slaves")) {
            for (const auto& slave : *slaves)
                add("/slaves/" + slave);
        }
    }
    return devices;
}

Result<void> checkBlock(const std::string& path, std::string_view element) {
    auto info = statSource(path, "the device");
    if (!info)
        return unsupported("the <", element, "> source ", path, " cannot be used: ", info.error().message());
    if (!S_ISBLK(info->st_mode))
        return unsupported("the <", element, "> source ", path, " is not a block device");
    auto checked = checkNotHostRoot(path);
    return checked ? checked : std::move(checked).takeError().within(cat("the <", element, "> source"));
}

/** What is in it is looked at when it is attached. */
Result<void> checkImage(const std::string& source, const std::string& target, std::string_view element) {
    auto info = statSource(source, "the image");
    if (!info)
        return unsupported("the <", element, "> source ", source, " for ", target,
                           " cannot be used: ", info.error().message());
    return S_ISBLK(info->st_mode) ? checkBlock(source, element) : Result<void>();
}

Result<void> checkFilesystem(const Filesystem& filesystem, bool isRoot, const Paths& paths) {
    switch (filesystem.type) {
    case Filesystem::Type::Mount:
    case Filesystem::Type::Bind:
        return checkFolder(filesystem, isRoot, paths);
    case Filesystem::Type::Block:
        return checkBlock(filesystem.source, "filesystem");
    case Filesystem::Type::Ram:
        if (isRoot)
            return unsupported("<filesystem type='ram'> cannot be the root: it would be empty");
        return {};
    case Filesystem::Type::File:
        return checkImage(filesystem.source, filesystem.target, "filesystem");
    case Filesystem::Type::Template:
        return unsupported("<filesystem type='template'> (", filesystem.source,
                           ") cannot be started yet: use type mount, bind or block");
    case Filesystem::Type::Volume:
        return {}; // its pool is asked when it is attached
    }
    return {};
}

Result<void> checkDisk(const Disk& disk) {
    if (disk.type == Disk::Type::Block)
        return checkBlock(disk.source, "disk");
    return disk.type == Disk::Type::File ? checkImage(disk.source, disk.target, "disk") : Result<void>();
}

Result<void> checkInterfaceType(const Interface& interface) {
    for (std::string_view type : {"network", "bridge", "direct", "ethernet"}) {
        if (interface.type == type)
            return {};
    }
    return unsupported("<interface type='", interface.type, "'> (", interface.mac,
                       ") is not possible for containers: use type network, bridge, direct or ethernet");
}

Result<void> checkHostDeviceSource(const HostDevice& device) {
    if (device.type == HostDevice::Type::Network)
        return {}; // looked for in the host's network namespace when it is moved
    if (device.type == HostDevice::Type::Block)
        return checkBlock(device.path, "hostdev");
    auto info = statSource(device.path, "the device");
    if (!info)
        return unsupported("the <hostdev> source ", device.path, " cannot be used: ", info.error().message());
    if (!S_ISCHR(info->st_mode))
        return unsupported("the <hostdev> source ", device.path, " is not a character device");
    return {};
}

} // namespace

Result<void> checkNotHostRoot(const std::string& path) {
    VZ_TRY(auto info, statSource(path, "the device"));
    auto devices = hostRootDevices();
    if (S_ISBLK(info.st_mode) && std::find(devices.begin(), devices.end(), info.st_rdev) != devices.end())
        return unsupported(path, " has the host's own /");
    return {};
}

Result<void> checkStartable(const Definition& definition, const Paths& paths) {
    const auto* root = definition.root();
    if (!root && definition.disks.empty())
        return unsupported("the container '", definition.name,
                           "' has no root filesystem: give it a <filesystem> with "
                           "<target dir='/'/>, or a <disk>");
    for (const auto& filesystem : definition.filesystems)
        VZ_CHECK(checkFilesystem(filesystem, &filesystem == root, paths));
    for (const auto& disk : definition.disks)
        VZ_CHECK(checkDisk(disk));
    for (const auto& interface : definition.interfaces)
        VZ_CHECK(checkInterfaceType(interface));
    for (const auto& device : definition.hostDevices)
        VZ_CHECK(checkHostDeviceSource(device));
    return {};
}

} // namespace vz::domain
