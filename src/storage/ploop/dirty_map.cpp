// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/dirty_map.hpp"

#include <algorithm>
#include <bit>

namespace vz::ploop {

DirtyMap::DirtyMap(uint64_t bytes, uint64_t granularity)
    : bytes_(bytes), granularity_(granularity), bits_((bytes + granularity - 1) / granularity),
      words_((bits_ + wordBits - 1) / wordBits) {}

void DirtyMap::mark(uint64_t offset, uint64_t length) {
    if (length == 0)
        return;
    uint64_t last = std::min((offset + length - 1) / granularity_, bits_ - 1);
    for (uint64_t bit = offset / granularity_; bit <= last; ++bit)
        words_[bit / wordBits].fetch_or(1ull << bit % wordBits, std::memory_order_release);
}

std::optional<uint64_t> DirtyMap::firstMarked(uint64_t from) const {
    for (uint64_t word = from / wordBits; word < words_.size(); ++word) {
        uint64_t bits = words_[word].load(std::memory_order_acquire);
        if (word == from / wordBits)
            bits &= ~0ull << from % wordBits;
        if (bits)
            return word * wordBits + static_cast<uint64_t>(std::countr_zero(bits));
    }
    return std::nullopt;
}

bool DirtyMap::clear(uint64_t bit) {
    uint64_t mask = 1ull << bit % wordBits;
    return words_[bit / wordBits].fetch_and(~mask, std::memory_order_acq_rel) & mask;
}

std::optional<Range> DirtyMap::take(uint64_t from, uint64_t most) {
    auto first = firstMarked(from / granularity_);
    if (!first)
        return std::nullopt;
    uint64_t end = *first;
    uint64_t limit = std::min(bits_, *first + std::max<uint64_t>(most / granularity_, 1));
    while (end < limit && clear(end))
        ++end;
    if (end == *first) // another thread took it
        return take((*first + 1) * granularity_, most);
    uint64_t begin = *first * granularity_;
    return Range{begin, std::min(end * granularity_, bytes_) - begin};
}

uint64_t DirtyMap::markedBytes() const {
    uint64_t marked = 0;
    for (const auto& word : words_)
        marked += static_cast<uint64_t>(std::popcount(word.load(std::memory_order_relaxed)));
    return std::min(marked * granularity_, bytes_);
}

} // namespace vz::ploop
