// SPDX-License-Identifier: LGPL-2.1-or-later
// Traffic control and routed links in network namespaces of the test's own.
#include "base/file.hpp"
#include "ct/bandwidth.hpp"
#include "ct/network.hpp"
#include "ct/rtnl.hpp"
#include "ct/venet.hpp"
#include "private_host.hpp"

#include <catch2/catch.hpp>

#include <arpa/inet.h>
#include <chrono>
#include <fcntl.h>
#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <net/if.h>
#include <sched.h>
#include <set>
#include <sys/socket.h>
#include <thread>

using namespace vz;
using namespace vz::ct;
using test::newNetns;
using test::PrivateHost;

namespace {

#define GOOD(...)                                                                                            \
    do {                                                                                                     \
        if (const auto& done = (__VA_ARGS__); !done)                                                         \
            FAIL(done.error().message());                                                                    \
    } while (false)

RtSocket socketHere() {
    auto socket = RtSocket::open();
    REQUIRE(socket);
    return *std::move(socket);
}

std::set<std::string> linkNames() {
    std::set<std::string> names;
    RtMessage message(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{});
    GOOD(socketHere().get<ifinfomsg>(
        message, [&](const auto&, const RtAttributes& found) { names.insert(found.text(IFLA_IFNAME)); }));
    return names;
}

/** Rate and ceiling of the one class on an interface, in bytes per second; zeros if there is none. */
std::pair<uint64_t, uint64_t> rateOf(const std::string& name) {
    std::pair<uint64_t, uint64_t> rate;
    tcmsg header{};
    header.tcm_ifindex = static_cast<int>(::if_nametoindex(name.c_str()));
    RtMessage message(RTM_GETTCLASS, NLM_F_DUMP, header);
    GOOD(socketHere().get<tcmsg>(message, [&](const auto&, const RtAttributes& found) {
        auto parameters = found.nest(TCA_OPTIONS).value<tc_htb_opt>(TCA_HTB_PARMS);
        rate = {parameters.rate.rate, parameters.ceil.rate};
    }));
    return rate;
}

std::set<std::string> proxies() {
    std::set<std::string> found;
    for (uint8_t family : {AF_INET, AF_INET6}) {
        ndmsg header{};
        header.ndm_family = family;
        header.ndm_flags = NTF_PROXY;
        RtMessage message(RTM_GETNEIGH, NLM_F_DUMP, header);
        GOOD(socketHere().get<ndmsg>(message, [&](const ndmsg& entry, const RtAttributes& attributes) {
            char text[INET6_ADDRSTRLEN];
            ::inet_ntop(entry.ndm_family, attributes.bytes(NDA_DST).data(), text, sizeof text);
            found.insert(text);
        }));
    }
    return found;
}

/** Bytes per second that arrive at a TCP server in @p to, from a client in @p from, over @p window. */
double measure(int from, int to, const char* serverAddress, std::chrono::milliseconds window) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(5001);
    ::inet_pton(AF_INET, serverAddress, &address.sin_addr);
    UniqueFd server;
    std::thread([&] {
        REQUIRE(::setns(to, CLONE_NEWNET) == 0);
        server.reset(::socket(AF_INET, SOCK_STREAM, 0));
        REQUIRE(::bind(server.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
        REQUIRE(::listen(server.get(), 1) == 0);
    }).join();
    // No assertion here: they are not for two threads at a time. Without a sender accept() is cut off below.
    std::thread sender([&] {
        UniqueFd client;
        if (::setns(from, CLONE_NEWNET) == 0)
            client.reset(::socket(AF_INET, SOCK_STREAM, 0));
        if (::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
            ::shutdown(server.get(), SHUT_RDWR);
        std::vector<char> block(65536);
        while (::send(client.get(), block.data(), block.size(), MSG_NOSIGNAL) > 0) {
        }
    });
    double rate = 0;
    {
        UniqueFd stream(::accept(server.get(), nullptr, nullptr));
        // All that is there is taken when the counting begins and when it ends: it does not matter how late
        // this thread runs. What was saved up as a burst is gone after the first packets.
        std::vector<char> block(1 << 20);
        auto drain = [&](std::chrono::milliseconds time) {
            size_t bytes = 0;
            for (auto end = std::chrono::steady_clock::now() + time;;) {
                ssize_t got = ::recv(stream.get(), block.data(), block.size(), MSG_DONTWAIT);
                if (got > 0)
                    bytes += static_cast<size_t>(got);
                else if (std::chrono::steady_clock::now() > end || errno != EAGAIN)
                    return bytes;
                else
                    std::this_thread::sleep_for(std::chrono::milliseconds(5));
            }
        };
        (void)drain(window / 5);
        auto begin = std::chrono::steady_clock::now();
        size_t bytes = drain(window);
        rate = static_cast<double>(bytes) /
               std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
    server.reset();
    sender.join();
    return rate;
}

void addAddress(const std::string& name, const char* text) {
    ifaddrmsg header{};
    header.ifa_family = AF_INET;
    header.ifa_prefixlen = 24;
    header.ifa_index = ::if_nametoindex(name.c_str());
    in_addr address;
    ::inet_pton(AF_INET, text, &address);
    RtMessage message(RTM_NEWADDR, NLM_F_CREATE, header);
    message.put(IFA_LOCAL, address).put(IFA_ADDRESS, address);
    GOOD(socketHere().request(message, "address"));
}

} // namespace

TEST_CASE("a limit of 20 Mbit/s is one, in both directions") {
    PrivateHost host;
    auto guest = newNetns();
    UniqueFd here(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    GOOD(createInterface(guest.get(), {.hostName = "vnet7", .addresses = {{"192.0.2.2", 24, ""}}}));
    addAddress("vnet7", "192.0.2.1");
    using namespace std::chrono_literals;
    double free = measure(here.get(), guest.get(), "192.0.2.2", 200ms);
    GOOD(setBandwidth("vnet7", {{.average = 2500}, {.average = 2500}}));
    CHECK(free > 25e6);
    // A machine that is busy may not be as fast as it is allowed to be, but hardly three times.
    auto holds = [&](int from, int to, const char* address) {
        double rate = 0;
        for (int attempt = 0; attempt < 3 && rate < 2.25e6; ++attempt) {
            rate = measure(from, to, address, 800ms);
            CHECK(rate < 2.75e6);
        }
        CHECK(rate > 2.25e6);
    };
    holds(here.get(), guest.get(), "192.0.2.2");
    holds(guest.get(), here.get(), "192.0.2.1");
}

TEST_CASE("bandwidth is set, changed and taken away in both directions") {
    PrivateHost host;
    auto guest = newNetns();
    GOOD(createInterface(guest.get(), {.hostName = "vnet7"}));
    Bandwidth limits{{.average = 2500}, {.average = 1000, .peak = 4000, .burst = 64}};
    GOOD(setBandwidth("vnet7", limits));
    auto shaper = "vzifb" + std::to_string(::if_nametoindex("vnet7"));
    REQUIRE(linkNames().contains(shaper));
    CHECK(rateOf("vnet7") == std::pair<uint64_t, uint64_t>(2500000, 2500000));
    CHECK(rateOf(shaper) == std::pair<uint64_t, uint64_t>(1000000, 4000000));

    limits.inbound.average = 5000;
    limits.outbound = {.average = 200};
    GOOD(setBandwidth("vnet7", limits));
    CHECK(rateOf("vnet7").first == 5000000);
    CHECK(rateOf(shaper) == std::pair<uint64_t, uint64_t>(200000, 200000));

    GOOD(removeOrphanedShapers());
    CHECK(linkNames().contains(shaper));

    GOOD(setBandwidth("vnet7", {}));
    GOOD(setBandwidth("vnet7", {}));
    CHECK(rateOf("vnet7").first == 0);
    CHECK_FALSE(linkNames().contains(shaper));
}

TEST_CASE("the intermediate device of an interface that is gone is removed") {
    PrivateHost host;
    auto guest = newNetns();
    auto first = createInterface(guest.get(), {.hostName = "vnet7"});
    GOOD(first);
    GOOD(createInterface(guest.get(), {.hostName = "vnet8"}));
    GOOD(setBandwidth("vnet7", {{}, {.average = 100}}));
    GOOD(setBandwidth("vnet8", {{}, {.average = 100}}));
    auto kept = "vzifb" + std::to_string(::if_nametoindex("vnet8"));
    auto gone = "vzifb" + std::to_string(::if_nametoindex("vnet7"));
    GOOD(removeInterface(guest.get(), *first));
    GOOD(removeOrphanedShapers());
    CHECK(linkNames().contains(kept));
    CHECK_FALSE(linkNames().contains(gone));
    CHECK(setBandwidth("vnet7", {}).error().code() == ErrorCode::DeviceMissing);
}

TEST_CASE("a routed link follows its addresses") {
    PrivateHost host;
    auto outer = newNetns(), guest = newNetns(), second = newNetns();
    GOOD(createInterface(outer.get(), {.hostName = "wan"}));
    addAddress("wan", "192.0.2.1"); // the host's own, on the link to the world
    auto pair = createInterface(guest.get(), {.hostName = "vnet7", .guestName = "venet0"});
    GOOD(pair);
    Venet venet{"vnet7", "venet0", {"192.0.2.10", "10.9.0.1", "2001:db8::10"}};
    GOOD(configureVenet(guest.get(), venet));
    CHECK(proxies() == std::set<std::string>{"192.0.2.10"}); // the others are on no link
    auto inside = interfaceAddresses(guest.get());
    REQUIRE(inside);
    std::set<std::string> found;
    for (const auto& link : *inside)
        for (const auto& address : link.addresses)
            if (link.name == "venet0")
                found.insert(address.address);
    CHECK(found == std::set<std::string>{"192.0.2.10", "10.9.0.1", "2001:db8::10"});

    venet.addresses = {"192.0.2.11", "2001:db8::10"};
    GOOD(configureVenet(guest.get(), venet));
    CHECK(proxies() == std::set<std::string>{"192.0.2.11"});

    GOOD(createInterface(second.get(), {.hostName = "vnet8", .guestName = "venet0"}));
    auto taken = configureVenet(second.get(), {"vnet8", "venet0", {"192.0.2.11"}});
    REQUIRE_FALSE(taken);
    CHECK(taken.error().code() == ErrorCode::ResourceBusy);
    CHECK(configureVenet(second.get(), {"vnet8", "venet0", {"192.0.2.1"}}).error().code() ==
          ErrorCode::ResourceBusy);
    for (const char* wrong : {"224.0.0.1", "127.0.0.2", "fe80::1", "::1", "10.0.0"})
        CHECK(configureVenet(second.get(), {"vnet8", "venet0", {wrong}}).error().code() ==
              ErrorCode::ConfigUnsupported);

    GOOD(removeInterface(guest.get(), *pair));
    GOOD(removeOrphanedProxies());
    CHECK(proxies().empty());
}
