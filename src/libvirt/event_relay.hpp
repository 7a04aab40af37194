// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "libvirt/objects.hpp"

#include <libvirt/libvirt.h>

#include <functional>
#include <memory>

namespace vz::abi {

/**
 * Hands each domain event of another driver's connection to our hub, as if the domain were ours: every kind
 * that this libvirt knows, with all that it says, about a domain of the same name and UUID and of our id.
 *
 * Events arrive in the thread of libvirt's event loop, one at a time and in the order in which the source
 * had them; those before start() are lost.
 */
class EventRelay {
public:
    /**
     * What decides about an event. Both functions run in the event loop, from before start() returns; they
     * may call libvirt, but wait for nothing that itself waits for the event loop or for ~EventRelay.
     */
    struct Policy {
        /** Sees each event first; true if the clients get it. @p inner is the source's domain, valid during
         * the call. @p eventId: VIR_DOMAIN_EVENT_ID_... @p type and @p detail: of a lifecycle event,
         * else -1. */
        std::function<bool(virDomainPtr inner, int eventId, int type, int detail)> relays;
        /** Our id for the source's; -1 is that of a domain that does not run. */
        std::function<int(int innerId)> outerId;
    };

    /**
     * Registers with @p source, which this keeps a reference to. @p hub lives longer than this. If one kind
     * is refused, that error is returned and nothing stays registered.
     */
    static Result<std::unique_ptr<EventRelay>> start(virConnectPtr source, Events& hub, Policy policy);

    /** Waits for the event that is being handed on, so it must not run in a policy's function. After it
     * neither hub nor policy are used. Works as well when the source is dead. */
    ~EventRelay();

    EventRelay(const EventRelay&) = delete;
    EventRelay& operator=(const EventRelay&) = delete;

private:
    struct State;
    explicit EventRelay(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

} // namespace vz::abi
