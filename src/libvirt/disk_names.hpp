// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string_view>
#include <type_traits>

namespace vz::abi {

/** How names of disks begin that only QEMU's driver is to see: "vz-ploop:KIND:FORMAT:NAME". */
inline constexpr std::string_view kPloopName = "vz-ploop:";

/** The part of such a name that clients know, which is its end; other texts (and null) as they are. */
inline const char* outerDiskName(const char* text) {
    if (!text || !std::string_view(text).starts_with(kPloopName))
        return text;
    std::string_view rest(text);
    size_t end = kPloopName.size();
    for (int colons = 0; colons < 2; ++colons) {
        auto colon = rest.find(':', end);
        if (colon == rest.npos)
            return text;
        end = colon + 1;
    }
    return text + end;
}

/** The same for any argument of an event. */
template<typename T>
T outerArgument(T value) {
    if constexpr (std::is_same_v<T, const char*>)
        return outerDiskName(value);
    else
        return value;
}

} // namespace vz::abi
