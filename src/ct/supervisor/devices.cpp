// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/devices.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <linux/openat2.h>
#include <optional>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

namespace vz::supervisor {

namespace {

constexpr uint32_t ttyGroup = 5; // what distributions give "tty"

constexpr std::pair<const char*, const char*> links[] = {
    {"/proc/self/fd", "fd"},       {"/proc/self/fd/0", "stdin"}, {"/proc/self/fd/1", "stdout"},
    {"/proc/self/fd/2", "stderr"}, {"pts/ptmx", "ptmx"},
};

/** Opens the folder of @p path below the folder @p dev, or makes it for @p owner; no link is followed. */
Result<UniqueFd> folderOf(int dev, std::string_view path, std::optional<Ids> owner) {
    UniqueFd dir(::fcntl(dev, F_DUPFD_CLOEXEC, 0));
    auto parts = split(path, '/');
    for (size_t i = 0; i + 1 < parts.size(); ++i) {
        std::string name(parts[i]);
        if (name.empty() || name == "." || name == "..")
            return fail(ErrorCode::InvalidArg, "'/dev/", path, "' is not a good path of a device");
        if (owner && ::mkdirat(dir.get(), name.c_str(), 0755) == 0)
            (void)::fchownat(dir.get(), name.c_str(), owner->uid, owner->gid, AT_SYMLINK_NOFOLLOW);
        UniqueFd next(::openat(dir.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
        if (!next)
            return failErrno(errno, "cannot open the folder of '/dev/", path, "' in the container");
        dir = std::move(next);
    }
    return dir;
}

/** The part behind "/dev/", or nothing if the path lies elsewhere. */
std::string_view belowDev(std::string_view path) {
    return path.starts_with("/dev/") ? path.substr(5) : std::string_view();
}

std::string lastPart(std::string_view path) {
    return std::string(path.substr(path.rfind('/') + 1));
}

} // namespace

namespace {

FsOptions ptsOptions(const ct::LaunchSpec& spec) {
    constexpr uint32_t most = 1 << 20; // of the kernel (NR_UNIX98_PTY_MAX), and its default
    FsOptions options{{"ptmxmode", "0666"}, {"mode", "0620"}};
    if (auto tty = hostIds(spec, {0, ttyGroup}))
        options.emplace_back("gid", cat(tty->gid));
    options.emplace_back("max", cat(spec.maxPtys ? std::min(spec.maxPtys, most) : most));
    return options;
}

} // namespace

Result<void> DeviceTree::create(const ct::LaunchSpec& spec, const RootTree& root) {
    Ids owner = hostRoot(spec);
    VZ_TRY(
        dev_,
        newMount(
            "tmpfs",
            {{"mode", "755"}, {"size", cat(spec.devSize)}, {"uid", cat(owner.uid)}, {"gid", cat(owner.gid)}},
            MOUNT_ATTR_NOSUID));
    VZ_TRY(auto target, makeInRoot(root.fd(), "/dev", true, owner));
    VZ_CHECK(placeMount(dev_.get(), target.get(), "/dev"));
    mount_attr share{};
    share.propagation = MS_SHARED;
    VZ_CHECK(changeMount(dev_.get(), share, false, "share /dev with the container"));
    for (const char* name : {"pts", "shm", "mqueue"}) {
        if (::mkdirat(dev_.get(), name, 0755) < 0 ||
            ::fchownat(dev_.get(), name, owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) < 0)
            return failErrno(errno, "cannot make the folder /dev/", name);
    }
    VZ_TRY(pts_, newMount("devpts", ptsOptions(spec), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
    UniqueFd ptsTarget(::openat(dev_.get(), "pts", O_PATH | O_CLOEXEC));
    VZ_CHECK(placeMount(pts_.get(), ptsTarget.get(), "/dev/pts"));
    for (auto [to, name] : links) {
        if (::symlinkat(to, dev_.get(), name) < 0)
            return failErrno(errno, "cannot make the link /dev/", name);
    }
    for (const auto& device : spec.devices)
        VZ_CHECK(addNode(spec, device, root));
    return {};
}

Result<void> DeviceTree::limitPtys(const ct::LaunchSpec& spec) {
    return pts_ ? changeOptions(pts_.get(), "devpts", ptsOptions(spec)) : Result<void>();
}

Result<GuestTerminal> DeviceTree::addConsole(const ct::LaunchSpec& spec, size_t index) {
    GuestTerminal terminal;
    terminal.master.reset(::openat(pts_.get(), "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    int unlock = 0;
    if (!terminal.master || ::ioctl(terminal.master.get(), TIOCSPTLCK, &unlock) < 0 ||
        ::ioctl(terminal.master.get(), TIOCGPTN, &terminal.number) < 0)
        return failErrno(errno, "cannot make a terminal for console ", index);
    terminal.slave.reset(::ioctl(terminal.master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    Ids owner = hostIds(spec, {0, ttyGroup}).valueOr(hostRoot(spec));
    if (!terminal.slave || ::fchown(terminal.slave.get(), owner.uid, owner.gid) < 0)
        return failErrno(errno, "cannot open the terminal of console ", index);

    std::string name = index == 0 ? "console" : cat("tty", index);
    UniqueFd file(::openat(dev_.get(), name.c_str(), O_CREAT | O_EXCL | O_RDONLY | O_CLOEXEC, 0600));
    if (!file)
        return failErrno(errno, "cannot make /dev/", name);
    VZ_TRY(auto bind, cloneMount(pts_.get(), cat(terminal.number), false));
    VZ_CHECK(placeMount(bind.get(), file.get(), cat("/dev/", name)));
    return terminal;
}

Result<void> DeviceTree::makeNode(int dir, const std::string& name, const ct::LaunchSpec& spec,
                                  const ct::DeviceNode& device) {
    VZ_TRY(auto owner, hostIds(spec, {device.uid, device.gid}));
    mode_t type = device.type == 'b' ? S_IFBLK : S_IFCHR;
    if (::mknodat(dir, name.c_str(), type | (device.mode & 07777), ::makedev(device.major, device.minor)) < 0)
        return failErrno(errno, "cannot make the device node '", device.path, "' in the container");
    // Rights are given before the owner: they must not depend on the umask, nor pass through a wider state.
    if (::fchmodat(dir, name.c_str(), device.mode & 07777, 0) < 0 ||
        ::fchownat(dir, name.c_str(), owner.uid, owner.gid, AT_SYMLINK_NOFOLLOW) < 0)
        return failErrno(errno, "cannot set the owner of '", device.path, "' in the container");
    return {};
}

Result<void> DeviceTree::addNode(const ct::LaunchSpec& spec, const ct::DeviceNode& device,
                                 const RootTree& root) {
    Ids owner = hostRoot(spec);
    if (auto below = belowDev(device.path); !below.empty()) {
        VZ_TRY(auto dir, folderOf(dev_.get(), below, owner));
        return makeNode(dir.get(), lastPart(below), spec, device);
    }
    // Elsewhere the file system may forbid nodes: one made in /dev is bound there, then its first name goes.
    std::string name = cat(".node-", device.major, "-", device.minor);
    VZ_TRY(auto target, makeInRoot(root.fd(), device.path, false, owner));
    VZ_CHECK(makeNode(dev_.get(), name, spec, device));
    auto bind = cloneMount(dev_.get(), name, false);
    auto placed =
        bind ? placeMount(bind->get(), target.get(), device.path) : Result<void>(std::move(bind).takeError());
    (void)::unlinkat(dev_.get(), name.c_str(), 0);
    return placed;
}

Result<void> DeviceTree::removeNode(const ct::DeviceNode& device, const RootTree& root) {
    auto below = belowDev(device.path);
    if (below.empty())
        return unmountInRoot(root.fd(), device.path, 0);
    auto dir = folderOf(dev_.get(), below, std::nullopt);
    if (!dir)
        return {}; // the guest removed its folder, and the node with it
    std::string name = lastPart(below);
    struct stat now {};
    if (::fstatat(dir->get(), name.c_str(), &now, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? Result<void>()
                               : failErrno(errno, "cannot look at '", device.path, "' in the container");
    if (!(S_ISCHR(now.st_mode) || S_ISBLK(now.st_mode)) ||
        now.st_rdev != ::makedev(device.major, device.minor))
        return {}; // the guest replaced it by something of its own
    if (::unlinkat(dir->get(), name.c_str(), 0) < 0)
        return failErrno(errno, "cannot remove '", device.path, "' in the container");
    return {};
}

void DeviceTree::remove(const RootTree& root) {
    pts_.reset();
    dev_.reset();
    (void)unmountInRoot(root.fd(), "/dev", MNT_DETACH);
}

} // namespace vz::supervisor
