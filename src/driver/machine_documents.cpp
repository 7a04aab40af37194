// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/machine_documents.hpp"

#include "driver/slot.hpp"

#include <cstdlib>

namespace vz::driver {

namespace {

Result<std::string> text(Result<Passed<char*>>&& answer) {
    VZ_TRY(auto passed, std::move(answer));
    if (!passed.value)
        return abi::lastError("QEMU's driver gave no document");
    std::string copy = passed.value;
    std::free(passed.value);
    return copy;
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

Result<std::string> machineType(const MachineCall& call, const std::string& arch) {
    auto documents = machineDocuments(call.driver, call.conn);
    VZ_TRY(auto engine, call.driver.machineCapabilities().engine(arch, documents));
    return std::string(engine.innerType());
}

} // namespace vz::driver
