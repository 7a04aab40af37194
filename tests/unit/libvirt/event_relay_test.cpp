// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/event_relay.hpp"

#include "event_kinds.hpp"
#include "event_source.hpp"
#include "libvirt/private.hpp"

#include <catch2/catch.hpp>

#include <libvirt/virterror.h>

#include <future>
#include <vector>

namespace abi = vz::abi;
namespace priv = vz::abi::priv;
using namespace events;

// libvirt's own: the array of identities of a graphics event (docs/libvirt-abi.md), and what it makes for a
// registration for events of the monitor that it refuses then.
extern "C" __attribute__((visibility("default"))) const char* __lsan_default_suppressions();
const char* __lsan_default_suppressions() {
    return "leak:newIdentities\nleak:addInner\n";
}

namespace {

constexpr int kFirstId = 4194304;

int outerId(int innerId) {
    return innerId < 0 ? innerId : innerId + kFirstId;
}

/** A policy that lets everything pass. */
abi::EventRelay::Policy all() {
    return {[](virDomainPtr, int, int, int) { return true; }, outerId};
}

/** Our hub with a client that listens to all kinds, one after the other in @p lines. */
class Client {
public:
    explicit Client(Lines& lines) {
        auto made = abi::Events::create();
        REQUIRE(made);
        hub_ = std::move(*made);
        for (const auto& kind : allKinds())
            ids_.push_back(hub_->registerAny(conn_, nullptr, kind.id, kind.callback,
                                             new Listener{kind.id, &lines}, freeListener));
        for (int id : ids_)
            REQUIRE(id >= 0);
    }
    ~Client() {
        for (int id : ids_)
            CHECK(hub_->deregisterAny(conn_, id) == 0);
    }
    abi::Events& hub() { return *hub_; }

private:
    Connection conn_;
    std::unique_ptr<abi::Events> hub_;
    std::vector<int> ids_;
};

std::unique_ptr<abi::EventRelay> relay(virConnectPtr source, abi::Events& hub,
                                       abi::EventRelay::Policy policy = all()) {
    auto started = abi::EventRelay::start(source, hub, std::move(policy));
    INFO((started ? "" : started.error().message()));
    REQUIRE(started);
    return std::move(*started);
}

/** From any thread. */
void queueAtSource(virDomainPtr dom, void* (*make)(virDomainPtr)) {
    priv::virObjectEventStateQueue(sourceHub(), make(dom));
}

void* rebootOf(virDomainPtr dom) {
    return priv::virDomainEventRebootNewFromDom(dom);
}

} // namespace

TEST_CASE("every kind of event arrives with all that the source said, and our id") {
    startLibvirt();
    Connection source("vzsource:///");
    Lines seen;
    Client client(seen);
    auto kinds = allKinds();
    // libvirt refuses the number behind its last one: there are no more kinds than these.
    CHECK(virConnectDomainEventRegisterAny(source, nullptr, static_cast<int>(kinds.size()), kinds[1].callback,
                                           nullptr, nullptr) == -1);
    CHECK(virGetLastErrorCode() == VIR_ERR_INVALID_ARG);

    auto handing = relay(source, client.hub());
    Domain running(source, "vm", 7, 1), inactive(source, "other", -1, 2);
    Lines expected;
    for (const auto& kind : kinds) {
        queueAtSource(running, kind.make);
        queueAtSource(inactive, kind.make);
        expected.push_back(vz::cat("vm/4194311/1 #", kind.id, kind.expected));
        expected.push_back(vz::cat("other/-1/2 #", kind.id, kind.expected));
        CHECK(turnUntil([&] { return seen.size() == expected.size(); }));
    }
    CHECK(seen == expected);
}

TEST_CASE("what parts of a graphics event are missing stays missing") {
    startLibvirt();
    Connection source("vzsource:///");
    Lines seen;
    Client client(seen);
    auto handing = relay(source, client.hub());
    Domain dom(source, "vm", 7, 1);
    queueAtSource(dom, [](auto dom) {
        return priv::virDomainEventGraphicsNewFromDom(dom, 0, nullptr, nullptr, nullptr, nullptr);
    });
    queueAtSource(dom, [](auto dom) {
        auto* nobody = allocate<virDomainEventGraphicsSubject>();
        return priv::virDomainEventGraphicsNewFromDom(dom, 0, nullptr, nullptr, "", nobody);
    });
    queueAtSource(dom, [](auto dom) { return priv::virDomainEventJobCompletedNewFromDom(dom, nullptr, 0); });
    CHECK(turnUntil([&] { return seen.size() == 3; }));
    CHECK(seen == Lines{"vm/4194311/1 #5 0 null null null null", "vm/4194311/1 #5 0 null null \"\" {}",
                        "vm/4194311/1 #21 0:"});
}

