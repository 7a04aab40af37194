// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/supervisor/sys.hpp"

#include <string>
#include <vector>

namespace vz::supervisor {

/**
 * The container's tree of mounts as the supervisor holds it in its own mount namespace. Mounts made here are
 * shared: they reach the mount namespace of a running container, where its root can neither change nor (if
 * made before the start) remove them.
 */
class RootTree {
public:
    /** Makes the root mount at @p place (an existing host folder). @p userNs: for id-mapped mounts, or -1. */
    Result<void> create(const ct::LaunchSpec& spec, int userNs, const std::string& place);

    /** Makes folders for /dev, /proc and /sys. */
    Result<void> makeMountPoints(const ct::LaunchSpec& spec);
    /** Mounts all of spec.mounts in their order. */
    Result<void> mountAll(const ct::LaunchSpec& spec);
    /** Takes them all off again (before a reboot that needs fresh ones). */
    void unmountAll();
    /** Makes a root that is to be read-only so; done last, as mount points had to be made. */
    Result<void> seal(const ct::LaunchSpec& spec);

    /** Mounts into the running container behind @p initPidFd, also over its own mounts. */
    Result<void> attach(const ct::LaunchSpec& spec, const ct::Mount& mount, pid_t init, int initPidFd);
    Result<void> detach(const std::string& target, pid_t init, int initPidFd);

    /** The mount at @p target ("/": the root), opened for ioctl(2) on its file system. */
    Result<UniqueFd> open(const std::string& target) const;

    int fd() const { return root_.get(); }
    const std::string& place() const { return place_; }
    /** The description's mounts are in place. */
    bool mounted() const { return mounted_; }
    /** Some mount is only in the container's namespace: a reboot has to make all of them again. */
    bool incomplete() const;

private:
    struct Placed {
        std::string target; ///< as asked for
        std::string path;   ///< where that was in the root when it was mounted
        uint64_t mountId = 0;
        uint64_t device = 0, inode = 0; ///< of what is mounted
        bool inContainer = false;       ///< mounted from inside its mount namespace
        UniqueFd holder;                ///< of a block device that is to stay while nothing is mounted
    };

    Result<UniqueFd> build(const ct::LaunchSpec& spec, const ct::Mount& mount) const;
    Result<void> mapOwners(const ct::LaunchSpec& spec, const ct::Mount& mount, int tree) const;
    Result<Placed> placeTree(const ct::LaunchSpec& spec, const ct::Mount& mount, int tree);
    Result<void> unmount(const Placed& placed);

    UniqueFd root_;
    std::string place_;
    int userNs_ = -1;
    std::vector<Placed> placed_;
    std::vector<UniqueFd> held_; ///< devices between unmountAll() and mountAll()
    bool mounted_ = false;
};

/** Unmounts @p path of the root @p root without following links in its last part. */
Result<void> unmountInRoot(int root, const std::string& path, int flags);

} // namespace vz::supervisor
