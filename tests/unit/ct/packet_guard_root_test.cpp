// SPDX-License-Identifier: LGPL-2.1-or-later
// Frames put through the guard's program by the kernel, without a network.
#include "ct/packet_guard.hpp"

#include <catch2/catch.hpp>

#include <arpa/inet.h>
#include <cerrno>
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <string>
#include <sys/syscall.h>
#include <unistd.h>

using namespace vz;
using namespace vz::ct;

namespace {

using Bytes = std::string;

Bytes raw(const char* address) {
    char out[16];
    int family = std::string(address).find(':') == std::string::npos ? AF_INET : AF_INET6;
    REQUIRE(::inet_pton(family, address, out) == 1);
    return {out, family == AF_INET ? 4u : 16u};
}

const Bytes own("\x52\x54\x00\x12\x34\x56", 6), other("\x52\x54\x00\x12\x34\x57", 6);

Bytes frame(const Bytes& source, const Bytes& type, const Bytes& payload) {
    return Bytes(6, '\xff') + source + type + payload + Bytes(64, '\0');
}

Bytes ip4(const char* source, const Bytes& mac = own) {
    return frame(mac, "\x08" + Bytes(1, '\0'), "\x45" + Bytes(11, '\0') + raw(source) + raw("192.0.2.1"));
}

Bytes arp(const char* sender, const Bytes& hardware = own) {
    return frame(own, "\x08\x06",
                 Bytes("\x00\x01\x08\x00\x06\x04\x00\x02", 8) + hardware + raw(sender) + Bytes(6, '\0') +
                     raw("192.0.2.1"));
}

Bytes ip6(const char* source, int next, const Bytes& payload) {
    return frame(own, "\x86\xdd",
                 Bytes("\x60\x00\x00\x00\x00\x40", 6) + Bytes(1, static_cast<char>(next)) + "\xff" +
                     raw(source) + raw("ff02::1") + payload);
}

Bytes icmp6(const char* source, int type, const char* target = "::") {
    return ip6(source, 58, Bytes(1, static_cast<char>(type)) + Bytes(7, '\0') + raw(target));
}

class Guard {
public:
    explicit Guard(const PacketGuard& guard) {
        auto loaded = loadPacketGuard(guard);
        if (!loaded)
            FAIL(loaded.error().message());
        program_ = *std::move(loaded);
    }
    bool passes(const Bytes& packet) const {
        bpf_attr attributes{};
        attributes.test.prog_fd = static_cast<uint32_t>(program_.get());
        attributes.test.data_in = reinterpret_cast<uint64_t>(packet.data());
        attributes.test.data_size_in = static_cast<uint32_t>(packet.size());
        REQUIRE(::syscall(SYS_bpf, BPF_PROG_TEST_RUN, &attributes, sizeof attributes) == 0);
        int answer = static_cast<int>(attributes.test.retval);
        REQUIRE((answer == TC_ACT_UNSPEC || answer == TC_ACT_SHOT));
        return answer == TC_ACT_UNSPEC;
    }

private:
    UniqueFd program_;
};

const std::vector<std::string> addresses{"192.0.2.10", "2001:db8::10", "192.0.2.11"};
constexpr int ra = 134, ns = 135, na = 136, redirect = 137, echo = 128;

} // namespace

TEST_CASE("a guard for the hardware address looks at nothing else") {
    Guard guard({PacketGuard::Kind::Mac, "52:54:00:12:34:56", {}});
    CHECK(guard.passes(ip4("198.51.100.9")));
    CHECK_FALSE(guard.passes(ip4("198.51.100.9", other)));
    CHECK(guard.passes(frame(own, "\x88\xcc", "")));
    CHECK(guard.passes(icmp6("fe80::1", ra)));
}

