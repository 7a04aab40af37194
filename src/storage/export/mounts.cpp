// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/mounts.hpp"

#include "base/file.hpp"
#include "base/mount_table.hpp"
#include "base/process.hpp"
#include "storage/export/client.hpp"
#include "storage/ploop/buffer.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace vz::exports {

namespace {

/** "7:0", as mountinfo names a block device; empty if it is not there. */
std::string numberOf(const std::string& device) {
    struct stat info;
    if (::stat(device.c_str(), &info) < 0 || !S_ISBLK(info.st_mode))
        return {};
    return cat(major(info.st_rdev), ":", minor(info.st_rdev));
}

} // namespace

Result<std::vector<std::string>> mountPoints(const Attachment& attachment) {
    std::vector<std::string> found;
    if (!BlockDevice::find(attachment.device, attachment.sequence))
        return found;
    std::string whole = numberOf(attachment.device), part = numberOf(attachment.partition);
    VZ_TRY(auto mounts, mountTable());
    for (const auto& mount : mounts) {
        if (mount.device == whole || mount.device == part)
            found.push_back(mount.point);
    }
    std::reverse(found.begin(), found.end());
    return found;
}

Result<UniqueFd> mountedFolder(const Attachment& attachment, pid_t pid) {
    std::string whole = numberOf(attachment.device), part = numberOf(attachment.partition);
    VZ_TRY(auto mounts, mountTable(pid));
    VZ_TRY(auto root, file::open(cat("/proc/", pid, "/root"), O_PATH | O_DIRECTORY));
    bool mounted = false;
    for (const auto& mount : mounts) {
        if (mount.device != whole && mount.device != part)
            continue;
        mounted = true;
        // Links on the way lead to places of that process, not to ours.
        open_how how{};
        how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
        how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
        UniqueFd fd(
            static_cast<int>(::syscall(SYS_openat2, root.get(), mount.point.c_str(), &how, sizeof how)));
        struct stat info;
        if (!fd || ::fstat(fd.get(), &info) < 0)
            continue;
        // Something else may be mounted over it.
        auto number = cat(major(info.st_dev), ":", minor(info.st_dev));
        if (number == mount.device && (S_ISDIR(info.st_mode) || S_ISREG(info.st_mode)))
            return fd;
    }
    if (mounted)
        return fail(ErrorCode::OperationFailed, attachment.device,
                    " is mounted, but where, something else is mounted over it");
    return UniqueFd();
}

Result<std::optional<Attachment>> mountedAt(const std::string& given) {
    VZ_TRY(auto folder, realPath(given));
    VZ_TRY(auto attachments, readStates());
    for (auto& one : attachments) {
        VZ_TRY(auto points, mountPoints(one));
        if (std::find(points.begin(), points.end(), folder) != points.end())
            return std::optional(std::move(one));
    }
    return std::optional<Attachment>();
}

Result<std::string> fileSystemOn(const std::string& device) {
    VZ_TRY(auto fd, file::open(device, O_RDONLY));
    char super[2048]{};
    if (::pread(fd.get(), super, sizeof super, 0) < 0)
        return failErrno(errno, "cannot read ", device);
    if (std::memcmp(super, "XFSB", 4) == 0)
        return std::string("xfs");
    if (super[1024 + 56] == '\x53' && super[1024 + 57] == '\xEF')
        return std::string("ext4");
    return std::string();
}

Result<void> mountImage(const Attachment& attachment, const MountOptions& options) {
    std::string type = options.type;
    if (type.empty()) {
        VZ_TRY(type, fileSystemOn(attachment.partition));
    }
    process::Command command;
    command.argv = {"/usr/bin/mount"};
    if (!type.empty())
        command.argv.insert(command.argv.end(), {"-t", type});
    std::string words = attachment.readOnly ? "ro" : "";
    if (!options.options.empty())
        words += (words.empty() ? "" : ",") + options.options;
    if (!words.empty())
        command.argv.insert(command.argv.end(), {"-o", words});
    command.argv.insert(command.argv.end(), {"--", attachment.partition, options.folder});
    VZ_TRY(auto finished, process::run(command, {}, std::chrono::minutes(10)));
    if (finished.status == 0)
        return {};
    return fail(ErrorCode::OperationFailed,
                trim(finished.errors.empty() ? finished.output : finished.errors));
}

Result<void> unmountImage(const Attachment& attachment) {
    VZ_TRY(auto points, mountPoints(attachment));
    for (const auto& folder : points) {
        if (::umount2(folder.c_str(), UMOUNT_NOFOLLOW) == 0)
            continue;
        if (errno == EBUSY)
            return Error(ErrorCode::ResourceBusy, cat(folder, " is in use"), EBUSY);
        return failErrno(errno, "cannot unmount ", folder);
    }
    return {};
}

namespace {

/** What the kernel says about a file system that it does not mount (fsopen(2)): lines that begin with "e ".
 */
std::string mountError(int context) {
    char text[4096];
    ssize_t got = ::read(context, text, sizeof text);
    std::string_view said(text, got > 0 ? static_cast<size_t>(got) : 0);
    return said.starts_with("e ") ? cat(" (", trim(said.substr(2)), ")") : std::string();
}

} // namespace

Result<std::unique_ptr<TemporaryMount>> TemporaryMount::make(const Attachment& attachment) {
    VZ_TRY(auto type, fileSystemOn(attachment.partition));
    if (type.empty())
        return fail(ErrorCode::OperationUnsupported, attachment.partition,
                    " has no file system that is known");
    UniqueFd context(::fsopen(type.c_str(), FSOPEN_CLOEXEC));
    if (!context)
        return failErrno(errno, "cannot mount a file system of the type ", type);
    auto configure = [&](unsigned command, const char* key, const char* value) {
        return ::fsconfig(context.get(), command, key, value, 0) == 0;
    };
    if (!configure(FSCONFIG_SET_STRING, "source", attachment.partition.c_str()) ||
        (attachment.readOnly && !configure(FSCONFIG_SET_FLAG, "ro", nullptr)) ||
        !configure(FSCONFIG_CMD_CREATE, nullptr, nullptr)) {
        int error = errno;
        return failErrno(error, "cannot mount ", attachment.partition, mountError(context.get()));
    }
    unsigned attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC |
                          (attachment.readOnly ? MOUNT_ATTR_RDONLY : 0);
    UniqueFd mount(::fsmount(context.get(), FSMOUNT_CLOEXEC, attributes));
    if (!mount)
        return failErrno(errno, "cannot mount ", attachment.partition);
    return std::unique_ptr<TemporaryMount>(new TemporaryMount(std::move(mount)));
}

} // namespace vz::exports
