// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/machine_methods.hpp"

namespace vz::driver {

Result<Passed<int>> monitorEventRegister(const ConnectCall& call, virDomainPtr domain, const char* event,
                                         virConnectDomainQemuMonitorEventCallback callback, void* opaque,
                                         virFreeCallback freeOpaque, unsigned int flags) {
    if (domain) {
        VZ_TRY(auto container, findContainer(call.driver, domain));
        if (container)
            return refuse("connectDomainQemuMonitorEventRegister");
    }
    VZ_TRY(auto machines,
           domain ? MachineCall::begin(call.driver, domain) : MachineCall::begin(call.driver, call.conn));
    using Add = decltype(&virConnectDomainQemuMonitorEventRegister);
    using Remove = decltype(&virConnectDomainQemuMonitorEventDeregister);
    VZ_TRY(auto add, (innerFunction<"connectDomainQemuMonitorEventRegister", Add>(*machines.inner)));
    VZ_TRY(auto remove, (innerFunction<"connectDomainQemuMonitorEventDeregister", Remove>(*machines.inner)));
    return Passed<int>{call.driver.monitorEvents().add(
        {machines.inner->get(), add, remove},
        {call.conn, machines.domain.get(), event, callback, opaque, freeOpaque, flags})};
}

Result<Passed<int>> monitorEventDeregister(const ConnectCall& call, int callbackId) {
    return Passed<int>{call.driver.monitorEvents().remove(call.conn, callbackId)};
}

} // namespace vz::driver
