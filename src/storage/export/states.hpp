// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/export/client.hpp"
#include "storage/ploop/volume.hpp"

#include <functional>

/**
 * States of several images that belong together (the disks of one guest), each of which may be a block device
 * at present or not. A state has the same GUID in all of them.
 */
namespace vz::exports {

/** How an image's file system is found, to be held still: a descriptor of anything in it, or none if it is
 * not mounted. An error if it is mounted, but cannot be found. */
using FolderOf = std::function<Result<UniqueFd>(const Attachment&)>;

/**
 * Makes the state @p guid in all images, or in none of them. The file systems of those that are devices
 * change nothing from the first to the last: each is frozen by its vz-ploopd, which thaws it when it is told
 * to, or when this process ends, or falls silent for longer than ten seconds. With @p quiesce that has to be
 * possible, else it is done where it is. ResourceBusy if an image is in use elsewhere.
 */
Result<void> snapshotAll(const std::vector<std::string>& descriptors, const ploop::Guid& guid,
                         const FolderOf& folderOf, bool quiesce);

/**
 * Goes back to the state @p guid in all images, none of which may be a device, or in none of them; what was
 * written since is lost. Several images keep their present state as @p keep meanwhile. If the process ends in
 * between, finishSwitch() with the same arguments completes it; so it does if after an error not all could be
 * brought back to where they were, which sets @p mixed.
 */
Result<void> switchAll(const std::vector<std::string>& descriptors, const ploop::Guid& guid,
                       const ploop::Guid& keep, bool* mixed = nullptr);
Result<void> finishSwitch(const std::vector<std::string>& descriptors, const ploop::Guid& guid,
                          const ploop::Guid& keep);

/** Removes the state from all images that have it; others keep their content. May take long; done again, it
 * goes on where it was. @p progress sees one image after the other. */
Result<void> removeFromAll(const std::vector<std::string>& descriptors, const ploop::Guid& guid,
                           const ploop::Progress& progress = {});

/** Thaws the file system that @p folder is of, if it is frozen: for what is left when both sides of
 * snapshotAll() were killed. @p partition names it in the log. */
void thaw(const UniqueFd& folder, const std::string& partition);

/** Whether an image has the state, and can go back to it. */
Result<bool> hasState(const std::string& descriptor, const ploop::Guid& guid);

} // namespace vz::exports
