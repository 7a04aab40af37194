// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "domain/definition.hpp"
#include "domain/store.hpp"

#include <string>

/** What holds an interface to its settings beside its addresses: bandwidth, filters, port isolation. */
namespace vz::driver {

/** The domain that an interface belongs to. */
struct InterfaceOwner {
    std::string name, uuid;
};

/**
 * Called with the domain's modify job held, as soon as all ends of the interface exist and before they are up
 * or have an address: nothing was sent yet. @p netns is a handle to the container's network namespace. After
 * an error the interface is removed, with dropRules() before.
 */
Result<void> applyRules(const InterfaceOwner& owner, const domain::Interface& wanted,
                        const domain::UsedInterface& used, int netns);

/** Called for a running container's interface that is to become @p wanted. After an error all is as it was.
 */
Result<void> changeRules(const InterfaceOwner& owner, const domain::Interface& was,
                         const domain::Interface& wanted, const domain::UsedInterface& used, int netns);

/**
 * Called before the interface is removed, and for what a daemon or container that was killed has left: then
 * the interface, or part of the rules, may not be there any more, or never was. Failures are logged.
 */
void dropRules(const InterfaceOwner& owner, const domain::UsedInterface& used);

} // namespace vz::driver
