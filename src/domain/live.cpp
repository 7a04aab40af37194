// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/config_data.hpp"

#include "base/xml.hpp"

#include <algorithm>

namespace vz::domain {

namespace {

xmlNode* childOrNew(xmlNode* parent, const char* name) {
    auto* found = xml::child(parent, name);
    return found ? found : xml::addChild(parent, name);
}

/** Devices without an alias get one by their kind and position, as in libvirt's other drivers. */
void addAliases(xmlNode* devices, const char* element, const char* prefix) {
    unsigned index = 0;
    for (auto* device : xml::children(devices, element)) {
        if (!xml::child(device, "alias"))
            xml::setAttribute(xml::addChild(device, "alias"), "name", cat(prefix, index));
        index++;
    }
}

/** What a container cannot show while it runs. */
void removeIdleDevices(xmlNode* devices) {
    for (const char* name : {"graphics", "video", "input", "audio", "memballoon"}) {
        for (auto* device : xml::children(devices, name))
            xml::remove(device);
    }
}

void setConsoles(xmlNode* devices, const std::vector<std::string>& paths) {
    auto consoles = xml::children(devices, "console");
    for (size_t i = 0; i < consoles.size() && i < paths.size(); i++) {
        xml::setAttribute(consoles[i], "tty", paths[i]);
        xml::setAttribute(childOrNew(consoles[i], "source"), "path", paths[i]);
    }
}

void setInterfaces(xmlNode* devices, const Config::LiveFacts& facts) {
    for (auto* interface : xml::children(devices, "interface")) {
        const auto* used =
            interfaceNamed(facts.interfaces, xml::attribute(xml::child(interface, "mac"), "address"));
        if (!used)
            continue;
        if (!used->link.hostName.empty())
            xml::setAttribute(childOrNew(interface, "target"), "dev", used->link.hostName);
        if (!used->link.guestName.empty())
            xml::setAttribute(childOrNew(interface, "guest"), "actual", used->link.guestName);
    }
}

void setLabel(xmlNode* domain, const std::string& model, const std::string& text) {
    if (model.empty() || model == "none" || text.empty())
        return;
    auto* label = childOrNew(domain, "seclabel");
    if (!xml::hasAttribute(label, "type"))
        xml::setAttribute(label, "type", "dynamic");
    xml::setAttribute(label, "model", model);
    if (!xml::hasAttribute(label, "relabel"))
        xml::setAttribute(label, "relabel", "yes");
    xml::setText(childOrNew(label, "label"), text);
    xml::setText(childOrNew(label, "imagelabel"), text);
}

void apply(xmlNode* domain, const Config::LiveFacts& facts) {
    if (facts.id > 0)
        xml::setAttribute(domain, "id", cat(facts.id));
    auto* devices = childOrNew(domain, "devices");
    setConsoles(devices, facts.consolePaths);
    setInterfaces(devices, facts);
    setLabel(domain, facts.securityModel, facts.securityLabel);
}

} // namespace

Result<Config> Config::live(const abi::DomainXml& parser, const LiveFacts& facts) const {
    VZ_TRY(auto doc, xml::parse(data_->xml));
    auto* domain = xml::root(doc);
    auto* devices = childOrNew(domain, "devices");
    removeIdleDevices(devices);
    if (!xml::child(devices, "console"))
        xml::setAttribute(xml::addChild(devices, "console"), "type", "pty");
    addAliases(devices, "filesystem", "fs");
    addAliases(devices, "disk", "disk");
    addAliases(devices, "interface", "net");
    addAliases(devices, "console", "console");
    addAliases(devices, "hostdev", "hostdev");
    apply(domain, facts);
    return parse(parser, xml::format(doc.get()), {.validate = false, .live = true});
}

Result<Config> Config::withPort(const abi::DomainXml& parser, size_t index, const NetworkPort& port) const {
    VZ_TRY(auto doc, xml::parse(data_->xml));
    VZ_TRY(auto actual, xml::parse(port.actual));
    auto interfaces = xml::children(xml::child(xml::root(doc), "devices"), "interface");
    if (index >= interfaces.size())
        return fail(ErrorCode::InternalError, "the domain has no interface ", index);
    auto* interface = interfaces[index];
    if (auto* before = xml::child(interface, "actual"))
        xml::remove(before);
    xml::setAttribute(childOrNew(interface, "source"), "portid", port.id);
    xmlAddChild(interface, xmlDocCopyNode(xml::root(actual), doc.get(), 1));
    return parse(parser, xml::format(doc.get()), {.validate = false, .live = true});
}

const UsedInterface* interfaceNamed(const std::vector<UsedInterface>& interfaces, const std::string& name) {
    auto found = std::find_if(interfaces.begin(), interfaces.end(),
                              [&](const auto& used) { return used.name == name; });
    return found == interfaces.end() ? nullptr : &*found;
}

Result<Config> Config::withFacts(const abi::DomainXml& parser, const LiveFacts& facts) const {
    VZ_TRY(auto doc, xml::parse(data_->xml));
    apply(xml::root(doc), facts);
    return parse(parser, xml::format(doc.get()), {.validate = false, .live = true});
}

} // namespace vz::domain
