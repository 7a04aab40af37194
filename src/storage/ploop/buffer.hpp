// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace vz::ploop {

/** How much is copied at a time, in bytes. */
constexpr uint64_t copyPart = 1u << 20;

/** Memory that is aligned for O_DIRECT. Throws std::bad_alloc. */
class Buffer {
public:
    explicit Buffer(size_t size)
        : data_(static_cast<std::byte*>(std::aligned_alloc(4096, (size + 4095) & ~size_t(4095)))) {
        if (!data_)
            throw std::bad_alloc();
    }
    std::byte* data() { return data_.get(); }

private:
    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    std::unique_ptr<std::byte, Free> data_;
};

inline bool allZero(const std::byte* data, size_t size) {
    return size == 0 || (data[0] == std::byte(0) && std::memcmp(data, data + 1, size - 1) == 0);
}

} // namespace vz::ploop
