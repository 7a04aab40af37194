// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/machine_disks.hpp"

#include "base/xml.hpp"
#include "driver/machine_methods.hpp"
#include "driver/volumes.hpp"
#include "storage/export/client.hpp"
#include "storage/ploop/volume.hpp"

#include <cerrno>
#include <grp.h>
#include <pwd.h>

namespace vz::driver {

namespace {

/** The path of the image behind a disk. */
Result<std::string> imageOf(const MachineCall& call, const vm::PloopDisk& disk) {
    if (!disk.file.empty())
        return disk.file;
    return volumePath(call.conn, disk.pool, disk.volume);
}

/** A file counts only if the descriptor beside it names it. */
Result<std::string> descriptorOf(const std::string& path) {
    auto& files = ploop::hostFiles();
    auto descriptor = ploop::descriptorPath(files, path);
    VZ_TRY(auto model, ploop::Volume::read(files, descriptor));
    if (files.isFolder(path) || path == descriptor)
        return descriptor;
    for (const auto& delta : model.deltas) {
        if (ploop::nameOf(delta.file) == ploop::nameOf(path))
            return descriptor;
    }
    return fail(ErrorCode::InvalidArg, path, " is no file of the image that ", descriptor, " describes");
}

/** Asks the host's lists of names, by getpwnam_r() or getgrnam_r(). */
template<typename Entry, typename Function>
std::optional<Entry> named(Function function, const std::string& name, std::vector<char>& texts) {
    Entry entry{};
    Entry* found = nullptr;
    constexpr size_t most = 1 << 20;
    int failed = ERANGE;
    for (size_t size = 4096; failed == ERANGE && size <= most; size *= 2) {
        texts.resize(size);
        failed = function(name.c_str(), &entry, texts.data(), texts.size(), &found);
    }
    return failed == 0 && found ? std::optional(entry) : std::nullopt;
}

/** As libvirt writes an owner: "+64055:+108", or names. */
std::optional<exports::SocketOwner> parseOwner(std::string_view text) {
    auto colon = text.find(':');
    if (colon == text.npos)
        return {};
    std::string user(text.substr(0, colon)), group(text.substr(colon + 1));
    auto number = [](const std::string& name) {
        return parseNumber<uint32_t>(std::string_view(name).substr(name.starts_with('+') ? 1 : 0));
    };
    auto uid = number(user), gid = number(group);
    std::vector<char> texts;
    if (!uid) {
        if (auto found = named<passwd>(::getpwnam_r, user, texts))
            uid = found->pw_uid;
    }
    if (!gid) {
        if (auto found = named<::group>(::getgrnam_r, group, texts))
            gid = found->gr_gid;
    }
    if (!uid || !gid)
        return {};
    return exports::SocketOwner{*uid, *gid};
}

/** Whom the machine's QEMU runs as: what its definition says, or what the host does with all. */
exports::SocketOwner qemuOwner(const MachineCall& call, const std::string& innerXml) {
    auto document = xml::parse(innerXml);
    auto labels = document ? xml::children(xml::root(*document), "seclabel") : std::vector<xmlNode*>();
    for (auto* label : labels) {
        auto own = xml::attribute(label, "model") == "dac" ? parseOwner(xml::text(xml::child(label, "label")))
                                                           : std::nullopt;
        if (own)
            return *own;
    }
    abi::AsDaemon asDaemon;
    auto text = abi::takeText(::virConnectGetCapabilities(call.inner->get()), "no capabilities").valueOr({});
    auto capabilities = xml::parse(text);
    auto* host = capabilities ? xml::child(xml::root(*capabilities), "host") : nullptr;
    for (auto* model : xml::children(host, "secmodel")) {
        if (xml::text(xml::child(model, "model")) != "dac")
            continue;
        if (auto common = parseOwner(trim(xml::text(xml::child(model, "baselabel")))))
            return *common;
    }
    return {};
}

/** For a machine that is made, its document tells. */
std::string uuidOf(const MachineCall& call, const std::string& innerXml) {
    char text[VIR_UUID_STRING_BUFLEN] = "";
    if (call.domain)
        return ::virDomainGetUUIDString(call.domain.get(), text) == 0 ? text : "";
    auto document = xml::parse(innerXml);
    return document ? xml::text(xml::child(xml::root(*document), "uuid")) : std::string();
}

} // namespace

Result<DiskServers> DiskServers::start(const MachineCall& call, const std::string& innerXml) {
    DiskServers servers;
    auto disks = vm::ploopDisks(innerXml);
    if (disks.empty())
        return servers;
    // What a server that was killed has left behind goes now at the latest.
    (void)exports::list();
    auto owner = qemuOwner(call, innerXml);
    auto folder = ploopFacts(call).sockets;
    auto uuid = uuidOf(call, innerXml);
    for (const auto& disk : disks) {
        exports::AttachOptions options;
        // A server replaces what is there, and gives it to QEMU's user.
        if (uuid.empty() || disk.target.find('/') != disk.target.npos ||
            disk.socket != vm::ploopSocket(folder, uuid, disk.target))
            return fail(ErrorCode::ConfigUnsupported, "the disk '", disk.target,
                        "' is a ploop image with the socket '", disk.socket,
                        "', which is not the one of this machine: define the machine again");
        VZ_TRY(auto image, imageOf(call, disk));
        VZ_TRY(options.descriptor, descriptorOf(image));
        options.readOnly = disk.readOnly;
        options.mechanism = exports::Mechanism::Nbd;
        options.device = disk.socket;
        options.name = disk.name;
        options.owner = owner;
        UniqueFd tie;
        if (auto attached = exports::attach(options, &tie); !attached)
            return std::move(attached).takeError().within(cat("the disk '", disk.target, "' (", image, ")"));
        servers.ties_.push_back(std::move(tie));
    }
    return servers;
}

Result<DiskSize> sizeOf(const MachineCall& call, const vm::PloopDisk& disk) {
    VZ_TRY(auto image, imageOf(call, disk));
    VZ_TRY(auto descriptor, descriptorOf(image));
    auto& files = ploop::hostFiles();
    VZ_TRY(auto model, ploop::Volume::read(files, descriptor));
    VZ_TRY(auto chain, ploop::chainOf(descriptor, model, model.top));
    DiskSize size{model.sectors * ploop::sectorSize, 0, 0};
    for (const auto& link : chain) {
        VZ_TRY(auto file, files.open(link.path, ploop::Access::ReadOnly));
        VZ_TRY(uint64_t allocated, file->allocatedBytes());
        VZ_TRY(uint64_t bytes, file->size());
        size.allocated += allocated;
        size.physical += bytes;
    }
    return size;
}

vm::PloopFacts ploopFacts(const MachineCall& call) {
    return {.sockets = call.driver.settings().runDir + "-disks",
            .isVolume = [conn = call.conn](const std::string& name, const std::string&) -> Result<bool> {
                auto pool = poolNamed(conn, name);
                if (!pool)
                    return false; // QEMU's driver says what is wrong with it
                auto text = abi::takeText(::virStoragePoolGetXMLDesc((*pool).get(), 0), "no definition");
                auto document = xml::parse(std::move(text).valueOr({}));
                return document && xml::attribute(xml::root(*document), "type") == "ploop";
            }};
}

Result<std::string> innerDefinition(const MachineCall& call, unsigned int flags) {
    abi::AsDaemon asDaemon; // what a machine has does not depend on who asks
    return abi::takeText(::virDomainGetXMLDesc(call.domain.get(), flags),
                         "the machine's definition cannot be read");
}

Result<std::vector<vm::PloopDisk>> ploopDisksOf(const MachineCall& call, unsigned int affected) {
    bool later = (affected & VIR_DOMAIN_AFFECT_CONFIG) && !(affected & VIR_DOMAIN_AFFECT_LIVE);
    VZ_TRY(auto definition, innerDefinition(call, later ? VIR_DOMAIN_XML_INACTIVE : 0));
    return vm::ploopDisks(definition);
}

Result<void> refuseWithPloopDisks(const MachineCall& call, std::string_view why, unsigned int affected) {
    VZ_TRY(auto disks, ploopDisksOf(call, affected));
    if (disks.empty())
        return {};
    return fail(ErrorCode::OperationUnsupported, "the disk '", disks.front().target,
                "' is a ploop image: ", why);
}

Result<void> refuseOnPloopDisk(const MachineCall& call, const char* name, std::string_view why) {
    VZ_TRY(auto disks, ploopDisksOf(call));
    for (const auto& disk : disks) {
        if (name && (disk.target == name || disk.file == name))
            return fail(ErrorCode::OperationUnsupported, "the disk '", disk.target,
                        "' is a ploop image: ", why);
    }
    return {};
}

Result<std::string> innerDiskName(const MachineCall& call, const char* name, unsigned int affected) {
    if (!name || *name != '/')
        return std::string(name ? name : "");
    VZ_TRY(auto disks, ploopDisksOf(call, affected));
    for (const auto& disk : disks) {
        if (disk.file == name)
            return disk.target;
    }
    return std::string(name);
}

} // namespace vz::driver
