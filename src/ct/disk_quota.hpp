// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <cstdint>
#include <string>

/**
 * Limits of what a folder with all below it holds, by the project quota of its file system (ext4, XFS): the
 * folder's inodes belong to a project, and new ones inherit that. Source: quotactl(2), ioctl_fsgetxattr in
 * linux/fs.h, Documentation/filesystems/ext4.
 */
namespace vz::ct {

/** How long more than a soft limit is allowed is the file system's own setting, for all projects. */
struct QuotaLimits {
    uint64_t softBytes = 0, hardBytes = 0; ///< 0: no limit
    uint64_t softInodes = 0, hardInodes = 0;
};

struct QuotaUse {
    uint64_t bytes = 0, inodes = 0;
    QuotaLimits limits;
};

/** ConfigUnsupported, saying what to do, if the file system of @p folder keeps no project quota. */
Result<void> checkProjectQuota(const std::string& folder);

/**
 * Gives all that is in @p folder to the project @p id, which may take long the first time: each file is
 * looked at. One that was interrupted starts anew; one that was completed is done at once. Links and other
 * file systems are not followed.
 */
Result<void> markProject(const std::string& folder, uint32_t id);
/** The project that @p folder belongs to; 0: none, or the file system knows none. */
uint32_t projectOf(const std::string& folder);

Result<void> setProjectQuota(const std::string& folder, uint32_t id, const QuotaLimits& limits);
Result<QuotaUse> projectQuota(const std::string& folder, uint32_t id);

} // namespace vz::ct
