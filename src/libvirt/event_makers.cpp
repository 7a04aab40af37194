// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/event_makers.hpp"

#include "libvirt/private.hpp"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>

namespace vz::abi {

namespace {

// libvirt frees with g_free(), which is free() since GLib 2.46, so all of this comes from malloc().

struct FreeParts {
    void operator()(virDomainEventGraphicsAddress* address) const {
        std::free(address->node);
        std::free(address->service);
        std::free(address);
    }
    void operator()(virDomainEventGraphicsSubject* subject) const {
        for (int i = 0; i < subject->nidentity; ++i) {
            std::free(subject->identities[i].type);
            std::free(subject->identities[i].name);
        }
        std::free(subject->identities);
        std::free(subject);
    }
};
using OwnAddress = std::unique_ptr<virDomainEventGraphicsAddress, FreeParts>;
using OwnSubject = std::unique_ptr<virDomainEventGraphicsSubject, FreeParts>;

template<typename T>
T* zeroed(int count = 1) {
    if (void* memory = std::calloc(static_cast<size_t>(count), sizeof(T)))
        return static_cast<T*>(memory);
    throw std::bad_alloc();
}

char* copyText(const char* text) {
    if (!text)
        return nullptr;
    if (char* copy = strdup(text))
        return copy;
    throw std::bad_alloc();
}

OwnAddress copyAddress(const virDomainEventGraphicsAddress* address) {
    if (!address)
        return nullptr;
    OwnAddress copy(zeroed<virDomainEventGraphicsAddress>());
    copy->family = address->family;
    copy->node = copyText(address->node);
    copy->service = copyText(address->service);
    return copy;
}

/** libvirt 9.0.0 frees the texts and the subject of an event but not this array, whoever made the event. That
 * is not worked around: a libvirt that frees it as well must not find a trick here. */
virDomainEventGraphicsSubjectIdentityPtr newIdentities(int count) {
    return zeroed<virDomainEventGraphicsSubjectIdentity>(count);
}

OwnSubject copySubject(const virDomainEventGraphicsSubject* subject) {
    if (!subject)
        return nullptr;
    OwnSubject copy(zeroed<virDomainEventGraphicsSubject>());
    if (subject->nidentity <= 0)
        return copy;
    copy->identities = newIdentities(subject->nidentity);
    copy->nidentity = subject->nidentity;
    for (int i = 0; i < subject->nidentity; ++i) {
        copy->identities[i].type = copyText(subject->identities[i].type);
        copy->identities[i].name = copyText(subject->identities[i].name);
    }
    return copy;
}

virTypedParameterPtr copyParams(virTypedParameterPtr params, int count) {
    virTypedParameterPtr copy = nullptr;
    priv::virTypedParamsCopy(&copy, params, count);
    return copy;
}

} // namespace

void* graphicsEvent(virDomainPtr dom, int phase, const virDomainEventGraphicsAddress* local,
                    const virDomainEventGraphicsAddress* remote, const char* authScheme,
                    const virDomainEventGraphicsSubject* subject) {
    auto ownLocal = copyAddress(local);
    auto ownRemote = copyAddress(remote);
    auto ownSubject = copySubject(subject);
    void* event = priv::virDomainEventGraphicsNewFromDom(dom, phase, ownLocal.get(), ownRemote.get(),
                                                         authScheme, ownSubject.get());
    if (event) {
        (void)ownLocal.release();
        (void)ownRemote.release();
        (void)ownSubject.release();
    }
    return event;
}

void* tunableEvent(virDomainPtr dom, virTypedParameterPtr params, int count) {
    virTypedParameterPtr copy = copyParams(params, count);
    return priv::virDomainEventTunableNewFromDom(dom, &copy, count);
}

void* jobCompletedEvent(virDomainPtr dom, virTypedParameterPtr params, int count) {
    return priv::virDomainEventJobCompletedNewFromDom(dom, copyParams(params, count), count);
}

} // namespace vz::abi
