// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/machine_disks.hpp"
#include "driver/machine_guarantee.hpp"
#include "driver/machine_methods.hpp"
#include "driver/methods.hpp"
#include "vm/machines.hpp"
#include "vm/xml.hpp"

#include <cstdlib>

namespace vz::driver {

namespace {

Error taken(std::string_view name, std::string_view uuid, std::string_view kind) {
    return fail(ErrorCode::OperationFailed, "domain '", name, "' already exists with uuid ", uuid, " as a ",
                kind);
}

Error taken(virDomainPtr machine, std::string_view kind) {
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    (void)::virDomainGetUUIDString(machine, uuid);
    return taken(::virDomainGetName(machine), uuid, kind);
}

/** OperationFailed if a container, or a machine that clients do not see, has the name or UUID of @p wanted.
 * Machines that they do see are for QEMU's driver to compare. */
Result<void> freeForMachine(const MachineCall& call, const vm::InnerDomain& wanted) {
    for (auto& container :
         {call.driver.registry().byUuid(wanted.uuid), call.driver.registry().byName(wanted.name)}) {
        if (!container)
            continue;
        // Who may not see it learns no more than that.
        return abi::mayAccessDomain(call.conn, container->config().def().get(), "getattr")
                   ? taken(container->name(), container->uuid(), "container")
                   : fail(ErrorCode::OperationFailed, "the name '", wanted.name, "' or the uuid ",
                          wanted.uuid, " is taken by another domain");
    }
    VZ_TRY(auto machines, vm::Machines::find(*call.inner, wanted.name, wanted.uuid));
    for (auto& machine : machines) {
        if (!call.driver.machines().visible(machine.get()))
            return taken(machine.get(), "virtual machine of QEMU's driver that was not made by this one");
    }
    return {};
}

/** Makes a machine by @p make, which gets the inner document. */
template<typename Make>
Result<Passed<virDomainPtr>> makeMachine(const ConnectCall& call, const char* xml, Make&& make) {
    VZ_TRY(auto machines, MachineCall::begin(call.driver, call.conn));
    VZ_TRY(auto wanted, vm::domainToInner(xml, inwardFacts(machines, xml)));
    VZ_TRY(auto claim, claimMachine(machines, wanted));
    return claim.kept(make(machines, wanted.xml.c_str()));
}

} // namespace

Result<MachineClaim> claimMachine(const MachineCall& call, const vm::InnerDomain& wanted) {
    VZ_TRY(auto names, call.driver.claimNames(wanted.name, wanted.uuid));
    VZ_CHECK(freeForMachine(call, wanted));
    return MachineClaim(call.driver.machines(), wanted.uuid, std::move(names));
}

bool isMachine(const char* xml) {
    return vm::osType(xml) == "hvm";
}

Result<Passed<virDomainPtr>> defineMachine(const ConnectCall& call, const char* xml, unsigned int flags) {
    return makeMachine(call, xml, [&](const MachineCall& machines, const char* inner) {
        return forwardConnect<"domainDefineXMLFlags", &virDomainDefineXMLFlags>(machines, inner, flags);
    });
}

Result<Passed<virDomainPtr>> createMachine(const ConnectCall& call, const char* xml, unsigned int flags) {
    return makeMachine(
        call, xml, [&](const MachineCall& machines, const char* inner) -> Result<Passed<virDomainPtr>> {
            VZ_TRY(auto promise, MachinePromise::make(machines.driver, inner));
            VZ_TRY(auto servers, DiskServers::start(machines, inner));
            return promise.kept(
                forwardConnect<"domainCreateXML", &virDomainCreateXML>(machines, inner, flags));
        });
}

Result<Passed<virDomainPtr>> createXmlWithFiles(const ConnectCall& call, const char* xml, unsigned int nfiles,
                                                int* files, unsigned int flags) {
    if (nfiles == 0)
        return createXml(call, xml, flags);
    if (!isMachine(xml))
        return fail(ErrorCode::OperationUnsupported,
                    "a container cannot be given open files: its init starts with a console only");
    return makeMachine(
        call, xml, [&](const MachineCall& machines, const char* inner) -> Result<Passed<virDomainPtr>> {
            VZ_TRY(auto promise, MachinePromise::make(machines.driver, inner));
            VZ_TRY(auto servers, DiskServers::start(machines, inner));
            return promise.kept(forwardConnect<"domainCreateXMLWithFiles", &virDomainCreateXMLWithFiles>(
                machines, inner, nfiles, files, flags));
        });
}

Result<void> freeOfMachines(const ConnectCall& call, const std::string& name, const std::string& uuid) {
    auto inner = call.driver.machineConnection(call.conn);
    // A name is taken also if the client may not use QEMU's driver.
    if (!inner && inner.error().code() == ErrorCode::AccessDenied)
        inner = call.driver.machines().own();
    if (!inner)
        return {}; // containers do not depend on QEMU's driver
    VZ_TRY(auto machines, vm::Machines::find(**inner, name, uuid));
    if (machines.empty())
        return {};
    return taken(machines.front().get(), "virtual machine");
}

Result<Passed<int>> renameMachine(const MachineCall& call, const char* name, unsigned int flags) {
    VZ_TRY(auto names, call.driver.claimNames(name, ""));
    if (auto container = call.driver.registry().byName(name))
        return taken(name, container->uuid(), "container");
    return forwardDomain<"domainRename", &virDomainRename>(call, name, flags);
}

Result<Passed<int>> setMachineMetadata(const MachineCall& call, int type, const char* value, const char* key,
                                       const char* uri, unsigned int flags) {
    // An element keeps the namespace that it has, whatever the client calls it.
    if (type == VIR_DOMAIN_METADATA_ELEMENT && ((uri && uri == vm::kMarkUri) || (value && vm::isMark(value))))
        return fail(ErrorCode::OperationDenied, "metadata of namespace ", vm::kMarkUri,
                    " belongs to the vz driver itself");
    if (type == VIR_DOMAIN_METADATA_ELEMENT && uri && uri == kMachineUri)
        return setMachineGuarantee(call, value, key, flags);
    return forwardDomain<"domainSetMetadata", &virDomainSetMetadata>(call, type, value, key, uri, flags);
}

Result<Passed<char*>> getMachineMetadata(const MachineCall& call, int type, const char* uri,
                                         unsigned int flags) {
    if (type == VIR_DOMAIN_METADATA_ELEMENT && uri && uri == vm::kMarkUri)
        return fail(ErrorCode::NoDomainMetadata,
                    "metadata not found: Requested metadata element is not present");
    return forwardDomain<"domainGetMetadata", &virDomainGetMetadata>(call, type, uri, flags);
}

} // namespace vz::driver
