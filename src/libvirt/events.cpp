// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/log.hpp"
#include "libvirt/driver_table.hpp"
#include "libvirt/objects.hpp"
#include "libvirt/private.hpp"

namespace vz::abi {

/**
 * Most events can only be made from a domain object, and that needs some connection object. Libvirt copies
 * name, UUID and id out of it and does not look at the connection, so an empty one that is never opened will
 * do.
 */
struct Events::State {
    void* hub = nullptr;
    virConnectPtr conn = nullptr;
    int keeper = -1;

    /**
     * Registers a client that hears of next to nothing and stays. Where the last client leaves just when an
     * event is queued, libvirt keeps that event although its timer is gone, and starts the timer of later
     * clients only for a first event: they would hear nothing.
     */
    bool keep() {
        return priv::virDomainEventStateRegisterID(
                   conn, hub, nullptr, VIR_DOMAIN_EVENT_ID_CONTROL_ERROR,
                   [](virConnectPtr, virDomainPtr, void*) {}, nullptr, nullptr, &keeper) >= 0;
    }

    ~State() {
        if (keeper >= 0)
            priv::virObjectEventStateDeregisterID(conn, hub, keeper, true);
        priv::virObjectUnref(hub);
        priv::virObjectUnref(conn);
    }

    /** Makes the event with @p make from a domain object of @p subject and queues it. */
    template<typename Make>
    void queueFromDomain(const Subject& subject, Make make) {
        virDomainPtr dom = priv::virGetDomain(conn, subject.name.c_str(), subject.uuid, subject.id);
        queue(dom ? make(dom) : nullptr);
        priv::virObjectUnref(dom);
    }

    /** Takes @p event. A lost event is logged, as there is nobody to return an error to. */
    void queue(void* event) {
        if (event)
            priv::virObjectEventStateQueue(hub, event);
        else
            log::error("a domain event is lost: ", lastError("libvirt could not make it").message());
    }
};

Result<std::unique_ptr<Events>> Events::create() {
    auto state = std::make_unique<State>();
    state->hub = priv::virObjectEventStateNew();
    state->conn = priv::virGetConnect();
    if (!state->hub || !state->conn || !state->keep())
        return lastError("libvirt could not make an event hub");
    return std::unique_ptr<Events>(new Events(std::move(state)));
}

Events::Events(std::unique_ptr<State> state) : state_(std::move(state)) {}

Events::~Events() = default;

int Events::registerClassic(virConnectPtr conn, virConnectDomainEventCallback cb, void* opaque,
                            virFreeCallback ff) {
    return priv::virDomainEventStateRegister(conn, state_->hub, cb, opaque, ff) < 0 ? -1 : 0;
}

int Events::deregisterClassic(virConnectPtr conn, virConnectDomainEventCallback cb) {
    return priv::virDomainEventStateDeregister(conn, state_->hub, cb) < 0 ? -1 : 0;
}

int Events::registerAny(virConnectPtr conn, virDomainPtr dom, int eventId,
                        virConnectDomainEventGenericCallback cb, void* opaque, virFreeCallback ff) {
    int id = -1;
    if (priv::virDomainEventStateRegisterID(conn, state_->hub, dom, eventId, cb, opaque, ff, &id) < 0)
        return -1;
    return id;
}

int Events::deregisterAny(virConnectPtr conn, int callbackId) {
    return priv::virObjectEventStateDeregisterID(conn, state_->hub, callbackId, true) < 0 ? -1 : 0;
}

void Events::lifecycle(const Subject& subject, int type, int detail) {
    state_->queue(
        priv::virDomainEventLifecycleNew(subject.id, subject.name.c_str(), subject.uuid, type, detail));
}

void Events::reboot(const Subject& subject) {
    state_->queue(priv::virDomainEventRebootNew(subject.id, subject.name.c_str(), subject.uuid));
}

void Events::metadataChange(const Subject& subject, int type, const char* uri) {
    state_->queueFromDomain(
        subject, [&](auto dom) { return priv::virDomainEventMetadataChangeNewFromDom(dom, type, uri); });
}

void Events::deviceAdded(const Subject& subject, const std::string& alias) {
    state_->queueFromDomain(
        subject, [&](auto dom) { return priv::virDomainEventDeviceAddedNewFromDom(dom, alias.c_str()); });
}

void Events::deviceRemoved(const Subject& subject, const std::string& alias) {
    state_->queueFromDomain(
        subject, [&](auto dom) { return priv::virDomainEventDeviceRemovedNewFromDom(dom, alias.c_str()); });
}

void Events::deviceRemovalFailed(const Subject& subject, const std::string& alias) {
    state_->queueFromDomain(subject, [&](auto dom) {
        return priv::virDomainEventDeviceRemovalFailedNewFromDom(dom, alias.c_str());
    });
}

void Events::balloonChange(const Subject& subject, unsigned long long actualKiB) {
    state_->queueFromDomain(
        subject, [&](auto dom) { return priv::virDomainEventBalloonChangeNewFromDom(dom, actualKiB); });
}

void Events::controlError(const Subject& subject) {
    state_->queueFromDomain(subject,
                            [](auto dom) { return priv::virDomainEventControlErrorNewFromDom(dom); });
}

void Events::queue(const Subject& subject, const std::function<void*(virDomainPtr)>& make) {
    state_->queueFromDomain(subject, make);
}

} // namespace vz::abi
