// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/machine_migration.hpp"

namespace vz::driver {

namespace {

/** Calls @p slot of QEMU's driver for the same device of the driver's own connection. */
template<Name slot, typename... Args>
int onDevice(virNodeDevicePtr device, Args... args) noexcept {
    return detail::guarded<int>([&]() -> Result<Passed<int>> {
        VZ_TRY(auto* driver, activeDriver());
        VZ_TRY(auto inner, driver->machines().own());
        MachineCall call{*driver, nullptr, inner};
        VZ_TRY(auto own, inner->nodeDevice(::virNodeDeviceGetName(device)));
        return forward<slot, int (*)(virNodeDevicePtr, Args...)>(call, own.get(), args...);
    });
}

} // namespace

int nodeDeviceDettach(virNodeDevicePtr device) noexcept {
    return onDevice<"nodeDeviceDettach">(device);
}

int nodeDeviceDetachFlags(virNodeDevicePtr device, const char* driver, unsigned int flags) noexcept {
    return onDevice<"nodeDeviceDetachFlags">(device, driver, flags);
}

int nodeDeviceReAttach(virNodeDevicePtr device) noexcept {
    return onDevice<"nodeDeviceReAttach">(device);
}

int nodeDeviceReset(virNodeDevicePtr device) noexcept {
    return onDevice<"nodeDeviceReset">(device);
}

} // namespace vz::driver
