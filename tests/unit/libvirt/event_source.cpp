// SPDX-License-Identifier: LGPL-2.1-or-later
#include "event_source.hpp"

#include "base/text.hpp"
#include "libvirt/driver_table.hpp"

#include <libvirt/virterror.h>

#include <limits>

namespace abi = vz::abi;

namespace events {

namespace {

int accepted = std::numeric_limits<int>::max();
std::function<void()> closing = [] {};

int connectOpen(virConnectPtr, virConnectAuthPtr, void*, unsigned) {
    return 0;
}
int connectClose(virConnectPtr) {
    closing();
    return 0;
}
int registerAny(virConnectPtr conn, virDomainPtr dom, int eventId,
                virConnectDomainEventGenericCallback callback, void* opaque, virFreeCallback freeOpaque) {
    if (accepted-- <= 0) {
        abi::report(vz::fail(vz::ErrorCode::OperationDenied, "no more of them"));
        return -1;
    }
    int id = -1;
    return abi::priv::virDomainEventStateRegisterID(conn, sourceHub(), dom, eventId, callback, opaque,
                                                    freeOpaque, &id) < 0
               ? -1
               : id;
}
int deregisterAny(virConnectPtr conn, int id) {
    return abi::priv::virObjectEventStateDeregisterID(conn, sourceHub(), id, true) < 0 ? -1 : 0;
}

template<typename F>
void* pointer(F function) {
    return reinterpret_cast<void*>(function);
}

int initialize(bool, const char*, bool, void (*)(bool, void*), void*) {
    return 1;
}
int nothing() {
    return 0;
}

bool start() {
    REQUIRE(virInitialize() == 0);
    REQUIRE(virEventRegisterDefaultImpl() == 0);
    virSetErrorFunc(nullptr,
                    [](void*, virErrorPtr) {}); // The errors that tests provoke are not to be printed.
    const char* const schemes[] = {"vzsource"};
    const abi::SlotEntry slots[] = {{"connectOpen", pointer(connectOpen)},
                                    {"connectClose", pointer(connectClose)},
                                    {"connectDomainEventRegisterAny", pointer(registerAny)},
                                    {"connectDomainEventDeregisterAny", pointer(deregisterAny)}};
    REQUIRE(abi::registerDriver("vzsource", schemes, slots,
                                {initialize, nothing, nothing, nothing, nothing, nothing}));
    REQUIRE(abi::priv::virStateInitialize(
                false, false, nullptr, true, [](bool, void*) {}, nullptr) == 0);
    return true;
}

} // namespace

void startLibvirt() {
    static const bool once = start();
    REQUIRE(once);
}

void* sourceHub() {
    static void* const hub = [] {
        void* made = abi::priv::virObjectEventStateNew();
        // As in Events: without a client that stays, one that leaves can silence libvirt's hub.
        int id;
        abi::priv::virDomainEventStateRegisterID(
            abi::priv::virGetConnect(), made, nullptr, VIR_DOMAIN_EVENT_ID_CONTROL_ERROR,
            [](virConnectPtr, virDomainPtr, void*) {}, nullptr, nullptr, &id);
        return made;
    }();
    return hub;
}

void refuseAfter(int registrations) {
    accepted = registrations;
}

void acceptAll() {
    accepted = std::numeric_limits<int>::max();
}

void atClose(std::function<void()> function) {
    closing = std::move(function);
}

Loop::Loop()
    : timer_(virEventAddTimeout(
          -1, [](int, void*) {}, nullptr, nullptr)),
      thread_([this] {
          while (!ends_)
              virEventRunDefaultImpl();
      }) {}

Loop::~Loop() {
    ends_ = true;
    virEventUpdateTimeout(timer_, 0);
    thread_.join();
    virEventRemoveTimeout(timer_);
}

Connection::Connection() : conn_(abi::priv::virGetConnect()) {
    REQUIRE(conn_);
}

Connection::Connection(const char* uri) : conn_(virConnectOpen(uri)) {
    INFO(virGetLastErrorMessage());
    REQUIRE(conn_);
}

Connection::~Connection() {
    if (conn_)
        virConnectClose(conn_);
}

int Connection::close() {
    virConnectPtr conn = conn_;
    conn_ = nullptr;
    return virConnectClose(conn);
}

std::string who(virDomainPtr dom) {
    unsigned char uuid[VIR_UUID_BUFLEN];
    virDomainGetUUID(dom, uuid);
    return vz::cat(virDomainGetName(dom), "/", static_cast<int>(virDomainGetID(dom)), "/",
                   static_cast<int>(uuid[15]));
}

Domain::Domain(virConnectPtr conn, const char* name, int id, unsigned char lastOfUuid) {
    unsigned char uuid[VIR_UUID_BUFLEN] = {1};
    uuid[15] = lastOfUuid;
    dom_ = abi::priv::virGetDomain(conn, name, uuid, id);
    REQUIRE(dom_);
}

Domain::~Domain() {
    virDomainFree(dom_);
}

} // namespace events
