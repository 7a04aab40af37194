// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

namespace vz {

/** One line of /proc/PID/mountinfo (proc(5)), with its octal escapes undone. */
struct MountEntry {
    std::string device;  ///< of the file system: "8:1"; some, like btrfs, have one that is no block device's
    std::string root;    ///< the folder of the file system that is shown
    std::string point;   ///< where
    std::string type;    ///< "ext4"
    std::string source;  ///< "/dev/sda1"
    std::string options; ///< of the file system, not of the mount
};

/** The entries in the order of the text; of several at one place the last is on top. Lines that are none are
 * left out. */
std::vector<MountEntry> parseMountTable(std::string_view text);

/** The mount table that a process sees; 0: this one. Errors as file::read(). */
Result<std::vector<MountEntry>> mountTable(pid_t process = 0);

} // namespace vz
