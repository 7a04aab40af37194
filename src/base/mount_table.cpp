// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/mount_table.hpp"

#include "base/file.hpp"

#include <algorithm>

namespace vz {

namespace {

/** "\040" and the like: blanks, tabs, line ends and backslashes in names. */
std::string unescape(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        auto code = text[i] == '\\' && i + 3 < text.size()
                        ? parseNumber<unsigned char>(text.substr(i + 1, 3), 8)
                        : std::nullopt;
        out += code ? static_cast<char>(*code) : text[i];
        i += code ? 3 : 0;
    }
    return out;
}

} // namespace

std::vector<MountEntry> parseMountTable(std::string_view text) {
    std::vector<MountEntry> entries;
    for (auto line : lines(text)) {
        // id parent device root point options [optional...] - type source options
        auto fields = split(line, ' ');
        auto dash = std::find(fields.begin(), fields.end(), "-");
        if (dash - fields.begin() < 6 || fields.end() - dash < 3)
            continue;
        entries.push_back({.device = std::string(fields[2]),
                           .root = unescape(fields[3]),
                           .point = unescape(fields[4]),
                           .type = std::string(dash[1]),
                           .source = unescape(dash[2]),
                           .options = std::string(fields.end() - dash > 3 ? dash[3] : "")});
    }
    return entries;
}

Result<std::vector<MountEntry>> mountTable(pid_t process) {
    constexpr size_t limit = 64u << 20; // hosts with thousands of containers have long ones
    VZ_TRY(auto text, file::read(cat("/proc/", process ? cat(process) : "self", "/mountinfo"), limit));
    return parseMountTable(text);
}

} // namespace vz
