// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/ploop.hpp"

#include "base/file.hpp"
#include "storage/export/mounts.hpp"
#include "storage/export/resize.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

namespace vz::cli {

using namespace ploop;
using exports::Attachment;

namespace {

Result<exports::AttachOptions> attachOptions(const Arguments& arguments) {
    exports::AttachOptions options;
    options.descriptor = descriptorPath(hostFiles(), arguments.rest()[0]);
    options.readOnly = arguments.has('r');
    options.device = arguments.value('d');
    if (arguments.has('u')) {
        VZ_TRY(options.guid, parseGuid(arguments.value('u')));
    }
    auto mechanism = exports::mechanismNamed(arguments.value('x', "best"));
    if (!mechanism)
        return fail(ErrorCode::InvalidArg, "images are not exported by '", arguments.value('x'),
                    "': loop, fuse and nbd-device are known");
    if (*mechanism == exports::Mechanism::Nbd)
        return fail(ErrorCode::InvalidArg,
                    "'nbd' is for virtual machines, which get no device of the host; 'nbd-device' makes one");
    options.mechanism = *mechanism;
    return options;
}

Result<Attachment> attachNew(const exports::AttachOptions& options) {
    bool writing = !options.readOnly && options.guid.value_or(topGuid) == topGuid;
    if (writing) {
        VZ_TRY(auto descriptor, exports::realPath(options.descriptor));
        VZ_TRY(auto all, exports::list());
        for (const auto& one : all) {
            // A plain loop device goes on without its vz-ploopd.
            bool works = one.mechanism == exports::Mechanism::Loop || exports::alive(one);
            if (one.descriptor == descriptor && !one.readOnly && works)
                return fail(ErrorCode::OperationInvalid, options.descriptor, " is in use as ", one.device,
                            " already");
        }
    }
    return exports::attach(options);
}

/** What has to be undone if it fails is the caller's. */
Outcome mountAttached(const Attachment& attachment, const Arguments& arguments) {
    if (arguments.has('F') && !attachment.readOnly) {
        VZ_TRY(auto type, exports::fileSystemOn(attachment.partition));
        auto checked =
            type == "ext4" ? exports::checkFileSystem(attachment.partition, false) : Result<void>();
        if (!checked)
            return failWith(exitFsck, checked.error());
    }
    exports::MountOptions options{arguments.value('m'), arguments.value('t'), arguments.value('o')};
    std::printf("Mounting %s at %s fstype='%s' data='%s' %s\n", attachment.partition.c_str(),
                options.folder.c_str(), options.type.c_str(), options.options.c_str(),
                attachment.readOnly ? "ro" : "");
    if (auto mounted = exports::mountImage(attachment, options); !mounted)
        return failWith(exitMount, mounted.error());
    // From now on the mount is what keeps the device: also a plain umount ends it all.
    VZ_CHECK(exports::leaveToUsers(attachment));
    return exitOk;
}

} // namespace

Outcome mountCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "rFm:t:o:u:d:x:", {{"export", 'x'}}));
    VZ_CHECK(arguments.expect(1, 1));
    VZ_TRY(auto options, attachOptions(arguments));
    if (arguments.has('m') && !hostFiles().isFolder(arguments.value('m')))
        return failErrno(ENOTDIR, "cannot mount at ", arguments.value('m'));
    VZ_TRY(auto attachment, attachNew(options));
    for (const auto& file : attachment.files)
        std::printf("Adding delta dev=%s img=%s (%s)\n", attachment.device.c_str(), file.c_str(),
                    attachment.readOnly || file != attachment.files.back() ? "ro" : "rw");
    if (!arguments.has('m'))
        return exitOk;
    auto done = mountAttached(attachment, arguments);
    if (!done || *done != exitOk)
        (void)exports::detach(attachment);
    return done;
}

namespace {

/** The attachments that the arguments of umount mean. */
Result<std::vector<Attachment>> chosen(const Arguments& arguments) {
    std::vector<Attachment> found;
    if (arguments.has('m')) {
        VZ_TRY(auto one, exports::mountedAt(arguments.value('m')));
        if (one)
            found.push_back(*std::move(one));
        return found;
    }
    VZ_TRY(auto all, exports::list());
    std::string descriptor;
    if (!arguments.has('d')) {
        VZ_TRY(descriptor, exports::realPath(descriptorPath(hostFiles(), arguments.rest()[0])));
    }
    for (auto& one : all) {
        const auto& device = arguments.value('d');
        if (arguments.has('d') ? one.device == device || one.partition == device
                               : one.descriptor == descriptor)
            found.push_back(std::move(one));
    }
    return found;
}

Outcome umountOne(const Attachment& attachment) {
    // What comes to light when the image is closed is to be told here.
    if (auto device = exports::BlockDevice::find(attachment.device, attachment.sequence))
        (void)device->setAutoclear(false); // cannot be if vz-ploopd is dead, and then need not
    VZ_TRY(auto points, exports::mountPoints(attachment));
    if (!points.empty())
        std::printf("Unmounting file system at %s\n", points.front().c_str());
    if (auto done = exports::unmountImage(attachment); !done) {
        (void)exports::leaveToUsers(attachment);
        return failWith(done.error().code() == ErrorCode::ResourceBusy ? exitUmountBusy : exitUmount,
                        done.error());
    }
    std::printf("Unmounting device %s\n", attachment.device.c_str());
    auto done = exports::detach(attachment);
    if (done)
        return exitOk;
    if (done.error().code() != ErrorCode::ResourceBusy)
        return std::move(done).takeError();
    // Mounted where it cannot be seen from here: the last user takes it away.
    if (!points.empty())
        (void)exports::leaveToUsers(attachment);
    return failWith(exitUmountBusy, done.error());
}

} // namespace

