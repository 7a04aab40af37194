// SPDX-License-Identifier: LGPL-2.1-or-later
// Snapshots of a container: a state of the same GUID in each of its images, and a document about them. The
// order of the steps, and what a daemon that is killed in between leaves: docs/snapshots.md.
#include "base/log.hpp"
#include "driver/container_domain.hpp"
#include "driver/driver.hpp"
#include "driver/snapshot_plan.hpp"
#include "storage/export/mounts.hpp"
#include "storage/export/states.hpp"

#include <algorithm>
#include <ctime>
#include <sys/stat.h>
#include <sys/sysmacros.h>

namespace vz::driver {

using domain::PendingWork;
using domain::Snapshot;
using domain::SnapshotRequest;
using domain::SnapshotState;

namespace {

/** As libvirt does it, the time is the name of what was given none. */
std::string freeName(const domain::SnapshotTree& tree, int64_t created) {
    auto name = cat(created);
    for (int i = 2; tree.find(name); ++i)
        name = cat(created, "-", i);
    return name;
}

/** Something in the file system of a disk; an empty descriptor if nothing of it is mounted. */
Result<UniqueFd> folderOn(ct::Container& container, const domain::UsedDisk& disk) {
    exports::Attachment attachment;
    attachment.device = disk.device;
    attachment.partition = disk.partition;
    auto found = exports::mountedFolder(attachment, container.supervisor());
    // What the supervisor has mounted, nobody else can hide.
    if (found && !*found && !disk.mounted && container.init() != 0)
        found = exports::mountedFolder(attachment, container.init());
    if (!found || *found || !disk.mounted)
        return found;
    // btrfs has device numbers of its own, by which a mount is not found.
    VZ_TRY(auto folder, container.openMount(disk.place));
    struct stat info {};
    if (::fstat(folder.get(), &info) < 0 || ::major(info.st_dev) != 0)
        return fail(ErrorCode::OperationFailed, disk.partition, " is not what is mounted at ", disk.place);
    return folder;
}

exports::FolderOf folderOf(const std::shared_ptr<ct::Container>& container,
                           std::vector<domain::UsedDisk> disks) {
    if (!container)
        return {};
    return [container, disks = std::move(disks)](const exports::Attachment& attachment) -> Result<UniqueFd> {
        auto disk = std::find_if(disks.begin(), disks.end(),
                                 [&](const auto& one) { return one.image == attachment.id; });
        if (disk != disks.end())
            return folderOn(*container, *disk);
        return fail(ErrorCode::OperationFailed, attachment.descriptor, " is ", attachment.device,
                    ", which is not a disk of this container");
    };
}

Result<void> requireStates(const Snapshot& snapshot) {
    for (const auto& image : snapshot.images()) {
        VZ_TRY(bool there, exports::hasState(image, snapshot.guid));
        if (!there)
            return fail(ErrorCode::OperationFailed, "the image ", image,
                        " does not have the state of the snapshot '", snapshot.name, "', ", snapshot.guid,
                        " (any more): it was removed, or the image exchanged, by other means");
    }
    return {};
}

/** How many of the images have the state. */
size_t countStates(const PendingWork& work) {
    size_t count = 0;
    for (const auto& image : work.images) {
        auto has = exports::hasState(image, work.guid);
        if (!has)
            log::warning("the image ", image, " cannot be looked at: ", has.error().message());
        count += has && *has ? 1 : 0;
    }
    return count;
}

} // namespace

// Create

Result<Snapshot> ContainerDomain::describeSnapshot(const SnapshotRequest& request, bool running) const {
    auto tree = snapshots_.tree();
    Snapshot snapshot;
    snapshot.created = ::time(nullptr);
    snapshot.name = request.name.empty() ? freeName(tree, snapshot.created) : request.name;
    if (tree.find(snapshot.name))
        return fail(ErrorCode::OperationFailed, "domain snapshot '", snapshot.name, "' already exists");
    snapshot.description = request.description;
    snapshot.parent = tree.current();
    snapshot.state = running ? SnapshotState::Disks : SnapshotState::Shutoff;
    auto now = current(), next = config();
    VZ_TRY(snapshot.disks, planSnapshot(now.definition(), request.disks));
    snapshot.guid = ploop::randomGuid();
    VZ_TRY(auto nextText, next.toXml(driver_.parser(), VIR_DOMAIN_XML_SECURE));
    if (!running) {
        snapshot.domain = std::move(next);
        return snapshot;
    }
    // Without what only a running container has.
    VZ_TRY(auto live, now.toXml(driver_.parser(), VIR_DOMAIN_XML_SECURE));
    VZ_TRY(snapshot.domain, domain::Config::parse(driver_.parser(), live, {}));
    VZ_TRY(auto nowText, snapshot.domain->toXml(driver_.parser(), VIR_DOMAIN_XML_SECURE));
    if (persistent() && nowText != nextText)
        snapshot.inactive = std::move(next);
    return snapshot;
}

Result<void> ContainerDomain::makeStates(const Snapshot& snapshot, bool metadata, bool quiesce) {
    PendingWork work;
    work.kind = PendingWork::Kind::Create;
    work.metadata = metadata;
    work.images = snapshot.images();
    work.guid = snapshot.guid;
    work.name = snapshot.name;
    VZ_TRY(work.document, formatSnapshot(driver_.parser(), snapshot, VIR_DOMAIN_XML_SECURE));
    std::shared_ptr<ct::Container> container;
    std::vector<domain::UsedDisk> used;
    if (auto live = running()) {
        container = *std::move(live);
        VZ_TRY(used, disks());
    }
    VZ_CHECK(snapshots_.begin(work));
    auto done = exports::snapshotAll(work.images, work.guid, folderOf(container, std::move(used)), quiesce);
    if (done && metadata)
        done = snapshots_.put(snapshot);
    if (done && metadata)
        done = snapshots_.setCurrent(snapshot.name);
    if (!done && metadata) {
        // What follows is logged: the first error is the one to report.
        if (auto removed = snapshots_.remove(snapshot.name); !removed)
            log::error(removed.error().message());
    }
    if (!done && countStates(work) > 0) {
        if (auto removed = exports::removeFromAll(work.images, work.guid); !removed)
            log::error(removed.error().message());
    }
    VZ_CHECK(snapshots_.end());
    return done;
}

Result<std::string> ContainerDomain::createSnapshot(const SnapshotRequest& request, unsigned int flags) {
    VZ_CHECK(settleSnapshots());
    bool live = active();
    bool disksOnly =
        (flags & VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY) != 0 || request.memory == SnapshotRequest::Memory::No;
    if (request.memory == SnapshotRequest::Memory::Wanted || (live && !disksOnly))
        return fail(ErrorCode::OperationUnsupported,
                    "a snapshot with the memory of a container is not supported: make one of its disks alone "
                    "(--disk-only), or shut it down before");
    if ((flags & VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE) && !live)
        return notRunning();
    bool halt = live && (flags & VIR_DOMAIN_SNAPSHOT_CREATE_HALT);
    if (halt && !persistent())
        return fail(ErrorCode::OperationInvalid, "cannot halt after transient domain snapshot");
    VZ_TRY(auto snapshot, describeSnapshot(request, live));
    bool paused = state().first == VIR_DOMAIN_PAUSED;
    if (halt && !paused)
        VZ_CHECK(suspend()); // so that the snapshot has all that it has written
    auto made = makeStates(snapshot, !(flags & VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA),
                           flags & VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE);
    if (!made && halt && !paused)
        (void)resume();
    VZ_CHECK(std::move(made));
    if (halt)
        VZ_CHECK(stopForSnapshot());
    return snapshot.name;
}

Result<std::string> ContainerDomain::redefineSnapshot(Snapshot snapshot, unsigned int flags) {
    VZ_CHECK(settleSnapshots());
    auto tree = snapshots_.tree();
    VZ_CHECK(tree.checkRedefinition(snapshot, uuid_, flags));
    auto before = tree.find(snapshot.name);
    // What is known already is believed: an image may be away for a while.
    if (!before || before->guid != snapshot.guid || before->images() != snapshot.images()) {
        auto now = current(), next = config();
        std::vector<const domain::Config*> configs{&now, &next};
        for (const auto* then : {&snapshot.domain, &snapshot.inactive}) {
            if (*then)
                configs.push_back(&**then);
        }
        VZ_CHECK(checkImages(snapshot, configs));
    }
    VZ_CHECK(snapshots_.put(snapshot));
    if (flags & VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT)
        VZ_CHECK(snapshots_.setCurrent(snapshot.name));
    return snapshot.name;
}

// Revert

Result<void> ContainerDomain::stopForSnapshot() {
    {
        std::lock_guard lock(lock_);
        if (!live_)
            return {};
        live_->forSnapshot = true;
    }
    auto stopped = destroy(false);
    std::lock_guard lock(lock_);
    if (live_)
        live_->forSnapshot = false;
    // It may have ended by itself just before.
    return live_ ? std::move(stopped) : Result<void>();
}

/** The config of then becomes that of the next start, under the name of now. */
Result<void> ContainerDomain::adoptConfigOf(const Snapshot& snapshot) {
    const auto* then = snapshot.config();
    if (!then)
        return {};
    VZ_TRY(auto config, then->withName(driver_.parser(), name()));
    VZ_TRY(auto before, this->config().toXml(driver_.parser(), VIR_DOMAIN_XML_SECURE));
    VZ_TRY(auto after, config.toXml(driver_.parser(), VIR_DOMAIN_XML_SECURE));
    if (before == after)
        return {};
    VZ_CHECK(define(std::move(config)));
    driver_.events().lifecycle(subject(), VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_FROM_SNAPSHOT);
    return {};
}

Result<void> ContainerDomain::switchStates(const Snapshot& snapshot) {
    PendingWork work;
    work.kind = PendingWork::Kind::Revert;
    work.images = snapshot.images();
    work.guid = snapshot.guid;
    work.keep = ploop::randomGuid();
    work.name = snapshot.name;
    VZ_CHECK(snapshots_.begin(work));
    bool mixed = false;
    auto done =
        work.images.empty() ? Result<void>() : exports::switchAll(work.images, work.guid, work.keep, &mixed);
    if (!done && mixed)
        return std::move(done).takeError().within(
            "some images are as before the revert and others as after it; the next start or snapshot call "
            "tries to finish it");
    if (!done) {
        VZ_CHECK(snapshots_.end());
        return done;
    }
    // If one of these fails, the next start or snapshot call does it.
    VZ_CHECK(adoptConfigOf(snapshot));
    VZ_CHECK(snapshots_.setCurrent(snapshot.name));
    return snapshots_.end();
}

Result<void> ContainerDomain::revertTo(const std::string& name, unsigned int flags) {
    VZ_CHECK(settleSnapshots());
    VZ_TRY(auto snapshot, snapshots_.tree().get(name));
    bool start = flags & (VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING | VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED);
    bool force = flags & VIR_DOMAIN_SNAPSHOT_REVERT_FORCE;
    if (!persistent())
        return fail(ErrorCode::OperationInvalid,
                    "a transient domain is gone when it is stopped, which a revert "
                    "to a snapshot without memory needs: define it first");
    if (!snapshot->config() && !force)
        return fail(ErrorCode::SnapshotRevertRisky, "snapshot '", name, "' lacks domain '", this->name(),
                    "' rollback info");
    if (active() && start && !force)
        return fail(ErrorCode::SnapshotRevertRisky, "must respawn guest to start inactive snapshot");
    VZ_CHECK(requireStates(*snapshot));
    VZ_CHECK(stopForSnapshot());
    VZ_CHECK(switchStates(*snapshot));
    {
        std::lock_guard lock(lock_);
        setState(VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT);
    }
    if (!start)
        return {};
    StartMode mode;
    mode.paused = flags & VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED;
    mode.event = VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT;
    return this->start(mode);
}

// Delete

bool ContainerDomain::ending() const {
    std::lock_guard lock(lock_);
    return !live_ || live_->finishing;
}

Result<void> ContainerDomain::removeStates(const Snapshot& snapshot) {
    constexpr int tries = 3;
    for (int i = 0;; ++i) {
        // Its end waits for its images to be closed; the rest is done on the images themselves then.
        bool live = !ending();
        auto done = exports::removeFromAll(snapshot.images(), snapshot.guid,
                                           [&](uint64_t, uint64_t) { return !live || !ending(); });
        if (done || done.error().code() != ErrorCode::OperationAborted || i >= tries)
            return done;
    }
}

Result<void> ContainerDomain::removeSnapshots(const std::vector<domain::SnapshotRef>& gone,
                                              bool metadataOnly) {
    for (const auto& snapshot : gone) {
        // A copy of its document under another name needs the states still.
        auto all = snapshots_.tree().descendantsOf({});
        bool shared = std::any_of(all.begin(), all.end(), [&](const auto& other) {
            return other->name != snapshot->name && other->guid == snapshot->guid;
        });
        if (!metadataOnly && !shared)
            VZ_CHECK(removeStates(*snapshot));
        VZ_CHECK(snapshots_.remove(snapshot->name));
    }
    return {};
}

Result<void> ContainerDomain::deleteSnapshot(const std::string& name, unsigned int flags) {
    VZ_CHECK(settleSnapshots());
    auto tree = snapshots_.tree();
    VZ_TRY(auto snapshot, tree.get(name));
    std::vector<domain::SnapshotRef> gone;
    if (flags & (VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN | VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN_ONLY))
        gone = tree.descendantsOf(name);
    // From the leaves up: whatever is left if one fails is a tree.
    std::reverse(gone.begin(), gone.end());
    if (!(flags & VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN_ONLY))
        gone.push_back(snapshot);
    return removeSnapshots(gone, flags & VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY);
}

// After a daemon that was killed

/** A vz-ploopd that was killed as well has thawed nothing, and what waits for that cannot be killed. */
void ContainerDomain::thawDisks() const {
    auto container = running();
    auto used = disks();
    if (!container || !used)
        return;
    for (const auto& disk : *used) {
        if (auto folder = folderOn(**container, disk))
            exports::thaw(*folder, disk.partition);
    }
}

bool ContainerDomain::hasUnsettledSnapshots() const {
    auto work = snapshots_.pending();
    return !work || *work;
}

Result<void> ContainerDomain::settleSnapshots(const ploop::Progress& progress) {
    VZ_TRY(auto work, snapshots_.pending());
    if (!work)
        return {};
    auto failed = [&](Error error) {
        return std::move(error).within(cat("the snapshot call about '", work->name, "' that was cut off ",
                                           "cannot be brought to its end"));
    };
    auto tree = snapshots_.tree();
    if (work->kind == PendingWork::Kind::Revert) {
        if (auto done = exports::finishSwitch(work->images, work->guid, work->keep); !done)
            return failed(std::move(done).takeError());
        if (auto snapshot = tree.find(work->name)) {
            VZ_CHECK(adoptConfigOf(*snapshot));
            VZ_CHECK(snapshots_.setCurrent(work->name));
        }
        log::info("finished the revert to the snapshot '", work->name, "' of ", uuid_);
        return snapshots_.end();
    }
    thawDisks();
    if (countStates(*work) == work->images.size()) {
        if (work->metadata) {
            VZ_TRY(auto snapshot, domain::parseSnapshot(driver_.parser(), work->document));
            VZ_CHECK(snapshots_.put(snapshot));
            VZ_CHECK(snapshots_.setCurrent(snapshot.name));
        }
        log::info("finished the snapshot '", work->name, "' of ", uuid_);
    } else {
        if (auto removed = exports::removeFromAll(work->images, work->guid, progress); !removed)
            return failed(std::move(removed).takeError());
        log::info("took back the snapshot '", work->name, "' of ", uuid_);
    }
    return snapshots_.end();
}

} // namespace vz::driver
