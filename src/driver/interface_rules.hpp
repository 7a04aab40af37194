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

/** Whether what is described here is the same for both. */
bool sameRules(const domain::Interface& a, const domain::Interface& b);

/** Notes what dropRules() is to look for; to be written down before rules are applied or changed. */
void noteRules(const domain::Interface& wanted, domain::UsedInterface& used);

/**
 * Called with the domain's modify job held, as soon as all ends of the interface exist and before they are up
 * or have an address: nothing was sent yet. @p netns is a handle to the container's network namespace. After
 * an error the interface is removed, with dropRules() before.
 */
Result<void> applyRules(const InterfaceOwner& owner, const domain::Interface& wanted,
                        const domain::UsedInterface& used, int netns);

/** Makes the routes of a routed interface (venet) once it is up inside; for others there is nothing to do.
 * May be called again, as a link that was down has lost them. */
Result<void> connectRouted(const domain::Interface& wanted, const domain::UsedInterface& used, int netns);

/** Puts the rules in force again for an interface that was found running: a change may have been cut off. */
Result<void> restoreRules(const InterfaceOwner& owner, const domain::Interface& wanted,
                          const domain::UsedInterface& used);

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
