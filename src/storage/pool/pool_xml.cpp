// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/pool/pool_xml.hpp"

#include "base/xml_schema.hpp"

#include <algorithm>

namespace vz::storage {

namespace {

Result<std::string> readTarget(xmlNode* root) {
    auto target = plainPath(trimmedText(xml::path(root, {"target", "path"})));
    auto source = plainPath(xml::attribute(xml::path(root, {"source", "dir"}), "path"));
    if (target.empty())
        target = source;
    if (target.empty())
        return fail(ErrorCode::XmlError, "missing storage pool target path");
    if (!source.empty() && source != target)
        return fail(ErrorCode::XmlError, "a ploop pool has its volumes where it is: <source><dir path='",
                    source, "'/> is not <target><path>", target, "</path>");
    if (target.front() != '/')
        return fail(ErrorCode::XmlError, "the target path '", target, "' is not absolute");
    auto parts = split(std::string_view(target).substr(1), '/');
    if (std::ranges::any_of(parts, [](auto part) { return part == "." || part == ".."; }) || target == "/")
        return fail(ErrorCode::XmlError, "the target path '", target,
                    "' has to name a folder plainly, without '.' and '..'");
    if (!std::ranges::all_of(parts, [](auto part) { return isFileName(std::string(part)); }))
        return fail(ErrorCode::XmlError, "the target path cannot be the path of a folder");
    return target;
}

Result<void> checkPoolName(const std::string& name) {
    if (name.empty())
        return fail(ErrorCode::XmlError, "missing storage pool name");
    if (name.find('/') != name.npos)
        return fail(ErrorCode::XmlError, "name ", name, " cannot contain '/'");
    // It becomes NAME.xml.
    constexpr size_t longest = 200;
    if (!isFileName(name) || name.size() > longest)
        return fail(ErrorCode::XmlError, "the name of a pool has at most ", longest,
                    " bytes and no control characters, and is not '.' or '..'");
    return {};
}

} // namespace

Result<PoolConfig> PoolConfig::parse(const std::string& text, bool validate) {
    VZ_TRY(auto doc, xml::parse(text));
    auto* root = xml::root(doc);
    if (xml::name(root) != "pool")
        return fail(ErrorCode::XmlError, "unexpected root element <", xml::name(root), ">, expecting <pool>");
    VZ_TRY(auto problem, xml::problemBySchema(doc.get(), poolSchema));
    if (problem)
        return fail(validate ? ErrorCode::XmlInvalidSchema : ErrorCode::XmlError,
                    "the XML of the ploop pool is not as vz-pool.rng asks: ", *problem);
    PoolConfig config;
    config.name = xml::text(xml::child(root, "name"));
    VZ_CHECK(checkPoolName(config.name));
    if (auto* uuid = xml::child(root, "uuid")) {
        config.uuid = normalUuid(xml::text(uuid));
        if (config.uuid.empty())
            return fail(ErrorCode::XmlError, "malformed uuid element: ", xml::text(uuid));
    }
    VZ_TRY(config.target, readTarget(root));
    VZ_TRY(config.permissions, readPermissions(xml::path(root, {"target", "permissions"})));
    return config;
}

std::string PoolConfig::format(const Space& space) const {
    return cat("<pool type='ploop'>\n  <name>", escapeXml(name), "</name>\n  <uuid>", uuid,
               "</uuid>\n  <capacity unit='bytes'>", space.capacity,
               "</capacity>\n  <allocation unit='bytes'>", space.allocation,
               "</allocation>\n  <available unit='bytes'>", space.available,
               "</available>\n  <source>\n  </source>\n  <target>\n    <path>", escapeXml(target),
               "</path>\n", formatPermissions(permissions, 4), "  </target>\n</pool>\n");
}

bool isPloopPool(const std::string& text) {
    auto doc = xml::parse(text);
    if (!doc)
        return false;
    auto* root = xml::root(*doc);
    return xml::name(root) == "pool" && xml::attribute(root, "type") == "ploop";
}

PoolNames namesIn(const std::string& text) {
    auto doc = xml::parse(text);
    if (!doc)
        return {};
    auto* root = xml::root(*doc);
    return {xml::text(xml::child(root, "name")), normalUuid(xml::text(xml::child(root, "uuid")))};
}

std::string plainPath(const std::string& path) {
    std::string plain;
    for (char c : path) {
        if (c != '/' || plain.empty() || plain.back() != '/')
            plain += c;
    }
    if (plain.size() > 1 && plain.back() == '/')
        plain.pop_back();
    return plain;
}

std::string normalUuid(std::string_view text) {
    std::string out;
    for (char c : trim(text)) {
        if (c == '-')
            continue;
        char lower = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        bool hex = (lower >= '0' && lower <= '9') || (lower >= 'a' && lower <= 'f');
        if (!hex || out.size() == 36)
            return {};
        if (out.size() == 8 || out.size() == 13 || out.size() == 18 || out.size() == 23)
            out += '-';
        out += lower;
    }
    return out.size() == 36 ? out : std::string();
}

} // namespace vz::storage
