// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "ct/launch_spec.hpp"

#include <mutex>
#include <string>

namespace vz::ct {

/**
 * Gives every container its own range of 65536 host ids, kept in a file so that a container has the same
 * range for its life. Ranges avoid /etc/subuid and /etc/subgid entries of others and the users of the host.
 * Thread-safe.
 */
class IdRanges {
public:
    /** @p file: where the assignments are kept (writeAtomic). Ranges come from [first, last). */
    IdRanges(std::string file, uint32_t first, uint32_t last);

    /** The range of @p uuid, allocated if it has none. */
    Result<IdRange> rangeOf(const std::string& uuid);
    /** Gives the range back (the container was undefined). */
    Result<void> release(const std::string& uuid);

private:
    std::mutex mutex_;
    std::string file_;
    uint32_t first_;
    uint32_t last_;
};

/** Whether the file system at @p path can be id-mapped, tried by doing it (mount_setattr on a detached
 * clone). */
Result<bool> canIdMap(const std::string& path);

} // namespace vz::ct
