// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libvirt/libvirt.h>

/**
 * Makers for the events whose parts libvirt does not copy but keep. These copy: what they are given stays the
 * caller's. They return the event for virObjectEventStateQueue, or null with libvirt's error raised, and
 * throw std::bad_alloc. Internal to src/libvirt.
 */
namespace vz::abi {

/** Any pointer may be null. */
void* graphicsEvent(virDomainPtr dom, int phase, const virDomainEventGraphicsAddress* local,
                    const virDomainEventGraphicsAddress* remote, const char* authScheme,
                    const virDomainEventGraphicsSubject* subject);
void* tunableEvent(virDomainPtr dom, virTypedParameterPtr params, int count);
void* jobCompletedEvent(virDomainPtr dom, virTypedParameterPtr params, int count);

} // namespace vz::abi
