// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/methods.hpp"

namespace vz::driver {

namespace {

constexpr unsigned int shutdownFlagsAllowed =
    VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN | VIR_DOMAIN_SHUTDOWN_INITCTL | VIR_DOMAIN_SHUTDOWN_SIGNAL;

} // namespace

Result<void> create(const DomainCall& call) {
    return createWithFlags(call, 0);
}

Result<void> createWithFlags(const DomainCall& call, unsigned int flags) {
    // There is no saved state to bypass a cache for, or to discard: asking for that is fine.
    VZ_CHECK(allowFlags(flags,
                        VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_AUTODESTROY |
                            VIR_DOMAIN_START_BYPASS_CACHE | VIR_DOMAIN_START_FORCE_BOOT,
                        "virDomainCreateWithFlags"));
    VZ_TRY(auto job, call.modify());
    ContainerDomain::StartMode mode;
    mode.paused = flags & VIR_DOMAIN_START_PAUSED;
    mode.autodestroyOwner = flags & VIR_DOMAIN_START_AUTODESTROY ? call.conn : nullptr;
    VZ_CHECK(call.domain.start(mode));
    abi::setDomainId(call.handle, call.domain.id());
    return {};
}

Result<void> shutdown(const DomainCall& call) {
    return shutdownFlags(call, 0);
}

Result<void> shutdownFlags(const DomainCall& call, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, shutdownFlagsAllowed, "virDomainShutdownFlags"));
    VZ_TRY(auto job, call.modify());
    return call.domain.shutdown();
}

Result<void> reboot(const DomainCall& call, unsigned int flags) {
    VZ_CHECK(allowFlags(
        flags, VIR_DOMAIN_REBOOT_ACPI_POWER_BTN | VIR_DOMAIN_REBOOT_INITCTL | VIR_DOMAIN_REBOOT_SIGNAL,
        "virDomainReboot"));
    VZ_TRY(auto job, call.modify());
    return call.domain.reboot();
}

Result<void> reset(const DomainCall& call, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainReset"));
    VZ_TRY(auto job, call.modify());
    return call.domain.reset();
}

Result<void> destroy(const DomainCall& call) {
    return destroyFlags(call, 0);
}

Result<void> destroyFlags(const DomainCall& call, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, VIR_DOMAIN_DESTROY_GRACEFUL, "virDomainDestroyFlags"));
    VZ_TRY(auto job,
           call.domain.jobs().begin(call.api, std::chrono::seconds(call.driver.settings().jobTimeoutSeconds),
                                    JobType::Destroy));
    VZ_CHECK(call.domain.destroy(flags & VIR_DOMAIN_DESTROY_GRACEFUL));
    abi::setDomainId(call.handle, -1);
    return {};
}

Result<void> suspend(const DomainCall& call) {
    VZ_TRY(auto job, call.modify());
    return call.domain.suspend();
}

Result<void> resume(const DomainCall& call) {
    VZ_TRY(auto job, call.modify());
    return call.domain.resume();
}

} // namespace vz::driver
