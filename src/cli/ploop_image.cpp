// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/ploop.hpp"
#include "storage/export/mounts.hpp"
#include "storage/ploop/check.hpp"
#include "storage/ploop/convert.hpp"
#include "storage/ploop/filesystem.hpp"
#include "storage/ploop/foreign.hpp"

#include "base/rollback.hpp"

#include <cinttypes>
#include <cstdio>
#include <sys/statvfs.h>

namespace vz::cli {

using namespace ploop;

namespace {

bool namesDescriptor(const std::string& given) {
    return nameOf(given).ends_with(".xml") || hostFiles().isFolder(given);
}

Result<uint32_t> parseCluster(const std::string& text) {
    auto sectors = parseNumber<uint32_t>(text);
    if (!sectors)
        return fail(ErrorCode::InvalidArg, "'", text, "' is no cluster size in sectors");
    VZ_CHECK(checkClusterSize(*sectors));
    return *sectors;
}

Result<Volume::CreateOptions> createOptions(const Arguments& arguments) {
    Volume::CreateOptions options;
    if (arguments.has('b')) {
        VZ_TRY(options.clusterSectors, parseCluster(arguments.value('b')));
    }
    VZ_TRY(options.mode, parseMode(arguments.value('f', "expanded")));
    VZ_TRY(options.version, parseVersion(arguments.value('v', "2")));
    options.sparse = arguments.has('S');
    return options;
}

Result<void> format(const std::string& delta, const Arguments& arguments) {
    FormatOptions options;
    options.type = arguments.value('t', "ext4");
    options.label = arguments.value('L');
    options.lazy = !arguments.has('n');
    options.partition = !arguments.has('P');
    if (arguments.has('B')) {
        auto bytes = parseNumber<uint32_t>(arguments.value('B'));
        if (!bytes || *bytes < 1024 || *bytes > 65536)
            return fail(ErrorCode::InvalidArg, "'", arguments.value('B'),
                        "' is no block size of a file system");
        options.blockBytes = *bytes;
    }
    VZ_TRY(auto volume, openVolume(folderOf(delta) + "/DiskDescriptor.xml"));
    VZ_CHECK(formatDisk(volume->image(), folderOf(delta), options));
    return volume->close();
}

} // namespace

Outcome initCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "s:f:v:t:b:B:L:nSP", {{"nolazy", 'n'}, {"sparse", 'S'}}));
    VZ_CHECK(arguments.expect(1, 1));
    if (!arguments.has('s'))
        return fail(ErrorCode::InvalidArg, "the size is missing (-s SIZE)");
    VZ_TRY(auto options, createOptions(arguments));
    VZ_TRY(options.sectors, parseSize(arguments.value('s')));
    const std::string& delta = arguments.rest()[0];
    VZ_CHECK(Volume::create(hostFiles(), delta, options));
    if (arguments.value('t') == "none")
        return exitOk;
    auto formatted = format(delta, arguments);
    if (!formatted) {
        (void)hostFiles().remove(folderOf(delta) + "/DiskDescriptor.xml");
        (void)hostFiles().remove(delta);
        return std::move(formatted).takeError();
    }
    return exitOk;
}

Outcome resizeCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "s:"));
    VZ_CHECK(arguments.expect(1, 1));
    if (!arguments.has('s'))
        return fail(ErrorCode::InvalidArg, "the size is missing (-s SIZE)");
    VZ_TRY(uint64_t sectors, parseSize(arguments.value('s')));
    return resizeTo(arguments.rest()[0], sectors);
}

/** Only the disk: the partition table on it stays as it is. */
Outcome growCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "s:f:S", {{"sparse", 'S'}}));
    VZ_CHECK(arguments.expect(1, 1));
    VZ_TRY(uint64_t sectors, parseSize(arguments.value('s')));
    const std::string& given = arguments.rest()[0];
    auto larger = [&](Image& image) -> Result<bool> {
        if (sectors * sectorSize < image.bytes())
            return fail(ErrorCode::InvalidArg, given, " has ", image.bytes() / sectorSize,
                        " sectors already");
        return sectors * sectorSize > image.bytes();
    };
    if (namesDescriptor(given)) {
        VZ_TRY(auto running, runningOf(given));
        if (running) {
            VZ_CHECK(exports::call(*running, {"resize", cat(sectors * sectorSize)}));
            return exitOk;
        }
        VZ_TRY(auto volume, openVolume(given));
        VZ_TRY(bool needed, larger(volume->image()));
        if (needed)
            VZ_CHECK(volume->resize(sectors * sectorSize));
        VZ_CHECK(volume->close());
        return exitOk;
    }
    Image::Options options;
    options.access = Access::ReadWrite;
    options.wait = lockWait;
    VZ_TRY(auto image, Image::open(hostFiles(), {{given, arguments.value('f') == "raw"}}, options));
    VZ_TRY(bool needed, larger(*image));
    if (needed)
        VZ_CHECK(image->resize(sectors * sectorSize));
    VZ_CHECK(image->close());
    return exitOk;
}

