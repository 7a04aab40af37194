// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/config_data.hpp"
#include "domain/element_rules.hpp"
#include "domain/prepare.hpp"
#include "domain/validate_devices.hpp"

#include <algorithm>

namespace vz::domain {

namespace {

struct KindRow {
    DeviceKind kind;
    const char* element;
    const char* aliasPrefix;
};
constexpr KindRow kinds[] = {
    {DeviceKind::Filesystem, "filesystem", "fs"},   {DeviceKind::Disk, "disk", "disk"},
    {DeviceKind::Interface, "interface", "net"},    {DeviceKind::Console, "console", "console"},
    {DeviceKind::HostDevice, "hostdev", "hostdev"},
};

const KindRow* rowOf(DeviceKind kind) {
    const auto* row = std::find_if(std::begin(kinds), std::end(kinds),
                                   [&](const KindRow& each) { return each.kind == kind; });
    return row == std::end(kinds) ? nullptr : row;
}

const KindRow* rowOf(std::string_view element) {
    const auto* row = std::find_if(std::begin(kinds), std::end(kinds),
                                   [&](const KindRow& each) { return each.element == element; });
    return row == std::end(kinds) ? nullptr : row;
}

/** A device as a client sent it, alone in a container so that libvirt's parser completes and judges it. */
struct Snippet {
    const KindRow* row = nullptr;
    xml::Doc raw;     ///< root: as the client wrote it
    xml::Doc domain;  ///< canonical, with the one device in it
    Definition model; ///< of that domain
    xmlNode* device() const { return xml::child(xml::child(xml::root(domain), "devices"), row->element); }
};

Result<Snippet> readSnippet(const abi::DomainXml& parser, const std::string& text, bool live) {
    Snippet snippet;
    VZ_TRY(snippet.raw, parseLimited(text, "the device XML"));
    auto* root = xml::root(snippet.raw);
    if (root->ns || !isDeviceElement(xml::name(root)))
        return fail(ErrorCode::InvalidArg, "<", xml::name(root), "> is no device element");
    auto around =
        cat("<domain type='vz'><name>x</name><memory>1024</memory><os><type>exe</type></os><devices>",
            xml::format(snippet.raw.get()), "</devices></domain>");
    VZ_TRY(auto config, Config::parse(parser, around, {.validate = false, .live = live}));
    snippet.row = rowOf(xml::name(root));
    if (!snippet.row)
        return fail(ErrorCode::ConfigUnsupported, "a <", xml::name(root),
                    "> of a container can only be changed by defining the domain again");
    VZ_TRY(auto xml, config.toXml(parser, 1 /* VIR_DOMAIN_XML_SECURE */));
    VZ_TRY(snippet.domain, xml::parse(xml));
    snippet.model = config.definition();
    if (!snippet.device())
        return fail(ErrorCode::InternalError, "libvirt dropped the device <", xml::name(root), ">");
    return snippet;
}

/** "fs2": the first name of the kind that no device has. */
std::string freeAlias(xmlNode* devices, const char* prefix) {
    for (unsigned index = 0;; index++) {
        auto alias = cat(prefix, index);
        auto all = xml::children(devices);
        bool used = std::any_of(all.begin(), all.end(), [&](xmlNode* device) {
            return xml::attribute(xml::child(device, "alias"), "name") == alias;
        });
        if (!used)
            return alias;
    }
}

void setAlias(xmlNode* device, const std::string& alias) {
    auto* element = xml::child(device, "alias");
    xml::setAttribute(element ? element : xml::addChild(device, "alias"), "name", alias);
}

/** What is in use already; parse() would find it too, but with less to say. */
Result<void> checkFree(const Definition& present, const Definition& added) {
    for (const auto& filesystem : added.filesystems) {
        for (const auto& other : present.filesystems) {
            if (plainPath(other.target) == plainPath(filesystem.target))
                return fail(ErrorCode::OperationFailed, "the container already has a filesystem at ",
                            other.target, " (from '", other.source,
                            "'): detach it first or choose another target");
        }
    }
    for (const auto& disk : added.disks) {
        for (const auto& other : present.disks) {
            if (other.target == disk.target)
                return fail(ErrorCode::OperationFailed, "the container already has a disk ", other.target,
                            " (from '", other.source, "'): detach it first or choose another target");
        }
    }
    for (const auto& interface : added.interfaces) {
        for (const auto& other : present.interfaces) {
            if (other.mac == interface.mac)
                return fail(ErrorCode::OperationFailed,
                            "the container already has an interface with the MAC address ", other.mac);
        }
    }
    for (const auto& device : added.hostDevices) {
        for (const auto& other : present.hostDevices) {
            if (plainPath(other.path) == plainPath(device.path))
                return fail(ErrorCode::OperationFailed, "the container already has the host device ",
                            other.path);
        }
    }
    return {};
}

std::string aliasOf(const Definition& definition, DeviceKind kind, size_t index) {
    switch (kind) {
    case DeviceKind::Filesystem:
        return definition.filesystems[index].alias;
    case DeviceKind::Disk:
        return definition.disks[index].alias;
    case DeviceKind::Interface:
        return definition.interfaces[index].alias;
    case DeviceKind::Console:
        return definition.consoles[index].alias;
    case DeviceKind::HostDevice:
        return definition.hostDevices[index].alias;
    case DeviceKind::Other:
        break;
    }
    return {};
}

size_t countOf(const Definition& definition, DeviceKind kind) {
    switch (kind) {
    case DeviceKind::Filesystem:
        return definition.filesystems.size();
    case DeviceKind::Disk:
        return definition.disks.size();
    case DeviceKind::Interface:
        return definition.interfaces.size();
    case DeviceKind::Console:
        return definition.consoles.size();
    case DeviceKind::HostDevice:
        return definition.hostDevices.size();
    case DeviceKind::Other:
        break;
    }
    return 0;
}

bool sameSource(const Interface& a, const Interface& b) {
    return a.type == b.type && a.bridge == b.bridge && a.network == b.network &&
           (b.targetDev.empty() || a.targetDev == b.targetDev);
}

/** Whether device @p index of @p present is the one the snippet means. */
bool matches(const Definition& present, size_t index, const Snippet& snippet) {
    auto* raw = xml::root(snippet.raw);
    switch (snippet.row->kind) {
    case DeviceKind::Filesystem:
        return plainPath(present.filesystems[index].target) == plainPath(snippet.model.filesystems[0].target);
    case DeviceKind::Disk:
        return present.disks[index].target == snippet.model.disks[0].target;
    case DeviceKind::Interface:
        if (xml::hasAttribute(xml::child(raw, "mac"), "address"))
            return present.interfaces[index].mac == snippet.model.interfaces[0].mac;
        return sameSource(present.interfaces[index], snippet.model.interfaces[0]);
    case DeviceKind::Console: {
        auto alias = xml::attribute(xml::child(raw, "alias"), "name");
        if (!alias.empty())
            return present.consoles[index].alias == alias;
        auto port = xml::attribute(xml::child(raw, "target"), "port");
        return port.empty() || port == cat(index);
    }
    case DeviceKind::HostDevice:
        return plainPath(present.hostDevices[index].path) == plainPath(snippet.model.hostDevices[0].path);
    case DeviceKind::Other:
        break;
    }
    return false;
}

/**
 * What the network of an interface made of it stays with it, if the new XML still means that network: by its
 * name, or in the form in which clients see it, which names the bridge or interface of the host.
 */
void keepPort(xmlNode* old, xmlNode* fresh) {
    auto* actual = xml::child(old, "actual");
    if (!actual)
        return;
    auto* was = xml::child(old, "source");
    auto* now = xml::child(fresh, "source");
    auto* plug = xml::child(actual, "source");
    auto same = [](xmlNode* a, xmlNode* b, std::initializer_list<const char*> names) {
        return std::all_of(names.begin(), names.end(), [&](const char* name) {
            return xml::attribute(a, name) == xml::attribute(b, name);
        });
    };
    auto type = xml::attribute(fresh, "type");
    bool byName = type == "network" && same(was, now, {"network", "portgroup"});
    bool byPlug = type == xml::attribute(actual, "type") && same(plug, now, {"bridge", "dev", "mode"});
    if (!byName && !byPlug)
        return;
    xml::setAttribute(fresh, "type", "network");
    xmlReplaceNode(now, xmlDocCopyNode(was, fresh->doc, 1));
    xmlFreeNode(now);
    xmlAddChild(fresh, xmlDocCopyNode(actual, fresh->doc, 1));
}

/** Parts that stay with a device when its XML is replaced, if the new XML does not say them. */
void keepIdentity(xmlNode* old, xmlNode* fresh, bool newMac) {
    for (const char* name : {"alias", "address", "mac", "source"}) {
        auto* kept = xml::child(old, name);
        bool isMac = std::string_view(name) == "mac";
        bool always = std::string_view(name) == "alias" || (isMac && !newMac);
        bool isSource = std::string_view(name) == "source";
        auto* present = xml::child(fresh, name);
        // Only the source of a console is a live part (its pty).
        if (!kept || (present && !always) || (isSource && xml::name(old) != "console"))
            continue;
        if (present)
            xml::remove(present);
        xmlAddChild(fresh, xmlDocCopyNode(kept, fresh->doc, 1));
    }
    if (xml::hasAttribute(old, "tty"))
        xml::setAttribute(fresh, "tty", xml::attribute(old, "tty"));
    for (const char* name : {"target", "guest"}) {
        auto* kept = xml::child(old, name);
        if (kept && !xml::child(fresh, name))
            xmlAddChild(fresh, xmlDocCopyNode(kept, fresh->doc, 1));
        else if (kept && std::string_view(name) == "guest" && xml::hasAttribute(kept, "actual"))
            xml::setAttribute(xml::child(fresh, name), "actual", xml::attribute(kept, "actual"));
    }
}

Result<xmlNode*> nodeOf(xmlNode* devices, const Config::Device& device) {
    const auto* row = rowOf(device.kind);
    auto all = row ? xml::children(devices, row->element) : std::vector<xmlNode*>();
    if (device.index >= all.size())
        return fail(ErrorCode::DeviceMissing, "the domain no longer has this device");
    return all[device.index];
}

} // namespace

Result<Config> Config::withDevice(const abi::DomainXml& parser, const std::string& text, bool assignAlias,
                                  Device* added) const {
    VZ_TRY(auto snippet, readSnippet(parser, text, false));
    VZ_CHECK(checkFree(data_->definition, snippet.model));
    VZ_TRY(auto doc, xml::parse(data_->xml));
    auto* domain = xml::root(doc);
    auto* devices = xml::child(domain, "devices");
    if (!devices)
        devices = xml::addChild(domain, "devices");
    auto* device = xmlDocCopyNode(snippet.device(), doc.get(), 1);
    if (auto* target = xml::child(device, "target"); target && snippet.row->kind == DeviceKind::Console)
        xml::setAttribute(target, "port", cat(data_->definition.consoles.size()));
    if (assignAlias)
        setAlias(device, freeAlias(devices, snippet.row->aliasPrefix));
    xmlAddChild(devices, device);
    VZ_TRY(auto config, parse(parser, xml::format(doc.get()), {.validate = false, .live = data_->live}));
    if (added) {
        added->kind = snippet.row->kind;
        added->index = countOf(config.definition(), added->kind) - 1;
        added->alias = aliasOf(config.definition(), added->kind, added->index);
    }
    return config;
}

Result<Config::Device> Config::findDevice(const abi::DomainXml& parser, const std::string& text) const {
    VZ_TRY(auto snippet, readSnippet(parser, text, true));
    const auto& present = data_->definition;
    std::vector<size_t> found;
    for (size_t i = 0; i < countOf(present, snippet.row->kind); i++) {
        if (matches(present, i, snippet))
            found.push_back(i);
    }
    if (found.empty())
        return fail(ErrorCode::DeviceMissing, "the domain '", present.name, "' has no such <",
                    snippet.row->element, ">");
    if (found.size() > 1)
        return fail(ErrorCode::OperationFailed, found.size(), " <", snippet.row->element,
                    "> devices of the domain '", present.name,
                    "' match: name one by its MAC address, target or alias");
    return Device{snippet.row->kind, found[0], aliasOf(present, snippet.row->kind, found[0])};
}

Result<Config::Device> Config::findDeviceByAlias(const std::string& alias) const {
    const auto& present = data_->definition;
    for (const auto& row : kinds) {
        for (size_t i = 0; i < countOf(present, row.kind); i++) {
            if (!alias.empty() && aliasOf(present, row.kind, i) == alias)
                return Device{row.kind, i, alias};
        }
    }
    return fail(ErrorCode::DeviceMissing, "the domain '", present.name, "' has no device with the alias '",
                alias, "'");
}

Result<Config> Config::withoutDevice(const abi::DomainXml& parser, const Device& device) const {
    VZ_TRY(auto doc, xml::parse(data_->xml));
    VZ_TRY(auto* node, nodeOf(xml::child(xml::root(doc), "devices"), device));
    xml::remove(node);
    return parse(parser, xml::format(doc.get()), {.validate = false, .live = data_->live});
}

Result<Config> Config::withUpdatedDevice(const abi::DomainXml& parser, const Device& device,
                                         const std::string& text) const {
    VZ_TRY(auto snippet, readSnippet(parser, text, data_->live));
    if (snippet.row->kind != device.kind)
        return fail(ErrorCode::OperationFailed, "a device cannot become a <", snippet.row->element, ">");
    VZ_TRY(auto doc, xml::parse(data_->xml));
    VZ_TRY(auto* old, nodeOf(xml::child(xml::root(doc), "devices"), device));
    auto* fresh = xmlDocCopyNode(snippet.device(), doc.get(), 1);
    keepPort(old, fresh);
    keepIdentity(old, fresh, xml::hasAttribute(xml::child(xml::root(snippet.raw), "mac"), "address"));
    xmlReplaceNode(old, fresh);
    xmlFreeNode(old);
    return parse(parser, xml::format(doc.get()), {.validate = false, .live = data_->live});
}

} // namespace vz::domain
