// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "driver/capabilities.hpp"
#include "vm/capabilities.hpp"

#include <functional>
#include <mutex>
#include <string>

namespace vz::driver {

/** What a client asked virConnectGetDomainCapabilities for; null means our choice. */
struct DomainCapabilitiesWanted {
    const char* emulator = nullptr;
    const char* arch = nullptr;
    const char* machine = nullptr;
    const char* type = nullptr; ///< "vz" or "parallels"
    unsigned int flags = 0;
};

/** QEMU's driver, as far as it is asked here. Each call gives an Error if that driver cannot be reached. */
struct MachineDocuments {
    std::function<Result<std::string>()> capabilities; ///< virConnectGetCapabilities
    /** virConnectGetDomainCapabilities; the type in it is "kvm", "qemu" or null. */
    std::function<Result<std::string>(const DomainCapabilitiesWanted&)> domainCapabilities;
};

/**
 * The capability documents of a connection: those of QEMU's driver for virtual machines, put together with
 * ours for containers. Without that driver they are ours alone, and the log says why, once. One object per
 * daemon, thread-safe.
 */
class MachineCapabilities {
public:
    explicit MachineCapabilities(vm::AcceleratorProbe::Options options) : probe_(std::move(options)) {}

    /** The document of virConnectGetCapabilities. */
    std::string capabilities(const CapabilitiesFacts& containers, const MachineDocuments& machines);

    /**
     * The document of virConnectGetDomainCapabilities. Our emulator, the supervisor, means containers. Any
     * other and none means virtual machines, as clients that set up a container ask for little of this;
     * containers again if there are no virtual machines. Errors: InvalidArg for a type that is not ours,
     * those of domainCapabilitiesXml(), and those of QEMU's driver.
     */
    Result<std::string> domainCapabilities(const DomainCapabilitiesWanted& wanted,
                                           const CapabilitiesFacts& containers,
                                           const MachineDocuments& machines);

    /** What machines of @p arch (empty: the host's) run on; its innerType() is the domain type to define them
     * with. Takes some seconds when KVM is tried for the first time. Errors: those of QEMU's driver. */
    Result<vm::Engine> engine(const std::string& arch, const MachineDocuments& machines);

    /** The type to ask QEMU's driver about, for a client that asks for @p type (null: our choice); empty if
     * that driver is to choose. Errors: InvalidArg for a type that is not ours, those of QEMU's driver. */
    Result<std::string> innerType(const char* emulator, const char* arch, const char* type,
                                  const MachineDocuments& machines);

private:
    /** Logs why there are no virtual machines, if that is news; null: there are. */
    void note(const Error* reason);

    vm::AcceleratorProbe probe_;
    std::mutex mutex_;
    std::string noted_;
};

} // namespace vz::driver
