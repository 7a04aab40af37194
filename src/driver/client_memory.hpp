// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>

/** Memory that the caller of one of libvirt's APIs frees with free(3). All throw std::bad_alloc. */
namespace vz::driver {

/** Zeroed, and never null. */
template<typename T>
T* allocate(size_t count = 1) {
    auto* memory = static_cast<T*>(std::calloc(std::max<size_t>(count, 1), sizeof(T)));
    if (!memory)
        throw std::bad_alloc();
    return memory;
}

inline char* copyText(const std::string& text) {
    auto* copy = allocate<char>(text.size() + 1);
    std::memcpy(copy, text.c_str(), text.size() + 1);
    return copy;
}

} // namespace vz::driver