TEST_CASE("the policy sees every event first and decides about it") {
    startLibvirt();
    Connection source("vzsource:///");
    Lines asked, seen;
    Client client(seen);
    auto handing = relay(source, client.hub(),
                         {[&](virDomainPtr inner, int id, int type, int detail) {
                              CHECK(virDomainGetConnect(inner) == source);
                              asked.push_back(vz::cat(who(inner), " ", id, " ", type, " ", detail));
                              return std::string(virDomainGetName(inner)) != "hidden";
                          },
                          outerId});
    Domain shown(source, "shown", 1, 1), hidden(source, "hidden", 2, 2);
    for (virDomainPtr dom : {static_cast<virDomainPtr>(hidden), static_cast<virDomainPtr>(shown)}) {
        queueAtSource(dom, [](auto dom) {
            return priv::virDomainEventLifecycleNewFromDom(dom, VIR_DOMAIN_EVENT_STOPPED,
                                                           VIR_DOMAIN_EVENT_STOPPED_DESTROYED);
        });
        queueAtSource(dom, rebootOf);
    }
    CHECK(turnUntil([&] { return seen.size() == 2; }));
    CHECK(asked == Lines{"hidden/2/2 0 5 1", "hidden/2/2 1 -1 -1", "shown/1/1 0 5 1", "shown/1/1 1 -1 -1"});
    CHECK(seen == Lines{"shown/4194305/1 #0 5 1", "shown/4194305/1 #1"});
}

TEST_CASE("an exception of the policy costs one event, not the daemon") {
    startLibvirt();
    Connection source("vzsource:///");
    Lines seen;
    Client client(seen);
    auto handing = relay(source, client.hub(),
                         {[](virDomainPtr inner, int, int, int) -> bool {
                              if (virDomainGetID(inner) == 1)
                                  throw std::bad_alloc();
                              return true;
                          },
                          outerId});
    Domain bad(source, "bad", 1, 1), good(source, "good", 2, 2);
    queueAtSource(bad, rebootOf);
    queueAtSource(good, rebootOf);
    CHECK(turnUntil([&] { return !seen.empty(); }));
    CHECK(seen == Lines{"good/4194306/2 #1"});
}

TEST_CASE("a source that refuses a kind is left as it was") {
    startLibvirt();
    auto hub = abi::Events::create();
    REQUIRE(hub);
    for (int accepted : {0, 1, 13, 26}) {
        Connection source("vzsource:///");
        auto policy = all();
        auto token = std::make_shared<int>();
        policy.outerId = [token](int id) { return id; };
        refuseAfter(accepted);
        auto started = abi::EventRelay::start(source, **hub, std::move(policy));
        acceptAll();
        REQUIRE_FALSE(started);
        CHECK(started.error().code() == vz::ErrorCode::OperationDenied);
        CHECK(started.error().message() == "no more of them");
        // Nobody holds the policy, nor (by a registration) the connection.
        CHECK(token.use_count() == 1);
        CHECK(source.close() == 0);
    }
    CHECK_FALSE(abi::EventRelay::start(nullptr, **hub, all()));
    virResetLastError();
}

TEST_CASE("after the relay ended nothing is handed on and nothing is kept") {
    startLibvirt();
    Connection source("vzsource:///");
    Lines seen;
    Client client(seen);
    auto token = std::make_shared<int>();
    auto policy = all();
    policy.outerId = [token](int id) { return id; };
    auto handing = relay(source, client.hub(), std::move(policy));
    CHECK(token.use_count() == 2);
    Domain dom(source, "vm", 7, 1);
    queueAtSource(dom, rebootOf);
    handing.reset(); // with an event on its way
    CHECK(token.use_count() == 1);
    Lines direct;
    Listener listener{VIR_DOMAIN_EVENT_ID_REBOOT, &direct};
    int id =
        virConnectDomainEventRegisterAny(source, nullptr, VIR_DOMAIN_EVENT_ID_REBOOT,
                                         allKinds()[VIR_DOMAIN_EVENT_ID_REBOOT].callback, &listener, nullptr);
    CHECK(turnUntil([&] { return !direct.empty(); })); // the event went by
    CHECK(virConnectDomainEventDeregisterAny(source, id) == 0);

    auto second = relay(source, client.hub());
    queueAtSource(dom, [](auto dom) { return priv::virDomainEventWatchdogNewFromDom(dom, 3); });
    CHECK(turnUntil([&] { return !seen.empty(); }));
    CHECK(seen == Lines{"vm/4194311/1 #3 3"});
}

TEST_CASE("a hub whose last client leaves while events come goes on with the next client") {
    startLibvirt();
    auto hub = abi::Events::create();
    REQUIRE(hub);
    Connection conn;
    Loop loop;
    std::atomic<bool> ends = false;
    std::thread busy([&] {
        while (!ends) {
            (*hub)->reboot({7, "vm", {}});
        }
    });
    for (int i = 0; i < 1000; ++i) {
        struct Client {
            std::promise<void> heard, freed;
            bool first = true;
        } client;
        auto onReboot = [](virConnectPtr, virDomainPtr, void* opaque) {
            auto& self = *static_cast<Client*>(opaque);
            if (std::exchange(self.first, false))
                self.heard.set_value();
        };
        int id = (*hub)->registerAny(conn, nullptr, VIR_DOMAIN_EVENT_ID_REBOOT, onReboot, &client,
                                     [](void* opaque) { static_cast<Client*>(opaque)->freed.set_value(); });
        CHECK(id >= 0);
        bool arrived =
            client.heard.get_future().wait_for(std::chrono::seconds(5)) == std::future_status::ready;
        CHECK(arrived);
        CHECK((*hub)->deregisterAny(conn, id) == 0);
        client.freed.get_future().wait();
        if (!arrived)
            break;
    }
    ends = true;
    busy.join();
}

