// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "driver/interface_rules.hpp"

#include <string>

/**
 * Network filters (<filterref>) of the stock nwfilter driver, by its bindings of a filter to a host interface
 * (https://libvirt.org/formatnwfilter.html). The calls are the daemon's own, as with libvirt's other drivers:
 * who may define a domain with a filter may use it.
 */
namespace vz::driver {

/** Binds the interface's filter to host end @p hostName, in the place of any that is bound there. Errors:
 * those of the nwfilter driver (no such filter, a parameter that it needs). */
Result<void> bindFilter(const InterfaceOwner& owner, const domain::Interface& interface,
                        const std::string& hostName);

Result<bool> hasFilter(const std::string& hostName);

/** Takes the filter off; one that is not bound is fine. With @p ownerUuid only if it is that domain's. */
Result<void> unbindFilter(const std::string& hostName, const std::string& ownerUuid = {});

} // namespace vz::driver
