// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libvirt/libvirt.h>

#include <cstdlib>
#include <string>
#include <vector>

/** Every kind of domain event: how to make one, how to listen to it, and what has to arrive. */
namespace events {

using Lines = std::vector<std::string>;

/** The opaque pointer of a callback of this table: what it is registered for, and where it writes to. */
struct Listener {
    int eventId;
    Lines* lines;
};

/** A free callback for a Listener. */
void freeListener(void* opaque);

/** One kind of event: how a client listens to it, how a driver makes it, and what has to arrive. */
struct Kind {
    int id;
    /** Writes one line: who(), " #", the event id, and all arguments. */
    virConnectDomainEventGenericCallback callback;
    /** A new event, made by libvirt's maker. */
    void* (*make)(virDomainPtr);
    /** The arguments as the callback writes them, each different from the others of its event. */
    std::string expected;
};

/** In the order of their ids. */
std::vector<Kind> allKinds();

/** Memory as libvirt's own: freed by it. */
template<typename T>
T* allocate(size_t count = 1) {
    return static_cast<T*>(std::calloc(count, sizeof(T)));
}

} // namespace events
