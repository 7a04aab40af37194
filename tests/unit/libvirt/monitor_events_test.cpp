// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/monitor_events.hpp"

#include "event_source.hpp"
#include "libvirt/driver_table.hpp"

#include <catch2/catch.hpp>

#include <libvirt/virterror.h>

#include <future>
#include <vector>

namespace abi = vz::abi;
namespace priv = vz::abi::priv;
using namespace events;

namespace {

using Lines = std::vector<std::string>;

bool innerRefuses = false; // to register, or to take a registration back

// What QEMU's driver does, but for asking for access.

int addInner(virConnectPtr conn, virDomainPtr dom, const char* event,
             virConnectDomainQemuMonitorEventCallback callback, void* opaque, virFreeCallback freeOpaque,
             unsigned flags) {
    int id = -1;
    if (innerRefuses) {
        abi::report(vz::fail(vz::ErrorCode::OperationDenied, "not now"));
        return -1;
    }
    return priv::virDomainQemuMonitorEventStateRegisterID(conn, sourceHub(), dom, event, callback, opaque,
                                                          freeOpaque, flags, &id) < 0
               ? -1
               : id;
}

int removeInner(virConnectPtr conn, int id) {
    if (innerRefuses) {
        abi::report(vz::fail(vz::ErrorCode::OperationDenied, "not now"));
        return -1;
    }
    return priv::virObjectEventStateDeregisterID(conn, sourceHub(), id, true) < 0 ? -1 : 0;
}

abi::MonitorEvents::Policy policy() {
    return {[](virDomainPtr inner) { return std::string(virDomainGetName(inner)) != "hidden"; },
            [](int id) { return id < 0 ? id : id + 4194304; }};
}

/** What a client gives and gets. */
struct Client {
    Lines seen;
    int freed = 0;
    virConnectPtr conn = nullptr;          ///< the one its callback must get
    std::function<void()> atEvent = [] {}; ///< run by the callback

    abi::MonitorEvents::Client wish(virConnectPtr outer, virDomainPtr innerDomain = nullptr,
                                    const char* event = nullptr, unsigned flags = 0) {
        conn = outer;
        return {outer,    innerDomain, event,
                callback, this,        [](void* self) { ++static_cast<Client*>(self)->freed; },
                flags};
    }

    static void callback(virConnectPtr conn, virDomainPtr dom, const char* event, long long seconds,
                         unsigned micros, const char* details, void* opaque) {
        auto& self = *static_cast<Client*>(opaque);
        self.seen.push_back(vz::cat(who(dom), " ", event, " ", seconds, " ", micros, " ", details));
        CHECK(conn == self.conn);
        CHECK(virDomainGetConnect(dom) == conn);
        self.atEvent();
    }
};

void queueAtInner(const char* name, int id, const char* event, const char* details = nullptr,
                  long long seconds = 5000000000, unsigned micros = 4000000000) {
    unsigned char uuid[VIR_UUID_BUFLEN] = {1};
    uuid[15] = static_cast<unsigned char>(name[0]);
    void* made = priv::virDomainQemuMonitorEventNew(id, name, uuid, event, seconds, micros, details);
    REQUIRE(made);
    priv::virObjectEventStateQueue(sourceHub(), made);
}

/** QEMU's driver with one connection, and the clients of ours. */
struct Fixture {
    Fixture() { startLibvirt(); }
    int add(const abi::MonitorEvents::Client& wish) {
        return events.add({inner, addInner, removeInner}, wish);
    }

    Connection outer, inner;
    abi::MonitorEvents events{policy()};
};

} // namespace

TEST_CASE("an event of the monitor arrives with the client's connection, our domain and all it says") {
    Fixture f;
    Client client;
    int id = f.add(client.wish(f.outer));
    REQUIRE(id >= 0);
    queueAtInner("a", 7, "BALLOON_CHANGE", R"({"actual":1})");
    queueAtInner("b", -1, "STOP", nullptr, -1, 0);
    queueAtInner("hidden", 8, "STOP");
    queueAtInner("c", 9, "RESUME");
    CHECK(turnUntil([&] { return client.seen.size() == 3; }));
    CHECK(client.seen == Lines{R"(a/4194311/97 BALLOON_CHANGE 5000000000 4000000000 {"actual":1})",
                               "b/-1/98 STOP -1 0 (null)",
                               "c/4194313/99 RESUME 5000000000 4000000000 (null)"});
    CHECK(client.freed == 0);
    CHECK(f.events.remove(f.outer, id) == 0);
    CHECK(client.freed == 1);
    CHECK(f.outer.close() == 0);
    CHECK(f.inner.close() == 0);
}

TEST_CASE("what a client wants to hear of is the inner driver's business") {
    Fixture f;
    Domain one(f.inner, "a", 7, 'a');
    Client ofOne, named, pattern;
    int ids[] = {f.add(ofOne.wish(f.outer, one)), f.add(named.wish(f.outer, nullptr, "STOP")),
                 f.add(pattern.wish(f.outer, nullptr, "^re",
                                    VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX |
                                        VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_NOCASE))};
    queueAtInner("a", 7, "STOP", nullptr, 1, 1);
    queueAtInner("b", 8, "RESET", nullptr, 2, 2);
    queueAtInner("b", 8, "STOP", nullptr, 3, 3);
    CHECK(turnUntil([&] { return named.seen.size() == 2; }));
    CHECK(ofOne.seen == Lines{"a/4194311/97 STOP 1 1 (null)"});
    CHECK(named.seen == Lines{"a/4194311/97 STOP 1 1 (null)", "b/4194312/98 STOP 3 3 (null)"});
    CHECK(pattern.seen == Lines{"b/4194312/98 RESET 2 2 (null)"});
    for (int id : ids)
        CHECK(f.events.remove(f.outer, id) == 0);
}

