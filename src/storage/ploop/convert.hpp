// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/volume.hpp"

/** Changes of what kind of files an image is made of. All offline: the image must not be in use. */
namespace vz::ploop {

/**
 * Turns the only delta of an image into another kind. A new file is written beside it and takes its place;
 * until then the old one stays as it is. OperationInvalid if there are snapshots.
 */
Result<void> convertMode(FileSystem& files, const std::string& descriptor, Descriptor::Mode mode,
                         const Progress& progress = {});

/** Whether the descriptor of an image is one that convertMode() left when it was cut off, and the rest of its
 * work. */
bool modeChangeUnfinished(const Descriptor& model);
Result<void> finishModeChange(FileSystem& files, const std::string& descriptor, Descriptor& model);

/** Changes all deltas of an image to version 1 or 2, in place: only their tables are rewritten. */
Result<void> convertVersion(FileSystem& files, const std::string& descriptor, Version version);

/** Completes convertVersion() of one delta where it was cut off; does nothing otherwise. */
Result<void> finishVersionChange(FileSystem& files, const std::string& path);

struct RestoreOptions {
    Descriptor::Mode mode = Descriptor::Mode::Expanded;
    uint32_t clusterSectors = 0; ///< for raw images; 0: the largest up to 1 MiB that divides the file
};
/** Makes a descriptor in @p folder for a base delta that has none. StorageVolExist if there is one. */
Result<void> restoreDescriptor(FileSystem& files, const std::string& folder, const std::string& delta,
                               const RestoreOptions& options);

struct ReplaceOptions {
    bool keepName = false; ///< the new file takes the old one's name; else the descriptor names the new one
};
/** Puts another file of the same kind, size and content in the place of the delta @p guid. */
Result<void> replaceDelta(FileSystem& files, const std::string& descriptor, const Guid& guid,
                          const std::string& file, const ReplaceOptions& options);

/** Makes @p target a ploop delta (or a raw file) with the content of @p source. The name of the target must
 * be free. */
Result<void> writeCopy(FileSystem& files, Image& source, const std::string& target, Descriptor::Mode mode,
                       Version version, const Progress& progress = {});
/** The same where file system and image can do it without copying: the new file shares its data with that of
 * @p source until one of them is written to. False, and no file, elsewhere. */
Result<bool> shareCopy(FileSystem& files, Image& source, const std::string& target, Descriptor::Mode mode);

/** Writes all that is not zero in @p source to @p target, which is new and at least as large. */
Result<void> copyContent(Image& source, Image& target, const Progress& progress = {});

} // namespace vz::ploop