TEST_CASE("the end of the relay waits for the event that is being handed on") {
    startLibvirt();
    Connection source("vzsource:///");
    Lines seen;
    Client client(seen);
    std::promise<void> entered, ending;
    std::atomic<int> asked = 0;
    std::atomic<bool> answered = false;
    auto handing = relay(source, client.hub(),
                         {[&](virDomainPtr, int, int, int) {
                              if (++asked == 1) {
                                  entered.set_value();
                                  ending.get_future().wait();
                                  std::this_thread::yield(); // gives an end that does not wait its chance
                              }
                              answered = true;
                              return false;
                          },
                          outerId});
    Domain dom(source, "vm", 7, 1);
    for (int i = 0; i < 10; ++i)
        queueAtSource(dom, rebootOf);
    Loop loop;
    entered.get_future().wait();
    ending.set_value();
    handing.reset();
    CHECK(answered);
    int before = asked;
    // The loop goes on with the other nine, which find nobody; another relay tells when it is through.
    std::promise<void> through;
    handing = relay(source, client.hub(),
                    {[&](virDomainPtr inner, int, int, int) {
                         if (virDomainGetID(inner) == 8)
                             through.set_value();
                         return false;
                     },
                     outerId});
    Domain last(source, "last", 8, 2);
    queueAtSource(last, [](auto dom) { return priv::virDomainEventWatchdogNewFromDom(dom, 3); });
    through.get_future().wait();
    handing.reset();
    CHECK(asked == before);
}

TEST_CASE("relays come and go while events flow") {
    startLibvirt();
    Connection source("vzsource:///");
    Lines seen;
    Client client(seen);
    Loop loop;
    std::atomic<bool> ends = false;
    Domain dom(source, "vm", 7, 1);
    std::thread busy([&] {
        while (!ends) {
            queueAtSource(dom, rebootOf);
            std::this_thread::yield();
        }
    });
    for (int i = 0; i < 200; ++i) {
        std::atomic<bool> over = false;
        std::atomic<int> late = 0;
        auto handing = relay(source, client.hub(),
                             {[&](virDomainPtr, int, int, int) {
                                  late += over;
                                  return true;
                              },
                              outerId});
        handing.reset();
        over = true;
        CHECK(late == 0);
    }
    ends = true;
    busy.join();
}

TEST_CASE("libvirt's test driver: each of its events arrives once, in order, with our id") {
    startLibvirt();
    Connection source("test:///default");
    Lines direct, relayed;
    Client client(relayed);
    auto handing = relay(source, client.hub());
    std::vector<int> ids;
    for (const auto& kind : allKinds())
        ids.push_back(virConnectDomainEventRegisterAny(source, nullptr, kind.id, kind.callback,
                                                       new Listener{kind.id, &direct}, freeListener));

    virDomainPtr dom = virDomainLookupByName(source, "test");
    REQUIRE(dom);
    REQUIRE(virDomainSuspend(dom) == 0);
    REQUIRE(virDomainResume(dom) == 0);
    REQUIRE(virDomainSetMetadata(dom, VIR_DOMAIN_METADATA_TITLE, "a title", nullptr, nullptr, 0) == 0);
    REQUIRE(virDomainSetMetadata(dom, VIR_DOMAIN_METADATA_ELEMENT, "<a/>", "k", "urn:a", 0) == 0);
    REQUIRE(virDomainDestroy(dom) == 0);
    REQUIRE(virDomainCreate(dom) == 0);
    REQUIRE(virDomainShutdown(dom) == 0);
    REQUIRE(virDomainUndefine(dom) == 0);
    virDomainFree(dom);

    CHECK(turnUntil([&] { return direct.size() >= 8 && relayed.size() >= direct.size(); }));
    Lines expected;
    for (const auto& line : direct) {
        auto id = line.find('/') + 1, behind = line.find('/', id);
        expected.push_back(vz::cat(line.substr(0, id), outerId(std::stoi(line.substr(id, behind - id))),
                                   line.substr(behind)));
    }
    CHECK(relayed == expected);
    CHECK(relayed.front().find("test/4194305/") == 0);
    for (int id : ids)
        CHECK(virConnectDomainEventDeregisterAny(source, id) == 0);
    // Told off properly, so that nobody keeps the connection open.
    handing.reset();
    CHECK(source.close() == 0);
}
