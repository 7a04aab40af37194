// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/validate_devices.hpp"

#include "ct/packet_guard.hpp"
#include "domain/validate.hpp"

#include <arpa/inet.h>
#include <net/if.h>

#include <algorithm>
#include <set>

namespace vz::domain {

namespace {

Result<void> checkPath(const std::string& path, bool mayClimb, std::string_view what) {
    if (path.empty() || path.front() != '/')
        return fail(ErrorCode::XmlError, what, " has to be an absolute path, not '", path, "'");
    if (!mayClimb && (path + "/").find("/../") != std::string::npos)
        return fail(ErrorCode::XmlError, what, " may not contain '..': '", path, "'");
    return {};
}

Result<void> refuseAttributes(xmlNode* element, std::initializer_list<const char*> names) {
    for (const char* name : names) {
        if (xml::hasAttribute(element, name))
            return unsupported("<", xml::name(element), " ", name, "='", xml::attribute(element, name),
                               "'> is not supported for containers: remove the attribute");
    }
    return {};
}

/** An attribute that may only have this one value, which is what happens anyway. */
Result<void> allowOnly(xmlNode* element, const char* name, std::initializer_list<std::string_view> values) {
    auto value = xml::attribute(element, name);
    if (!xml::hasAttribute(element, name) || std::find(values.begin(), values.end(), value) != values.end())
        return {};
    return unsupported("<", xml::name(element), " ", name, "='", value,
                       "'> is not supported for containers: use ", *values.begin());
}

Result<void> checkRawInterface(xmlNode* interface) {
    VZ_CHECK(allowOnly(interface, "trustGuestRxFilters", {"no"}));
    for (const char* name : {"bandwidth", "filterref", "port"}) {
        if (xml::attribute(interface, "type") == "direct" && xml::child(interface, name))
            return unsupported("<", name,
                               "> of an <interface type='direct'> is not possible for containers: root ",
                               "in the container could take it away. Use a bridge");
    }
    return refuseAttributes(interface, {"managed"});
}

Result<void> checkRawHostDevice(xmlNode* device) {
    auto mode = xml::attribute(device, "mode");
    if (mode != "capabilities")
        return unsupported("<hostdev mode='", mode, "' type='", xml::attribute(device, "type"),
                           "'> is not supported for containers: use mode='capabilities'");
    return {};
}

Result<void> checkFilesystem(xmlNode* element, const Filesystem& filesystem) {
    VZ_CHECK(allowOnly(element, "accessmode", {"passthrough"}));
    VZ_CHECK(refuseAttributes(element, {"model", "fmode", "dmode", "multidevs"}));
    auto* driver = xml::child(element, "driver");
    VZ_CHECK(refuseAttributes(driver, {"wrpolicy", "queue"}));
    VZ_CHECK(allowOnly(driver, "type", {"path", "loop", "nbd", "ploop"}));
    VZ_CHECK(checkPath(filesystem.target, false, "the <target dir=> of a <filesystem>"));
    switch (filesystem.type) {
    case Filesystem::Type::Mount:
    case Filesystem::Type::Bind:
        VZ_CHECK(allowOnly(driver, "type", {"path"}));
        return checkPath(filesystem.source, true, "the <source dir=> of a <filesystem>");
    case Filesystem::Type::Block:
        return checkPath(filesystem.source, true, "the <source dev=> of a <filesystem>");
    case Filesystem::Type::File:
        return checkPath(filesystem.source, true, "the <source file=> of a <filesystem>");
    case Filesystem::Type::Ram:
        if (filesystem.ramBytes == 0)
            return fail(ErrorCode::XmlError, "the <source usage=> of the <filesystem type='ram'> at ",
                        filesystem.target, " has to be more than 0");
        return {};
    case Filesystem::Type::Template:
    case Filesystem::Type::Volume:
        return {};
    }
    return {};
}

/** "vda", "sdab": as libvirt counts them, and never the name of another device. */
bool isDiskName(std::string_view name) {
    for (std::string_view prefix : {"hd", "sd", "vd", "xvd"}) {
        if (!name.starts_with(prefix))
            continue;
        auto rest = name.substr(prefix.size());
        return !rest.empty() && rest.size() <= 3 &&
               std::all_of(rest.begin(), rest.end(), [](char c) { return c >= 'a' && c <= 'z'; });
    }
    return false;
}

/** A disk whose attributes say how a machine's emulator is to treat it is as good for a container. */
Result<void> checkDisk(xmlNode* element, const Disk& disk) {
    auto device = xml::attribute(element, "device");
    if (!device.empty() && device != "disk")
        return unsupported("<disk device='", device,
                           "'> is not supported for containers, which have no such ",
                           "drive: use device='disk', or <filesystem type='file'> to mount an image");
    VZ_CHECK(refuseAttributes(element, {"sgio", "rawio"}));
    VZ_CHECK(refuseAttributes(xml::child(element, "driver"), {"copy_on_read", "iothread"}));
    VZ_CHECK(refuseAttributes(xml::child(element, "source"), {"startupPolicy"}));
    if (auto* store = xml::child(element, "backingStore"); store && !xml::children(store).empty())
        return unsupported(
            "<backingStore> is not supported for containers: a ploop image names its own files");
    if (!isDiskName(disk.target))
        return fail(ErrorCode::XmlError, "the <target dev='", disk.target,
                    "'> of a <disk> has to be a name as vda, sdb or hdc");
    if (disk.source.empty())
        return unsupported("the <disk> ", disk.target, " has no source: a container has no empty drives");
    if (disk.type == Disk::Type::Volume)
        return {};
    return checkPath(disk.source, true, cat("the <source> of the <disk> ", disk.target));
}

/** As the kernel's dev_valid_name(). */
Result<void> checkDevName(const std::string& name, std::string_view what) {
    if (name.empty())
        return {};
    bool bad = name.size() >= IFNAMSIZ || name == "." || name == ".." ||
               std::any_of(name.begin(), name.end(),
                           [](unsigned char c) { return c <= 0x20 || c == '/' || c == ':' || c == 0x7f; });
    if (bad)
        return fail(ErrorCode::XmlError, "'", name, "' cannot be the name of ", what,
                    ": 1 to 15 characters without blanks, '/' and ':'");
    return {};
}

/** 32 or 128, or 0 if it is no address. */
unsigned addressBits(const std::string& address) {
    unsigned char bytes[16];
    if (inet_pton(AF_INET, address.c_str(), bytes) == 1)
        return 32;
    return inet_pton(AF_INET6, address.c_str(), bytes) == 1 ? 128 : 0;
}

Result<void> checkAddress(const std::string& address, unsigned prefix, std::string_view element) {
    auto bits = addressBits(address);
    if (bits == 0)
        return fail(ErrorCode::XmlError, "'", address, "' in <", element,
                    "> of an <interface> is no IP address");
    if (prefix > bits)
        return fail(ErrorCode::XmlError, "prefix ", prefix, " is too long for ", address, " in <", element,
                    "> of an <interface>");
    return {};
}

/** OpenVZ's routed network: addresses are single, and the routes follow from them. */
Result<void> checkRouted(const Interface& interface) {
    if (!interface.routes.empty())
        return unsupported(
            "an <interface type='ethernet'> that is venet0 inside has its routes by itself: remove <route>");
    if (!interface.script.empty() || !interface.downScript.empty())
        return unsupported(
            "an <interface type='ethernet'> that is venet0 inside is set up by itself: remove <script>");
    for (const auto& address : interface.addresses) {
        auto bits = addressBits(address.address);
        if ((address.prefix && address.prefix != bits) || !address.peer.empty())
            return unsupported("<ip address='", address.address,
                               "'> of an <interface type='ethernet'> that is venet0 inside ",
                               "is one address: remove the prefix and the peer");
    }
    return {};
}

Result<void> checkRules(const Interface& interface) {
    if (interface.routed)
        VZ_CHECK(checkRouted(interface));
    if (interface.addresses.size() > ct::PacketGuard::mostAddresses)
        return fail(ErrorCode::XmlError, "an <interface> can have ", ct::PacketGuard::mostAddresses,
                    " addresses, not ", interface.addresses.size());
    if (interface.antiSpoofing == AntiSpoofing::Address && interface.addresses.empty() &&
        (interface.type == "bridge" || interface.type == "network"))
        return unsupported(
            "<vz:anti-spoofing>address</vz:anti-spoofing> needs the addresses of the interface ",
            interface.mac, " as <ip>; for addresses that are learned use <filterref ",
            "filter='clean-traffic'>");
    return {};
}

Result<void> checkInterface(const Interface& interface) {
    VZ_CHECK(checkDevName(interface.guestDev, "an interface (<guest dev=>)"));
    VZ_CHECK(checkDevName(interface.targetDev, "an interface (<target dev=>)"));
    VZ_CHECK(checkDevName(interface.bridge, "a bridge (<source bridge=>)"));
    if (interface.type == "bridge" && interface.bridge.empty())
        return fail(ErrorCode::XmlError, "an <interface type='bridge'> has no <source bridge=>");
    if (interface.type == "direct" && interface.device.empty())
        return fail(ErrorCode::XmlError, "an <interface type='direct'> has no <source dev=>");
    if (interface.virtualPort && !interface.virtualPort->type.empty() &&
        interface.virtualPort->type != "openvswitch")
        return unsupported("<virtualport type='", interface.virtualPort->type,
                           "'> is not supported for containers: use openvswitch");
    for (const auto& script : {interface.script, interface.downScript}) {
        if (script.empty())
            continue;
        if (interface.type != "ethernet")
            return unsupported("<script> (", script, ") is for <interface type='ethernet'> only: remove it");
        VZ_CHECK(checkPath(script, false, "the <script path=> of an <interface>"));
    }
    VZ_CHECK(checkRules(interface));
    if (interface.mtu && (interface.mtu < 68 || interface.mtu > 65535))
        return fail(ErrorCode::XmlError, "<mtu size='", interface.mtu, "'> has to be between 68 and 65535");
    for (const auto& address : interface.addresses) {
        VZ_CHECK(checkAddress(address.address, address.prefix, "ip"));
        if (!address.peer.empty())
            VZ_CHECK(checkAddress(address.peer, 0, "ip"));
    }
    for (const auto& route : interface.routes) {
        VZ_CHECK(checkAddress(route.destination, route.prefix, "route"));
        VZ_CHECK(checkAddress(route.gateway, 0, "route"));
    }
    return {};
}

Result<void> checkConsole(const Console& console) {
    if (console.sourceType != "pty")
        return unsupported("<console type='", console.sourceType,
                           "'> is not supported for containers: use pty");
    if (!console.logFile.empty())
        VZ_CHECK(checkPath(console.logFile, false, "the <log file=> of a <console>"));
    return {};
}

Result<void> checkHostDevice(const HostDevice& device) {
    if (device.type == HostDevice::Type::Network)
        return checkDevName(device.path, "a host interface (<hostdev>)");
    return checkPath(device.path, false, "the <source> of a <hostdev>");
}

/** Devices that stay in the XML and do nothing. */
Result<void> checkIdle(xmlNode* element) {
    auto name = xml::name(element);
    if (name == "graphics")
        return allowOnly(element, "type", {"vnc"});
    if (name == "input")
        return allowOnly(element, "type", {"mouse", "keyboard"});
    if (name == "audio")
        return allowOnly(element, "type", {"none"});
    if (name == "memballoon")
        return allowOnly(element, "model", {"none"});
    if (name == "controller") {
        // libvirt's parser adds those of disks.
        VZ_CHECK(allowOnly(element, "type", {"usb", "scsi", "ide", "sata"}));
        if (xml::attribute(element, "type") == "usb" && xml::attribute(element, "model") != "none")
            return unsupported(
                "a USB <controller> is not supported for containers: remove it or use model='none'");
    }
    return {};
}

Result<void> checkUnique(const Definition& definition) {
    std::set<std::string> targets, disks, macs, guestNames, hostNames, devices;
    auto twice = [](std::string_view what, const std::string& value) {
        return fail(ErrorCode::XmlError, what, " ", value, " is used twice");
    };
    for (const auto& filesystem : definition.filesystems) {
        if (!targets.insert(plainPath(filesystem.target)).second)
            return twice("the <filesystem> target", filesystem.target);
    }
    for (const auto& disk : definition.disks) {
        if (!disks.insert(disk.target).second)
            return twice("the <disk> target", disk.target);
    }
    for (const auto& interface : definition.interfaces) {
        if (!macs.insert(interface.mac).second)
            return twice("the MAC address", interface.mac);
        if (!interface.guestDev.empty() && !guestNames.insert(interface.guestDev).second)
            return twice("the <guest dev=> name", interface.guestDev);
        if (!interface.targetDev.empty() && !hostNames.insert(interface.targetDev).second)
            return twice("the <target dev=> name", interface.targetDev);
    }
    for (const auto& device : definition.hostDevices) {
        if (!devices.insert(plainPath(device.path)).second)
            return twice("the <hostdev>", device.path);
    }
    return {};
}

} // namespace

std::string plainPath(const std::string& path) {
    std::string out;
    for (auto part : split(path, '/')) {
        if (!part.empty() && part != ".")
            out += cat("/", part);
    }
    return out.empty() && !path.empty() ? "/" : out;
}

Result<void> checkRawDevices(xmlNode* devices) {
    for (auto* interface : xml::children(devices, "interface"))
        VZ_CHECK(checkRawInterface(interface));
    for (auto* device : xml::children(devices, "hostdev"))
        VZ_CHECK(checkRawHostDevice(device));
    // Other console targets make libvirt add controllers.
    for (auto* console : xml::children(devices, "console"))
        VZ_CHECK(allowOnly(xml::child(console, "target"), "type", {"lxc", "serial"}));
    return {};
}

Result<void> checkDevices(xmlNode* devices, const Definition& definition) {
    size_t filesystem = 0, disk = 0, console = 0, hostDevice = 0;
    for (auto* element : xml::children(devices)) {
        auto name = xml::name(element);
        if (name == "filesystem")
            VZ_CHECK(checkFilesystem(element, definition.filesystems[filesystem++]));
        else if (name == "disk")
            VZ_CHECK(checkDisk(element, definition.disks[disk++]));
        else if (name == "console")
            VZ_CHECK(checkConsole(definition.consoles[console++]));
        else if (name == "hostdev")
            VZ_CHECK(checkHostDevice(definition.hostDevices[hostDevice++]));
        else if (name != "interface")
            VZ_CHECK(checkIdle(element));
    }
    for (const auto& interface : definition.interfaces)
        VZ_CHECK(checkInterface(interface));
    return checkUnique(definition);
}

} // namespace vz::domain
