// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/pool/volume_xml.hpp"

/** What is done to volumes that are there. @p path is always the folder of one. */
namespace vz::storage {

/**
 * The error of somebody who could not get an image, made to tell by whom it is used, as far as that can be
 * known; other errors as they are.
 */
Error usedBy(const std::string& path, Error error);

/** Removes a volume with all of its snapshots. ResourceBusy if anyone uses any file of it. */
Result<void> deleteVolume(const std::string& target, const std::string& name);

/**
 * Overwrites with zeros all that the volume holds, and gives back the space unless it is a preallocated or
 * raw one. OperationInvalid if it has snapshots, which would keep the data.
 */
Result<void> wipeVolume(const std::string& path);

struct ResizeRequest {
    uint64_t capacity = 0; ///< bytes
    bool allocate = false; ///< take the space for all of the disk
    bool shrink = false;   ///< it may become smaller
};
/** Makes disk, partition and file system larger or smaller; a volume in use only larger. */
Result<void> resizeVolume(const std::string& path, const ResizeRequest& request);

} // namespace vz::storage
