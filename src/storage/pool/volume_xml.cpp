// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/pool/volume_xml.hpp"

#include "base/file.hpp"
#include "base/xml_schema.hpp"
#include "storage/pool/pool_xml.hpp"
#include "storage/pool/volume_names.hpp"

#include <cerrno>
#include <sys/stat.h>

namespace vz::storage {

using ploop::Descriptor;

namespace {

constexpr const char* extensionNamespace = "urn:libvirt-vz:storage:1.0";

Result<void> refuseUnsupported(xmlNode* root) {
    if (auto* backing = xml::child(root, "backingStore"); backing && !xml::children(backing).empty())
        return fail(ErrorCode::ConfigUnsupported,
                    "<backingStore>: a ploop image has all of its files in its own folder; make a copy "
                    "(vol-clone, vol-create-from), which shares the data where the file system can");
    if (xml::path(root, {"target", "encryption"}))
        return fail(ErrorCode::ConfigUnsupported, "<encryption>: encrypted ploop images are not supported");
    if (xml::path(root, {"target", "nocow"}))
        return fail(ErrorCode::ConfigUnsupported, "<nocow> is not supported for volumes of a ploop pool");
    return {};
}

Result<void> readFormat(xmlNode* target, VolumeRequest& request, bool copy) {
    auto* format = xml::child(target, "format");
    if (!format)
        return {};
    auto type = xml::attribute(format, "type");
    request.raw = type == "raw";
    request.hasFormat = true;
    if (type == "ploop" || type == "raw")
        return {};
    // The XML of a copy may be that of its source.
    if (copy) {
        request.hasFormat = false;
        return {};
    }
    return fail(ErrorCode::ConfigUnsupported, "<format type='", type,
                "'/>: volumes of a ploop pool are of the format ploop, or raw, which is ploop's raw mode");
}

Result<void> readTarget(xmlNode* target, VolumeRequest& request, bool copy) {
    VZ_CHECK(readFormat(target, request, copy));
    if (auto* cluster = xml::child(target, "clusterSize")) {
        VZ_TRY(uint64_t bytes, readSize(cluster));
        auto right = ploop::checkClusterSize(bytes / ploop::sectorSize);
        if (right && bytes % ploop::sectorSize == 0)
            request.clusterSectors = static_cast<uint32_t>(bytes / ploop::sectorSize);
        else if (!copy)
            return fail(ErrorCode::ConfigUnsupported, "<clusterSize>: ", bytes,
                        " bytes are not a power of two from 32 KiB to 64 MiB");
    }
    for (auto* element : xml::children(target)) {
        const auto* href = element->ns ? reinterpret_cast<const char*>(element->ns->href) : "";
        if (xml::name(element) == "filesystem" && std::string_view(href) == extensionNamespace)
            request.fileSystem = xml::attribute(element, "type");
    }
    VZ_TRY(request.permissions, readPermissions(xml::child(target, "permissions")));
    return {};
}

Permissions permissionsOf(const struct stat& info) {
    return {.mode = info.st_mode & 0777, .owner = info.st_uid, .group = info.st_gid, .label = {}};
}

/** Sums up the files of an image. */
Result<void> addFiles(VolumeFacts& facts) {
    VZ_TRY(auto names, file::list(facts.path));
    for (const auto& name : names) {
        struct stat info;
        if (::lstat(cat(facts.path, "/", name).c_str(), &info) < 0 || !S_ISREG(info.st_mode))
            continue;
        facts.allocation += static_cast<uint64_t>(info.st_blocks) * 512;
        facts.physical += static_cast<uint64_t>(info.st_size);
    }
    return {};
}

std::string formatTime(const char* name, const timespec& time) {
    auto part = cat(time.tv_nsec);
    return cat("      <", name, ">", time.tv_sec, ".", std::string(9 - part.size(), '0'), part, "</", name,
               ">\n");
}

} // namespace

Result<VolumeRequest> VolumeRequest::parse(const std::string& text, bool copy, bool validate) {
    VZ_TRY(auto doc, xml::parse(text));
    auto* root = xml::root(doc);
    if (xml::name(root) != "volume")
        return fail(ErrorCode::XmlError, "unexpected root element <", xml::name(root),
                    ">, expecting <volume>");
    VZ_CHECK(refuseUnsupported(root));
    xml::remove(xml::child(root, "backingStore")); // an empty one means none
    VZ_TRY(auto problem, xml::problemBySchema(doc.get(), volumeSchema));
    if (problem)
        return fail(validate ? ErrorCode::XmlInvalidSchema : ErrorCode::XmlError,
                    "the XML of the volume is not as vz-volume.rng asks: ", *problem);
    VolumeRequest request;
    request.name = xml::text(xml::child(root, "name"));
    VZ_CHECK(checkVolumeName(request.name));
    VZ_TRY(request.capacity, readSize(xml::child(root, "capacity")));
    if (request.capacity == 0 && !copy)
        return fail(ErrorCode::InvalidArg, "a volume with a capacity of 0 is not possible");
    if (auto* allocation = xml::child(root, "allocation")) {
        VZ_TRY(uint64_t bytes, readSize(allocation));
        request.allocation = bytes;
    }
    if (auto* target = xml::child(root, "target"))
        VZ_CHECK(readTarget(target, request, copy));
    return request;
}

Descriptor::Mode VolumeRequest::mode(bool preallocate) const {
    if (raw)
        return Descriptor::Mode::Raw;
    bool full = preallocate || (allocation && *allocation >= capacity);
    return full ? Descriptor::Mode::Preallocated : Descriptor::Mode::Expanded;
}

bool VolumeRequest::sparse(bool preallocate) const {
    // As libvirt says for volumes in general: without <allocation>, all of it.
    return raw && !preallocate && allocation && *allocation < capacity;
}

Result<VolumeFacts> readVolume(const std::string& path) {
    auto descriptor = path + "/DiskDescriptor.xml";
    struct stat info;
    if (::stat(path.c_str(), &info) < 0 || !S_ISDIR(info.st_mode) || !file::exists(descriptor))
        return fail(ErrorCode::NoStorageVolume, path, " is no folder with a DiskDescriptor.xml in it");
    VZ_TRY(auto model, ploop::Volume::read(ploop::hostFiles(), descriptor));
    VZ_TRY(auto chain, ploop::chainOf(descriptor, model, model.top));
    VolumeFacts facts;
    facts.name = ploop::nameOf(path);
    facts.path = path;
    facts.capacity = model.sectors * ploop::sectorSize;
    facts.clusterSectors = model.clusterSectors;
    facts.mode = model.mode;
    facts.snapshots = model.shots.size() > 1;
    VZ_CHECK(addFiles(facts));
    for (const auto& link : chain) {
        if (::stat(link.path.c_str(), &info) < 0)
            return failErrno(errno, "cannot look at ", link.path);
    }
    // Of the file that is written to.
    facts.permissions = permissionsOf(info);
    facts.accessed = info.st_atim;
    facts.modified = info.st_mtim;
    facts.changed = info.st_ctim;
    return facts;
}

std::string VolumeFacts::format() const {
    return cat("<volume type='ploop'>\n  <name>", escapeXml(name), "</name>\n  <key>", escapeXml(path),
               "</key>\n  <capacity unit='bytes'>", capacity, "</capacity>\n  <allocation unit='bytes'>",
               allocation, "</allocation>\n  <physical unit='bytes'>", physical,
               "</physical>\n  <target>\n    <path>", escapeXml(path), "</path>\n    <format type='",
               mode == Descriptor::Mode::Raw ? "raw" : "ploop", "'/>\n", formatPermissions(permissions, 4),
               "    <timestamps>\n", formatTime("atime", accessed), formatTime("mtime", modified),
               formatTime("ctime", changed), "    </timestamps>\n    <clusterSize unit='B'>",
               uint64_t(clusterSectors) * ploop::sectorSize, "</clusterSize>\n  </target>\n</volume>\n");
}

} // namespace vz::storage
