// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/objects.hpp"

#include "libvirt/features.hpp"
#include "libvirt/private.hpp"
#include "turn_until.hpp"
#include "unopened.hpp"

#include <catch2/catch.hpp>

#include <libvirt/virterror.h>

#include <sys/socket.h>

#include <cstring>
#include <thread>

namespace abi = vz::abi;
using vz::ErrorCode;

namespace {

using events::turnUntil;

void runEventLoop() {
    static const int once = virEventRegisterDefaultImpl();
    REQUIRE(once == 0);
}

abi::Events::Subject subject() {
    abi::Events::Subject made{42, "ct", {}};
    for (unsigned char i = 0; i < 16; ++i)
        made.uuid[i] = i;
    return made;
}

/** What a callback saw, as text. */
struct Seen {
    std::vector<std::string> events;
    int freed = 0;
};

std::string who(virDomainPtr dom) {
    unsigned char uuid[VIR_UUID_BUFLEN];
    virDomainGetUUID(dom, uuid);
    return vz::cat(virDomainGetName(dom), "/", static_cast<int>(virDomainGetID(dom)), "/",
                   static_cast<int>(uuid[15]), " ");
}

void saw(void* opaque, std::string text) {
    static_cast<Seen*>(opaque)->events.push_back(std::move(text));
}

int onLifecycle(virConnectPtr, virDomainPtr dom, int event, int detail, void* opaque) {
    saw(opaque, vz::cat(who(dom), "lifecycle ", event, " ", detail));
    return 0;
}
void onReboot(virConnectPtr, virDomainPtr dom, void* opaque) {
    saw(opaque, who(dom) + "reboot");
}
void onMetadata(virConnectPtr, virDomainPtr dom, int type, const char* uri, void* opaque) {
    saw(opaque, vz::cat(who(dom), "metadata ", type, " ", uri));
}
void onAdded(virConnectPtr, virDomainPtr dom, const char* alias, void* opaque) {
    saw(opaque, vz::cat(who(dom), "added ", alias));
}
void onRemoved(virConnectPtr, virDomainPtr dom, const char* alias, void* opaque) {
    saw(opaque, vz::cat(who(dom), "removed ", alias));
}
void onRemovalFailed(virConnectPtr, virDomainPtr dom, const char* alias, void* opaque) {
    saw(opaque, vz::cat(who(dom), "kept ", alias));
}
void onBalloon(virConnectPtr, virDomainPtr dom, unsigned long long actual, void* opaque) {
    saw(opaque, vz::cat(who(dom), "balloon ", actual));
}
void onControlError(virConnectPtr, virDomainPtr dom, void* opaque) {
    saw(opaque, who(dom) + "control error");
}
void onFree(void* opaque) {
    ++static_cast<Seen*>(opaque)->freed;
}

} // namespace

TEST_CASE("a domain object has the name, UUID and id it was made with") {
    Connection connection;
    auto about = subject();
    auto dom = abi::makeDomain(connection.conn, about.name, about.uuid, about.id);
    REQUIRE(dom);
    CHECK(std::string(virDomainGetName(*dom)) == "ct");
    CHECK(virDomainGetID(*dom) == 42);
    char text[VIR_UUID_STRING_BUFLEN];
    REQUIRE(virDomainGetUUIDString(*dom, text) == 0);
    CHECK(std::string(text) == "00010203-0405-0607-0809-0a0b0c0d0e0f");
    CHECK(virDomainFree(*dom) == 0);

    auto refused = abi::makeDomain(connection.conn, "ct", nullptr, -1);
    CHECK_FALSE(refused);
    virResetLastError();
}

TEST_CASE("a client's handle takes the new id of its domain") {
    Connection connection;
    auto about = subject();
    auto dom = abi::makeDomain(connection.conn, about.name, about.uuid, -1);
    REQUIRE(dom);
    abi::setDomainId(*dom, 4711);
    CHECK(virDomainGetID(*dom) == 4711);
    CHECK(std::string(virDomainGetName(*dom)) == "ct");
    unsigned char uuid[VIR_UUID_BUFLEN];
    REQUIRE(virDomainGetUUID(*dom, uuid) == 0);
    CHECK(std::memcmp(uuid, about.uuid, sizeof uuid) == 0);
    virDomainFree(*dom);
}

TEST_CASE("UUID and id of a domain object are those of the public API") {
    Connection connection;
    for (int id : {42, -1}) {
        auto dom = abi::makeDomain(connection.conn, "ct", subject().uuid, id);
        REQUIRE(dom);
        auto key = abi::domainKey(*dom);
        CHECK(key.id == id);
        unsigned char uuid[VIR_UUID_BUFLEN];
        REQUIRE(virDomainGetUUID(*dom, uuid) == 0);
        CHECK(std::memcmp(key.uuid, uuid, sizeof uuid) == 0);
        char text[VIR_UUID_STRING_BUFLEN];
        REQUIRE(virDomainGetUUIDString(*dom, text) == 0);
        CHECK(*abi::uuidText(key.uuid) == text);
        virDomainFree(*dom);
    }
}

TEST_CASE("UUIDs as text and bytes") {
    unsigned char bytes[VIR_UUID_BUFLEN];
    auto text = abi::newUuid();
    CHECK(text.size() == 36);
    CHECK(abi::newUuid() != text);
    REQUIRE(abi::uuidBytes(text, bytes));
    CHECK(*abi::uuidText(bytes) == text);
    auto refused = abi::uuidBytes("not-a-uuid", bytes);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::InvalidArg);
    CHECK_FALSE(abi::uuidText(nullptr));
    CHECK(abi::hostUuid().size() == 36);
    CHECK(abi::hostUuid() == abi::hostUuid());
}

