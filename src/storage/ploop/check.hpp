// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/image.hpp"

namespace vz::ploop {

struct CheckOptions {
    /** Put right what can be put right without losing data. */
    bool repair = false;
    /** With repair: also drop entries that point to no valid place; their clusters read as zeros then. */
    bool force = false;
    /** The file is open for writing in this process, and nothing is being written: no lock is taken, and what
     * is in order then is not a finding. Without repair. */
    bool open = false;
    Progress progress;
};

struct CheckReport {
    struct Finding {
        std::string text;
        bool fixed = false;
        bool serious = false; ///< data or the ability to write is at stake; a leak is not
    };
    std::vector<Finding> findings; ///< at most a few hundred; further ones are only counted
    uint64_t more = 0;             ///< findings not listed
    uint64_t allocated = 0;        ///< clusters
    uint64_t leaked = 0;           ///< clusters of the file that nothing refers to
    bool serious = false;          ///< a serious finding was left unfixed

    bool clean() const { return findings.empty(); }
};

/**
 * Checks one delta file. Holds its lock, as a writer if it repairs. StorageProbeFailed if the header cannot
 * be read at all; everything else is a finding. After a repair without unfixed serious findings the file is
 * marked as closed.
 */
Result<CheckReport> checkDelta(FileSystem& files, const std::string& path, const CheckOptions& options);

/** Checks the descriptor and all deltas of an image; only the top is repaired unless @p all is set. */
Result<CheckReport> checkVolume(FileSystem& files, const std::string& descriptor, const CheckOptions& options,
                                bool all = false);

} // namespace vz::ploop
