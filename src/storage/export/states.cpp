// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/states.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "storage/export/mounts.hpp"

#include <algorithm>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <thread>
#include <unistd.h>

namespace vz::exports {

using ploop::Guid;
using ploop::Volume;

namespace {

/** Who has had it last may be about to close it. */
constexpr std::chrono::seconds releaseWait{5};

Result<std::unique_ptr<Volume>> openVolume(const std::string& descriptor) {
    Volume::Options options;
    options.access = ploop::Access::ReadWrite;
    // As vz-ploopd does it: all entries are checked before the first write.
    options.recover = true;
    options.wait = releaseWait;
    return Volume::open(ploop::hostFiles(), descriptor, options);
}

/** Something in the file system of an image that is a device. */
struct Folder {
    std::string attachment; ///< its id; empty: there is none
    UniqueFd fd;            ///< empty: not mounted
};

/** An image on which nobody else works meanwhile: through its vz-ploopd, or opened here. */
class Member {
public:
    static Result<std::unique_ptr<Member>> take(const std::string& descriptor) {
        std::unique_ptr<Member> member(new Member(descriptor));
        // Who has worked on it last may be about to go, above all if it was killed.
        auto deadline = std::chrono::steady_clock::now() + releaseWait;
        for (;;) {
            VZ_TRY(auto attachment, find(descriptor));
            if (!attachment)
                break;
            auto begun = member->begin(*attachment);
            if (begun)
                return member;
            if (wasGone(begun.error()))
                break;
            if (begun.error().code() != ErrorCode::ResourceBusy ||
                std::chrono::steady_clock::now() > deadline)
                return std::move(begun).takeError();
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
        }
        VZ_TRY(member->volume_, openVolume(descriptor));
        return member;
    }

    const std::string& descriptor() const { return descriptor_; }

    /** @p found is of the attachment that there was before; another may have come since. */
    Result<void> useFolder(Folder found, const FolderOf& folderOf) {
        if (!attachment_ || !folderOf)
            return {};
        if (found.attachment != attachment_->id) {
            VZ_TRY(found.fd, folderOf(*attachment_));
        }
        folder_ = std::move(found.fd);
        return {};
    }

    /** Whether no file system changes from now on. */
    Result<bool> freeze() {
        if (!folder_)
            return true; // nothing is mounted
        VZ_TRY(auto answer, ask({"freeze"}, folder_.get()));
        return !answer.empty() && answer.front() == "frozen";
    }

    Result<void> snapshot(const Guid& guid) {
        if (volume_) {
            VZ_CHECK(volume_->snapshot(guid));
        } else {
            VZ_CHECK(ask({"snapshot", guid}));
        }
        return {};
    }

    Result<void> remove(const Guid& guid) {
        if (volume_)
            return volume_->remove(guid);
        VZ_CHECK(ask({"delete", guid}));
        return {};
    }

    /** When this returns, changes go on and others may work on it. */
    Result<void> close() {
        if (volume_)
            return volume_->close();
        VZ_CHECK(ask({"end"}));
        return {};
    }

private:
    explicit Member(std::string descriptor) : descriptor_(std::move(descriptor)) {}

    Result<void> begin(const Attachment& attachment) {
        VZ_TRY(socket_, connectTo(attachment.socketPath()));
        VZ_CHECK(ask({"begin"}));
        attachment_ = attachment;
        return {};
    }

    Result<Texts> ask(const Texts& request, int fd = -1) {
        VZ_CHECK(sendPacket(socket_.get(), request, fd));
        for (;;) {
            VZ_TRY(auto packet, receivePacket(socket_.get()));
            // Where the other side has died over it, nobody else would.
            if (!packet && folder_ && !alive(*attachment_))
                (void)::ioctl(folder_.get(), FITHAW, 0);
            if (!packet)
                return fail(ErrorCode::OperationFailed, "vz-ploopd, which has ", descriptor_,
                            " open, has ended or given up waiting");
            auto& texts = packet->texts;
            if (texts[0] == "progress")
                continue;
            if (texts[0] != "ok")
                return errorFrom(texts);
            texts.erase(texts.begin());
            return std::move(texts);
        }
    }

