// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/machine_capabilities.hpp"

#include "base/log.hpp"

namespace vz::driver {

namespace {

Result<std::string> ofContainers(const DomainCapabilitiesWanted& wanted,
                                 const CapabilitiesFacts& containers) {
    if (wanted.flags)
        return fail(ErrorCode::OperationUnsupported, "flags ", wanted.flags,
                    " of virConnectGetDomainCapabilities are not supported for containers");
    return domainCapabilitiesXml(wanted.emulator, wanted.arch, wanted.machine, wanted.type, containers);
}

} // namespace

std::string MachineCapabilities::capabilities(const CapabilitiesFacts& containers,
                                              const MachineDocuments& machines) {
    auto own = capabilitiesXml(containers);
    auto outer = [&]() -> Result<std::string> {
        VZ_TRY(auto inner, machines.capabilities());
        return vm::outerCapabilities(own, inner, probe_.accelerator());
    }();
    note(outer ? nullptr : &outer.error());
    return std::move(outer).valueOr(own);
}

Result<std::string> MachineCapabilities::domainCapabilities(const DomainCapabilitiesWanted& wanted,
                                                            const CapabilitiesFacts& containers,
                                                            const MachineDocuments& machines) {
    VZ_TRY(auto outerType, domainType(wanted.type));
    if (wanted.emulator && wanted.emulator == containers.emulator)
        return ofContainers(wanted, containers);
    auto inner = machines.capabilities();
    note(inner ? nullptr : &inner.error());
    if (!inner && !wanted.emulator)
        return ofContainers(wanted, containers);
    VZ_TRY(auto known, std::move(inner));
    VZ_TRY(auto type, vm::innerTypeToAsk(known, wanted.emulator, wanted.arch, probe_.accelerator()));
    auto asked = wanted;
    asked.type = type.empty() ? nullptr : type.c_str();
    VZ_TRY(auto document, machines.domainCapabilities(asked));
    return vm::outerDomainCapabilities(document, outerType);
}

Result<vm::Engine> MachineCapabilities::engine(const std::string& arch, const MachineDocuments& machines) {
    VZ_TRY(auto inner, machines.capabilities());
    return vm::engineFor(inner, arch, probe_.accelerator());
}

Result<std::string> MachineCapabilities::innerType(const char* emulator, const char* arch, const char* type,
                                                   const MachineDocuments& machines) {
    VZ_CHECK(domainType(type));
    VZ_TRY(auto inner, machines.capabilities());
    return vm::innerTypeToAsk(inner, emulator, arch, probe_.accelerator());
}

void MachineCapabilities::note(const Error* reason) {
    if (reason && reason->code() == ErrorCode::AccessDenied)
        return; // they are there, but not for this client
    std::lock_guard lock(mutex_);
    if (!reason) {
        noted_.clear();
        return;
    }
    if (noted_ == reason->message())
        return;
    noted_ = reason->message();
    // That there are none by the settings, or that the driver is not installed, is no fault.
    log::write(reason->code() == ErrorCode::NoSupport ? log::Level::Info : log::Level::Warning,
               cat("there are no virtual machines beside containers: ", noted_));
}

} // namespace vz::driver
