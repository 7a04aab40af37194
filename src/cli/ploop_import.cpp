// SPDX-License-Identifier: LGPL-2.1-or-later
// Fills an image with a root file system.
#include "cli/ploop.hpp"

#include "base/file.hpp"
#include "base/process.hpp"
#include "storage/export/mounts.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

namespace vz::cli {

using namespace ploop;

namespace {

/** What is mounted from here on ends with this process, however that ends. */
Result<void> separateMounts() {
    if (::unshare(CLONE_NEWNS) < 0 || ::mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) < 0)
        return failErrno(errno, "cannot separate the mounts of this process from the host's");
    return {};
}

/** The number of the source's descriptor in the program that copies. */
constexpr int sourceFd = 3;

/** Owners by number, times, hard links, devices, access lists and extended attributes as they are. */
std::vector<std::string> copyCommand(bool folder, const std::string& target) {
    auto source = cat("/proc/self/fd/", sourceFd);
    if (folder)
        return {"/usr/bin/cp", "--archive", "--one-file-system", "--sparse=auto", "--",
                source + "/.", target};
    return {"/usr/bin/tar",
            "--extract",
            "--file=" + source,
            "--directory=" + target,
            "--numeric-owner",
            "--same-permissions",
            "--same-owner",
            "--acls",
            "--xattrs",
            "--xattrs-include=*",
            "--delay-directory-restore"};
}

Result<void> fill(int source, bool isFolder, const std::string& target) {
    process::Command command;
    command.argv = copyCommand(isFolder, target);
    command.fds = {{sourceFd, source}};
    VZ_TRY(auto finished, process::run(command, {}, std::chrono::hours(24)));
    if (finished.status != 0)
        return fail(ErrorCode::OperationFailed, command.argv[0], " failed with status ", finished.status,
                    ": ", trim(finished.errors));
    VZ_TRY(auto fd, file::open(target, O_RDONLY | O_DIRECTORY));
    if (::syncfs(fd.get()) < 0)
        return failErrno(errno, "cannot write to the image");
    return {};
}

/** Over a folder that is surely there, as nobody else sees it: so none has to be made, which could be left.
 */
Result<void> fillMounted(int source, bool isFolder, const exports::Attachment& attachment) {
    VZ_TRY(auto place, exports::realPath(exports::runFolder()));
    VZ_CHECK(exports::mountImage(attachment, {place, "", "nosuid,nodev,noexec"}));
    auto filled = fill(source, isFolder, place);
    if (::umount2(place.c_str(), UMOUNT_NOFOLLOW) < 0 && filled)
        return failErrno(errno, "cannot unmount the image");
    return filled;
}

} // namespace

Outcome importCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, ""));
    VZ_CHECK(arguments.expect(2, 2));
    const std::string& given = arguments.rest()[0];
    VZ_TRY(auto source, file::open(given, O_PATH));
    exports::AttachOptions options;
    options.descriptor = descriptorPath(hostFiles(), arguments.rest()[1]);
    VZ_TRY(auto held, exports::attachHeld(options));
    // Not before: vz-ploopd would be among those who keep the mount.
    VZ_CHECK(separateMounts());
    auto filled = fillMounted(source.get(), hostFiles().isFolder(given), held.attachment);
    held.holder.reset();
    auto closed = exports::awaitEnd(held.attachment.id, std::chrono::minutes(10));
    VZ_CHECK(filled);
    VZ_CHECK(closed);
    return exitOk;
}

} // namespace vz::cli
