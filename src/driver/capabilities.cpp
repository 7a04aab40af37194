// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/capabilities.hpp"

#include "base/file.hpp"
#include "base/xml.hpp"
#include "vm/capabilities.hpp"

#include <sys/utsname.h>

#include <cerrno>
#include <initializer_list>
#include <set>
#include <utility>

namespace vz::driver {

namespace {

using Attributes = std::initializer_list<std::pair<const char*, std::string>>;
using Values = std::initializer_list<const char*>;

xmlNode* add(xmlNode* parent, const char* name, Attributes attributes = {}, const std::string& text = {}) {
    auto* element = xml::addChild(parent, name);
    for (const auto& [key, value] : attributes)
        xml::setAttribute(element, key, value);
    if (!text.empty())
        xml::setText(element, text);
    return element;
}

xml::Doc newDocument(const char* root) {
    xml::Doc doc(xmlNewDoc(nullptr));
    xmlDocSetRootElement(doc.get(), xmlNewNode(nullptr, xml::chars(root)));
    return doc;
}

void addHostCpu(xmlNode* host, const CapabilitiesFacts& facts) {
    auto* cpu = add(host, "cpu");
    add(cpu, "arch", {}, facts.arch);
    auto counts = facts.topology.cpuCounts();
    add(cpu, "topology",
        {{"sockets", cat(counts.sockets)},
         {"dies", cat(counts.dies)},
         {"cores", cat(counts.cores)},
         {"threads", cat(counts.threads)}});
    std::set<unsigned> sizes;
    for (const auto& cell : facts.topology.cells) {
        for (const auto& pages : cell.pages)
            sizes.insert(pages.sizeKiB);
    }
    for (unsigned size : sizes)
        add(cpu, "pages", {{"unit", "KiB"}, {"size", cat(size)}});
}

void addCell(xmlNode* cells, const HostCell& cell) {
    auto* element = add(cells, "cell", {{"id", cat(cell.id)}});
    add(element, "memory", {{"unit", "KiB"}}, cat(cell.memoryKiB));
    for (const auto& pages : cell.pages)
        add(element, "pages", {{"unit", "KiB"}, {"size", cat(pages.sizeKiB)}}, cat(pages.count));
    if (!cell.distances.empty()) {
        auto* distances = add(element, "distances");
        for (const auto& distance : cell.distances)
            add(distances, "sibling", {{"id", cat(distance.cell)}, {"value", cat(distance.value)}});
    }
    auto* cpus = add(element, "cpus", {{"num", cat(cell.cpus.size())}});
    for (const auto& cpu : cell.cpus) {
        add(cpus, "cpu",
            {{"id", cat(cpu.id)},
             {"socket_id", cat(cpu.socket)},
             {"die_id", cat(cpu.die)},
             {"core_id", cat(cpu.core)},
             {"siblings", cpu.siblings}});
    }
}

void addHost(xmlNode* root, const CapabilitiesFacts& facts) {
    auto* host = add(root, "host");
    if (!facts.hostUuid.empty())
        add(host, "uuid", {}, facts.hostUuid);
    addHostCpu(host, facts);
    add(host, "iommu", {{"support", facts.iommu ? "yes" : "no"}});
    if (facts.liveMigration) {
        auto* migration = add(host, "migration_features");
        add(migration, "live");
        add(add(migration, "uri_transports"), "uri_transport", {}, "tcp");
    }
    auto* cells = add(add(host, "topology"), "cells", {{"num", cat(facts.topology.cells.size())}});
    for (const auto& cell : facts.topology.cells)
        addCell(cells, cell);
    if (!facts.securityModel.empty()) {
        auto* model = add(host, "secmodel");
        add(model, "model", {}, facts.securityModel);
        add(model, "doi", {}, "0");
    }
}

bool is32Bit(const std::string& arch) {
    return arch == "i686" || arch.starts_with("armv");
}

void addCounters(xmlNode* arch, const std::vector<ct::CounterStatus>& counters) {
    constexpr const char* units[] = {"items", "bytes", "pages"};
    auto* all = add(arch, "beancounters");
    auto* ours = xmlNewNs(all, xml::chars(vm::kCapabilitiesUri.data()), xml::chars("vz"));
    xmlSetNs(all, ours);
    for (const auto& counter : counters) {
        bool live = counter.info->change == ct::CounterChange::Live;
        auto* element = add(all, "counter",
                            {{"name", counter.info->name},
                             {"unit", units[static_cast<size_t>(counter.info->unit)]},
                             {"state", ct::nameOf(counter.state)},
                             {"changed", live ? "live" : "start"}},
                            counter.mechanism);
        xmlSetNs(element, ours);
    }
}

void addGuest(xmlNode* root, const char* osType, const CapabilitiesFacts& facts) {
    auto* guest = add(root, "guest");
    add(guest, "os_type", {}, osType);
    auto* arch = add(guest, "arch", {{"name", facts.arch}});
    add(arch, "wordsize", {}, is32Bit(facts.arch) ? "32" : "64");
    // virt-install takes the last domain type for its default, and Nova looks for "parallels" anywhere.
    add(arch, "domain", {{"type", "parallels"}});
    add(arch, "domain", {{"type", "vz"}});
    if (!facts.counters.empty())
        addCounters(arch, facts.counters);
}

/** uname's name of an architecture as libvirt names it. */
std::string libvirtArch(std::string machine) {
    if (machine.size() == 4 && machine.starts_with('i') && machine.ends_with("86"))
        return "i686";
    return machine;
}

void addSupported(xmlNode* parent, const char* name, bool supported) {
    add(parent, name, {{"supported", supported ? "yes" : "no"}});
}

void addEnum(xmlNode* parent, const char* name, Values values) {
    auto* element = add(parent, "enum", {{"name", name}});
    for (const char* value : values)
        add(element, "value", {}, value);
}

/** A kind of device that containers can have, with its choices. */
void addDevice(xmlNode* devices, const char* name,
               std::initializer_list<std::pair<const char*, Values>> choices) {
    auto* device = add(devices, name, {{"supported", "yes"}});
    for (const auto& [choice, values] : choices)
        addEnum(device, choice, values);
}

void addDevices(xmlNode* root) {
    auto* devices = add(root, "devices");
    for (const char* name : {"disk", "graphics", "video"})
        addSupported(devices, name, false);
    addDevice(devices, "hostdev", {{"mode", {"capabilities"}}, {"capsType", {"storage", "misc"}}});
    addSupported(devices, "rng", false);
    addDevice(devices, "filesystem", {{"driverType", {"path"}}});
    for (const char* name : {"tpm", "redirdev", "channel"})
        addSupported(devices, name, false);
}

Result<void> checkWanted(const char* emulator, const char* arch, const char* machine, const char* virtType,
                         const CapabilitiesFacts& facts) {
    using std::string_view;
    VZ_CHECK(domainType(virtType));
    if (arch && arch != facts.arch)
        return fail(ErrorCode::InvalidArg, "no domain capabilities for architecture '", arch,
                    "': guests of this host are '", facts.arch, "'");
    if (machine && machine != string_view("pc"))
        return fail(ErrorCode::InvalidArg, "no domain capabilities for machine '", machine,
                    "': the only one is 'pc'");
    if (emulator && emulator != facts.emulator)
        return fail(ErrorCode::ConfigUnsupported, "no domain capabilities for emulator '", emulator,
                    "': guests are started by '", facts.emulator, "'; leave the emulator out");
    return {};
}

} // namespace

Result<CapabilitiesFacts> probeCapabilities(const CapabilitiesProbe& probe) {
    struct utsname host {};
    if (::uname(&host) != 0)
        return failErrno(errno, "cannot ask the kernel for the architecture");
    VZ_TRY(auto topology, readHostTopology(probe.sysRoot, probe.procRoot));
    CapabilitiesFacts facts;
    facts.hostUuid = probe.hostUuid;
    facts.arch = libvirtArch(host.machine);
    facts.emulator = probe.emulator;
    facts.securityModel = probe.securityModel;
    // The kernel makes a group for each set of devices as soon as an IOMMU is in use.
    facts.iommu = !file::list(probe.sysRoot + "/kernel/iommu_groups").valueOr({}).empty();
    facts.topology = std::move(topology);
    return facts;
}

std::string capabilitiesXml(const CapabilitiesFacts& facts) {
    auto doc = newDocument("capabilities");
    auto* root = xml::root(doc);
    addHost(root, facts);
    addGuest(root, "exe", facts);
    return xml::format(doc.get());
}

unsigned maxVcpus(const CapabilitiesFacts& facts) {
    return facts.topology.cpuCount();
}

Result<std::string> domainType(const char* asked) {
    std::string type = asked ? asked : "vz";
    if (type != "vz" && type != "parallels")
        return fail(ErrorCode::InvalidArg, "no domain capabilities for type '", type,
                    "': this connection has the types 'vz' and 'parallels'");
    return type;
}

Result<std::string> domainCapabilitiesXml(const char* emulator, const char* arch, const char* machine,
                                          const char* virtType, const CapabilitiesFacts& facts) {
    VZ_CHECK(checkWanted(emulator, arch, machine, virtType, facts));
    auto doc = newDocument("domainCapabilities");
    auto* root = xml::root(doc);
    add(root, "path", {}, facts.emulator);
    add(root, "domain", {}, virtType ? virtType : "vz");
    add(root, "machine", {}, "pc");
    add(root, "arch", {}, facts.arch);
    add(root, "vcpu", {{"max", cat(maxVcpus(facts))}});
    addSupported(root, "iothreads", false);
    auto* os = add(root, "os", {{"supported", "yes"}});
    addEnum(os, "firmware", {});
    addSupported(os, "loader", false);
    auto* cpu = add(root, "cpu");
    for (const char* mode : {"host-passthrough", "maximum", "host-model", "custom"})
        add(cpu, "mode", {{"name", mode}, {"supported", "no"}});
    addSupported(root, "memoryBacking", false);
    addDevices(root);
    auto* features = add(root, "features");
    for (const char* feature : {"gic", "vmcoreinfo", "genid", "backingStoreInput", "backup", "sev"})
        addSupported(features, feature, false);
    return xml::format(doc.get());
}

} // namespace vz::driver
