// SPDX-License-Identifier: LGPL-2.1-or-later
// Interfaces in network namespaces of the test's own: one that plays the host, one for the guest.
#include "base/file.hpp"
#include "ct/network.hpp"
#include "private_host.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <fcntl.h>
#include <linux/if.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <sched.h>
#include <thread>

using namespace vz;
using namespace vz::ct;
using test::newNetns;

namespace {

/** With a bridge. */
class PrivateHost : test::PrivateHost {
public:
    PrivateHost() {
        auto* socket = ::nl_socket_alloc();
        REQUIRE(::nl_connect(socket, NETLINK_ROUTE) == 0);
        auto* bridge = ::rtnl_link_bridge_alloc();
        ::rtnl_link_set_name(bridge, "br-test");
        ::rtnl_link_set_mtu(bridge, 1400);
        ::rtnl_link_set_flags(bridge, IFF_UP);
        int rc = ::rtnl_link_add(socket, bridge, NLM_F_CREATE | NLM_F_EXCL);
        ::rtnl_link_put(bridge);
        ::nl_socket_free(socket);
        REQUIRE(rc == 0);
    }
};

const InterfaceAddresses* named(const std::vector<InterfaceAddresses>& all, std::string_view name) {
    auto found = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one.name == name; });
    return found == all.end() ? nullptr : &*found;
}

UniqueFd thisNetns() {
    return UniqueFd(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
}

} // namespace

TEST_CASE("an interface joins the bridge and has its addresses and routes inside") {
    PrivateHost host;
    auto guest = newNetns();
    REQUIRE(guest);
    REQUIRE(setLoopbackUp(guest.get()));
    NetInterface wanted;
    wanted.mac = "52:54:00:12:34:56";
    wanted.bridge = "br-test";
    wanted.addresses = {{"10.7.0.2", 24, ""}, {"fd00:7::2", 64, ""}};
    wanted.routes = {
        {"0.0.0.0", 0, "10.7.0.1", 0}, {"::", 0, "fd00:7::1", 0}, {"10.9.0.0", 16, "10.7.0.9", 5}};
    auto created = createInterface(guest.get(), wanted);
    if (!created)
        FAIL(created.error().message());
    CHECK(created->hostName == "vnet0");
    CHECK(created->guestName == "eth0");

    auto inside = interfaceAddresses(guest.get());
    REQUIRE(inside);
    const auto* eth0 = named(*inside, "eth0");
    REQUIRE(eth0);
    CHECK(eth0->mac == "52:54:00:12:34:56");
    auto has = [&](std::string_view text, unsigned prefix) {
        return std::any_of(eth0->addresses.begin(), eth0->addresses.end(),
                           [&](const auto& ip) { return ip.address == text && ip.prefix == prefix; });
    };
    CHECK(has("10.7.0.2", 24));
    CHECK(has("fd00:7::2", 64));

    auto outside = interfaceAddresses(thisNetns().get());
    const auto* vnet = named(*outside, "vnet0");
    REQUIRE(vnet);
    CHECK(vnet->mac == "fe:54:00:12:34:56");
    CHECK(interfaceCounters(-1, *created));

    auto second = createInterface(guest.get(), {.bridge = "br-test"});
    REQUIRE(second);
    CHECK(second->hostName == "vnet1");
    CHECK(second->guestName == "eth1");

    wanted.up = false;
    CHECK(setLinkUp(guest.get(), *created, wanted));
    REQUIRE(removeInterface(-1, *created));
    REQUIRE(removeInterface(-1, *created));
    CHECK(setLinkUp(guest.get(), *created, wanted).error().code() == ErrorCode::DeviceMissing);
    CHECK_FALSE(named(*interfaceAddresses(guest.get()), "eth0"));
    CHECK(interfaceCounters(-1, *created).error().code() == ErrorCode::DeviceMissing);
}

TEST_CASE("a failed interface says why and leaves nothing") {
    PrivateHost host;
    auto guest = newNetns();
    NetInterface wanted;
    wanted.bridge = "br-none";
    auto none = createInterface(guest.get(), wanted);
    REQUIRE_FALSE(none);
    CHECK(none.error().code() == ErrorCode::ConfigUnsupported);
    CHECK(none.error().message().find("br-none") != std::string::npos);
    wanted.bridge = "lo";
    CHECK(createInterface(guest.get(), wanted).error().code() == ErrorCode::ConfigUnsupported);

    wanted.bridge = "br-test";
    wanted.addresses = {{"10.7.0.2", 24, ""}};
    wanted.routes = {{"0.0.0.0", 0, "192.168.77.1", 0}}; // not reachable by that address
    auto unreachable = createInterface(guest.get(), wanted);
    REQUIRE_FALSE(unreachable);
    CHECK(unreachable.error().message().find("192.168.77.1") != std::string::npos);
    CHECK(interfaceAddresses(guest.get())->size() == 1);
    CHECK_FALSE(named(*interfaceAddresses(thisNetns().get()), "vnet0"));

    wanted.routes.clear();
    wanted.addresses = {{"10.7.0.999", 24, ""}};
    CHECK(createInterface(guest.get(), wanted).error().code() == ErrorCode::ConfigUnsupported);
    wanted.hostName = "a-name-that-is-too-long";
    CHECK(createInterface(guest.get(), wanted).error().code() == ErrorCode::ConfigUnsupported);
}

