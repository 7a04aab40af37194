// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/root_tree.hpp"

#include "base/file.hpp"
#include "ct/protocol.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/vfs.h>

namespace vz::supervisor {

namespace {

Result<UniqueFd> blockMount(const ct::LaunchSpec& spec, const ct::Mount& mount) {
    FsOptions options{{"source", mount.source}};
    if (mount.readOnly)
        options.emplace_back("ro", "");
    unsigned attributes = mount.readOnly ? MOUNT_ATTR_RDONLY : 0;
    if (!spec.uids.empty())
        attributes |= MOUNT_ATTR_NODEV; // as in bindMount()
    if (!mount.fsType.empty()) {
        auto made = newMount(mount.fsType, options, attributes);
        if (!made)
            return std::move(made).takeError().within(cat("cannot mount '", mount.source, "'"));
        return made;
    }
    Error last = fail(ErrorCode::OperationFailed, "no known file system on it");
    for (const char* type : {"ext4", "xfs", "btrfs", "squashfs"}) {
        auto made = newMount(type, options, attributes);
        if (made)
            return made;
        // The device itself cannot be opened: no other type will change that.
        int error = made.error().systemError();
        if (error == ENOENT || error == ENOTBLK || error == EACCES || error == EBUSY || error == ENXIO)
            last = std::move(made).takeError();
    }
    return std::move(last).within(cat("cannot mount '", mount.source, "'"));
}

/** " (vfat)": of a mount that is in no table of mounts, by the numbers that are not in all headers. */
std::string typeOf(int tree) {
    struct statfs info {};
    if (::fstatfs(tree, &info) < 0)
        return {};
    constexpr std::pair<uint32_t, const char*> known[] = {
        {0x73717368, "squashfs"}, {0x4d44, "vfat"},        {0x9660, "iso9660"},   {0x2011BAB0, "exfat"},
        {0xF2F52010, "f2fs"},     {0x794c7630, "overlay"}, {0x01021994, "tmpfs"}, {0x6969, "nfs"},
        {0x65735546, "fuse"},     {0x01021997, "9p"},      {0xEF53, "ext4"}};
    for (auto [number, name] : known)
        if (static_cast<uint32_t>(info.f_type) == number)
            return cat(" (", name, ")");
    return {};
}

Result<UniqueFd> tmpfsMount(const ct::LaunchSpec& spec, const ct::Mount& mount) {
    Ids owner = hostRoot(spec);
    FsOptions options{{"mode", "755"}, {"uid", cat(owner.uid)}, {"gid", cat(owner.gid)}};
    if (mount.size)
        options.emplace_back("size", cat(mount.size));
    return newMount("tmpfs", options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
}

Result<UniqueFd> bindMount(const ct::LaunchSpec& spec, const ct::Mount& mount) {
    auto tree = cloneMount(AT_FDCWD, mount.source, true);
    if (!tree)
        return failErrno(tree.error().systemError(), "cannot mount '", mount.source, "' on '", mount.target,
                         "' of the container");
    // Without this the mounts made inside would appear in the host's folder too.
    mount_attr change{};
    change.propagation = MS_PRIVATE;
    VZ_TRY(auto what, identify(tree->get(), ""));
    if (!spec.uids.empty() && S_ISDIR(what.mode))
        change.attr_set = MOUNT_ATTR_NODEV; // device nodes come from the description, not from a file system
    VZ_CHECK(changeMount(tree->get(), change, true, cat("separate '", mount.source, "' from the host")));
    return tree;
}

} // namespace

Result<UniqueFd> RootTree::build(const ct::LaunchSpec& spec, const ct::Mount& mount) const {
    auto tree = mount.kind == ct::Mount::Kind::Bind    ? bindMount(spec, mount)
                : mount.kind == ct::Mount::Kind::Tmpfs ? tmpfsMount(spec, mount)
                                                       : blockMount(spec, mount);
    if (!tree)
        return tree;
    if (mount.idMapped && userNs_ >= 0)
        VZ_CHECK(mapOwners(spec, mount, tree->get()));
    if (mount.readOnly) {
        mount_attr change{};
        change.attr_set = MOUNT_ATTR_RDONLY;
        VZ_CHECK(changeMount(tree->get(), change, true, cat("make '", mount.source, "' read-only")));
    }
    return tree;
}

Result<void> RootTree::mapOwners(const ct::LaunchSpec& spec, const ct::Mount& mount, int tree) const {
    // What is on a device is known only now: it may have been made for this range.
    if (mount.kind == ct::Mount::Kind::Block) {
        VZ_TRY(auto what, identify(tree, ""));
        for (const auto& range : spec.uids)
            if (what.uid >= range.host && what.uid - range.host < range.count)
                return {};
    }
    mount_attr change{};
    change.attr_set = MOUNT_ATTR_IDMAP;
    change.userns_fd = static_cast<uint64_t>(userNs_);
    auto mapped = changeMount(tree, change, true, cat("map the owners of '", mount.source, "'"));
    if (mapped)
        return {};
    return fail(ErrorCode::ConfigUnsupported, mapped.error().message(), "; its file system", typeOf(tree),
                " (or one mounted below it) cannot be id-mapped: use another one, or files that "
                "belong to the container's id range");
}

Result<void> RootTree::create(const ct::LaunchSpec& spec, int userNs, const std::string& place) {
    userNs_ = userNs;
    place_ = place;
    VZ_TRY(auto tree, build(spec, spec.root));
    VZ_TRY(auto what, identify(tree.get(), ""));
    if (!S_ISDIR(what.mode))
        return fail(ErrorCode::ConfigUnsupported, "the root '", spec.root.source, "' is not a folder");
    // The top stays writable until seal(), so that mount points can be made in it.
    mount_attr change{};
    if (spec.root.readOnly && spec.root.kind != ct::Mount::Kind::Block)
        change.attr_clr = MOUNT_ATTR_RDONLY;
    VZ_CHECK(changeMount(tree.get(), change, false, "open the root"));
    VZ_CHECK(placeMount(tree.get(), place));
    mount_attr share{};
    share.propagation = MS_SHARED;
    VZ_CHECK(changeMount(tree.get(), share, true, "share the root mount"));
    root_ = std::move(tree);
    return {};
}

Result<void> RootTree::makeMountPoints(const ct::LaunchSpec& spec) {
    for (const char* name : {"/dev", "/proc", "/sys"}) {
        VZ_TRY([[maybe_unused]] auto made, makeInRoot(fd(), name, true, hostRoot(spec)));
    }
    if (spec.privateNetwork)
        return {};
    // A new sysfs would need a network namespace of the container; it gets the host's, read-only.
    VZ_TRY(auto sys, cloneMount(AT_FDCWD, "/sys", false));
    mount_attr change{};
    change.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
    change.propagation = MS_PRIVATE;
    VZ_CHECK(changeMount(sys.get(), change, false, "make /sys read-only"));
    VZ_TRY(auto target, openInRoot(fd(), "/sys", O_PATH));
    return placeMount(sys.get(), target.get(), "/sys");
}

Result<RootTree::Placed> RootTree::placeTree(const ct::LaunchSpec& spec, const ct::Mount& mount, int tree) {
    VZ_TRY(auto what, identify(tree, ""));
    auto target = makeInRoot(fd(), mount.target, S_ISDIR(what.mode), hostRoot(spec));
    if (!target)
        return std::move(target).takeError().within(cat("cannot mount on '", mount.target, "'"));
    VZ_TRY(auto path, file::readLink(cat("/proc/self/fd/", target->get())));
    if (!path.starts_with(place_ + "/"))
        return fail(ErrorCode::InvalidArg, "'", mount.target, "' is not a place to mount something on");
    VZ_CHECK(placeMount(tree, target->get(), mount.target));
    mount_attr share{};
    share.propagation = MS_SHARED;
    VZ_CHECK(changeMount(tree, share, true, "share a mount with the container"));
    VZ_TRY(auto now, identify(tree, ""));
    Placed placed{mount.target, path.substr(place_.size()), now.mountId, now.device, now.inode, false, {}};
    if (mount.kind == ct::Mount::Kind::Block) {
        VZ_TRY(placed.holder, file::open(mount.source, O_RDONLY));
    }
    return placed;
}

Result<void> RootTree::mountAll(const ct::LaunchSpec& spec) {
    for (const auto& mount : spec.mounts) {
        VZ_TRY(auto tree, build(spec, mount));
        VZ_TRY(auto placed, placeTree(spec, mount, tree.get()));
        placed_.push_back(std::move(placed));
    }
    held_.clear();
    mounted_ = true;
    return {};
}

Result<void> RootTree::seal(const ct::LaunchSpec& spec) {
    if (!spec.root.readOnly)
        return {};
    mount_attr change{};
    change.attr_set = MOUNT_ATTR_RDONLY;
    return changeMount(fd(), change, false, "make the root read-only");
}

bool RootTree::incomplete() const {
    return std::any_of(placed_.begin(), placed_.end(), [](auto& placed) { return placed.inContainer; });
}

Result<void> unmountInRoot(int root, const std::string& path, int flags) {
    size_t slash = path.rfind('/');
    VZ_TRY(auto dir, openInRoot(root, slash == 0 ? "/" : path.substr(0, slash), O_PATH | O_DIRECTORY));
    if (::fchdir(dir.get()) < 0)
        return failErrno(errno, "cannot enter the folder of '", path, "'");
    int failed = ::umount2(path.c_str() + slash + 1, flags | UMOUNT_NOFOLLOW) < 0 ? errno : 0;
    (void)::chdir("/");
    if (failed == EBUSY)
        return fail(ErrorCode::ResourceBusy, "'", path,
                    "' is in use inside the container; stop what uses it and try again");
    if (failed)
        return failErrno(failed, "cannot unmount '", path, "'");
    return {};
}

Result<void> RootTree::unmount(const Placed& placed) {
    size_t slash = placed.path.rfind('/');
    VZ_TRY(auto dir, openInRoot(fd(), slash == 0 ? "/" : placed.path.substr(0, slash), O_PATH | O_DIRECTORY));
    auto now = identify(dir.get(), placed.path.substr(slash + 1));
    if (!now || now->mountId != placed.mountId)
        return fail(ErrorCode::OperationFailed, "'", placed.path,
                    "' is no longer where it was mounted (renamed inside?)");
    return unmountInRoot(fd(), placed.path, 0);
}

Result<UniqueFd> RootTree::open(const std::string& target) const {
    if (target == "/")
        return file::open(cat("/proc/self/fd/", fd()), O_RDONLY | O_DIRECTORY);
    auto found = std::find_if(placed_.rbegin(), placed_.rend(),
                              [&](const Placed& placed) { return placed.target == target; });
    if (found == placed_.rend() || found->inContainer)
        return fail(ErrorCode::DeviceMissing, "nothing is mounted on '", target, "' of the container");
    VZ_TRY(auto opened, openInRoot(fd(), found->path, O_RDONLY | O_NONBLOCK));
    VZ_TRY(auto now, identify(opened.get(), ""));
    if (now.mountId != found->mountId)
        return fail(ErrorCode::OperationFailed, "'", target, "' is covered by another mount");
    return opened;
}

void RootTree::unmountAll() {
    // A device that goes with its last user is to be there for the next boot.
    while (!placed_.empty()) {
        if (!placed_.back().inContainer)
            (void)unmountInRoot(fd(), placed_.back().path, MNT_DETACH);
        held_.push_back(std::move(placed_.back().holder));
        placed_.pop_back();
    }
    mounted_ = false;
}

namespace {

/** Whether @p target, as the container sees it, is the mount of that file. */
bool visible(pid_t init, const std::string& target, uint64_t device, uint64_t inode) {
    auto root = file::open(cat("/proc/", init, "/root"), O_PATH);
    if (!root)
        return false;
    auto there = openInRoot(root->get(), target, O_PATH);
    if (!there)
        return false;
    auto now = identify(there->get(), "");
    return now && now->device == device && now->inode == inode;
}

/** Runs @p work in a child inside the container's mount namespace and brings its error back. */
template<typename Work>
Result<void> inMountNamespace(int initPidFd, Work work) {
    VZ_TRY(auto channel, ct::makeChannel());
    pid_t child = ::fork();
    if (child < 0)
        return failErrno(errno, "cannot start a process for a mount in the container");
    if (child == 0) {
        auto enter = [&]() -> Result<void> {
            if (::setns(initPidFd, CLONE_NEWNS) < 0)
                return failErrno(errno, "cannot enter the container's mount namespace");
            VZ_TRY(auto root, file::open("/", O_PATH | O_DIRECTORY));
            return work(root.get());
        };
        if (auto done = enter(); !done)
            (void)ct::sendMessage(channel.second.get(), {"error", 0, ct::errorRecord(done.error()), {}});
        ::_exit(0);
    }
    channel.second.reset();
    auto answer = ct::receiveMessage(channel.first.get());
    waitFor(child);
    if (answer && *answer)
        return ct::errorFrom((*answer)->body);
    return {};
}

} // namespace

Result<void> RootTree::attach(const ct::LaunchSpec& spec, const ct::Mount& mount, pid_t init, int initPidFd) {
    VZ_TRY(auto tree, build(spec, mount));
    VZ_TRY(auto placed, placeTree(spec, mount, tree.get()));
    if (init <= 0 || visible(init, mount.target, placed.device, placed.inode)) {
        placed_.push_back(std::move(placed));
        return {};
    }
    // The container covered the place with a mount of its own, or cut its tree off from ours.
    (void)unmountInRoot(fd(), placed.path, MNT_DETACH);
    VZ_TRY(auto second, build(spec, mount));
    VZ_TRY(auto what, identify(second.get(), ""));
    VZ_CHECK(inMountNamespace(initPidFd, [&](int root) -> Result<void> {
        VZ_TRY(auto target, makeInRoot(root, mount.target, S_ISDIR(what.mode), hostRoot(spec)));
        return placeMount(second.get(), target.get(), mount.target);
    }));
    placed.inContainer = true;
    placed.device = what.device; // a new tmpfs has a new one
    placed.inode = what.inode;
    placed_.push_back(std::move(placed));
    return {};
}

Result<void> RootTree::detach(const std::string& target, pid_t init, int initPidFd) {
    auto found = std::find_if(placed_.rbegin(), placed_.rend(),
                              [&](const Placed& placed) { return placed.target == target; });
    if (found == placed_.rend())
        return fail(ErrorCode::DeviceMissing, "nothing is mounted on '", target, "' of the container");
    if (!found->inContainer)
        VZ_CHECK(unmount(*found));
    if (init > 0 && visible(init, target, found->device, found->inode)) {
        found->inContainer = true;
        auto gone = inMountNamespace(initPidFd, [&](int root) { return unmountInRoot(root, target, 0); });
        // The kernel locks what was there before the container's own mount namespace was made.
        if (!gone && gone.error().systemError() == EINVAL)
            return fail(ErrorCode::OperationFailed, "'", target,
                        "' cannot be unmounted while the container runs, as it has made its mounts private; "
                        "remove it from the configuration and reboot the container");
        VZ_CHECK(gone);
    }
    placed_.erase(std::next(found).base());
    return {};
}

} // namespace vz::supervisor