namespace {

/** The present state of an image; if it is a device, without a lock, as on the disk. */
Result<std::unique_ptr<Image>> openForLook(const std::string& descriptor, bool running) {
    if (!running)
        return Volume::openSnapshot(hostFiles(), descriptor, topGuid);
    VZ_TRY(auto model, Volume::read(hostFiles(), descriptor));
    VZ_TRY(auto chain, chainOf(descriptor, model, topGuid));
    Image::Options options;
    options.lock = false;
    options.plainDisk.clusterSectors = model.clusterSectors;
    return Image::open(hostFiles(), chain, options);
}

void printSpec(Image& image) {
    const auto& header = image.top().header();
    std::printf("size:\t\t%" PRIu64 "\nblocksize:\t%u\nfmt_version:\t%d\n", header.sectors,
                header.clusterSectors, image.top().plain() ? 0 : static_cast<int>(header.version));
}

Result<Usage> usageOf(const std::string& descriptor, const std::optional<exports::Attachment>& running) {
    std::vector<std::string> points;
    if (running) {
        VZ_TRY(points, exports::mountPoints(*running));
    }
    struct statvfs info;
    if (!points.empty() && ::statvfs(points.front().c_str(), &info) == 0)
        return Usage{info.f_blocks * info.f_frsize / 1024,
                     (info.f_blocks - info.f_bfree) * info.f_frsize / 1024, info.f_files,
                     info.f_files - info.f_ffree};
    VZ_TRY(auto image, openForLook(descriptor, running.has_value()));
    return readUsage(*image);
}

} // namespace

Outcome infoCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "sd", {{"spec", 's'}}));
    VZ_CHECK(arguments.expect(1, 1));
    auto descriptor = descriptorPath(hostFiles(), arguments.rest()[0]);
    VZ_TRY(auto running, exports::find(descriptor));
    if (arguments.has('s')) {
        VZ_TRY(auto image, openForLook(descriptor, running.has_value()));
        printSpec(*image);
    }
    if (arguments.has('d')) {
        VZ_TRY(auto model, Volume::read(hostFiles(), descriptor));
        // An image that is not mounted has neither.
        std::printf("device:\t\t%s\npartition:\t%s\n", running ? running->device.c_str() : "",
                    running ? running->partition.c_str() : "");
    }
    if (arguments.has('s') || arguments.has('d'))
        return exitOk;
    auto usage = usageOf(descriptor, running);
    if (!usage)
        return failWith(exitNoMount, std::move(usage).takeError().within(descriptor));
    std::printf("%11s %14s %14s\n", "resource", "Size", "Used");
    std::printf("%11s %14" PRIu64 " %14" PRIu64 "\n", "1k-blocks", usage->kibibytes, usage->kibibytesUsed);
    std::printf("%11s %14" PRIu64 " %14" PRIu64 "\n", "inodes", usage->inodes, usage->inodesUsed);
    return exitOk;
}

