// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/xml.hpp"
#include "libvirt/objects.hpp"
#include "vm/disk_format.hpp"
#include "vm/ids.hpp"
#include "vm/xml.hpp"

namespace vz::vm {

namespace {

/** src/domain's namespace of the elements that containers have. */
constexpr std::string_view containerUri = "urn:libvirt-vz:domain:1.0";

bool isOuterType(std::string_view type) {
    return type == "vz" || type == "parallels";
}

bool isIn(const xmlNode* element, std::string_view uri) {
    return element->ns && element->ns->href && uri == reinterpret_cast<const char*>(element->ns->href);
}

/** A client's text, in which only what we change shall change. */
Result<xml::Doc> read(const std::string& text) {
    VZ_TRY(auto doc, xml::parse(text, xml::Blanks::Keep));
    // Its entities would be lost on the way.
    if (doc->intSubset || doc->extSubset)
        return fail(ErrorCode::XmlError, "the XML has a document type (<!DOCTYPE>), which is not accepted");
    return doc;
}

// The mark

/** The type of the mark in a domain; empty if there is none that is good. */
std::string markOf(xmlNode* domain) {
    for (auto* element : xml::children(xml::child(domain, "metadata"))) {
        if (isIn(element, kMarkUri) && xml::name(element) == "vm") {
            auto type = xml::attribute(element, "type");
            return isOuterType(type) ? type : std::string();
        }
    }
    return {};
}

bool isBehindMemory(const xmlNode* element) {
    for (auto* before = element->prev; before; before = before->prev) {
        if (before->type == XML_ELEMENT_NODE && xml::name(before) == "memory")
            return true;
    }
    return false;
}

/** The domain's <metadata>, made if there is none, and where toOuter() finds it without libvirt in between.
 */
xmlNode* ownMetadata(xmlNode* domain) {
    auto* found = xml::child(domain, "metadata");
    if (found && !isBehindMemory(found))
        return found;
    auto* moved = found ? found : xml::addChild(domain, "metadata");
    if (domain->children != moved)
        xmlAddPrevSibling(domain->children, moved);
    return moved;
}

/** Marks the domain, whatever it was marked with. libvirt keeps one element of each namespace, the first. */
void mark(xmlNode* domain, const std::string& type) {
    for (auto* metadata : xml::children(domain, "metadata")) {
        for (auto* element : xml::children(metadata)) {
            if (isIn(element, kMarkUri))
                xml::remove(element);
        }
    }
    auto* added = xml::addChild(ownMetadata(domain), "vm");
    const std::string uri(kMarkUri);
    // Its own declaration, even where the document has one around it: the way out looks for it there.
    xmlSetNs(added, xmlNewNs(added, xml::chars(uri.c_str()), xml::chars("vz")));
    xml::setAttribute(added, "type", type);
}

// Disks

/** How messages name a disk. */
std::string diskName(xmlNode* disk, const std::string& source) {
    auto target = xml::attribute(xml::child(disk, "target"), "dev");
    return source.empty() ? cat("'", target, "'") : source;
}

/** Has this disk a file whose format is ours to find? */
bool lacksFormat(xmlNode* disk, const std::string& source) {
    auto type = xml::attribute(disk, "type"), device = xml::attribute(disk, "device");
    bool file = type.empty() || type == "file", isDisk = device.empty() || device == "disk";
    // A slice is not at the start of its file.
    bool slices = xml::path(disk, {"source", "slices"}) != nullptr;
    return file && isDisk && !slices && source.starts_with('/') &&
           xml::attribute(xml::child(disk, "driver"), "type").empty();
}

/** True if it is a volume that is a ploop image. */
Result<bool> isPloopVolume(xmlNode* disk, const std::string& format, const InwardFacts& facts) {
    if (xml::attribute(disk, "type") != "volume")
        return false;
    if (isPloopFormat(format))
        return true;
    auto* source = xml::child(disk, "source");
    if (!format.empty() || !facts.ploop.isVolume)
        return false;
    return facts.ploop.isVolume(xml::attribute(source, "pool"), xml::attribute(source, "volume"));
}

/** True if the disk got a format, or a socket. */
Result<bool> completeDisk(xmlNode* disk, const std::string& machineUuid, const InwardFacts& facts) {
    if (isInnerPloop(disk)) {
        VZ_CHECK(renewInnerPloop(disk, machineUuid, facts.ploop));
        return true;
    }
    auto source = xml::attribute(xml::child(disk, "source"), "file");
    auto* driver = xml::child(disk, "driver");
    auto given = xml::attribute(driver, "type");
    VZ_TRY(bool volume, isPloopVolume(disk, given, facts));
    bool file = xml::attribute(disk, "type") == "file";
    if (isPloopFormat(given) && !volume && !file)
        return ploopIsUnsupported(diskName(disk, source));
    if (volume || isPloopFormat(given)) {
        VZ_CHECK(ploopToInner(disk, given, machineUuid, facts.ploop));
        return true;
    }
    if (!lacksFormat(disk, source))
        return false;
    auto format = facts.knownFormat ? facts.knownFormat(source) : std::string();
    if (format.empty()) {
        bool ownChain = xml::child(disk, "backingStore") != nullptr;
        VZ_TRY(format, formatOfFile(source, ownChain));
    }
    if (format.empty())
        return false;
    if (format == "ploop") {
        VZ_CHECK(ploopToInner(disk, format, machineUuid, facts.ploop));
        return true;
    }
    if (!driver) {
        driver = xml::addChild(disk, "driver");
        xml::setAttribute(driver, "name", "qemu");
    }
    xml::setAttribute(driver, "type", format);
    return true;
}

// Domains

Result<std::string> outerType(xmlNode* domain) {
    auto type = xml::attribute(domain, "type");
    if (type.empty())
        return fail(ErrorCode::XmlError, "<", xml::name(domain), "> has no type: use type='vz'");
    if (isOuterType(type))
        return type;
    auto marked = type == "kvm" || type == "qemu" ? markOf(domain) : std::string();
    if (marked.empty())
        return fail(ErrorCode::ConfigUnsupported, "<", xml::name(domain), " type='", type,
                    "'> is not supported on this connection: use 'vz' or 'parallels'");
    return marked;
}

Result<void> refuseContainerElements(xmlNode* domain) {
    for (auto* element : xml::children(domain)) {
        if (isIn(element, containerUri))
            return fail(ErrorCode::ConfigUnsupported, "<vz:", xml::name(element), "> (", containerUri,
                        ") is for containers: a virtual machine cannot have it");
    }
    return {};
}

/** The id of a client's dump as the inner driver gave it. A document to define has none. */
void restoreId(xmlNode* domain) {
    auto id = parseNumber<int>(xml::attribute(domain, "id"));
    if (id && isMachineId(*id))
        xml::setAttribute(domain, "id", cat(innerId(*id)));
}

/** The domain's UUID as libvirt prints one; a new one, put into the document too, if it has none. */
Result<std::string> takeUuid(xmlNode* domain) {
    auto* element = xml::child(domain, "uuid");
    auto text = xml::text(element);
    if (text.empty()) {
        text = abi::newUuid();
        xml::setText(element ? element : xml::addChild(domain, "uuid"), text);
        return text;
    }
    unsigned char uuid[VIR_UUID_BUFLEN];
    if (!abi::uuidBytes(text, uuid))
        return fail(ErrorCode::XmlError, "malformed uuid element: '", text, "'");
    return abi::uuidText(uuid);
}

/** All that a domain and one inside another document have in common. Returns the client's type. */
Result<std::string> translate(xmlNode* domain, const std::string& uuid, const InwardFacts& facts) {
    VZ_TRY(auto type, outerType(domain));
    VZ_CHECK(refuseContainerElements(domain));
    for (auto* disk : xml::children(xml::child(domain, "devices"), "disk"))
        VZ_CHECK(completeDisk(disk, uuid, facts));
    if (isOuterType(xml::attribute(domain, "type"))) {
        VZ_TRY(auto inner, facts.innerType(xml::attribute(xml::path(domain, {"os", "type"}), "arch")));
        xml::setAttribute(domain, "type", inner);
        restoreId(domain);
    }
    mark(domain, type);
    return type;
}

} // namespace

std::string osType(const std::string& xml) {
    auto doc = xml::parse(xml);
    if (!doc)
        return {};
    return std::string(trim(xml::text(xml::path(xml::root(*doc), {"os", "type"}))));
}

bool isMark(const std::string& element) {
    auto doc = xml::parse(element);
    return doc && isIn(xml::root(*doc), kMarkUri);
}

Result<InnerDomain> domainToInner(const std::string& xml, const InwardFacts& facts) {
    VZ_TRY(auto doc, read(xml));
    auto* domain = xml::root(doc);
    if (xml::name(domain) != "domain" || domain->ns)
        return fail(ErrorCode::XmlError, "the domain XML starts with <", xml::name(domain),
                    "> instead of <domain>");
    InnerDomain inner;
    VZ_TRY(inner.uuid, takeUuid(domain));
    VZ_TRY(inner.type, translate(domain, inner.uuid, facts));
    inner.name = xml::text(xml::child(domain, "name"));
    inner.xml = xml::formatAsIs(doc.get());
    return inner;
}

Result<std::string> embeddedToInner(const std::string& xml, const InwardFacts& facts) {
    VZ_TRY(auto doc, read(xml));
    bool changed = false;
    for (auto* element : xml::children(xml::root(doc))) {
        // Those of old snapshots say nothing but a UUID.
        bool whole = (xml::name(element) == "domain" || xml::name(element) == "inactiveDomain") &&
                     !element->ns && xml::hasAttribute(element, "type");
        if (!whole)
            continue;
        VZ_CHECK(translate(element, xml::text(xml::child(element, "uuid")), facts));
        changed = true;
    }
    return changed ? xml::formatAsIs(doc.get()) : xml;
}

Result<std::string> deviceToInner(const std::string& xml, const InwardFacts& facts) {
    VZ_TRY(auto doc, read(xml));
    auto* device = xml::root(doc);
    if (xml::name(device) != "disk" || device->ns)
        return xml;
    VZ_TRY(bool changed, completeDisk(device, facts.machineUuid, facts));
    return changed ? xml::formatAsIs(doc.get()) : xml;
}

} // namespace vz::vm
