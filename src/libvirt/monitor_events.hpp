// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>

#include <functional>
#include <memory>

namespace vz::abi {

/**
 * Clients that listen to QEMU's monitor (virConnectDomainQemuMonitorEventRegister): each is registered with
 * QEMU's driver, and gets what that says with its own connection and a domain object of that. Thread-safe.
 *
 * A registration keeps its connection open until it is removed, as one for a domain event does; libvirtd
 * removes those of a client before it closes the client's connection.
 */
class MonitorEvents {
public:
    /** What decides about an event; runs in libvirt's event loop, under the same rules as those of
     * EventRelay::Policy. */
    struct Policy {
        /** Whether clients may see the machine. @p inner is the inner driver's domain, valid during the call.
         */
        std::function<bool(virDomainPtr inner)> shows;
        std::function<int(int innerId)> outerId;
    };

    /** The inner driver's slots, or the public functions, and the connection to call them with. It belongs to
     * the one client connection: libvirt refuses a second wish for all events from the same connection. */
    struct Inner {
        virConnectPtr conn;
        decltype(&virConnectDomainQemuMonitorEventRegister) add;
        decltype(&virConnectDomainQemuMonitorEventDeregister) remove;
    };

    /** What the client gave, as the slot gets it, but for the domain, which is the inner one or null. */
    struct Client {
        virConnectPtr conn;
        virDomainPtr innerDomain;
        const char* event;
        virConnectDomainQemuMonitorEventCallback callback;
        void* opaque;
        virFreeCallback freeOpaque;
        unsigned int flags;
    };

    explicit MonitorEvents(Policy policy);
    /** Removes all registrations. Waits for a policy's function that is running, so it must not run in one.
     */
    ~MonitorEvents();

    MonitorEvents(const MonitorEvents&) = delete;
    MonitorEvents& operator=(const MonitorEvents&) = delete;

    /** The slot's answer: a number for remove(), or -1 with the error raised and nothing kept. @p inner's
     * connection is referred to until the removal. */
    int add(const Inner& inner, const Client& client);

    /** The slot's answer: 0, or -1 with the error raised and the registration as it was. The client's free
     * callback runs once, now or, while a callback runs, soon after. Callbacks may call it. */
    int remove(virConnectPtr conn, int id);

private:
    struct State;
    std::unique_ptr<State> state_;
};

} // namespace vz::abi