TEST_CASE("a guard for addresses lets nobody else's through") {
    Guard guard({PacketGuard::Kind::Address, "52:54:00:12:34:56", addresses});
    CHECK(guard.passes(ip4("192.0.2.10")));
    CHECK(guard.passes(ip4("192.0.2.11")));
    CHECK_FALSE(guard.passes(ip4("192.0.2.12")));
    CHECK_FALSE(guard.passes(ip4("192.0.2.10", other)));
    CHECK_FALSE(guard.passes(frame(own, "\x88\xcc", "")));

    CHECK(guard.passes(arp("192.0.2.10")));
    CHECK(guard.passes(arp("0.0.0.0")));
    CHECK_FALSE(guard.passes(arp("192.0.2.1")));
    CHECK_FALSE(guard.passes(arp("192.0.2.10", other)));

    CHECK(guard.passes(icmp6("2001:db8::10", echo)));
    CHECK(guard.passes(icmp6("fe80::5054:ff:fe12:3456", ns)));
    CHECK(guard.passes(icmp6("2001:db8::10", na, "2001:db8::10")));
    CHECK(guard.passes(icmp6("fe80::5054:ff:fe12:3456", na, "2001:db8::10")));
    CHECK(guard.passes(icmp6("::", ns, "2001:db8::10")));
    CHECK_FALSE(guard.passes(icmp6("::", echo)));
    CHECK_FALSE(guard.passes(icmp6("2001:db8::11", echo)));
    CHECK_FALSE(guard.passes(icmp6("fe80::1", ns)));
    CHECK_FALSE(guard.passes(icmp6("2001:db8::10", na, "2001:db8::1")));
    CHECK_FALSE(guard.passes(icmp6("fe80::5054:ff:fe12:3456", ra)));
    CHECK_FALSE(guard.passes(icmp6("fe80::5054:ff:fe12:3456", redirect)));

    Bytes hidden("\x3a\x00\x05\x02\x00\x00\x01\x00", 8);
    CHECK(guard.passes(ip6("fe80::5054:ff:fe12:3456", 0, hidden + "\x8f")));
    CHECK(guard.passes(ip6("::", 0, hidden + "\x8f")));
    CHECK_FALSE(guard.passes(ip6("2001:db8::10", 0, hidden + "\x88")));
    CHECK_FALSE(guard.passes(ip6("2001:db8::10", 60, hidden + "\x88")));
    CHECK(guard.passes(ip6("2001:db8::10", 17, "")));
}

TEST_CASE("a routed link carries IP from its addresses only") {
    Guard guard({PacketGuard::Kind::Routed, {}, addresses});
    CHECK(guard.passes(ip4("192.0.2.10", other)));
    CHECK(guard.passes(icmp6("2001:db8::10", echo)));
    CHECK_FALSE(guard.passes(ip4("192.0.2.12")));
    CHECK_FALSE(guard.passes(arp("192.0.2.10")));
    CHECK_FALSE(guard.passes(icmp6("fe80::5054:ff:fe12:3456", ns)));
    CHECK_FALSE(guard.passes(icmp6("::", ns)));
    Guard none({PacketGuard::Kind::Routed, {}, {}});
    CHECK_FALSE(none.passes(ip4("192.0.2.10")));
}

TEST_CASE("a frame that is too short is dropped") {
    Guard guard({PacketGuard::Kind::Address, "52:54:00:12:34:56", addresses});
    CHECK_FALSE(guard.passes(icmp6("2001:db8::10", na, "2001:db8::10").substr(0, 64)));
}

TEST_CASE("a guard says what is wrong with its settings") {
    CHECK(loadPacketGuard({PacketGuard::Kind::Mac, "52:54:00", {}}).error().code() == ErrorCode::InvalidArg);
    CHECK(loadPacketGuard({PacketGuard::Kind::Routed, {}, {"10.0.0.300"}}).error().code() ==
          ErrorCode::InvalidArg);
    std::vector<std::string> many(PacketGuard::mostAddresses, "2001:db8::10");
    CHECK(loadPacketGuard({PacketGuard::Kind::Address, "52:54:00:12:34:56", many}));
    many.push_back("2001:db8::10");
    CHECK(loadPacketGuard({PacketGuard::Kind::Routed, {}, many}).error().code() == ErrorCode::InvalidArg);
}
