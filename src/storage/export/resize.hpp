// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/export/registry.hpp"
#include "storage/ploop/volume.hpp"

namespace vz::exports {

enum class ResizeStep { Image, Check, FileSystem };
/** What went wrong, and in which step: the ploop program has a status for each. */
struct ResizeFailure {
    ResizeStep step;
    Error error;
};

/**
 * Makes an image, the partition on it and the file system (ext4, xfs) in that larger or smaller, also while
 * it is attached and mounted here (larger only). A file system of another kind, or none, is left alone.
 * Smaller: the file system shrinks first; the image does, too, if it has no snapshots, else only its space is
 * given back. @p wait is for the image's lock.
 */
std::optional<ResizeFailure> resizeImage(const std::string& descriptor, uint64_t bytes,
                                         std::chrono::milliseconds wait);

/** Makes the mounted file system at @p folder as large as its device. */
Result<void> growFileSystem(const std::string& folder, const std::string& device);

/** Checks an ext file system that is not mounted and puts right what is safe to; @p always: also one that
 * says it is clean. */
Result<void> checkFileSystem(const std::string& device, bool always);

} // namespace vz::exports
