// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/** What is on a block device: partitions (GPT, and the four of an MBR) and file systems. */
namespace vz::exports {

/** A part of a device in bytes; @c number 0 is all of it. */
struct Part {
    unsigned number = 0;
    uint64_t offset = 0, length = 0;
    bool root = false; ///< its type in the table says that it is the root of this kind of machine
};

struct FileSystem {
    Part part;
    std::string type; ///< "ext4" (for all of that family), "xfs", "btrfs", "squashfs" ...
    std::string label;
};

/** How large a block device is. */
Result<uint64_t> bytesOf(const std::string& device);

/** All file systems that are known by their first bytes, in the order of the device. */
Result<std::vector<FileSystem>> fileSystemsOn(const std::string& device);

/**
 * The one that is meant if only the device is named: that of the whole device, else that of the partition
 * which the table or its label ("rootfs", "cloudimg-rootfs" ...) says to be a root, else the largest. Nothing
 * if there is none.
 */
std::optional<FileSystem> mainFileSystem(const std::vector<FileSystem>& all);

/** The path of the part; if the kernel does not have it (it may know no GPT), it is told of it. */
Result<std::string> pathOf(const std::string& device, const Part& part);

} // namespace vz::exports
