// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/copy.hpp"

#include "storage/ploop/buffer.hpp"

namespace vz::ploop {

namespace {

constexpr uint64_t part = 1u << 20;

/** Both lists as one, in order, without overlaps. */
std::vector<Range> unite(std::vector<Range> a, const std::vector<Range>& b) {
    a.insert(a.end(), b.begin(), b.end());
    std::sort(a.begin(), a.end(), [](const Range& x, const Range& y) { return x.offset < y.offset; });
    std::vector<Range> all;
    for (const auto& range : a) {
        if (!all.empty() && range.offset <= all.back().offset + all.back().length)
            all.back().length = std::max(all.back().length, range.offset + range.length - all.back().offset);
        else
            all.push_back(range);
    }
    return all;
}

} // namespace

Result<LiveCopy> LiveCopy::begin(Image& image) {
    auto map = std::make_shared<DirtyMap>(image.bytes(), std::min<uint64_t>(image.clusterBytes(), part));
    // In this order: what is written from now on is marked, and what was there before is marked here.
    VZ_CHECK(image.track(map));
    LiveCopy copy(image, map);
    VZ_TRY(auto ranges, image.allocated());
    for (const auto& range : ranges)
        map->mark(range.offset, range.length);
    return copy;
}

LiveCopy::LiveCopy(LiveCopy&& other) noexcept
    : image_(std::exchange(other.image_, nullptr)), map_(std::move(other.map_)), first_(other.first_) {}

LiveCopy::~LiveCopy() {
    if (image_)
        (void)image_->track(nullptr);
}

Result<uint64_t> LiveCopy::pass(const Sink& sink, const Progress& progress) {
    Buffer buffer(part);
    uint64_t sent = 0, total = waiting(), at = 0;
    // In one sweep, so that a busy writer cannot keep a pass from ending.
    while (auto range = map_->take(at, part)) {
        if (progress && !progress(sent, total))
            return fail(ErrorCode::OperationAborted, "stopped on request");
        auto send = [&]() -> Result<void> {
            VZ_CHECK(image_->read(range->offset, buffer.data(), range->length));
            bool zeros = allZero(buffer.data(), range->length);
            if (zeros && first_)
                return {};
            return sink(*range, zeros ? nullptr : buffer.data());
        };
        if (auto done = send(); !done) {
            map_->mark(range->offset, range->length);
            return std::move(done).takeError();
        }
        at = range->offset + range->length;
        sent += range->length;
    }
    first_ = false;
    return sent;
}

Result<std::vector<Range>> changedBetween(FileSystem& files, const std::string& descriptor, const Guid& from,
                                          const Guid& to) {
    VZ_TRY(auto model, Volume::read(files, descriptor));
    VZ_TRY(auto a, chainOf(descriptor, model, from));
    VZ_TRY(auto b, chainOf(descriptor, model, to));
    size_t common = 0;
    while (common < a.size() && common < b.size() && a[common].path == b[common].path)
        ++common;
    if (common == 0)
        return fail(ErrorCode::InvalidArg, "the snapshots ", from, " and ", to, " have nothing in common");
    std::vector<Range> changed;
    for (const auto& [guid, length] : {std::pair(from, a.size()), std::pair(to, b.size())}) {
        if (length == common)
            continue;
        VZ_TRY(auto image, Volume::openSnapshot(files, descriptor, guid));
        VZ_TRY(auto ranges, image->allocated(common));
        changed = unite(std::move(changed), ranges);
    }
    return changed;
}

} // namespace vz::ploop
