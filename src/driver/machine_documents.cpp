// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/machine_documents.hpp"

#include "driver/machine_methods.hpp"

namespace vz::driver {

namespace {

Result<std::string> text(Result<Passed<char*>>&& answer) {
    VZ_TRY(auto passed, std::move(answer));
    return abi::takeText(passed.value, "QEMU's driver gave no document");
}

/** The type that QEMU's driver is to answer for; empty if that is its choice. */
Result<std::string> innerType(const MachineCall& call, const char* emulator, const char* arch,
                              const char* type) {
    return call.driver.machineCapabilities().innerType(emulator, arch, type,
                                                       machineDocuments(call.driver, call.conn));
}

} // namespace

MachineDocuments machineDocuments(Driver& driver, virConnectPtr conn) {
    return {
        .capabilities = [&driver, conn]() -> Result<std::string> {
            VZ_TRY(auto machines, MachineCall::begin(driver, conn));
            return text(forwardConnect<"connectGetCapabilities", &virConnectGetCapabilities>(machines));
        },
        .domainCapabilities = [&driver, conn](const DomainCapabilitiesWanted& wanted) -> Result<std::string> {
            VZ_TRY(auto machines, MachineCall::begin(driver, conn));
            return text(forwardConnect<"connectGetDomainCapabilities", &virConnectGetDomainCapabilities>(
                machines, wanted.emulator, wanted.arch, wanted.machine, wanted.type, wanted.flags));
        }};
}

Result<Passed<int>> compareHypervisorCpu(const ConnectCall& call, const char* emulator, const char* arch,
                                         const char* machine, const char* type, const char* cpu,
                                         unsigned int flags) {
    VZ_TRY(auto machines, MachineCall::begin(call.driver, call.conn));
    VZ_TRY(auto inner, innerType(machines, emulator, arch, type));
    return forwardConnect<"connectCompareHypervisorCPU", &virConnectCompareHypervisorCPU>(
        machines, emulator, arch, machine, inner.empty() ? nullptr : inner.c_str(), cpu, flags);
}

Result<Passed<char*>> baselineHypervisorCpu(const ConnectCall& call, const char* emulator, const char* arch,
                                            const char* machine, const char* type, const char** cpus,
                                            unsigned int count, unsigned int flags) {
    VZ_TRY(auto machines, MachineCall::begin(call.driver, call.conn));
    VZ_TRY(auto inner, innerType(machines, emulator, arch, type));
    return forwardConnect<"connectBaselineHypervisorCPU", &virConnectBaselineHypervisorCPU>(
        machines, emulator, arch, machine, inner.empty() ? nullptr : inner.c_str(), cpus, count, flags);
}

Result<std::string> machineType(const MachineCall& call, const std::string& arch) {
    auto documents = machineDocuments(call.driver, call.conn);
    VZ_TRY(auto engine, call.driver.machineCapabilities().engine(arch, documents));
    return std::string(engine.innerType());
}

} // namespace vz::driver