Outcome umountCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "m:d:"));
    VZ_CHECK(arguments.expect(arguments.has('m') || arguments.has('d') ? 0 : 1, 1));
    VZ_TRY(auto attachments, chosen(arguments));
    if (attachments.empty())
        return failWith(exitNoMount, fail(ErrorCode::OperationInvalid, "the image is not mounted"));
    for (const auto& one : attachments) {
        VZ_TRY(int status, umountOne(one));
        if (status != exitOk)
            return status;
    }
    return exitOk;
}

Outcome listCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "af"));
    VZ_CHECK(arguments.expect(0, 0));
    VZ_TRY(auto all, exports::list());
    for (const auto& one : all) {
        std::printf("%s\t%s\n", one.device.c_str(), one.files.empty() ? "" : one.files.front().c_str());
        for (size_t i = 1; arguments.has('f') && i < one.files.size(); ++i)
            std::printf("\t\t%s\n", one.files[i].c_str());
    }
    return exitOk;
}

namespace {

constexpr const char* balloonName = "/.balloon-c3a5ae3d-ce7f-43c4-a1ea-c61e2b4504e8";

/** The space that the balloon takes away from the file system. */
Outcome balloonShow(const std::string& folder) {
    struct stat info;
    bool there = ::stat((folder + balloonName).c_str(), &info) == 0;
    std::printf("Current size of hidden balloon is %llu bytes\n",
                there ? static_cast<unsigned long long>(info.st_size) : 0ull);
    return exitOk;
}

/** Gives back what the file system does not use. */
Result<void> trim(const std::string& folder) {
    VZ_TRY(auto fd, file::open(folder, O_RDONLY | O_DIRECTORY));
    fstrim_range range{0, UINT64_MAX, 0};
    if (::ioctl(fd.get(), FITRIM, &range) < 0)
        return failErrno(errno, "cannot discard what is unused at ", folder);
    std::printf("%llu bytes discarded\n", static_cast<unsigned long long>(range.len));
    return {};
}

Outcome discardIn(const Attachment& attachment, const std::string& folder, bool defragment) {
    VZ_CHECK(trim(folder));
    if (defragment)
        VZ_CHECK(exports::call(attachment, {"compact", "moves"}, terminalProgress("defragment")));
    return exitOk;
}

/** Mounts the image, for the time of the work. */
Outcome discardDetached(const std::string& descriptor, bool defragment) {
    exports::AttachOptions options;
    options.descriptor = descriptor;
    options.mechanism = exports::Mechanism::Fuse;
    UniqueFd tie;
    VZ_TRY(auto attachment, exports::attach(options, &tie));
    auto mount = exports::TemporaryMount::make(attachment);
    auto done = mount ? discardIn(attachment, (*mount)->folder(), defragment) : std::move(mount).takeError();
    if (mount)
        mount->reset();
    auto detached = exports::detach(attachment);
    if (done && !detached)
        return std::move(detached).takeError();
    return done;
}

} // namespace

Outcome balloonCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "fs:aD", {{"automount", 'a'}, {"defrag", 'D'}}));
    VZ_CHECK(arguments.expect(2, 2));
    const std::string& what = arguments.rest()[0];
    if (what != "show" && what != "discard")
        return fail(ErrorCode::OperationUnsupported, "'balloon ", what,
                    "' needs the file systems of the OpenVZ kernel; show and discard are there");
    auto descriptor = descriptorPath(hostFiles(), arguments.rest()[1]);
    VZ_TRY(auto running, exports::find(descriptor));
    std::vector<std::string> points;
    if (running) {
        VZ_TRY(points, exports::mountPoints(*running));
    }
    if (!points.empty())
        return what == "show" ? balloonShow(points.front())
                              : discardIn(*running, points.front(), arguments.has('D'));
    if (what == "discard" && arguments.has('a') && !running)
        return discardDetached(descriptor, arguments.has('D'));
    return failWith(exitNoMount, fail(ErrorCode::OperationInvalid, "the image is not mounted"));
}

} // namespace vz::cli
