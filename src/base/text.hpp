// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vz {

namespace detail {

inline void append(std::string& out, std::string_view part) {
    out += part;
}
inline void append(std::string& out, const char* part) {
    out += part ? part : "(null)";
}
inline void append(std::string& out, char part) {
    out += part;
}
template<std::integral T>
requires(!std::same_as<T, char> && !std::same_as<T, bool>) void append(std::string& out, T part) {
    char digits[24];
    out.append(digits, std::to_chars(digits, digits + sizeof digits, part).ptr);
}

} // namespace detail

/** Concatenates text and whole numbers; what messages and paths are built with. */
template<typename... Parts>
[[nodiscard]] std::string cat(const Parts&... parts) {
    std::string out;
    (detail::append(out, parts), ...);
    return out;
}

/** The whole of @p text as a decimal number of type T, or nothing (no sign, space or rest accepted beyond T's
 * own). */
template<std::integral T>
[[nodiscard]] std::optional<T> parseNumber(std::string_view text, int base = 10) {
    T value{};
    auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc{} || end != text.data() + text.size() || text.empty())
        return std::nullopt;
    return value;
}

/** @p text without leading and trailing blanks and line ends. */
[[nodiscard]] std::string_view trim(std::string_view text);

/** The parts of @p text between @p separator characters; an empty text has no parts. */
[[nodiscard]] std::vector<std::string_view> split(std::string_view text, char separator);

/** @p text made safe to stand between tags or in an attribute of XML. */
[[nodiscard]] std::string escapeXml(std::string_view text);

/** The lines of @p text, without line ends and without a last empty one. */
[[nodiscard]] std::vector<std::string_view> lines(std::string_view text);

/** @p parts with @p separator between them. */
[[nodiscard]] std::string join(const std::vector<std::string>& parts, std::string_view separator);

/** The value behind "Key:" in a text of "Key: value" lines (as in /proc/PID/status), trimmed; empty if not
 * there. */
[[nodiscard]] std::string_view field(std::string_view text, std::string_view key);

} // namespace vz
