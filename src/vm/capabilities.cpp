// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vm/capabilities.hpp"

#include "base/xml.hpp"

#include <algorithm>

namespace vz::vm {

namespace {

Result<xml::Doc> parse(const std::string& text, std::string_view root) {
    VZ_TRY(auto doc, xml::parse(text));
    if (xml::name(xml::root(doc)) != root)
        return fail(ErrorCode::XmlError, "expected a document <", root, ">, got <", xml::name(xml::root(doc)),
                    ">");
    return doc;
}

/** The hvm guests of inner capabilities. */
std::vector<xmlNode*> machineGuests(const xml::Doc& inner) {
    std::vector<xmlNode*> found;
    for (auto* guest : xml::children(xml::root(inner), "guest")) {
        if (xml::text(xml::child(guest, "os_type")) == "hvm")
            found.push_back(guest);
    }
    return found;
}

std::string archOf(xmlNode* guest) {
    return xml::attribute(xml::child(guest, "arch"), "name");
}

std::string hostArch(const xml::Doc& inner) {
    return xml::text(xml::path(xml::root(inner), {"host", "cpu", "arch"}));
}

xmlNode* domainOfType(xmlNode* guest, std::string_view type) {
    for (auto* domain : xml::children(xml::child(guest, "arch"), "domain")) {
        if (xml::attribute(domain, "type") == type)
            return domain;
    }
    return nullptr;
}

/** Whether a guest is run by that program: its own, or that of one of its domain types. */
bool hasEmulator(xmlNode* guest, std::string_view emulator) {
    auto* arch = xml::child(guest, "arch");
    auto places = xml::children(arch, "domain");
    places.push_back(arch);
    return std::any_of(places.begin(), places.end(),
                       [&](auto* place) { return xml::text(xml::child(place, "emulator")) == emulator; });
}

/** Whether a processor of @p host runs the code of @p guest by itself. */
bool runsOn(std::string_view guest, std::string_view host) {
    return guest == host || (host == "x86_64" && guest == "i686") || (host == "aarch64" && guest == "armv7l");
}

Engine engineFor(const xml::Doc& inner, std::string_view arch, const Accelerator& accelerator) {
    auto host = hostArch(inner);
    if (arch.empty())
        arch = host;
    bool offered = false;
    for (auto* guest : machineGuests(inner))
        offered = offered || (archOf(guest) == arch && domainOfType(guest, "kvm"));
    if (!offered && !runsOn(arch, host))
        return {false, cat("processors of architecture ", host, " do not run code of ", arch)};
    if (!accelerator.kvm || offered || accelerator.forced)
        return {accelerator.kvm, accelerator.reason};
    return {false,
            "KVM works, but QEMU's driver does not offer it: it wants the user that QEMU runs as to be "
            "able to open /dev/kvm"};
}

/** Makes the domain types of a guest ours; false if it cannot run on that engine. */
bool toOuter(xmlNode* guest, const Engine& engine) {
    auto* used = domainOfType(guest, engine.innerType());
    if (!used)
        return false;
    auto* arch = xml::child(guest, "arch");
    auto old = xml::children(arch, "domain");
    for (const char* type : {"parallels", "vz"}) {
        auto* domain = xml::addChild(arch, "domain");
        xml::setAttribute(domain, "type", type);
        for (auto* part : xml::children(used))
            xmlAddChild(domain, xmlDocCopyNode(part, domain->doc, 1));
    }
    for (auto* domain : old)
        xml::remove(domain);
    auto* accelerator = xml::addChild(arch, "accelerator");
    xmlSetNs(accelerator, xmlNewNs(accelerator, xml::chars(kCapabilitiesUri.data()), xml::chars("vz")));
    xml::setAttribute(accelerator, "type", engine.name());
    xml::setAttribute(accelerator, "reason", engine.reason);
    return true;
}

} // namespace

Result<Engine> engineFor(const std::string& inner, std::string_view arch, const Accelerator& accelerator) {
    VZ_TRY(auto doc, parse(inner, "capabilities"));
    return engineFor(doc, arch, accelerator);
}

Result<std::string> outerCapabilities(const std::string& containers, const std::string& inner,
                                      const Accelerator& accelerator) {
    VZ_TRY(auto outerDoc, parse(containers, "capabilities"));
    VZ_TRY(auto innerDoc, parse(inner, "capabilities"));
    auto* root = xml::root(outerDoc);
    auto* host = xml::child(root, "host");
    if (auto* innerHost = xml::child(xml::root(innerDoc), "host"); host && innerHost) {
        xmlAddPrevSibling(host, xmlDocCopyNode(innerHost, outerDoc.get(), 1));
        xml::remove(host);
    }
    auto* firstContainer = xml::child(root, "guest");
    for (auto* guest : machineGuests(innerDoc)) {
        auto engine = engineFor(innerDoc, archOf(guest), accelerator);
        auto* copy = xmlDocCopyNode(guest, outerDoc.get(), 1);
        if (firstContainer)
            xmlAddPrevSibling(firstContainer, copy);
        else
            xmlAddChild(root, copy);
        if (!toOuter(copy, engine))
            xml::remove(copy);
    }
    return xml::format(outerDoc.get());
}

Result<std::string> innerTypeToAsk(const std::string& inner, const char* emulator, const char* arch,
                                   const Accelerator& accelerator) {
    VZ_TRY(auto doc, parse(inner, "capabilities"));
    if (arch || !emulator)
        return std::string(engineFor(doc, arch ? arch : "", accelerator).innerType());
    for (auto* guest : machineGuests(doc)) {
        if (hasEmulator(guest, emulator))
            return std::string(engineFor(doc, archOf(guest), accelerator).innerType());
    }
    return std::string(accelerator.kvm ? "" : "qemu");
}

Result<std::string> outerDomainCapabilities(const std::string& inner, const std::string& type) {
    VZ_TRY(auto doc, parse(inner, "domainCapabilities"));
    auto* domain = xml::child(xml::root(doc), "domain");
    if (!domain)
        return fail(ErrorCode::XmlError, "the domain capabilities have no <domain>");
    xml::setText(domain, type);
    return xml::format(doc.get());
}

} // namespace vz::vm
