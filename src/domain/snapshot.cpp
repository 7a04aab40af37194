// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/snapshot.hpp"

#include "base/xml.hpp"
#include "domain/extension.hpp"

#include <libvirt/libvirt.h>
#include <libxml/tree.h>

#include <algorithm>

namespace vz::domain {

namespace {

/** Two domains and a little; less than the 4 MiB that libvirt carries as one text. */
constexpr size_t documentLimit = 3u << 20;
/** With ".xml" it is a file name. */
constexpr size_t longestName = 200;
constexpr const char* imagesElement = "images";

Result<xml::Doc> parseDocument(const std::string& text) {
    if (text.size() > documentLimit)
        return fail(ErrorCode::XmlError, "the snapshot XML has ", text.size(),
                    " bytes, more than the limit of ", documentLimit);
    VZ_TRY(auto doc, xml::parse(text));
    if (doc->intSubset || doc->extSubset)
        return fail(ErrorCode::XmlError,
                    "the snapshot XML has a document type (<!DOCTYPE>), which is not accepted");
    auto* root = xml::root(doc);
    if (xml::name(root) != "domainsnapshot" || root->ns)
        return fail(ErrorCode::XmlError, "unexpected root element <", xml::name(root),
                    ">, expecting <domainsnapshot>");
    return doc;
}

Result<SnapshotMode> readMode(xmlNode* disk, const std::string& name) {
    if (!xml::hasAttribute(disk, "snapshot"))
        return SnapshotMode::Default;
    auto mode = xml::attribute(disk, "snapshot");
    if (mode == "no")
        return SnapshotMode::No;
    if (mode == "internal")
        return SnapshotMode::Internal;
    if (mode == "external" || mode == "manual")
        return fail(ErrorCode::ConfigUnsupported, "<disk name='", name, "' snapshot='", mode,
                    "'> is not supported for containers: a ploop image keeps its states itself "
                    "(snapshot='internal')");
    return fail(ErrorCode::XmlError, "unknown disk snapshot setting '", mode, "'");
}

Result<std::vector<SnapshotDisk>> readDisks(xmlNode* root) {
    std::vector<SnapshotDisk> disks;
    for (auto* element : xml::children(xml::child(root, "disks"), "disk")) {
        SnapshotDisk disk;
        disk.name = xml::attribute(element, "name");
        if (disk.name.empty())
            return fail(ErrorCode::XmlError, "missing name from disk snapshot element");
        VZ_TRY(disk.mode, readMode(element, disk.name));
        if (disk.mode != SnapshotMode::No && (xml::child(element, "source") || xml::child(element, "driver")))
            return fail(ErrorCode::ConfigUnsupported, "a file of its own for '", disk.name,
                        "' is not supported for containers: a ploop image keeps its states itself");
        auto same = [&](const auto& other) { return other.name == disk.name; };
        if (std::any_of(disks.begin(), disks.end(), same))
            return fail(ErrorCode::ConfigUnsupported, "disk '", disk.name, "' specified twice");
        disks.push_back(std::move(disk));
    }
    return disks;
}

Result<SnapshotRequest::Memory> readMemory(xmlNode* root) {
    using Memory = SnapshotRequest::Memory;
    auto* memory = xml::child(root, "memory");
    auto mode = xml::attribute(memory, "snapshot");
    if (!memory || (mode.empty() && !xml::hasAttribute(memory, "file")))
        return Memory::Default;
    if (mode == "no" && !xml::hasAttribute(memory, "file"))
        return Memory::No;
    if (mode == "no" || mode == "internal" || mode == "external" || mode.empty())
        return mode == "no"
                   ? Result<Memory>(fail(ErrorCode::XmlError, "memory filename requires external snapshot"))
                   : Memory::Wanted;
    return fail(ErrorCode::XmlError, "unknown memory snapshot setting '", mode, "'");
}

Result<SnapshotState> readState(xmlNode* root) {
    static constexpr std::string_view others[] = {"nostate",  "running", "blocked",    "paused",
                                                  "shutdown", "crashed", "pmsuspended"};
    auto* element = xml::child(root, "state");
    if (!element)
        return fail(ErrorCode::XmlError, "missing state from existing snapshot");
    auto state = xml::text(element);
    if (state == "shutoff")
        return SnapshotState::Shutoff;
    if (state == "disk-snapshot")
        return SnapshotState::Disks;
    if (std::find(std::begin(others), std::end(others), state) != std::end(others))
        return fail(ErrorCode::ConfigUnsupported, "a snapshot in the state '", state,
                    "' has memory, which is not supported for containers");
    return fail(ErrorCode::XmlError, "Invalid state '", state, "' in domain snapshot XML");
}

/** The domain in a document, under either name. */
Result<std::optional<Config>> readConfig(const abi::DomainXml& parser, xmlNode* root, const char* name) {
    auto* element = xml::child(root, name);
    // Before libvirt 0.9.5 it had only the UUID.
    if (!element || !xml::hasAttribute(element, "type"))
        return std::optional<Config>();
    xml::Doc alone(xmlNewDoc(xml::chars("1.0")));
    auto* copy = xmlDocCopyNode(element, alone.get(), 1);
    xmlDocSetRootElement(alone.get(), copy);
    xmlNodeSetName(copy, xml::chars("domain"));
    auto config = Config::parse(parser, xml::format(alone.get()), {});
    if (!config)
        return std::move(config).takeError().within(cat("the <", name, "> of the snapshot"));
    return std::optional(*std::move(config));
}

/** In every image these are its present state and the parent of its base: no snapshots. */
constexpr std::string_view reservedGuids[] = {"{5fbaabe3-6958-40ff-92a7-860e329aab41}",
                                              "{00000000-0000-0000-0000-000000000000}"};

bool isGuid(std::string_view text) {
    if (std::find(std::begin(reservedGuids), std::end(reservedGuids), text) != std::end(reservedGuids))
        return false;
    if (text.size() != 38 || text.front() != '{' || text.back() != '}')
        return false;
    for (size_t i = 1; i < 37; ++i) {
        bool dash = i == 9 || i == 14 || i == 19 || i == 24;
        if (dash ? text[i] != '-' : std::string_view("0123456789abcdef").find(text[i]) == text.npos)
            return false;
    }
    return true;
}

/** Our own element: which state of which image it is. */
Result<void> readImages(xmlNode* root, Snapshot& snapshot) {
    xmlNode* images = nullptr;
    for (auto* element : xml::children(root)) {
        if (isOurs(element) && xml::name(element) == imagesElement)
            images = element;
    }
    if (images) {
        snapshot.guid = xml::attribute(images, "guid");
        if (!isGuid(snapshot.guid))
            return fail(ErrorCode::XmlError, "'", snapshot.guid,
                        "' in <vz:images> is not the GUID of an image's state");
        for (auto* element : xml::children(images)) {
            auto name = xml::attribute(element, "disk"), file = xml::attribute(element, "file");
            auto disk = std::find_if(snapshot.disks.begin(), snapshot.disks.end(),
                                     [&](const auto& one) { return one.name == name; });
            if (disk == snapshot.disks.end() || disk->mode != SnapshotMode::Internal ||
                !file.starts_with('/'))
                return fail(ErrorCode::XmlError, "<vz:image disk='", name, "' file='", file,
                            "'> fits no <disk> of the snapshot with snapshot='internal'");
            disk->image = file;
        }
    }
    for (const auto& disk : snapshot.disks) {
        if (disk.mode == SnapshotMode::Default)
            return fail(ErrorCode::XmlError, "the snapshot does not say whether '", disk.name,
                        "' is part of it (snapshot='no' or 'internal')");
        if (disk.mode == SnapshotMode::Internal && disk.image.empty())
            return fail(ErrorCode::XmlError, "the snapshot does not say which image has the state of '",
                        disk.name, "': <vz:images> is missing or incomplete");
    }
    return {};
}

const char* textOf(SnapshotState state) {
    return state == SnapshotState::Shutoff ? "shutoff" : "disk-snapshot";
}

void addText(xmlNode* root, const char* name, const std::string& value) {
    xml::setText(xml::addChild(root, name), value);
}

void addDisks(xmlNode* root, const Snapshot& snapshot) {
    if (snapshot.disks.empty())
        return;
    auto* disks = xml::addChild(root, "disks");
    for (const auto& disk : snapshot.disks) {
        auto* element = xml::addChild(disks, "disk");
        xml::setAttribute(element, "name", disk.name);
        xml::setAttribute(element, "snapshot", disk.mode == SnapshotMode::Internal ? "internal" : "no");
    }
}

Result<void> addConfig(const abi::DomainXml& parser, xmlNode* root, const char* name, const Config& config,
                       unsigned int flags) {
    VZ_TRY(auto text, config.toXml(parser, flags & VIR_DOMAIN_XML_SECURE));
    VZ_TRY(auto doc, xml::parse(text));
    auto* copy = xmlDocCopyNode(xml::root(doc), root->doc, 1);
    xmlNodeSetName(copy, xml::chars(name));
    xmlAddChild(root, copy);
    return {};
}

void addImages(xmlNode* root, const Snapshot& snapshot) {
    if (snapshot.guid.empty())
        return;
    auto* images = xml::addChild(root, imagesElement);
    auto* ns = xmlNewNs(images, xml::chars(extensionNamespace), xml::chars("vz"));
    xmlSetNs(images, ns);
    xml::setAttribute(images, "guid", snapshot.guid);
    for (const auto& disk : snapshot.disks) {
        if (disk.mode != SnapshotMode::Internal)
            continue;
        auto* image = xml::addChild(images, "image");
        xmlSetNs(image, ns);
        xml::setAttribute(image, "disk", disk.name);
        xml::setAttribute(image, "file", disk.image);
    }
}

/** Our additions to a domain. */
void dropOurs(xmlNode* parent) {
    for (auto* element : xml::children(parent)) {
        if (isOurs(element))
            xml::remove(element);
    }
}

} // namespace

std::vector<std::string> Snapshot::images() const {
    std::vector<std::string> images;
    for (const auto& disk : disks) {
        if (disk.mode == SnapshotMode::Internal)
            images.push_back(disk.image);
    }
    return images;
}

Result<void> checkSnapshotName(const std::string& name) {
    auto bad = [&](std::string_view why) {
        return fail(ErrorCode::XmlDetail, "invalid snapshot name '", name, "': ", why);
    };
    if (name.empty())
        return bad("name can't be empty");
    if (name.find('/') != name.npos)
        return bad("name can't contain '/'");
    if (name.starts_with('.'))
        return bad("name can't start with '.'");
    if (name.size() > longestName)
        return bad(cat("name can't be longer than ", longestName, " bytes"));
    if (std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < ' ' || c == 127; }))
        return bad("name can't have control characters");
    return {};
}

