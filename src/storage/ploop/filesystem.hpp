// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/gpt.hpp"

namespace vz::ploop {

struct FormatOptions {
    std::string type = "ext4"; ///< ext3, ext4 or xfs
    std::string label;
    uint32_t blockBytes = 4096;
    bool lazy = true;      ///< let the kernel initialize tables after the first mount
    bool partition = true; ///< a partition table with one partition; else the file system has the whole disk
};

/**
 * Puts an empty file system on a new disk. It is made by the system's mkfs in an unnamed sparse file in @p
 * folder, from which all that is not zero is copied; so no block device is needed, and nothing stays behind.
 */
Result<void> formatDisk(Image& image, const std::string& folder, const FormatOptions& options);

/** Sizes from the superblock of an ext2, ext3 or ext4 file system that is not mounted. */
struct Usage {
    uint64_t kibibytes, kibibytesUsed, inodes, inodesUsed;
};
/** StorageProbeFailed if there is none. */
Result<Usage> readUsage(Image& image);

} // namespace vz::ploop