/** What each file of an image holds and takes. */
Outcome statCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, ""));
    VZ_CHECK(arguments.expect(1, 1));
    auto descriptor = descriptorPath(hostFiles(), arguments.rest()[0]);
    VZ_TRY(auto model, Volume::read(hostFiles(), descriptor));
    std::printf("%14s %14s %14s  %s\n", "ALLOCATED", "ON DISK", "FILE SIZE", "FNAME");
    for (const auto& delta : model.deltas) {
        bool plain = delta.plain && model.shot(delta.guid)->parent == noGuid;
        std::string path =
            delta.file.starts_with('/') ? delta.file : cat(folderOf(descriptor), "/", delta.file);
        Delta::Options options;
        options.lock = false; // numbers of the moment, also of an image in use
        std::unique_ptr<Delta> opened;
        if (plain) {
            VZ_TRY(opened, Delta::openPlain(hostFiles(), path, {0, model.clusterSectors}, options));
        } else {
            VZ_TRY(opened, Delta::open(hostFiles(), path, options));
        }
        uint64_t allocated = plain ? opened->fileBytes() : 0;
        if (!plain)
            VZ_CHECK(opened->forEachEntry([&](uint64_t, uint32_t) -> Result<void> {
                allocated += opened->header().clusterBytes();
                return {};
            }));
        VZ_TRY(uint64_t onDisk, opened->file().allocatedBytes());
        std::printf("%14" PRIu64 " %14" PRIu64 " %14" PRIu64 "  %s\n", allocated, onDisk, opened->fileBytes(),
                    path.c_str());
    }
    return exitOk;
}

namespace {

/** An image that is in use is only looked at. */
Outcome checkRunning(const exports::Attachment& running, const Arguments& arguments) {
    VZ_TRY(auto answer, exports::call(running, {"check"}));
    if (answer.size() < 2)
        return fail(ErrorCode::InternalError, "the answer makes no sense");
    for (size_t i = 2; i < answer.size(); ++i)
        std::fprintf(stderr, "%s\n", answer[i].c_str());
    if (!arguments.has('s'))
        std::printf("%s clusters allocated, in use as %s\n", answer[1].c_str(), running.device.c_str());
    if (answer[0] == "bad")
        return exitBadFormat;
    if (arguments.has('D'))
        VZ_CHECK(exports::call(running, {"compact", "moves"}, terminalProgress("defragment")));
    return exitOk;
}

} // namespace

Outcome checkCommand(const Words& words) {
    // -c, -d, -S and -b ask for what is always done here.
    VZ_TRY(auto arguments, Arguments::parse(words, "fFcrsdRb:SDu:"));
    VZ_CHECK(arguments.expect(1, 1));
    const std::string& given = arguments.rest()[0];
    bool whole = namesDescriptor(given);
    CheckOptions options;
    options.repair =
        !arguments.has('r') && (whole || arguments.has('f') || arguments.has('F') || arguments.has('d'));
    options.force = arguments.has('F');
    options.progress = terminalProgress("check");
    if (!whole && arguments.has('R'))
        return exitOk; // a raw file has nothing that could be wrong
    auto descriptor = descriptorPath(hostFiles(), given);
    if (whole) {
        VZ_TRY(auto running, exports::find(descriptor));
        if (running)
            return checkRunning(*running, arguments);
    }
    VZ_TRY(auto report,
           whole ? checkVolume(hostFiles(), descriptor, options, arguments.has('f') || arguments.has('F'))
                 : checkDelta(hostFiles(), given, options));
    for (const auto& finding : report.findings) {
        if (!arguments.has('s') || (finding.serious && !finding.fixed))
            std::fprintf(stderr, "%s%s\n", finding.text.c_str(), finding.fixed ? " (repaired)" : "");
    }
    if (report.more > 0)
        std::fprintf(stderr, "and %" PRIu64 " more\n", report.more);
    if (!arguments.has('s'))
        std::printf("%" PRIu64 " clusters allocated, %" PRIu64 " leaked\n", report.allocated, report.leaked);
    if (report.serious)
        return exitBadFormat;
    if (arguments.has('D') && whole) {
        VZ_TRY(auto volume, openVolume(given));
        VZ_CHECK(volume->image().compact(terminalProgress("defragment"), false));
        VZ_CHECK(volume->close());
    }
    return exitOk;
}

namespace {

/** From a file that qemu-img can read to a new image, or the other way round. */
Outcome convertForeign(const Arguments& arguments) {
    VZ_CHECK(arguments.expect(1, 1));
    const std::string& given = arguments.rest()[0];
    if (arguments.has('i')) {
        VZ_TRY(auto options, createOptions(arguments));
        VZ_CHECK(importImage(hostFiles(), arguments.value('i'), arguments.value('I'), given, options,
                             terminalProgress("convert")));
        return exitOk;
    }
    if (!arguments.has('O'))
        return fail(ErrorCode::InvalidArg, "the format of the new file is missing (-O FORMAT)");
    Guid guid = topGuid;
    if (arguments.has('u')) {
        VZ_TRY(guid, parseGuid(arguments.value('u')));
    }
    VZ_CHECK(exportImage(hostFiles(), descriptorPath(hostFiles(), given), guid, arguments.value('O'),
                         arguments.value('o')));
    return exitOk;
}

} // namespace