Result<SnapshotRequest> parseSnapshotRequest(const std::string& text) {
    VZ_TRY(auto doc, parseDocument(text));
    auto* root = xml::root(doc);
    SnapshotRequest request;
    if (auto* name = xml::child(root, "name")) {
        request.name = xml::text(name);
        VZ_CHECK(checkSnapshotName(request.name));
    }
    request.description = xml::text(xml::child(root, "description"));
    VZ_TRY(request.memory, readMemory(root));
    VZ_TRY(request.disks, readDisks(root));
    return request;
}

Result<Snapshot> parseSnapshot(const abi::DomainXml& parser, const std::string& text) {
    VZ_TRY(auto doc, parseDocument(text));
    auto* root = xml::root(doc);
    Snapshot snapshot;
    auto* name = xml::child(root, "name");
    if (!name)
        return fail(ErrorCode::XmlError, "a redefined snapshot must have a name");
    snapshot.name = xml::text(name);
    VZ_CHECK(checkSnapshotName(snapshot.name));
    snapshot.description = xml::text(xml::child(root, "description"));
    auto created = parseNumber<int64_t>(trim(xml::text(xml::child(root, "creationTime"))));
    if (!created)
        return fail(ErrorCode::XmlError, "missing creationTime from existing snapshot");
    snapshot.created = *created;
    snapshot.parent = xml::text(xml::path(root, {"parent", "name"}));
    VZ_TRY(snapshot.state, readState(root));
    VZ_TRY(auto memory, readMemory(root));
    if (memory == SnapshotRequest::Memory::Wanted)
        return fail(ErrorCode::ConfigUnsupported, "a snapshot with memory is not supported for containers");
    VZ_TRY(snapshot.disks, readDisks(root));
    VZ_CHECK(readImages(root, snapshot));
    VZ_TRY(snapshot.domain, readConfig(parser, root, "domain"));
    VZ_TRY(snapshot.inactive, readConfig(parser, root, "inactiveDomain"));
    return snapshot;
}

