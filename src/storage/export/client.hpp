// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/export/registry.hpp"
#include "storage/export/wire.hpp"
#include "storage/ploop/image.hpp"

#include <chrono>

/** How programs make images into block devices, and work on images that are some. */
namespace vz::exports {

struct AttachOptions {
    std::string descriptor;
    std::optional<ploop::Guid> guid; ///< a snapshot: for reading only
    bool readOnly = false;
    Mechanism mechanism = Mechanism::Best;
    std::string device; ///< the device to use; empty: any; for Mechanism::Nbd the path of the socket
    SocketOwner owner;  ///< who may connect to that
    std::string name;   ///< and must ask for this export; empty: any
    /** Folders of control groups, one of each hierarchy, that vz-ploopd joins before it does anything.
     * Without them it stays in those of the caller, and ends with the service that the caller is. */
    std::vector<std::string> cgroups;
};

/**
 * Starts a vz-ploopd for the image and waits until the device is there. It outlives the caller.
 * ResourceBusy if the image is in use. With @p tie, a descriptor comes there: when it is closed, also by the
 * end of this process, the device goes as soon as nobody uses it.
 */
Result<Attachment> attach(const AttachOptions& options, UniqueFd* tie = nullptr);

/** An attachment that lasts as long as somebody has its device open. */
struct Held {
    Attachment attachment;
    UniqueFd holder; ///< its first user
};
/**
 * The same, but from the beginning the device goes by itself when its last user does: what is made with it
 * until another user (a mount) is there leaves nothing behind, also if this process is killed.
 */
Result<Held> attachHeld(const AttachOptions& options);

/**
 * All attached images. State files of what is entirely gone are removed on the way. One whose vz-ploopd has
 * died is in the list as long as its loop device is bound.
 */
Result<std::vector<Attachment>> list();
/** The attachment of an image that is open for writing, if there is one; @p descriptor is any path of it. */
Result<std::optional<Attachment>> find(const std::string& descriptor);
/** The attachment with that id, if it is still there. */
Result<std::optional<Attachment>> findById(const std::string& id);
bool alive(const Attachment& attachment);

/** Gives a request to the vz-ploopd of an image; @p fd goes with it. The values of its answer. */
Result<Texts> call(const Attachment& attachment, const Texts& request, const ploop::Progress& progress = {},
                   int fd = -1);

/** Whether a call failed because the image is no longer attached: then it is closed, too. */
bool wasGone(const Error& error);

/**
 * Takes the device away and closes the image; returns when all is on the disk. ResourceBusy if the device is
 * in use. If vz-ploopd has died, only the device has to be taken away.
 */
Result<void> detach(const Attachment& attachment);

/**
 * Waits until the image of the attachment @p id is closed, which it is soon after the last user of a device
 * that goes by itself: its files are free then. OperationTimeout if that takes longer than @p limit; the
 * error of closing it, if any.
 */
Result<void> awaitEnd(const std::string& id, std::chrono::milliseconds limit);

/** From now on the device goes by itself when the last user does. */
Result<void> leaveToUsers(const Attachment& attachment);

/** The path by which an image is known here: no links in it. */
Result<std::string> realPath(const std::string& path);

} // namespace vz::exports
