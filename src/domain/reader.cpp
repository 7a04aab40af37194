// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/reader.hpp"

#include "domain/validate_devices.hpp"

#include <algorithm>
#include <limits>
#include <map>

namespace vz::domain {

namespace {

template<typename T>
Result<T> number(std::string_view text, std::string_view what) {
    auto value = parseNumber<T>(trim(text));
    if (!value)
        return fail(ErrorCode::XmlError, "'", text, "' is not a usable number for ", what);
    return *value;
}

/** The number in an attribute, or @p absent if there is no such attribute. */
template<typename T>
Result<T> numberAttribute(xmlNode* element, const char* name, T absent) {
    if (!xml::hasAttribute(element, name))
        return absent;
    return number<T>(xml::attribute(element, name), cat("<", xml::name(element), " ", name, "=>"));
}

/** The number in an element, if the element is there. */
template<typename T>
Result<std::optional<T>> numberElement(xmlNode* element) {
    if (!element)
        return std::optional<T>();
    VZ_TRY(auto value, number<T>(xml::text(element), cat("<", xml::name(element), ">")));
    return std::optional<T>(value);
}

/** A size in KiB; libvirt's canonical form always has this unit. */
Result<std::optional<uint64_t>> kibibytes(xmlNode* element) {
    if (element && xml::hasAttribute(element, "unit") && xml::attribute(element, "unit") != "KiB")
        return fail(ErrorCode::InternalError, "libvirt printed <", xml::name(element), "> in ",
                    xml::attribute(element, "unit"), " instead of KiB");
    return numberElement<uint64_t>(element);
}

ct::EndAction endAction(xmlNode* domain, const char* element, ct::EndAction absent) {
    auto text = xml::text(xml::child(domain, element));
    if (text == "restart")
        return ct::EndAction::Restart;
    if (text == "preserve")
        return ct::EndAction::Preserve;
    return text == "destroy" ? ct::EndAction::Destroy : absent;
}

Result<std::vector<ct::IdRange>> idRanges(xmlNode* idmap, const char* name) {
    std::vector<ct::IdRange> ranges;
    for (auto* element : xml::children(idmap, name)) {
        ct::IdRange range;
        VZ_TRY(range.inside, numberAttribute<uint32_t>(element, "start", 0));
        VZ_TRY(range.host, numberAttribute<uint32_t>(element, "target", 0));
        VZ_TRY(range.count, numberAttribute<uint32_t>(element, "count", 0));
        ranges.push_back(range);
    }
    return ranges;
}

void readInit(Definition& definition, xmlNode* os) {
    definition.init = xml::text(xml::child(os, "init"));
    if (definition.init.empty())
        definition.init = "/sbin/init";
    for (auto* argument : xml::children(os, "initarg"))
        definition.initArgs.push_back(xml::text(argument));
    for (auto* variable : xml::children(os, "initenv"))
        definition.initEnv.push_back(cat(xml::attribute(variable, "name"), "=", xml::text(variable)));
    definition.initDir = xml::text(xml::child(os, "initdir"));
    definition.initUser = xml::text(xml::child(os, "inituser"));
    definition.initGroup = xml::text(xml::child(os, "initgroup"));
}

Result<void> readMemoryTuning(Definition& definition, xmlNode* memtune) {
    VZ_TRY(definition.hardLimitKiB, kibibytes(xml::child(memtune, "hard_limit")));
    VZ_TRY(definition.softLimitKiB, kibibytes(xml::child(memtune, "soft_limit")));
    VZ_TRY(definition.swapHardLimitKiB, kibibytes(xml::child(memtune, "swap_hard_limit")));
    VZ_TRY(definition.minGuaranteeKiB, kibibytes(xml::child(memtune, "min_guarantee")));
    return {};
}

Result<void> readCpuTuning(Definition& definition, xmlNode* domain) {
    if (auto* vcpu = xml::child(domain, "vcpu")) {
        VZ_TRY(definition.maxVcpus, number<unsigned>(xml::text(vcpu), "<vcpu>"));
        VZ_TRY(definition.vcpus, numberAttribute(vcpu, "current", definition.maxVcpus));
        definition.vcpuCpuset = xml::attribute(vcpu, "cpuset");
    }
    auto* cputune = xml::child(domain, "cputune");
    VZ_TRY(definition.cpuShares, numberElement<uint64_t>(xml::child(cputune, "shares")));
    VZ_TRY(definition.vcpuTime.periodUs, numberElement<uint64_t>(xml::child(cputune, "period")));
    VZ_TRY(definition.vcpuTime.quotaUs, numberElement<int64_t>(xml::child(cputune, "quota")));
    VZ_TRY(definition.globalTime.periodUs, numberElement<uint64_t>(xml::child(cputune, "global_period")));
    VZ_TRY(definition.globalTime.quotaUs, numberElement<int64_t>(xml::child(cputune, "global_quota")));
    for (auto* pin : xml::children(cputune, "vcpupin")) {
        VZ_TRY(auto vcpu, numberAttribute(pin, "vcpu", 0u));
        definition.pins[vcpu] = xml::attribute(pin, "cpuset");
    }
    definition.emulatorPin = xml::attribute(xml::child(cputune, "emulatorpin"), "cpuset");
    return {};
}

Result<void> readBlockTuning(Definition& definition, xmlNode* blkiotune) {
    VZ_TRY(definition.blockWeight, numberElement<unsigned>(xml::child(blkiotune, "weight")));
    for (auto* element : xml::children(blkiotune, "device")) {
        BlockDeviceTune device;
        device.path = xml::text(xml::child(element, "path"));
        auto value = [&](const char* name, auto& out) -> Result<void> {
            VZ_TRY(auto found, numberElement<uint64_t>(xml::child(element, name)));
            out = static_cast<std::remove_reference_t<decltype(out)>>(found.value_or(0));
            return {};
        };
        VZ_CHECK(value("weight", device.weight));
        VZ_CHECK(value("read_bytes_sec", device.readBytes));
        VZ_CHECK(value("write_bytes_sec", device.writeBytes));
        VZ_CHECK(value("read_iops_sec", device.readOps));
        VZ_CHECK(value("write_iops_sec", device.writeOps));
        definition.blockDevices.push_back(std::move(device));
    }
    return {};
}

Result<void> readResources(Definition& definition, xmlNode* domain) {
    VZ_TRY(auto memory, kibibytes(xml::child(domain, "memory")));
    VZ_TRY(auto current, kibibytes(xml::child(domain, "currentMemory")));
    definition.maxMemoryKiB = memory.value_or(0);
    definition.memoryKiB = current.value_or(definition.maxMemoryKiB);

    VZ_CHECK(readMemoryTuning(definition, xml::child(domain, "memtune")));
    VZ_CHECK(readCpuTuning(definition, domain));
    VZ_CHECK(readBlockTuning(definition, xml::child(domain, "blkiotune")));
    auto* numa = xml::path(domain, {"numatune", "memory"});
    definition.numaMode = xml::attribute(numa, "mode");
    definition.numaNodes = xml::attribute(numa, "nodeset");
    definition.partition = xml::text(xml::path(domain, {"resource", "partition"}));
    return {};
}

Result<Filesystem> readFilesystem(xmlNode* element) {
    static const std::map<std::string, Filesystem::Type, std::less<>> types = {
        {"mount", Filesystem::Type::Mount},  {"bind", Filesystem::Type::Bind},
        {"ram", Filesystem::Type::Ram},      {"block", Filesystem::Type::Block},
        {"file", Filesystem::Type::File},    {"template", Filesystem::Type::Template},
        {"volume", Filesystem::Type::Volume}};
    Filesystem filesystem;
    auto type = types.find(xml::attribute(element, "type"));
    if (type == types.end())
        return fail(ErrorCode::ConfigUnsupported, "<filesystem type='", xml::attribute(element, "type"),
                    "'> is not supported: use mount, bind, ram, block, file, template or volume");
    filesystem.type = type->second;
    auto* source = xml::child(element, "source");
    for (const char* name : {"dir", "dev", "file", "name", "volume"}) {
        if (xml::hasAttribute(source, name))
            filesystem.source = xml::attribute(source, name);
    }
    if (filesystem.type == Filesystem::Type::Volume)
        filesystem.source = cat(xml::attribute(source, "pool"), "/", filesystem.source);
    if (filesystem.type == Filesystem::Type::Ram) {
        VZ_TRY(auto usage, numberAttribute<uint64_t>(source, "usage", 0));
        if (usage > std::numeric_limits<uint64_t>::max() / 1024)
            return fail(ErrorCode::XmlError, "<source usage='", usage, "'> of a <filesystem> is too large");
        filesystem.ramBytes = usage * 1024;
    }
    filesystem.target = xml::attribute(xml::child(element, "target"), "dir");
    filesystem.readOnly = xml::child(element, "readonly");
    filesystem.driverType = xml::attribute(xml::child(element, "driver"), "type");
    filesystem.driverFormat = xml::attribute(xml::child(element, "driver"), "format");
    filesystem.alias = xml::attribute(xml::child(element, "alias"), "name");
    return filesystem;
}

Result<void> readThrottle(DiskThrottle& throttle, xmlNode* iotune) {
    constexpr std::pair<const char*, uint64_t DiskThrottle::*> values[] = {
        {"total_bytes_sec", &DiskThrottle::totalBytes}, {"read_bytes_sec", &DiskThrottle::readBytes},
        {"write_bytes_sec", &DiskThrottle::writeBytes}, {"total_iops_sec", &DiskThrottle::totalOps},
        {"read_iops_sec", &DiskThrottle::readOps},      {"write_iops_sec", &DiskThrottle::writeOps}};
    for (auto [name, member] : values) {
        VZ_TRY(auto found, numberElement<uint64_t>(xml::child(iotune, name)));
        throttle.*member = found.value_or(0);
    }
    return {};
}

Result<Disk> readDisk(xmlNode* element) {
    static const std::map<std::string, std::pair<Disk::Type, const char*>, std::less<>> types = {
        {"file", {Disk::Type::File, "file"}},
        {"dir", {Disk::Type::File, "dir"}}, // an image with a descriptor is a folder
        {"block", {Disk::Type::Block, "dev"}},
        {"volume", {Disk::Type::Volume, "volume"}}};
    Disk disk;
    auto type = types.find(xml::attribute(element, "type"));
    if (type == types.end())
        return fail(ErrorCode::ConfigUnsupported, "<disk type='", xml::attribute(element, "type"),
                    "'> is not supported for containers: use file, block or volume, and for a disk of the "
                    "network the device that the host has for it");
    auto* source = xml::child(element, "source");
    disk.type = type->second.first;
    disk.source = xml::attribute(source, type->second.second);
    if (disk.type == Disk::Type::Volume && !disk.source.empty())
        disk.source = cat(xml::attribute(source, "pool"), "/", disk.source);
    disk.target = xml::attribute(xml::child(element, "target"), "dev");
    disk.readOnly = xml::child(element, "readonly");
    disk.shareable = xml::child(element, "shareable");
    VZ_TRY(disk.bootOrder, numberAttribute(xml::child(element, "boot"), "order", 0u));
    VZ_CHECK(readThrottle(disk.throttle, xml::child(element, "iotune")));
    disk.alias = xml::attribute(xml::child(element, "alias"), "name");
    return disk;
}

Result<void> readIp(xmlNode* element, std::vector<ct::IpAddress>& addresses,
                    std::vector<ct::IpRoute>& routes) {
    for (auto* ip : xml::children(element, "ip")) {
        ct::IpAddress address;
        address.address = xml::attribute(ip, "address");
        address.peer = xml::attribute(ip, "peer");
        VZ_TRY(address.prefix, numberAttribute(ip, "prefix", 0u));
        addresses.push_back(std::move(address));
    }
    for (auto* hop : xml::children(element, "route")) {
        ct::IpRoute route;
        route.destination = xml::attribute(hop, "address");
        route.gateway = xml::attribute(hop, "gateway");
        VZ_TRY(route.prefix, numberAttribute(hop, "prefix", 0u));
        VZ_TRY(route.metric, numberAttribute(hop, "metric", 0u));
        routes.push_back(std::move(route));
    }
    return {};
}

Result<std::optional<NetRate>> readRate(xmlNode* element) {
    if (!element)
        return std::optional<NetRate>();
    NetRate rate;
    VZ_TRY(rate.average, numberAttribute<uint64_t>(element, "average", 0));
    VZ_TRY(rate.peak, numberAttribute<uint64_t>(element, "peak", 0));
    VZ_TRY(rate.burst, numberAttribute<uint64_t>(element, "burst", 0));
    VZ_TRY(rate.floor, numberAttribute<uint64_t>(element, "floor", 0));
    return std::optional(rate);
}

std::vector<std::pair<std::string, std::string>> readAttributes(xmlNode* element) {
    std::vector<std::pair<std::string, std::string>> values;
    for (auto* at = element ? element->properties : nullptr; at; at = at->next) {
        const auto* name = reinterpret_cast<const char*>(at->name);
        values.emplace_back(name, xml::attribute(element, name));
    }
    return values;
}

/** What a network may say in place of the interface's own element. */
Result<void> readPort(Interface& interface, xmlNode* element) {
    if (auto* bandwidth = xml::child(element, "bandwidth")) {
        VZ_TRY(interface.bandwidth.inbound, readRate(xml::child(bandwidth, "inbound")));
        VZ_TRY(interface.bandwidth.outbound, readRate(xml::child(bandwidth, "outbound")));
    }
    if (auto* vlan = xml::child(element, "vlan")) {
        interface.vlan = Vlan{.trunk = xml::attribute(vlan, "trunk") == "yes", .tags = {}};
        for (auto* tag : xml::children(vlan, "tag")) {
            VZ_TRY(auto id, numberAttribute(tag, "id", 0u));
            interface.vlan->tags.push_back({id, xml::attribute(tag, "nativeMode")});
        }
    }
    if (auto* port = xml::child(element, "virtualport"))
        interface.virtualPort =
            VirtualPort{xml::attribute(port, "type"), readAttributes(xml::child(port, "parameters"))};
    if (auto* port = xml::child(element, "port"))
        interface.isolated = xml::attribute(port, "isolated") == "yes";
    return {};
}

void readSource(Interface& interface, xmlNode* source) {
    interface.bridge = xml::attribute(source, "bridge");
    interface.device = xml::attribute(source, "dev");
    interface.mode = xml::attribute(source, "mode");
}

Result<Interface> readInterface(xmlNode* element) {
    Interface interface;
    auto* source = xml::child(element, "source");
    interface.type = interface.plug = xml::attribute(element, "type");
    interface.mac = xml::attribute(xml::child(element, "mac"), "address");
    interface.network = xml::attribute(source, "network");
    interface.portGroup = xml::attribute(source, "portgroup");
    interface.portId = xml::attribute(source, "portid");
    readSource(interface, source);
    VZ_CHECK(readPort(interface, element));
    if (auto* actual = xml::child(element, "actual")) {
        interface.plug = xml::attribute(actual, "type");
        readSource(interface, xml::child(actual, "source"));
        // A network with a bridge of its own says "network", as does libvirt before the network was asked.
        if (interface.plug == "network" && !interface.bridge.empty())
            interface.plug = "bridge";
        VZ_CHECK(readPort(interface, actual));
    }
    interface.script = xml::attribute(xml::child(element, "script"), "path");
    interface.downScript = xml::attribute(xml::child(element, "downscript"), "path");
    interface.targetDev = xml::attribute(xml::child(element, "target"), "dev");
    interface.guestDev = xml::attribute(xml::child(element, "guest"), "dev");
    interface.routed = interface.type == "ethernet" && interface.guestDev == "venet0";
    interface.linkUp = xml::attribute(xml::child(element, "link"), "state") != "down";
    VZ_TRY(interface.mtu, numberAttribute(xml::child(element, "mtu"), "size", 0u));
    VZ_CHECK(readIp(element, interface.addresses, interface.routes));
    if (auto* filter = xml::child(element, "filterref")) {
        interface.filter = FilterRef{xml::attribute(filter, "filter"), {}};
        for (auto* parameter : xml::children(filter, "parameter"))
            interface.filter->parameters.emplace_back(xml::attribute(parameter, "name"),
                                                      xml::attribute(parameter, "value"));
    }
    interface.alias = xml::attribute(xml::child(element, "alias"), "name");
    return interface;
}

Console readConsole(xmlNode* element) {
    Console console;
    auto* log = xml::child(element, "log");
    console.sourceType = xml::attribute(element, "type");
    console.ptyPath = xml::attribute(xml::child(element, "source"), "path");
    console.logFile = xml::attribute(log, "file");
    console.logAppend = xml::attribute(log, "append") == "on";
    console.alias = xml::attribute(xml::child(element, "alias"), "name");
    return console;
}

Result<HostDevice> readHostDevice(xmlNode* element) {
    HostDevice device;
    auto* source = xml::child(element, "source");
    auto type = xml::attribute(element, "type");
    const char* name = "char";
    if (type == "storage") {
        device.type = HostDevice::Type::Block;
        name = "block";
    } else if (type == "net") {
        device.type = HostDevice::Type::Network;
        name = "interface";
    }
    device.path = xml::text(xml::child(source, name));
    device.target = device.path;
    VZ_CHECK(readIp(element, device.addresses, device.routes));
    device.alias = xml::attribute(xml::child(element, "alias"), "name");
    return device;
}

Result<void> readDevices(Definition& definition, xmlNode* devices) {
    for (auto* element : xml::children(devices)) {
        auto name = xml::name(element);
        if (name == "filesystem") {
            VZ_TRY(auto filesystem, readFilesystem(element));
            definition.filesystems.push_back(std::move(filesystem));
        } else if (name == "disk") {
            VZ_TRY(auto disk, readDisk(element));
            definition.disks.push_back(std::move(disk));
        } else if (name == "interface") {
            VZ_TRY(auto interface, readInterface(element));
            definition.interfaces.push_back(std::move(interface));
        } else if (name == "console") {
            definition.consoles.push_back(readConsole(element));
        } else if (name == "hostdev") {
            VZ_TRY(auto device, readHostDevice(element));
            definition.hostDevices.push_back(std::move(device));
        }
    }
    return {};
}

Result<void> readContainer(Definition& definition, xmlNode* domain) {
    readInit(definition, xml::child(domain, "os"));
    auto* idmap = xml::child(domain, "idmap");
    VZ_TRY(definition.uidMap, idRanges(idmap, "uid"));
    VZ_TRY(definition.gidMap, idRanges(idmap, "gid"));
    auto* capabilities = xml::path(domain, {"features", "capabilities"});
    definition.capabilitiesPolicy = xml::attribute(capabilities, "policy");
    for (auto* element : xml::children(capabilities))
        definition.capabilities.emplace_back(xml::name(element), xml::attribute(element, "state") != "off");
    if (auto* element = xml::child(domain, "seclabel")) {
        SecurityLabel label;
        label.model = xml::attribute(element, "model");
        label.type = xml::attribute(element, "type");
        label.label = xml::text(xml::child(element, "label"));
        definition.label = std::move(label);
    }
    return readDevices(definition, xml::child(domain, "devices"));
}

} // namespace

const Filesystem* Definition::root() const {
    for (const auto& filesystem : filesystems) {
        if (plainPath(filesystem.target) == "/")
            return &filesystem;
    }
    return nullptr;
}

const Disk* Definition::rootDisk() const {
    if (root() || disks.empty())
        return nullptr;
    auto rank = [](const Disk& disk) { return disk.bootOrder - 1; }; // none comes last
    return &*std::min_element(disks.begin(), disks.end(),
                              [&](auto& a, auto& b) { return rank(a) < rank(b); });
}

Result<Definition> readDefinition(xmlNode* domain, std::string virtType) {
    Definition definition;
    definition.virtType = std::move(virtType);
    definition.name = xml::text(xml::child(domain, "name"));
    definition.uuid = xml::text(xml::child(domain, "uuid"));
    definition.title = xml::text(xml::child(domain, "title"));
    definition.description = xml::text(xml::child(domain, "description"));
    auto* type = xml::path(domain, {"os", "type"});
    definition.arch = xml::attribute(type, "arch");
    definition.guestType = xml::text(type) == "exe" ? GuestType::Container : GuestType::Machine;
    definition.onPoweroff = endAction(domain, "on_poweroff", ct::EndAction::Destroy);
    definition.onReboot = endAction(domain, "on_reboot", ct::EndAction::Restart);
    definition.onCrash = endAction(domain, "on_crash", ct::EndAction::Destroy);
    VZ_CHECK(readResources(definition, domain));
    if (definition.guestType == GuestType::Container)
        VZ_CHECK(readContainer(definition, domain));
    return definition;
}

} // namespace vz::domain
