// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <string_view>
#include <sys/types.h>

namespace vz::exports {

/** What vz-ploopd is called with to be such a process; and what it does then, with its descriptors. */
inline constexpr std::string_view freezerArgument = "--hold-still";
int holdStill();

/**
 * A file system in which nothing changes (FIFREEZE); what is on its device is all there is to it. It goes on
 * when this object, or this process, ends.
 *
 * A process of its own holds the descriptor and does the freezing: one that serves the device below a file
 * system must never be the last to have that open. Its end would have to wait for the file system to be
 * unmounted, which waits for the device. It is a new program, not a copy of this one: that would keep alive
 * what is mapped here (io_uring), and so /dev/fuse, whose requests then wait for a dead process.
 */
class Freezer {
public:
    /** Freezes the file system that @p folder is in; without one there is nothing to do. Errors of starting
     * the process; how the freezing went is asked afterwards. */
    static Result<Freezer> freeze(UniqueFd folder);
    Freezer() = default;
    Freezer(Freezer&& other) noexcept;
    Freezer& operator=(Freezer&& other) noexcept;
    /** Returns when the file system goes on. */
    ~Freezer() { thaw(); }

    /** The errno of the freezing, or 0; not of a file system that somebody else has frozen, or that cannot
     * be. */
    int failed() const;
    /** Also if it is somebody else who has frozen it. */
    bool still() const;

private:
    void thaw();

    UniqueFd channel_;
    pid_t process_ = 0;
    bool asked_ = false;
    int outcome_ = 0;
};

} // namespace vz::exports