TEST_CASE("every kind of event reaches the client that registered for it") {
    runEventLoop();
    Connection connection;
    auto events = abi::Events::create();
    REQUIRE(events);
    auto& hub = **events;
    Seen seen;
    const std::pair<int, virConnectDomainEventGenericCallback> callbacks[] = {
        {VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_CALLBACK(onLifecycle)},
        {VIR_DOMAIN_EVENT_ID_REBOOT, VIR_DOMAIN_EVENT_CALLBACK(onReboot)},
        {VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(onMetadata)},
        {VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, VIR_DOMAIN_EVENT_CALLBACK(onAdded)},
        {VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, VIR_DOMAIN_EVENT_CALLBACK(onRemoved)},
        {VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, VIR_DOMAIN_EVENT_CALLBACK(onRemovalFailed)},
        {VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, VIR_DOMAIN_EVENT_CALLBACK(onBalloon)},
        {VIR_DOMAIN_EVENT_ID_CONTROL_ERROR, VIR_DOMAIN_EVENT_CALLBACK(onControlError)},
    };
    std::vector<int> ids;
    for (auto [id, callback] : callbacks) {
        ids.push_back(hub.registerAny(connection.conn, nullptr, id, callback, &seen, onFree));
        REQUIRE(ids.back() >= 0);
    }

    auto about = subject();
    // Events come from our own threads.
    std::thread([&] {
        hub.lifecycle(about, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED);
        hub.reboot(about);
        hub.metadataChange(about, VIR_DOMAIN_METADATA_ELEMENT, "urn:a");
        hub.deviceAdded(about, "net1");
        hub.deviceRemoved(about, "net1");
        hub.deviceRemovalFailed(about, "net0");
        hub.balloonChange(about, 131072);
        hub.controlError(about);
    }).join();
    CHECK(turnUntil([&] { return seen.events.size() == 8; }));
    CHECK(seen.events == std::vector<std::string>{"ct/42/15 lifecycle 2 0", "ct/42/15 reboot",
                                                  "ct/42/15 metadata 2 urn:a", "ct/42/15 added net1",
                                                  "ct/42/15 removed net1", "ct/42/15 kept net0",
                                                  "ct/42/15 balloon 131072", "ct/42/15 control error"});

    for (int id : ids)
        CHECK(hub.deregisterAny(connection.conn, id) == 0);
    CHECK(turnUntil([&] { return seen.freed == 8; }));
    CHECK(hub.deregisterAny(connection.conn, ids[0]) == -1);
    virResetLastError();
}

TEST_CASE("a registration for one domain hears of that one only; the classic call hears all lifecycles") {
    runEventLoop();
    Connection connection;
    auto events = abi::Events::create();
    REQUIRE(events);
    auto& hub = **events;
    auto about = subject();
    auto other = subject();
    other.name = "other";
    other.uuid[15] = 99;
    auto dom = abi::makeDomain(connection.conn, about.name, about.uuid, about.id);
    REQUIRE(dom);

    Seen one, all;
    int id = hub.registerAny(connection.conn, *dom, VIR_DOMAIN_EVENT_ID_LIFECYCLE,
                             VIR_DOMAIN_EVENT_CALLBACK(onLifecycle), &one, onFree);
    REQUIRE(id >= 0);
    REQUIRE(hub.registerClassic(connection.conn, onLifecycle, &all, onFree) == 0);
    hub.lifecycle(other, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN);
    hub.lifecycle(about, VIR_DOMAIN_EVENT_SUSPENDED, 0);
    CHECK(turnUntil([&] { return all.events.size() == 2 && one.events.size() == 1; }));
    CHECK(one.events[0] == "ct/42/15 lifecycle 3 0");
    CHECK(hub.deregisterClassic(connection.conn, onLifecycle) == 0);
    CHECK(hub.deregisterAny(connection.conn, id) == 0);
    CHECK(turnUntil([&] { return one.freed == 1 && all.freed == 1; }));
    virDomainFree(*dom);
}

TEST_CASE("a joined stream carries bytes both ways and tells of its end once") {
    runEventLoop();
    Connection connection;
    int ends[2];
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    vz::UniqueFd guest(ends[0]);
    virStreamPtr stream = virStreamNew(connection.conn, VIR_STREAM_NONBLOCK);
    REQUIRE(stream);
    int closed = 0;
    REQUIRE(abi::joinStream(stream, vz::UniqueFd(ends[1]), [&] { ++closed; }));

    char text[8] = {};
    CHECK(virStreamRecv(stream, text, sizeof text) == -2); // Nothing there yet, and it does not wait.
    REQUIRE(write(guest.get(), "hello", 5) == 5);
    CHECK(virStreamRecv(stream, text, sizeof text) == 5);
    CHECK(std::string(text) == "hello");
    CHECK(virStreamSend(stream, "bye", 3) == 3);
    std::memset(text, 0, sizeof text);
    CHECK(read(guest.get(), text, sizeof text) == 3);
    CHECK(std::string(text) == "bye");

    CHECK(closed == 0);
    CHECK(virStreamFinish(stream) == 0);
    CHECK(turnUntil([&] { return closed == 1; }));
    CHECK(read(guest.get(), text, sizeof text) == 0); // Our end was closed with it.
    virStreamFree(stream);
    CHECK(closed == 1);
}

TEST_CASE("a descriptor that cannot be joined is an error and is closed") {
    Connection connection;
    virStreamPtr stream = virStreamNew(connection.conn, VIR_STREAM_NONBLOCK);
    REQUIRE(stream);
    CHECK_FALSE(abi::joinStream(stream, vz::UniqueFd(), [] {}));
    virResetLastError();
    virStreamFree(stream);
}