Result<std::string> formatSnapshot(const abi::DomainXml& parser, const Snapshot& snapshot,
                                   unsigned int flags) {
    xml::Doc doc(xmlNewDoc(xml::chars("1.0")));
    auto* root = xmlNewDocNode(doc.get(), nullptr, xml::chars("domainsnapshot"), nullptr);
    xmlDocSetRootElement(doc.get(), root);
    addText(root, "name", snapshot.name);
    if (!snapshot.description.empty())
        addText(root, "description", snapshot.description);
    addText(root, "state", textOf(snapshot.state));
    if (!snapshot.parent.empty())
        addText(xml::addChild(root, "parent"), "name", snapshot.parent);
    addText(root, "creationTime", cat(snapshot.created));
    xml::setAttribute(xml::addChild(root, "memory"), "snapshot", "no");
    addDisks(root, snapshot);
    if (snapshot.domain)
        VZ_CHECK(addConfig(parser, root, "domain", *snapshot.domain, flags));
    if (snapshot.inactive)
        VZ_CHECK(addConfig(parser, root, "inactiveDomain", *snapshot.inactive, flags));
    addImages(root, snapshot);
    auto text = xml::format(doc.get());
    if (text.size() > documentLimit)
        return fail(ErrorCode::XmlError, "the snapshot XML has ", text.size(),
                    " bytes, more than the limit of ", documentLimit);
    return text;
}

Result<void> validateSnapshot(const abi::DomainXml& parser, const std::string& text) {
    VZ_TRY(auto doc, parseDocument(text));
    auto* root = xml::root(doc);
    dropOurs(root);
    for (const char* name : {"domain", "inactiveDomain"})
        dropOurs(xml::child(root, name));
    // libvirt's schema knows devices and absolute paths, but not the shortest of them.
    for (auto* disk : xml::children(xml::child(root, "disks"), "disk")) {
        if (xml::attribute(disk, "name") == "/")
            xml::setAttribute(disk, "name", "/root");
    }
    return parser.validateSnapshot(xml::format(doc.get()));
}

} // namespace vz::domain
