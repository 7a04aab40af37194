// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/snapshot_plan.hpp"

#include "driver/container_storage.hpp"
#include "storage/export/states.hpp"
#include "storage/ploop/locate.hpp"

#include <algorithm>
#include <functional>

namespace vz::driver {

using domain::SnapshotDisk;
using domain::SnapshotMode;

namespace {

/** A file system or disk of the container. */
struct Candidate {
    std::string name, alias;
    std::function<Result<std::string>()>
        source; ///< what may be an image; none if it is of a kind that never is
    bool writable = true;
    bool required = false; ///< a snapshot without it has to be asked for
};

std::vector<Candidate> candidatesOf(const domain::Definition& definition) {
    std::vector<Candidate> found;
    for (const auto& one : definition.filesystems) {
        Candidate candidate{one.target, one.alias, {}, !one.readOnly, one.target == "/" || isOnDisk(one)};
        if (isOnDisk(one))
            candidate.source = [&one] { return hostPathOf(one); };
        found.push_back(std::move(candidate));
    }
    for (const auto& one : definition.disks)
        found.push_back({one.target, one.alias, [&one] { return hostPathOf(one); }, !one.readOnly, true});
    return found;
}

/** The image's descriptor; empty if it is no image. */
Result<std::string> imageOf(const Candidate& candidate) {
    if (!candidate.source)
        return std::string();
    VZ_TRY(auto path, candidate.source());
    auto found = ploop::locate(ploop::hostFiles(), path);
    if (!found)
        return std::move(found).takeError().within(cat("cannot look at the image of '", candidate.name, "'"));
    return found->kind == ploop::Located::Kind::Image ? found->path : std::string();
}

Result<SnapshotDisk> planOne(const Candidate& candidate, SnapshotMode wanted) {
    SnapshotDisk disk{candidate.name, SnapshotMode::No, {}};
    if (wanted == SnapshotMode::No || (wanted == SnapshotMode::Default && !candidate.writable))
        return disk;
    VZ_TRY(disk.image, imageOf(candidate));
    if (!disk.image.empty())
        disk.mode = SnapshotMode::Internal;
    else if (wanted == SnapshotMode::Internal || candidate.required)
        return fail(ErrorCode::ConfigUnsupported, "'", candidate.name,
                    "' is not on a ploop image, and nothing else keeps states: leave it out by ",
                    "<disk name='", candidate.name, "' snapshot='no'/> (--diskspec ", candidate.name,
                    ",snapshot=no)");
    return disk;
}

} // namespace

Result<std::vector<SnapshotDisk>> planSnapshot(const domain::Definition& definition,
                                               const std::vector<SnapshotDisk>& wanted) {
    auto candidates = candidatesOf(definition);
    auto meant = [](const Candidate& candidate) {
        return [&](const SnapshotDisk& disk) {
            return disk.name == candidate.name || (!candidate.alias.empty() && disk.name == candidate.alias);
        };
    };
    for (const auto& disk : wanted) {
        if (std::none_of(candidates.begin(), candidates.end(),
                         [&](const auto& candidate) { return meant(candidate)(disk); }))
            return fail(ErrorCode::ConfigUnsupported, "no disk named '", disk.name, "'");
    }
    std::vector<SnapshotDisk> disks;
    for (const auto& candidate : candidates) {
        auto named = std::find_if(wanted.begin(), wanted.end(), meant(candidate));
        VZ_TRY(auto disk, planOne(candidate, named == wanted.end() ? SnapshotMode::Default : named->mode));
        // Folders of the host and the like are never part of it: only who asks is told so.
        if (disk.mode == SnapshotMode::Internal || candidate.required || named != wanted.end())
            disks.push_back(std::move(disk));
    }
    if (std::none_of(disks.begin(), disks.end(),
                     [](const auto& disk) { return disk.mode == SnapshotMode::Internal; }))
        return fail(ErrorCode::ConfigUnsupported, "a snapshot needs at least one ploop image, and ",
                    "this domain has none that is writable and not left out");
    return disks;
}

Result<void> checkImages(const domain::Snapshot& snapshot,
                         const std::vector<const domain::Config*>& configs) {
    auto isOf = [](const domain::Config* config, const SnapshotDisk& disk) {
        const auto& definition = config->definition();
        auto candidates = candidatesOf(definition);
        return std::any_of(candidates.begin(), candidates.end(), [&](const auto& candidate) {
            if (candidate.name != disk.name)
                return false;
            auto image = imageOf(candidate);
            return image && *image == disk.image;
        });
    };
    for (const auto& disk : snapshot.disks) {
        if (disk.mode != SnapshotMode::Internal)
            continue;
        if (std::none_of(configs.begin(), configs.end(),
                         [&](const auto* config) { return isOf(config, disk); }))
            return fail(ErrorCode::ConfigUnsupported, disk.image, " is not the image of '", disk.name,
                        "', neither in the <domain> of the snapshot '", snapshot.name,
                        "' nor in that of the container now");
        VZ_TRY(bool there, exports::hasState(disk.image, snapshot.guid));
        if (!there)
            return fail(ErrorCode::OperationFailed, "the image ", disk.image,
                        " does not have the state of the snapshot '", snapshot.name, "', ", snapshot.guid);
    }
    return {};
}

} // namespace vz::driver
