// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/xml.hpp"
#include "driver/machine_disks.hpp"
#include "driver/machine_documents.hpp"
#include "driver/machine_methods.hpp"
#include "vm/machines.hpp"

#include <cstdlib>

namespace vz::driver {

namespace {

/** The machine that a domain document is about; may be null. */
abi::DomainHandle machineOf(const MachineCall& call, const char* xml) {
    auto wanted = xml::parse(xml);
    if (!wanted)
        return nullptr;
    auto* root = xml::root(*wanted);
    auto machines = vm::Machines::find(*call.inner, xml::text(xml::child(root, "name")),
                                       xml::text(xml::child(root, "uuid")));
    return machines && !machines->empty() ? std::move(machines->front()) : nullptr;
}

/** The format of the disk with this source in one of the machine's definitions; empty if it has none. */
std::string formatIn(virDomainPtr machine, unsigned int flags, const std::string& source) {
    abi::AsDaemon asDaemon; // a client that may not read the definition must not change the format by that
    auto text = abi::takeText(::virDomainGetXMLDesc(machine, flags), "the machine cannot be read");
    auto document = text ? xml::parse(*text) : std::move(text).takeError();
    if (!document)
        return {};
    for (auto* disk : xml::children(xml::child(xml::root(*document), "devices"), "disk")) {
        if (xml::attribute(xml::child(disk, "source"), "file") == source)
            return xml::attribute(xml::child(disk, "driver"), "type");
    }
    return {};
}

std::string knownFormat(virDomainPtr machine, const std::string& source) {
    auto defined = machine ? formatIn(machine, VIR_DOMAIN_XML_INACTIVE, source) : std::string();
    return defined.empty() && machine ? formatIn(machine, 0, source) : defined;
}

std::string uuidOf(const MachineCall& call) {
    char text[VIR_UUID_STRING_BUFLEN] = "";
    (void)::virDomainGetUUIDString(call.domain.get(), text);
    return text;
}

/** Servers for a disk that is to be used at once. */
Result<DiskServers> serversFor(const MachineCall& call, const std::string& device, unsigned int flags) {
    bool live = flags & VIR_DOMAIN_AFFECT_LIVE;
    if (!live && (flags & VIR_DOMAIN_AFFECT_CONFIG))
        return DiskServers();
    // The present state of a machine is the one to come if it does not run.
    return ::virDomainIsActive(call.domain.get()) == 1 ? DiskServers::start(call, device)
                                                       : Result<DiskServers>(DiskServers());
}

} // namespace

std::string typeOf(const std::string& xml) {
    auto document = xml::parse(xml);
    return document ? xml::attribute(xml::root(*document), "type") : std::string();
}

vm::InwardFacts inwardFacts(const MachineCall& call) {
    return {
        .innerType = [&call](const std::string&) -> Result<std::string> {
            VZ_TRY(auto text, abi::takeText(::virDomainGetXMLDesc(call.domain.get(), 0),
                                            "the machine's present type cannot be read"));
            return typeOf(text.c_str());
        },
        .knownFormat = [&call](const std::string& source) { return knownFormat(call.domain.get(), source); },
        .ploop = ploopFacts(call),
        .machineUuid = uuidOf(call)};
}

vm::InwardFacts inwardFacts(const MachineCall& call, const char* xml, const std::string& type) {
    return {.innerType = [&call, type](const std::string& arch) -> Result<std::string> {
                return type.empty() ? machineType(call, arch) : Result<std::string>(type);
            },
            .knownFormat =
                [&call, xml](const std::string& source) {
                    return knownFormat(machineOf(call, xml).get(), source);
                },
            .ploop = ploopFacts(call)};
}

Result<std::string> innerXml(const MachineCall& call, const char* xml) {
    if (!xml)
        return std::string();
    VZ_TRY(auto inner, vm::domainToInner(xml, inwardFacts(call)));
    return std::move(inner.xml);
}

Result<Passed<char*>> xmlOutward(Result<Passed<char*>>&& answer) {
    VZ_TRY(auto passed, std::move(answer));
    if (!passed.value)
        return passed;
    std::string text = vm::toOuter(passed.value);
    std::free(passed.value);
    return Passed<char*>{::strdup(text.c_str())};
}

Result<Passed<char*>> getMachineXml(const MachineCall& call, unsigned int flags) {
    return xmlOutward(forwardDomain<"domainGetXMLDesc", &virDomainGetXMLDesc>(call, flags));
}

Result<Passed<int>> attachToMachine(const MachineCall& call, const char* xml) {
    VZ_TRY(auto device, vm::deviceToInner(xml, inwardFacts(call)));
    VZ_TRY(auto servers, serversFor(call, device, VIR_DOMAIN_AFFECT_LIVE));
    return forwardDomain<"domainAttachDevice", &virDomainAttachDevice>(call, device.c_str());
}

Result<Passed<int>> attachToMachineFlags(const MachineCall& call, const char* xml, unsigned int flags) {
    VZ_TRY(auto device, vm::deviceToInner(xml, inwardFacts(call)));
    VZ_TRY(auto servers, serversFor(call, device, flags));
    return forwardDomain<"domainAttachDeviceFlags", &virDomainAttachDeviceFlags>(call, device.c_str(), flags);
}

Result<Passed<int>> updateMachineDevice(const MachineCall& call, const char* xml, unsigned int flags) {
    VZ_TRY(auto device, vm::deviceToInner(xml, inwardFacts(call)));
    return forwardDomain<"domainUpdateDeviceFlags", &virDomainUpdateDeviceFlags>(call, device.c_str(), flags);
}

Result<Passed<virDomainSnapshotPtr>> createSnapshot(const MachineCall& call, const char* xml,
                                                    unsigned int flags) {
    VZ_CHECK(refuseWithPloopDisks(call,
                                  "QEMU cannot make snapshots of it; 'ploop snapshot' does, also while the "
                                  "machine runs"));
    VZ_TRY(auto inner, vm::embeddedToInner(xml, inwardFacts(call)));
    return forwardDomain<"domainSnapshotCreateXML", &virDomainSnapshotCreateXML>(call, inner.c_str(), flags);
}

Result<Passed<char*>> getSnapshotXml(const MachineCall& call, virDomainSnapshotPtr snapshot,
                                     unsigned int flags) {
    VZ_TRY(auto inner, innerOf(call, snapshot));
    return xmlOutward(forward<"domainSnapshotGetXMLDesc", decltype(&virDomainSnapshotGetXMLDesc)>(
        call, inner.get(), flags));
}

Result<Passed<virDomainCheckpointPtr>> createCheckpoint(const MachineCall& call, const char* xml,
                                                        unsigned int flags) {
    VZ_CHECK(refuseWithPloopDisks(call, "it keeps no list of changes for QEMU"));
    VZ_TRY(auto inner, vm::embeddedToInner(xml, inwardFacts(call)));
    return forwardDomain<"domainCheckpointCreateXML", &virDomainCheckpointCreateXML>(call, inner.c_str(),
                                                                                     flags);
}

Result<Passed<char*>> getCheckpointXml(const MachineCall& call, virDomainCheckpointPtr checkpoint,
                                       unsigned int flags) {
    VZ_TRY(auto inner, innerOf(call, checkpoint));
    return xmlOutward(forward<"domainCheckpointGetXMLDesc", decltype(&virDomainCheckpointGetXMLDesc)>(
        call, inner.get(), flags));
}

Result<Passed<char*>> xmlFromNative(const ConnectCall& call, const char* format, const char* native,
                                    unsigned int flags) {
    VZ_TRY(auto machines, MachineCall::begin(call.driver, call.conn));
    return xmlOutward(forwardConnect<"connectDomainXMLFromNative", &virConnectDomainXMLFromNative>(
        machines, format, native, flags));
}

Result<Passed<char*>> xmlToNative(const ConnectCall& call, const char* format, const char* xml,
                                  unsigned int flags) {
    VZ_TRY(auto machines, MachineCall::begin(call.driver, call.conn));
    VZ_TRY(auto wanted, vm::domainToInner(xml, inwardFacts(machines, xml)));
    return forwardConnect<"connectDomainXMLToNative", &virConnectDomainXMLToNative>(
        machines, format, wanted.xml.c_str(), flags);
}

} // namespace vz::driver
