// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/io.hpp"

#include <atomic>

namespace vz::ploop {

/** Which parts of a disk were written since they were last looked at. Lock-free; for any number of threads.
 */
class DirtyMap {
public:
    /** One bit per @p granularity bytes. */
    DirtyMap(uint64_t bytes, uint64_t granularity);

    void mark(uint64_t offset, uint64_t length);
    /** The first marked part at or after @p from, its marks removed; at most @p most bytes. */
    std::optional<Range> take(uint64_t from, uint64_t most);
    uint64_t markedBytes() const;
    uint64_t granularity() const { return granularity_; }

private:
    static constexpr uint64_t wordBits = 64;
    std::optional<uint64_t> firstMarked(uint64_t from) const;
    bool clear(uint64_t bit);

    uint64_t bytes_, granularity_, bits_;
    std::vector<std::atomic<uint64_t>> words_;
};

} // namespace vz::ploop
