// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/extension.hpp"

#include "base/xml_schema.hpp"

#include <sstream>

namespace vz::domain {

namespace {

std::string_view view(const xmlChar* text) {
    return text ? reinterpret_cast<const char*>(text) : "";
}

struct Switch {
    std::string_view name;
    std::optional<bool> Extension::*member;
};
constexpr Switch switches[] = {
    {"nesting", &Extension::nesting},
    {"fuse", &Extension::fuse},
    {"no-new-privileges", &Extension::noNewPrivileges},
    {"seccomp", &Extension::seccomp},
    {"user-namespace", &Extension::userNamespace},
};

void readFeature(Extension& extension, xmlNode* feature) {
    for (const auto& known : switches) {
        if (xml::name(feature) == known.name)
            extension.*known.member = xml::attribute(feature, "state") == "on";
    }
}

void readCpu(Extension& extension, xmlNode* setting) {
    auto value = parseNumber<uint64_t>(trim(xml::text(setting)));
    if (xml::name(setting) == "units")
        extension.cpuUnits = value;
    else if (xml::name(setting) == "limit")
        extension.cpuLimitPercent = value;
    else if (xml::name(setting) == "mhz")
        extension.cpuLimitMHz = value;
}

void readIo(Extension& extension, xmlNode* setting) {
    auto value = parseNumber<uint64_t>(trim(xml::text(setting)));
    if (xml::name(setting) == "prio")
        extension.ioPriority = value;
    else if (xml::name(setting) == "limit")
        extension.ioBytes = value;
    else if (xml::name(setting) == "iops")
        extension.ioOps = value;
}

std::vector<std::string> words(xmlNode* element) {
    std::vector<std::string> found;
    std::istringstream text(xml::text(element));
    for (std::string word; text >> word;)
        found.push_back(word);
    return found;
}

void readNetwork(NetworkSettings& network, xmlNode* setting) {
    auto name = xml::name(setting);
    auto text = trim(xml::text(setting));
    if (name == "hostname")
        network.hostname = text;
    else if (name == "nameservers")
        network.nameservers = words(setting);
    else if (name == "search")
        network.searchDomains = words(setting);
    else if (name == "anti-spoofing")
        network.antiSpoofing = text == "off"   ? AntiSpoofing::Off
                               : text == "mac" ? AntiSpoofing::Mac
                                               : AntiSpoofing::Address;
}

uint64_t amount(xmlNode* element, const char* name) {
    return parseNumber<uint64_t>(trim(xml::attribute(element, name))).value_or(ct::Beancounter::unlimited);
}

void readBeancounter(Extension& extension, xmlNode* element) {
    ct::Beancounter value;
    bool barrier = xml::hasAttribute(element, "barrier"), limit = xml::hasAttribute(element, "limit");
    const auto* info = ct::counterNamed(xml::name(element));
    bool guarantee = info && info->noLimit;
    if (barrier)
        value.barrier = amount(element, "barrier");
    if (limit)
        value.limit = amount(element, "limit");
    else if (barrier && !guarantee)
        value.limit = value.barrier;
    if (limit && !barrier)
        value.barrier = value.limit;
    extension.beancounters[std::string(xml::name(element))] = value;
}

void readQuota(DiskQuota& quota, xmlNode* setting) {
    DiskQuota::Amount value;
    auto number = [&](const char* attribute) {
        return parseNumber<uint64_t>(trim(xml::attribute(setting, attribute))).value_or(0);
    };
    value.hard = number("hard");
    value.soft = xml::hasAttribute(setting, "soft") ? number("soft") : value.hard;
    (xml::name(setting) == "space" ? quota.space : quota.inodes) = value;
}

void print(std::string& out, xmlNode* element, size_t depth) {
    std::string indent(2 * depth, ' ');
    out += cat(indent, "<vz:", xml::name(element));
    if (depth == 1)
        out += cat(" xmlns:vz='", extensionNamespace, "'");
    for (auto* at = element->properties; at; at = at->next) {
        auto value = xml::attribute(element, reinterpret_cast<const char*>(at->name));
        out += cat(" ", view(at->name), "='", xml::escape(value), "'");
    }
    auto inner = xml::children(element);
    auto text = inner.empty() ? std::string(trim(xml::text(element))) : std::string();
    if (inner.empty() && text.empty()) {
        out += "/>\n";
        return;
    }
    out += ">";
    if (inner.empty()) {
        out += xml::escape(text);
    } else {
        out += "\n";
        for (auto* node : inner)
            print(out, node, depth + 1);
        out += indent;
    }
    out += cat("</vz:", xml::name(element), ">\n");
}

} // namespace

bool isOurs(const xmlNode* element) {
    return element->ns && view(element->ns->href) == extensionNamespace;
}

Result<void> checkExtension(xmlNode* element) {
    xml::Doc doc(xmlNewDoc(xml::chars("1.0")));
    xmlDocSetRootElement(doc.get(), xmlDocCopyNode(element, doc.get(), 1));
    VZ_TRY(auto problem, xml::problemBySchema(doc.get(), containerSchema));
    if (!problem)
        return {};
    return fail(ErrorCode::XmlInvalidSchema,
                "the extension element <vz:container> is not as vz-container.rng asks: ", *problem);
}

std::optional<MemoryGuarantee> readGuarantee(xmlNode* memory) {
    xmlNode* element = nullptr;
    for (auto* setting : xml::children(memory)) {
        if (xml::name(setting) == "guarantee")
            element = setting;
    }
    if (!element)
        return std::nullopt;
    MemoryGuarantee guarantee;
    auto type = xml::attribute(element, "type");
    guarantee.kind = type == "percent" ? MemoryGuarantee::Kind::Percent
                     : type == "bytes" ? MemoryGuarantee::Kind::Bytes
                                       : MemoryGuarantee::Kind::Auto;
    guarantee.amount = parseNumber<uint64_t>(trim(xml::text(element))).value_or(0);
    return guarantee;
}

Extension readExtension(xmlNode* element) {
    Extension extension;
    for (auto* group : xml::children(element)) {
        if (xml::name(group) == "memory")
            extension.guarantee = readGuarantee(group);
        else if (xml::name(group) == "quota")
            extension.quota.emplace();
        for (auto* setting : xml::children(group)) {
            if (xml::name(group) == "features")
                readFeature(extension, setting);
            else if (xml::name(group) == "cpu")
                readCpu(extension, setting);
            else if (xml::name(group) == "io")
                readIo(extension, setting);
            else if (xml::name(group) == "ubc")
                readBeancounter(extension, setting);
            else if (xml::name(group) == "network")
                readNetwork(extension.network, setting);
            else if (xml::name(group) == "quota")
                readQuota(*extension.quota, setting);
        }
    }
    return extension;
}

std::string printExtension(xmlNode* element) {
    std::string out;
    print(out, element, 1);
    return out;
}

} // namespace vz::domain
