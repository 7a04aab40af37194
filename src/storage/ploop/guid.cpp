// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/guid.hpp"

#include <array>
#include <cctype>
#include <random>

namespace vz::ploop {

Result<Guid> parseGuid(std::string_view text) {
    std::string_view bare = text;
    if (bare.size() == 38 && bare.front() == '{' && bare.back() == '}')
        bare = bare.substr(1, 36);
    Guid guid = "{";
    for (size_t i = 0; i < bare.size(); ++i) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        auto c = static_cast<unsigned char>(bare[i]);
        if (dash ? c != '-' : !std::isxdigit(c))
            break;
        guid += static_cast<char>(std::tolower(c));
    }
    if (bare.size() != 36 || guid.size() != 37)
        return fail(ErrorCode::InvalidArg, "'", text, "' is no UUID");
    return guid + "}";
}

Guid randomGuid() {
    std::random_device random;
    std::array<uint32_t, 4> words;
    for (auto& word : words)
        word = random();
    words[1] = (words[1] & 0xFFFF0FFF) | 0x4000;     // version 4
    words[2] = (words[2] & 0x3FFFFFFF) | 0x80000000; // variant 1
    std::string guid = "{";
    constexpr char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 32; ++i) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            guid += '-';
        guid += digits[words[i / 8] >> (28 - i % 8 * 4) & 15];
    }
    return guid + "}";
}

} // namespace vz::ploop
