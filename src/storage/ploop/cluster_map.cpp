// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/cluster_map.hpp"

#include <algorithm>

namespace vz::ploop {

void ClusterMap::resize(uint64_t clusters) {
    size_t count = (clusters + pageEntries - 1) / pageEntries;
    std::vector<std::atomic<Page*>> pages(count);
    // The last page may have got its entries from a table that was shorter.
    size_t keep = std::min<size_t>(count, std::min(clusters, clusters_) / pageEntries);
    for (size_t i = 0; i < keep; ++i)
        pages[i].store(pages_[i].load());
    std::erase_if(owned_, [&](const auto& page) {
        return std::none_of(pages.begin(), pages.end(),
                            [&](const auto& kept) { return kept.load() == page.get(); });
    });
    pages_.swap(pages);
    clusters_ = clusters;
}

void ClusterMap::clear() {
    for (auto& page : pages_)
        page.store(nullptr);
    owned_.clear();
}

Result<void> ClusterMap::merge(size_t level, uint64_t first, std::span<Place> into) const {
    auto& delta = *levels_[level];
    uint64_t cluster = delta.header().clusterSectors;
    if (delta.plain()) {
        for (size_t i = 0; i < into.size() && (first + i) * cluster < delta.header().sectors; ++i) {
            if (!into[i].present())
                into[i] = Place::at(level, (first + i) * cluster);
        }
        return {};
    }
    std::array<uint32_t, pageEntries> entries;
    std::span<uint32_t> part(entries.data(), into.size());
    VZ_CHECK(delta.readEntries(first, part));
    VZ_TRY(uint64_t bytes, delta.file().size());
    for (size_t i = 0; i < part.size(); ++i) {
        if (part[i] == 0 || into[i].present())
            continue;
        into[i] = delta.header().valid(part[i], bytes) ? Place::at(level, delta.header().sectorOf(part[i]))
                                                       : Place::damaged(level);
    }
    return {};
}

Result<ClusterMap::Page*> ClusterMap::load(size_t number) {
    std::lock_guard lock(loading_);
    if (auto* page = pages_[number].load(std::memory_order_acquire))
        return page;
    uint64_t first = uint64_t(number) * pageEntries;
    std::array<Place, pageEntries> places{};
    std::span<Place> used(places.data(), std::min<uint64_t>(pageEntries, clusters_ - first));
    for (size_t level = levels_.size(); level-- > 0;)
        VZ_CHECK(merge(level, first, used));
    auto page = std::make_unique<Page>();
    for (size_t i = 0; i < pageEntries; ++i)
        (*page)[i].store(places[i].bits_, std::memory_order_relaxed);
    auto* raw = page.get();
    owned_.push_back(std::move(page));
    pages_[number].store(raw, std::memory_order_release);
    return raw;
}

Result<Place> ClusterMap::below(size_t above, uint64_t index) const {
    Place place;
    for (size_t level = above; level-- > 0 && !place.present();)
        VZ_CHECK(merge(level, index, {&place, 1}));
    return place;
}

} // namespace vz::ploop