TEST_CASE(
    "a second wish for everything is refused, as libvirt does, unless it comes from another connection") {
    Fixture f;
    Connection otherOuter, otherInner;
    Client client, again, other;
    int id = f.add(client.wish(f.outer));
    REQUIRE(id >= 0);
    CHECK(f.add(again.wish(f.outer)) == -1);
    CHECK(virGetLastErrorCode() == VIR_ERR_INVALID_ARG);
    virResetLastError();
    int otherId = f.events.add({otherInner, addInner, removeInner}, other.wish(otherOuter));
    REQUIRE(otherId >= 0);
    queueAtInner("a", 7, "STOP");
    CHECK(turnUntil([&] { return client.seen.size() == 1 && other.seen.size() == 1; }));
    CHECK(f.events.remove(f.outer, id) == 0);
    CHECK(f.events.remove(otherOuter, otherId) == 0);
    CHECK(again.seen.empty());
    CHECK(again.freed == 0);
}

TEST_CASE("nobody takes back the registration of another, or twice") {
    Fixture f;
    Connection other;
    Client client;
    int id = f.add(client.wish(f.outer));
    REQUIRE(id >= 0);
    CHECK(f.events.remove(other, id) == -1);
    CHECK(virGetLastErrorCode() == VIR_ERR_INVALID_ARG);
    CHECK(f.events.remove(f.outer, id + 1) == -1);
    CHECK(client.freed == 0);
    CHECK(f.events.remove(f.outer, id) == 0);
    CHECK(f.events.remove(f.outer, id) == -1);
    CHECK(client.freed == 1);
    virResetLastError();
}

TEST_CASE("what the inner driver refuses is not kept, and not taken from the client") {
    Fixture f;
    Client client;
    innerRefuses = true;
    CHECK(f.add(client.wish(f.outer)) == -1);
    CHECK(std::string(virGetLastErrorMessage()) == "not now");
    innerRefuses = false;
    CHECK(client.freed == 0);

    int id = f.add(client.wish(f.outer));
    REQUIRE(id >= 0);
    innerRefuses = true;
    CHECK(f.events.remove(f.outer, id) == -1);
    CHECK(std::string(virGetLastErrorMessage()) == "not now");
    innerRefuses = false;
    queueAtInner("a", 7, "STOP");
    CHECK(turnUntil([&] { return client.seen.size() == 1; })); // as before
    CHECK(client.freed == 0);
    CHECK(f.events.remove(f.outer, id) == 0);
    CHECK(client.freed == 1);
    CHECK(f.outer.close() == 0);
    virResetLastError();
}

TEST_CASE("a client that closes first stays open until it takes its registration back") {
    Fixture f;
    Client client;
    virConnectPtr outer = f.outer;
    int id = f.add(client.wish(outer));
    REQUIRE(id >= 0);
    CHECK(f.outer.close() > 0); // as with a registration for any other event
    queueAtInner("a", 7, "STOP");
    CHECK(turnUntil([&] { return client.seen.size() == 1; }));
    CHECK(f.events.remove(outer, id) == 0);
    CHECK(client.freed == 1);
}

TEST_CASE("a client may take its registration back in the callback") {
    Fixture f;
    Client client;
    int id = f.add(client.wish(f.outer));
    REQUIRE(id >= 0);
    client.atEvent = [&] {
        CHECK(f.events.remove(f.outer, id) == 0);
        CHECK(client.freed == 0); // libvirt frees it when its turn is over
    };
    queueAtInner("a", 7, "STOP");
    queueAtInner("a", 7, "RESUME");
    CHECK(turnUntil([&] { return client.freed == 1; }));
    CHECK(client.seen.size() == 1);
    CHECK(f.outer.close() == 0);
}

TEST_CASE("a connection that is closed during a callback lasts as long as that") {
    startLibvirt();
    Connection outer("vzsource:///"), inner;
    abi::MonitorEvents events{policy()};
    Client client;
    std::promise<void> entered, removed;
    bool open = true, openInCallback = false, freedBefore = true;
    atClose([&] {
        open = false;
        freedBefore = client.freed > 0;
    });
    client.atEvent = [&] {
        entered.set_value();
        removed.get_future().wait();
        openInCallback = open;
    };
    int id = events.add({inner, addInner, removeInner}, client.wish(outer));
    REQUIRE(id >= 0);
    {
        Loop loop;
        queueAtInner("a", 7, "STOP");
        entered.get_future().wait();
        CHECK(events.remove(outer, id) == 0);
        CHECK(outer.close() > 0);
        removed.set_value();
    }
    CHECK(turnUntil([&] { return client.freed == 1; }));
    CHECK(openInCallback);
    CHECK_FALSE(open);
    // Closing takes locks of all kinds. The free callback runs with one of the inner driver's held.
    CHECK_FALSE(freedBefore);
    CHECK(inner.close() == 0);
    atClose([] {});
}

TEST_CASE("at the end all registrations are taken back") {
    startLibvirt();
    Connection outer, inner;
    Client one, two;
    {
        abi::MonitorEvents events{policy()};
        REQUIRE(events.add({inner, addInner, removeInner}, one.wish(outer)) >= 0);
        REQUIRE(events.add({inner, addInner, removeInner}, two.wish(outer, nullptr, "STOP")) >= 0);
        queueAtInner("a", 7, "STOP"); // is on its way
    }
    CHECK(one.freed == 1);
    CHECK(two.freed == 1);
    CHECK(one.seen.empty());
    CHECK(outer.close() == 0);
    CHECK(inner.close() == 0);
}