    std::string descriptor_;
    std::optional<Attachment> attachment_;
    UniqueFd socket_, folder_;
    std::unique_ptr<Volume> volume_;
};

Result<Folder> findFolder(const std::string& descriptor, const FolderOf& folderOf) {
    Folder folder;
    if (!folderOf)
        return folder;
    VZ_TRY(auto attachment, find(descriptor));
    // One that does not answer would keep syncfs(2) waiting, and with it this process from being ended. What
    // is wrong with it shows later.
    if (!attachment)
        return folder;
    auto member = Member::take(descriptor);
    if (!member || !(*member)->close())
        return folder;
    VZ_TRY(folder.fd, folderOf(*attachment));
    folder.attachment = attachment->id;
    return folder;
}

/** So that little is left to write when they are frozen, and each waits for the others. The first time may
 * take long, and what has been written meanwhile is written by the second. */
void writeBack(const std::vector<Folder>& folders) {
    for (int round = 0; round < 2; ++round) {
        for (const auto& folder : folders) {
            if (folder.fd)
                (void)::syncfs(folder.fd.get());
        }
    }
}

Result<void> freezeAll(const std::vector<std::unique_ptr<Member>>& members, bool required) {
    for (const auto& member : members) {
        auto frozen = member->freeze();
        if (!frozen && required)
            return std::move(frozen).takeError();
        if (frozen && !*frozen && required)
            return fail(ErrorCode::OperationFailed, "the file system on ", member->descriptor(),
                        " is of a type that cannot be frozen");
        if (!frozen)
            log::warning("a snapshot of ", member->descriptor(),
                         " is made while its file system changes: ", frozen.error().message());
    }
    return {};
}

void warn(const Result<void>& done, std::string_view what, const std::string& descriptor) {
    if (!done)
        log::error(what, " ", descriptor, ": ", done.error().message());
}

bool isAbove(ploop::Descriptor& model, const Guid& guid) {
    auto chain = model.chain(model.top);
    return chain &&
           std::any_of(chain->begin(), chain->end(), [&](const auto* delta) { return delta->guid == guid; });
}

/** As it was before the switch, whether or not it has happened. */
Result<void> undoSwitch(const std::string& descriptor, const Guid& keep) {
    VZ_TRY(auto volume, openVolume(descriptor));
    if (!volume->descriptor().shot(keep))
        return {};
    if (!isAbove(volume->descriptor(), keep))
        VZ_CHECK(volume->switchTo(keep));
    VZ_CHECK(volume->remove(keep));
    return volume->close();
}

Result<void> requireState(Volume& volume, const Guid& guid) {
    auto* shot = volume.descriptor().shot(guid);
    if (!shot)
        return fail(ErrorCode::NoSnapshot, "the image ", volume.path(), " does not have the state ", guid,
                    " (any more): it was removed or the image exchanged by other means");
    if (shot->mark != ploop::Descriptor::Mark::None)
        return fail(ErrorCode::OperationInvalid, "the state ", guid, " of the image ", volume.path(),
                    " is being removed");
    return {};
}

Result<void> removeOne(const std::string& descriptor, const Guid& guid, const ploop::Progress& progress) {
    auto isPresent = [&] {
        return fail(ErrorCode::OperationInvalid, guid, " is the present state of ", descriptor,
                    ", and no snapshot");
    };
    if (guid == ploop::topGuid)
        return isPresent();
    VZ_TRY(auto attachment, find(descriptor));
    if (attachment) {
        auto done = call(*attachment, {"delete", guid}, progress);
        if (done)
            return {};
        if (!wasGone(done.error()))
            return std::move(done).takeError();
    }
    VZ_TRY(auto volume, openVolume(descriptor));
    if (guid == volume->descriptor().top)
        return isPresent();
    VZ_CHECK(volume->remove(guid, progress));
    return volume->close();
}

} // namespace

Result<void> snapshotAll(const std::vector<std::string>& descriptors, const Guid& guid,
                         const FolderOf& folderOf, bool quiesce) {
    // Always in the same order, so that two who do it do not wait for each other.
    auto sorted = descriptors;
    std::sort(sorted.begin(), sorted.end());
    auto notFound = [](const std::string& descriptor, const Error& error) {
        log::warning("a snapshot of ", descriptor,
                     " is made while its file system changes: it is not found: ", error.message());
    };
    // Before any of them is taken: from then on none may be silent for long.
    std::vector<Folder> folders;
    for (const auto& descriptor : sorted) {
        auto found = findFolder(descriptor, folderOf);
        if (!found && quiesce)
            return std::move(found).takeError();
        folders.push_back(found ? *std::move(found) : Folder());
    }
    writeBack(folders);
    std::vector<std::unique_ptr<Member>> members;
    for (size_t i = 0; i < sorted.size(); ++i) {
        VZ_TRY(auto member, Member::take(sorted[i]));
        members.push_back(std::move(member));
        auto used = members.back()->useFolder(std::move(folders[i]), folderOf);
        if (!used && quiesce)
            return used;
        if (!used)
            notFound(sorted[i], used.error());
    }
    VZ_CHECK(freezeAll(members, quiesce));
    Result<void> done;
    size_t made = 0;
    while (done && made < members.size()) {
        done = members[made]->snapshot(guid);
        made += done ? 1 : 0;
    }
    for (size_t i = 0; !done && i < made; ++i)
        warn(members[i]->remove(guid), "a state that was not to be is left in", members[i]->descriptor());
    for (const auto& member : members)
        warn(member->close(), "cannot close", member->descriptor());
    return done;
}

Result<void> switchAll(const std::vector<std::string>& descriptors, const Guid& guid, const Guid& keep,
                       bool* mixed) {
    std::vector<std::unique_ptr<Volume>> volumes;
    for (const auto& descriptor : descriptors) {
        VZ_TRY(auto volume, openVolume(descriptor));
        VZ_CHECK(requireState(*volume, guid));
        volumes.push_back(std::move(volume));
    }
    if (volumes.size() == 1) {
        VZ_CHECK(volumes[0]->switchTo(guid));
        return volumes[0]->close();
    }
    Result<void> done;
    for (auto& volume : volumes) {
        auto kept = done ? volume->snapshot(keep) : Result<Guid>(keep);
        if (!kept)
            done = std::move(kept).takeError();
    }
    for (auto& volume : volumes) {
        if (done)
            done = volume->switchTo(guid);
    }
    if (!done) {
        volumes.clear(); // one that failed has to be opened anew
        for (const auto& descriptor : descriptors) {
            auto undone = undoSwitch(descriptor, keep);
            warn(undone, "the state before a revert that failed stays apart in", descriptor);
            if (!undone && mixed)
                *mixed = true;
        }
        return done;
    }
    for (auto& volume : volumes) {
        warn(volume->remove(keep), "the state before a revert is left in", volume->path());
        warn(volume->close(), "cannot close", volume->path());
    }
    return {};
}

Result<void> finishSwitch(const std::vector<std::string>& descriptors, const Guid& guid, const Guid& keep) {
    for (const auto& descriptor : descriptors) {
        VZ_TRY(auto volume, openVolume(descriptor));
        VZ_CHECK(requireState(*volume, guid));
        VZ_CHECK(volume->switchTo(guid));
        if (!keep.empty() && volume->descriptor().shot(keep))
            VZ_CHECK(volume->remove(keep));
        VZ_CHECK(volume->close());
    }
    return {};
}

Result<void> removeFromAll(const std::vector<std::string>& descriptors, const Guid& guid,
                           const ploop::Progress& progress) {
    for (const auto& descriptor : descriptors) {
        auto done = removeOne(descriptor, guid, progress);
        if (!done && done.error().code() == ErrorCode::NoSnapshot)
            log::warning(descriptor, " does not have the state ", guid, " any more");
        else
            VZ_CHECK(std::move(done));
    }
    return {};
}

void thaw(const UniqueFd& folder, const std::string& partition) {
    if (folder && ::ioctl(folder.get(), FITHAW, 0) == 0)
        log::warning("the file system on ", partition, " was frozen, and goes on");
}

Result<bool> hasState(const std::string& descriptor, const Guid& guid) {
    VZ_TRY(auto model, Volume::read(ploop::hostFiles(), descriptor));
    auto* shot = model.shot(guid);
    return shot && shot->mark == ploop::Descriptor::Mark::None;
}

} // namespace vz::exports
