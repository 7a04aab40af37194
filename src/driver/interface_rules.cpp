// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/interface_rules.hpp"

namespace vz::driver {

Result<void> applyRules(const InterfaceOwner&, const domain::Interface&, const domain::UsedInterface&, int) {
    return {};
}

Result<void> changeRules(const InterfaceOwner&, const domain::Interface&, const domain::Interface&,
                         const domain::UsedInterface&, int) {
    return {};
}

void dropRules(const InterfaceOwner&, const domain::UsedInterface&) {}

} // namespace vz::driver
