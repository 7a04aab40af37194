// SPDX-License-Identifier: LGPL-2.1-or-later
#include "vm/ploop_disk.hpp"

#include "vm/disk_format.hpp"

#include <algorithm>

namespace vz::vm {

namespace {

/** QEMU's limit of names of exports is 4096. */
constexpr size_t mostName = 4000;

std::string nameOf(xmlNode* disk) {
    return xml::attribute(xml::child(disk, "target"), "dev");
}

Error refused(xmlNode* disk, const std::string& why) {
    return fail(ErrorCode::ConfigUnsupported, "the disk '", nameOf(disk), "' is a ploop image, ", why);
}

/** What stands after kPloopName. */
Result<std::string> sourceName(xmlNode* disk, const std::string& format) {
    auto* source = xml::child(disk, "source");
    bool volume = xml::attribute(disk, "type") == "volume";
    for (auto* attribute = source ? source->properties : nullptr; attribute; attribute = attribute->next) {
        std::string_view name = reinterpret_cast<const char*>(attribute->name);
        bool known = name == "index" || (volume ? name == "pool" || name == "volume" : name == "file");
        if (!known)
            return refused(disk, cat("which cannot have the attribute '", name, "' in its <source>"));
    }
    for (auto* element : xml::children(source))
        return refused(disk, cat("which cannot have <", xml::name(element), "> in its <source>"));
    std::string name;
    if (volume) {
        auto pool = xml::attribute(source, "pool"), inPool = xml::attribute(source, "volume");
        if (pool.empty() || inPool.empty() || pool.find('/') != pool.npos)
            return fail(ErrorCode::XmlError, "the disk '", nameOf(disk), "' names no volume");
        name = cat("volume:", format.empty() ? "-" : format, ":", pool, "/", inPool);
    } else {
        auto file = xml::attribute(source, "file");
        if (!file.starts_with('/'))
            return fail(ErrorCode::XmlError, "the disk '", nameOf(disk),
                        "' needs the absolute path of an image");
        name = cat("file:", format, ":", file);
    }
    if (name.size() > mostName)
        return fail(ErrorCode::XmlError, "the source of the disk '", nameOf(disk), "' has too long a name");
    return name;
}

Result<void> checkDisk(xmlNode* disk) {
    auto device = xml::attribute(disk, "device");
    if (!device.empty() && device != "disk")
        return refused(disk, cat("which cannot be a ", device));
    auto driver = xml::attribute(xml::child(disk, "driver"), "name");
    if (!driver.empty() && driver != "qemu")
        return refused(disk, "which needs <driver name='qemu'>");
    for (const char* name : {"shareable", "transient", "encryption"}) {
        if (xml::child(disk, name))
            return refused(disk, cat("which cannot have <", name, ">"));
    }
    if (!xml::children(xml::child(disk, "backingStore")).empty())
        return refused(disk, "which has its chain in its own descriptor and no <backingStore>");
    auto target = nameOf(disk);
    if (target.empty() || target.find('/') != target.npos)
        return fail(ErrorCode::XmlError, "a disk that is a ploop image has no good <target dev>");
    return {};
}

std::optional<PloopDisk> diskOf(xmlNode* disk) {
    auto* source = xml::child(disk, "source");
    auto name = xml::attribute(source, "name");
    if (xml::attribute(source, "protocol") != "nbd" || !name.starts_with(kPloopName))
        return {};
    PloopDisk found;
    found.target = nameOf(disk);
    found.readOnly = xml::child(disk, "readonly") != nullptr;
    found.socket = xml::attribute(xml::child(source, "host"), "socket");
    found.name = name;
    name.erase(0, kPloopName.size());
    auto kindEnd = name.find(':'), formatEnd = name.find(':', kindEnd + 1);
    if (kindEnd == name.npos || formatEnd == name.npos)
        return {};
    auto rest = name.substr(formatEnd + 1);
    if (name.starts_with("file:")) {
        found.file = rest;
    } else {
        found.pool = rest.substr(0, rest.find('/'));
        found.volume = rest.substr(std::min(rest.size(), found.pool.size() + 1));
    }
    return found;
}

/** Where QEMU finds the image, and that it is to speak no TLS there, whatever it does with other servers. */
void setServer(xmlNode* disk, const std::string& socket) {
    auto* source = xml::child(disk, "source");
    xml::setAttribute(source, "tls", "no");
    auto* host = xml::child(source, "host");
    if (!host)
        host = xml::addChild(source, "host");
    for (const char* attribute : {"name", "port"})
        xmlUnsetProp(host, xml::chars(attribute));
    xml::setAttribute(host, "transport", "unix");
    xml::setAttribute(host, "socket", socket);
}

} // namespace

bool isPloopFormat(std::string_view format) {
    return format == "ploop" || format == "parallels";
}

std::vector<PloopDisk> ploopDisks(const std::string& innerXml) {
    std::vector<PloopDisk> found;
    if (innerXml.find(kPloopName) == innerXml.npos)
        return found;
    auto document = xml::parse(innerXml);
    if (!document)
        return found;
    auto* root = xml::root(*document);
    auto disks = xml::name(root) == "disk" ? std::vector<xmlNode*>{root}
                                           : xml::children(xml::child(root, "devices"), "disk");
    for (auto* disk : disks) {
        if (auto one = diskOf(disk))
            found.push_back(*std::move(one));
    }
    return found;
}

std::string ploopSocket(const std::string& folder, const std::string& machineUuid,
                        const std::string& target) {
    return cat(folder, "/", machineUuid, "-", target);
}

bool isInnerPloop(xmlNode* disk) {
    return xml::attribute(xml::child(disk, "source"), "name").starts_with(kPloopName);
}

Result<void> renewInnerPloop(xmlNode* disk, const std::string& machineUuid, const PloopFacts& facts) {
    if (facts.sockets.empty() || machineUuid.empty())
        return refused(disk, "which cannot be used here");
    VZ_CHECK(checkDisk(disk));
    auto known = diskOf(disk);
    auto* source = xml::child(disk, "source");
    bool good = known && (known->file.starts_with('/') || (!known->pool.empty() && !known->volume.empty()));
    if (!good || xml::attribute(disk, "type") != "network" || xml::children(source, "host").size() > 1)
        return fail(ErrorCode::XmlError, "the disk '", nameOf(disk),
                    "' has a source whose name begins with '", kPloopName, "', which only this driver gives");
    setServer(disk, ploopSocket(facts.sockets, machineUuid, known->target));
    return {};
}

Result<void> ploopToInner(xmlNode* disk, const std::string& format, const std::string& machineUuid,
                          const PloopFacts& facts) {
    if (facts.sockets.empty() || machineUuid.empty())
        return refused(disk, "which cannot be used here");
    VZ_CHECK(checkDisk(disk));
    VZ_TRY(auto name, sourceName(disk, format));
    auto* source = xml::child(disk, "source");
    for (const char* attribute : {"file", "pool", "volume"})
        xmlUnsetProp(source, xml::chars(attribute));
    xml::setAttribute(disk, "type", "network");
    xml::setAttribute(source, "protocol", "nbd");
    xml::setAttribute(source, "name", cat(kPloopName, name));
    xml::setText(source, "");
    setServer(disk, ploopSocket(facts.sockets, machineUuid, nameOf(disk)));
    auto* driver = xml::child(disk, "driver");
    if (!driver) {
        driver = xml::addChild(disk, "driver");
        xml::setAttribute(driver, "name", "qemu");
    }
    xml::setAttribute(driver, "type", "raw");
    return {};
}

} // namespace vz::vm
