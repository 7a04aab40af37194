// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/pool/permissions.hpp"

#include <algorithm>
#include <climits>

namespace vz::storage {

namespace {

/** An id; "-1" and nothing mean that it is left as it is. */
template<typename Id>
Result<std::optional<Id>> readId(xmlNode* parent, const char* name) {
    auto text = trimmedText(xml::child(parent, name));
    if (text.empty() || text == "-1")
        return std::optional<Id>();
    auto number = parseNumber<Id>(text);
    if (!number || *number == static_cast<Id>(-1))
        return fail(ErrorCode::XmlError, "<", name, ">", text, "</", name, "> is no id");
    return number;
}

std::string octal(mode_t mode) {
    std::string text = "0000";
    for (size_t i = 4; i-- > 1; mode >>= 3)
        text[i] = static_cast<char>('0' + (mode & 7));
    return text;
}

} // namespace

Result<Permissions> readPermissions(xmlNode* element) {
    Permissions permissions;
    if (!element)
        return permissions;
    if (auto text = trimmedText(xml::child(element, "mode")); !text.empty()) {
        auto mode = parseNumber<mode_t>(text, 8);
        if (!mode || *mode > 0777)
            return fail(ErrorCode::XmlError, "<mode>", text, "</mode> is no octal number up to 0777");
        permissions.mode = *mode;
    }
    VZ_TRY(permissions.owner, readId<uid_t>(element, "owner"));
    VZ_TRY(permissions.group, readId<gid_t>(element, "group"));
    permissions.label = xml::text(xml::child(element, "label"));
    return permissions;
}

std::string formatPermissions(const Permissions& permissions, size_t indent) {
    if (permissions.empty())
        return {};
    std::string outer(indent, ' '), inner(indent + 2, ' ');
    std::string out = outer + "<permissions>\n";
    if (permissions.mode)
        out += cat(inner, "<mode>", octal(*permissions.mode), "</mode>\n");
    if (permissions.owner)
        out += cat(inner, "<owner>", *permissions.owner, "</owner>\n");
    if (permissions.group)
        out += cat(inner, "<group>", *permissions.group, "</group>\n");
    if (!permissions.label.empty())
        out += cat(inner, "<label>", escapeXml(permissions.label), "</label>\n");
    return out + outer + "</permissions>\n";
}

Result<uint64_t> scaled(const std::string& number, const std::string& unit) {
    auto value = parseNumber<uint64_t>(number);
    if (!value)
        return fail(ErrorCode::XmlError, "'", number, "' is no size");
    std::string name = unit;
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    if (name.empty() || name == "b" || name == "byte" || name == "bytes")
        return *value;
    auto power = std::string_view("kmgtpe").find(name[0]);
    auto rest = name.substr(1);
    if (power == std::string_view::npos || (!rest.empty() && rest != "b" && rest != "ib"))
        return fail(ErrorCode::XmlError, "'", unit, "' is no unit of a size");
    uint64_t result = *value;
    for (size_t i = 0; i <= power; ++i) {
        if (__builtin_mul_overflow(result, rest == "b" ? 1000u : 1024u, &result))
            return fail(ErrorCode::Overflow, number, " ", unit, " is more than can be counted");
    }
    return result;
}

Result<uint64_t> readSize(xmlNode* element) {
    auto size = scaled(trimmedText(element), xml::attribute(element, "unit"));
    if (!size)
        return std::move(size).takeError().within(cat("<", xml::name(element), ">"));
    return size;
}

std::string trimmedText(xmlNode* element) {
    return std::string(trim(xml::text(element)));
}

bool isFileName(const std::string& name) {
    bool plain =
        !name.empty() && name.size() <= NAME_MAX && name != "." && name != ".." &&
        std::ranges::none_of(name, [](unsigned char c) { return c < 0x20 || c == 0x7f || c == '/'; });
    return plain && xml::isUtf8(name);
}

} // namespace vz::storage
