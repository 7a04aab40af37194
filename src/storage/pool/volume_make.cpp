// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/pool/volume_make.hpp"

#include "base/file.hpp"
#include "storage/export/resize.hpp"
#include "storage/ploop/convert.hpp"
#include "storage/ploop/filesystem.hpp"
#include "storage/ploop/foreign.hpp"
#include "storage/pool/volume_names.hpp"
#include "storage/pool/volume_work.hpp"

#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

namespace vz::storage {

using namespace ploop;

namespace {

constexpr const char* baseName = "root.hds";

Result<void> setOwner(const std::string& path, const Permissions& wanted, mode_t mode) {
    constexpr auto same = static_cast<uid_t>(-1);
    if ((wanted.owner || wanted.group) &&
        ::lchown(path.c_str(), wanted.owner.value_or(same), wanted.group.value_or(same)) < 0)
        return failErrno(errno, "cannot change the owner of ", path);
    if (::chmod(path.c_str(), mode) < 0)
        return failErrno(errno, "cannot change the mode of ", path);
    return {};
}

/** Gives the files to whom the volume is to belong. The folder stays root's, since who may write to it could
 * put links in the place of files; others enter it if a file may be theirs. */
Result<void> setPermissions(const std::string& folder, const Permissions& wanted) {
    mode_t mode = wanted.mode.value_or(0600);
    VZ_TRY(auto names, file::list(folder));
    for (const auto& name : names)
        VZ_CHECK(setOwner(cat(folder, "/", name), wanted, mode));
    bool others = wanted.owner.value_or(0) != 0 || wanted.group.value_or(0) != 0 || (mode & 0066);
    return setOwner(folder, {}, others ? 0711 : 0700);
}

Volume::CreateOptions createOptions(const VolumeRequest& request, bool preallocate) {
    Volume::CreateOptions options;
    options.sectors = (request.capacity + sectorSize - 1) / sectorSize;
    if (request.clusterSectors)
        options.clusterSectors = request.clusterSectors;
    options.mode = request.mode(preallocate);
    options.sparse = request.sparse(preallocate);
    return options;
}

Result<std::unique_ptr<Volume>> openDraft(const std::string& folder) {
    Volume::Options options;
    options.access = Access::ReadWrite;
    return Volume::open(hostFiles(), folder + "/DiskDescriptor.xml", options);
}

Result<void> makeFileSystem(const std::string& folder, const std::string& type) {
    if (type == "none")
        return {};
    FormatOptions options;
    if (!type.empty())
        options.type = type;
    VZ_TRY(auto volume, openDraft(folder));
    if (auto formatted = formatDisk(volume->image(), folder, options); !formatted)
        return std::move(formatted).takeError().within(
            cat("no ", options.type, " file system can be made on a disk of ", volume->image().bytes(),
                " bytes (a volume without one: <vz:filesystem type='none'/> in <target>)"));
    return volume->close();
}

/** Whether a copy can be the same file: one that was closed, of the kind that is asked for. */
bool sameKind(Volume& source, const VolumeRequest& request, Descriptor::Mode mode) {
    auto& model = source.descriptor();
    auto& top = source.image().top();
    bool closed = top.plain() || top.header().mark != markOpen;
    bool sameCluster = !request.clusterSectors || request.clusterSectors == model.clusterSectors;
    return source.image().levels() == 1 && closed && sameCluster && model.mode == mode;
}

/** What kind of image the copy is to be. */
Descriptor::Mode copyMode(const VolumeRequest& request, const Descriptor& source, bool preallocate) {
    if (preallocate)
        return request.mode(true);
    if (!request.hasFormat)
        return source.mode;
    // An allocation that came with the source's XML says what that takes, and asks for nothing.
    if (request.raw != (source.mode == Descriptor::Mode::Raw))
        return request.raw ? Descriptor::Mode::Raw : Descriptor::Mode::Expanded;
    return source.mode;
}

Result<void> describe(const std::string& folder, Descriptor::Mode mode, uint32_t clusterSectors) {
    RestoreOptions options;
    options.mode = mode;
    if (mode == Descriptor::Mode::Raw)
        options.clusterSectors = clusterSectors;
    return restoreDescriptor(hostFiles(), folder, cat(folder, "/", baseName), options);
}

Result<void> copyImage(const Draft& draft, const VolumeRequest& request, const std::string& source,
                       bool preallocate, bool reflinkOnly) {
    // Open for the whole of the copy: nobody writes meanwhile.
    auto volume = Volume::open(hostFiles(), source + "/DiskDescriptor.xml", {});
    if (!volume)
        return usedBy(source, std::move(volume).takeError());
    auto& from = **volume;
    auto mode = copyMode(request, from.descriptor(), preallocate);
    auto base = cat(draft.path(), "/", baseName);
    bool shared = false;
    if (sameKind(from, request, mode)) {
        VZ_TRY(shared, hostFiles().share(from.fileOf(from.descriptor().deltas.front()), base));
    }
    if (shared)
        return describe(draft.path(), mode, from.descriptor().clusterSectors);
    if (reflinkOnly)
        return fail(ErrorCode::OperationUnsupported, "the files of ", source,
                    " cannot be shared: the file system does not do that, or the image has snapshots or is "
                    "of another kind");
    Volume::CreateOptions options;
    options.sectors = from.image().bytes() / sectorSize;
    options.clusterSectors =
        request.clusterSectors ? request.clusterSectors : from.descriptor().clusterSectors;
    options.mode = mode;
    options.sparse = !preallocate;
    // Clusters of old images can be of a size that new ones are not made with.
    if (!checkClusterSize(options.clusterSectors))
        options.clusterSectors = defaultClusterSectors;
    VZ_CHECK(Volume::create(hostFiles(), base, options));
    VZ_TRY(auto made, openDraft(draft.path()));
    VZ_CHECK(copyContent(from.image(), made->image()));
    VZ_CHECK(made->image().flush());
    return made->close();
}

/** A copy that is to be larger than its source grows, file system and all. */
Result<void> growTo(const std::string& folder, uint64_t bytes) {
    VZ_TRY(auto facts, readVolume(folder));
    if (bytes <= facts.capacity)
        return {};
    auto failed = exports::resizeImage(folder + "/DiskDescriptor.xml", bytes, std::chrono::seconds(0));
    return failed ? Result<void>(std::move(failed->error)) : Result<void>();
}

} // namespace

Result<void> makeVolume(const std::string& target, const VolumeRequest& request, bool preallocate) {
    if (file::exists(cat(target, "/", request.name)))
        return fail(ErrorCode::StorageVolExist, target, "/", request.name, " exists already");
    VZ_TRY(auto draft, Draft::make(target));
    VZ_CHECK(
        Volume::create(hostFiles(), cat(draft.path(), "/", baseName), createOptions(request, preallocate)));
    VZ_CHECK(makeFileSystem(draft.path(), request.fileSystem));
    VZ_CHECK(setPermissions(draft.path(), request.permissions));
    return draft.publish(request.name);
}

Result<void> copyVolume(const std::string& target, const VolumeRequest& request, const CopySource& source,
                        bool preallocate, bool reflinkOnly) {
    if (file::exists(cat(target, "/", request.name)))
        return fail(ErrorCode::StorageVolExist, target, "/", request.name, " exists already");
    VZ_TRY(auto draft, Draft::make(target));
    if (source.format.empty()) {
        VZ_CHECK(copyImage(draft, request, source.path, preallocate, reflinkOnly));
    } else {
        if (reflinkOnly)
            return fail(ErrorCode::OperationUnsupported, source.path, " is of the format ", source.format,
                        ", whose data a ploop image cannot share");
        auto options = createOptions(request, preallocate);
        options.sparse = options.sparse || (options.mode == Descriptor::Mode::Raw && !preallocate);
        VZ_CHECK(
            importImage(hostFiles(), source.path, source.format, cat(draft.path(), "/", baseName), options));
    }
    VZ_CHECK(growTo(draft.path(), request.capacity));
    VZ_CHECK(setPermissions(draft.path(), request.permissions));
    return draft.publish(request.name);
}

} // namespace vz::storage
