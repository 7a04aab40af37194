// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libvirt/libvirt.h>

/** Parts of the event tests. */
namespace events {

/** Turns the event loop until @p done; a timer ends it after five seconds if it never is. */
template<typename Done>
bool turnUntil(Done done) {
    bool late = false;
    int timer = virEventAddTimeout(
        5000, [](int, void* opaque) { *static_cast<bool*>(opaque) = true; }, &late, nullptr);
    while (!done() && !late)
        virEventRunDefaultImpl();
    virEventRemoveTimeout(timer);
    return done();
}

} // namespace events
