// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/dirty_map.hpp"
#include "storage/ploop/volume.hpp"

namespace vz::ploop {

/**
 * A copy of an image that others are writing to. pass() sends what has not been sent in its present state;
 * the caller repeats it until little is left, stops the writers, and calls it once more: then the copy is
 * complete.
 */
class LiveCopy {
public:
    /** Gets a part of the disk; @p data is null for zeros. */
    using Sink = std::function<Result<void>(Range range, const std::byte* data)>;

    static Result<LiveCopy> begin(Image& image);
    LiveCopy(LiveCopy&& other) noexcept;
    ~LiveCopy();

    /** Sends all that is waiting; the bytes sent. The first pass leaves out zeros, as a new target has them
     * already. */
    Result<uint64_t> pass(const Sink& sink, const Progress& progress = {});
    /** What a pass would send now. */
    uint64_t waiting() const { return map_->markedBytes(); }

private:
    LiveCopy(Image& image, std::shared_ptr<DirtyMap> map) : image_(&image), map_(std::move(map)) {}

    Image* image_;
    std::shared_ptr<DirtyMap> map_;
    bool first_ = true;
};

/**
 * The parts of the disk that may differ between two states of an image, in whole clusters: what was written
 * on the way from one to the other in the tree. NoSnapshot if one is unknown.
 */
Result<std::vector<Range>> changedBetween(FileSystem& files, const std::string& descriptor, const Guid& from,
                                          const Guid& to);

} // namespace vz::ploop
