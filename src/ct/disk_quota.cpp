// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/disk_quota.hpp"

#include "base/file.hpp"

#include <cerrno>
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <memory>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace vz::ct {

namespace {

constexpr uint64_t quotaBlock = 1024; ///< QIF_DQBLKSIZE

int projectCall(int fd, unsigned command, uint32_t id, void* data) {
    return static_cast<int>(::syscall(SYS_quotactl_fd, fd, QCMD(command, PRJQUOTA), id, data));
}

Result<UniqueFd> openFolder(const std::string& folder) {
    return file::open(folder, O_RDONLY | O_DIRECTORY);
}

/** Puts one inode into the project; only folders hand that on. */
bool assign(int fd, uint32_t id, bool folder) {
    fsxattr attributes{};
    if (::ioctl(fd, FS_IOC_FSGETXATTR, &attributes) < 0)
        return false;
    unsigned wanted = folder ? attributes.fsx_xflags | FS_XFLAG_PROJINHERIT : attributes.fsx_xflags;
    if (attributes.fsx_projid == id && attributes.fsx_xflags == wanted)
        return true;
    attributes.fsx_projid = id;
    attributes.fsx_xflags = wanted;
    return ::ioctl(fd, FS_IOC_FSSETXATTR, &attributes) == 0;
}

struct CloseDir {
    void operator()(DIR* dir) const { ::closedir(dir); }
};

/** All in a folder, then the folder itself: so that one that is marked has only what is. */
Result<void> markTree(UniqueFd folder, uint32_t id, dev_t device, const std::string& name) {
    UniqueFd own(::fcntl(folder.get(), F_DUPFD_CLOEXEC, 0));
    std::unique_ptr<DIR, CloseDir> entries(::fdopendir(folder.get()));
    if (!own || !entries)
        return failErrno(errno, "cannot read the folder ", name);
    (void)folder.release();
    while (auto* entry = ::readdir(entries.get())) {
        std::string_view each = entry->d_name;
        struct stat info {};
        if (each == "." || each == ".." ||
            ::fstatat(own.get(), entry->d_name, &info, AT_SYMLINK_NOFOLLOW) < 0)
            continue; // it went away
        if (info.st_dev != device || !(S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)))
            continue; // others cannot be opened without effects, and hold one inode at most
        UniqueFd child(
            ::openat(own.get(), entry->d_name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOATIME));
        if (!child)
            continue;
        if (S_ISDIR(info.st_mode))
            VZ_CHECK(markTree(std::move(child), id, device, cat(name, "/", each)));
        else if (!assign(child.get(), id, false))
            return failErrno(errno, "cannot count ", name, "/", each, " for the quota");
    }
    if (!assign(own.get(), id, true))
        return failErrno(errno, "cannot count ", name, " for the quota");
    return {};
}

} // namespace

Result<void> checkProjectQuota(const std::string& folder) {
    VZ_TRY(auto fd, openFolder(folder));
    if_dqinfo info{};
    fsxattr attributes{};
    if (projectCall(fd.get(), Q_GETINFO, 0, &info) == 0 &&
        ::ioctl(fd.get(), FS_IOC_FSGETXATTR, &attributes) == 0)
        return {};
    return fail(
        ErrorCode::ConfigUnsupported, "the file system of ", folder,
        " keeps no project quota, which <vz:quota> needs: use ext4 with 'tune2fs -O project -Q prjquota' "
        "(while it is not mounted) or XFS, mounted with the option prjquota; or put the root on a "
        "disk image, whose size is the limit");
}

uint32_t projectOf(const std::string& folder) {
    auto fd = openFolder(folder);
    fsxattr attributes{};
    return fd && ::ioctl(fd->get(), FS_IOC_FSGETXATTR, &attributes) == 0 ? attributes.fsx_projid : 0;
}

Result<void> markProject(const std::string& folder, uint32_t id) {
    if (projectOf(folder) == id)
        return {};
    VZ_TRY(auto fd, openFolder(folder));
    struct stat info {};
    if (::fstat(fd.get(), &info) < 0)
        return failErrno(errno, "cannot look at ", folder);
    return markTree(std::move(fd), id, info.st_dev, folder);
}

Result<void> setProjectQuota(const std::string& folder, uint32_t id, const QuotaLimits& limits) {
    VZ_TRY(auto fd, openFolder(folder));
    auto blocks = [](uint64_t bytes) { return bytes / quotaBlock + (bytes % quotaBlock != 0); };
    if_dqblk block{};
    block.dqb_bhardlimit = blocks(limits.hardBytes);
    block.dqb_bsoftlimit = blocks(limits.softBytes);
    block.dqb_ihardlimit = limits.hardInodes;
    block.dqb_isoftlimit = limits.softInodes;
    block.dqb_valid = QIF_LIMITS;
    if (projectCall(fd.get(), Q_SETQUOTA, id, &block) < 0)
        return failErrno(errno, "cannot set the quota of ", folder);
    return {};
}

Result<QuotaUse> projectQuota(const std::string& folder, uint32_t id) {
    VZ_TRY(auto fd, openFolder(folder));
    if_dqblk now{};
    if (projectCall(fd.get(), Q_GETQUOTA, id, &now) < 0)
        return failErrno(errno, "cannot read the quota of ", folder);
    QuotaUse use;
    use.bytes = now.dqb_curspace;
    use.inodes = now.dqb_curinodes;
    use.limits = {.softBytes = now.dqb_bsoftlimit * quotaBlock,
                  .hardBytes = now.dqb_bhardlimit * quotaBlock,
                  .softInodes = now.dqb_isoftlimit,
                  .hardInodes = now.dqb_ihardlimit};
    return use;
}

} // namespace vz::ct