Outcome convertCommand(const Words& words) {
    VZ_TRY(
        auto arguments,
        Arguments::parse(words, "f:v:b:i:I:o:O:u:",
                         {{"input", 'i'}, {"input-format", 'I'}, {"output", 'o'}, {"output-format", 'O'}}));
    if (arguments.has('i') || arguments.has('o'))
        return convertForeign(arguments);
    VZ_CHECK(arguments.expect(1, 1));
    if (arguments.has('f') == arguments.has('v'))
        return fail(ErrorCode::InvalidArg, "either a format (-f) or a version (-v) is needed");
    auto descriptor = descriptorPath(hostFiles(), arguments.rest()[0]);
    if (arguments.has('v')) {
        VZ_TRY(auto version, parseVersion(arguments.value('v')));
        VZ_CHECK(convertVersion(hostFiles(), descriptor, version));
        return exitOk;
    }
    VZ_TRY(auto mode, parseMode(arguments.value('f')));
    VZ_CHECK(convertMode(hostFiles(), descriptor, mode, terminalProgress("convert")));
    return exitOk;
}

/** The present state, or that of a snapshot, as one new file. */
Outcome copyCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "s:d:t:u:"));
    VZ_CHECK(arguments.expect(0, 0));
    if (!arguments.has('s') || !arguments.has('d'))
        return fail(ErrorCode::InvalidArg, "source (-s DESCRIPTOR) and destination (-d FILE) are needed");
    Guid guid = topGuid;
    if (arguments.has('u')) {
        VZ_TRY(guid, parseGuid(arguments.value('u')));
    }
    VZ_TRY(auto mode, parseMode(arguments.value('t', "expanded")));
    VZ_TRY(auto image,
           Volume::openSnapshot(hostFiles(), descriptorPath(hostFiles(), arguments.value('s')), guid));
    const auto& target = arguments.value('d');
    VZ_TRY(bool shared, shareCopy(hostFiles(), *image, target, mode));
    if (!shared)
        VZ_CHECK(writeCopy(hostFiles(), *image, target, mode, Version::V2, terminalProgress("copy")));
    return exitOk;
}

Outcome restoreCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "f:b:"));
    VZ_CHECK(arguments.expect(2, 2));
    RestoreOptions options;
    VZ_TRY(options.mode, parseMode(arguments.value('f', "expanded")));
    if (arguments.has('b')) {
        VZ_TRY(options.clusterSectors, parseCluster(arguments.value('b')));
    }
    VZ_CHECK(restoreDescriptor(hostFiles(), arguments.rest()[0], arguments.rest()[1], options));
    return exitOk;
}

Outcome replaceCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "u:l:o:i:k", {{"keep-name", 'k'}}));
    VZ_CHECK(arguments.expect(1, 1));
    if (arguments.has('u') + arguments.has('l') + arguments.has('o') != 1 || !arguments.has('i'))
        return fail(ErrorCode::InvalidArg,
                    "the new file (-i FILE) and one of -u UUID, -l LEVEL and -o FILE are needed");
    auto descriptor = descriptorPath(hostFiles(), arguments.rest()[0]);
    VZ_TRY(auto model, Volume::read(hostFiles(), descriptor));
    Guid guid;
    if (arguments.has('u')) {
        VZ_TRY(guid, parseGuid(arguments.value('u')));
    } else {
        VZ_TRY(auto chain, model.chain(topGuid));
        auto level = parseNumber<size_t>(arguments.value('l'));
        for (size_t i = 0; i < chain.size(); ++i) {
            if (arguments.has('l') ? level == i : nameOf(chain[i]->file) == nameOf(arguments.value('o')))
                guid = chain[i]->guid;
        }
        if (guid.empty())
            return fail(ErrorCode::InvalidArg, "there is no such file in the image");
    }
    VZ_CHECK(replaceDelta(hostFiles(), descriptor, guid, arguments.value('i'), {arguments.has('k')}));
    return exitOk;
}

} // namespace vz::cli