TEST_CASE("a name of somebody else's interface is left alone") {
    PrivateHost host;
    auto guest = newNetns();
    NetInterface wanted{.mac = "52:54:00:12:34:56", .bridge = "br-test"};
    auto made = createInterface(guest.get(), wanted);
    REQUIRE(made);
    auto wrong = *made;
    wrong.mac = "52:54:00:12:34:57";
    REQUIRE(removeInterface(-1, wrong));
    wrong.hostName = "br-test";
    REQUIRE(removeInterface(-1, wrong));
    auto outside = interfaceAddresses(thisNetns().get());
    CHECK(named(*outside, made->hostName));
    CHECK(named(*outside, "br-test"));
    CHECK(interfaceExists(guest.get(), *made).valueOr(false));
    wanted.hostName = made->hostName;
    CHECK_FALSE(createInterface(guest.get(), wanted));
    CHECK(interfaceExists(guest.get(), *made).valueOr(false));
}

TEST_CASE("an interface changes its bridge and its size") {
    PrivateHost host;
    auto guest = newNetns();
    auto made = createInterface(guest.get(), {.mac = "52:54:00:12:34:56"});
    REQUIRE(made);
    CHECK(masterOf(made->hostName).valueOr("?").empty());
    REQUIRE(setBridge(*made, "br-test"));
    CHECK(masterOf(made->hostName).valueOr("?") == "br-test");
    CHECK(setBridge(*made, "br-none").error().code() == ErrorCode::ConfigUnsupported);
    REQUIRE(setBridge(*made, ""));
    CHECK(masterOf(made->hostName).valueOr("?").empty());
    CHECK(setMtu(guest.get(), *made, 1300));
    CHECK_FALSE(setMtu(guest.get(), *made, 70000));
}

TEST_CASE("a macvlan is only inside, and a lent interface comes back as it was") {
    PrivateHost host;
    auto guest = newNetns(), other = newNetns();
    auto cable = createInterface(other.get(), {.hostName = "up0", .mac = "52:54:00:00:00:09"});
    REQUIRE(cable);
    NetInterface wanted{
        .kind = LinkKind::Macvlan, .mac = "52:54:00:12:34:56", .parent = "up0", .mode = "bridge"};
    auto made = createInterface(guest.get(), wanted);
    if (!made)
        FAIL(made.error().message());
    CHECK(made->hostName.empty());
    CHECK(interfaceCounters(guest.get(), *made));
    CHECK_FALSE(named(*interfaceAddresses(thisNetns().get()), made->guestName));
    wanted.mode = "odd";
    CHECK(createInterface(guest.get(), wanted).error().code() == ErrorCode::ConfigUnsupported);
    wanted.parent = "up9";
    CHECK(createInterface(guest.get(), wanted).error().message().find("up9") != std::string::npos);
    REQUIRE(removeInterface(guest.get(), *made));
    CHECK_FALSE(named(*interfaceAddresses(guest.get()), made->guestName));

    NetInterface lent{.kind = LinkKind::Moved, .hostName = "up0", .guestName = "inside0"};
    auto moved = createInterface(guest.get(), lent);
    if (!moved)
        FAIL(moved.error().message());
    CHECK(named(*interfaceAddresses(guest.get()), "inside0"));
    CHECK_FALSE(named(*interfaceAddresses(thisNetns().get()), "up0"));
    REQUIRE(removeInterface(guest.get(), *moved));
    const auto home = interfaceAddresses(thisNetns().get());
    REQUIRE(named(*home, "up0"));
    CHECK(named(*home, "up0")->mac == hostMac("52:54:00:00:00:09"));
}

TEST_CASE("parallel starts get different host names") {
    PrivateHost host;
    auto hostNs = thisNetns();
    std::vector<std::string> names(8);
    std::vector<UniqueFd> guests;
    for (size_t i = 0; i < names.size(); ++i)
        guests.push_back(newNetns());
    std::vector<std::thread> threads;
    for (size_t i = 0; i < names.size(); ++i)
        threads.emplace_back([&, i] {
            if (::setns(hostNs.get(), CLONE_NEWNET) == 0)
                if (auto made = createInterface(guests[i].get(), {.bridge = "br-test"}))
                    names[i] = made->hostName;
        });
    for (auto& thread : threads)
        thread.join();
    std::sort(names.begin(), names.end());
    CHECK_FALSE(names.front().empty());
    CHECK(std::unique(names.begin(), names.end()) == names.end());
}
