// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/packet_guard.hpp"

#include "base/text.hpp"
#include "ct/bpf.hpp"
#include "ct/traffic_control.hpp"

#include <arpa/inet.h>
#include <array>
#include <cstddef>
#include <linux/if_ether.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <optional>

namespace vz::ct {

namespace {

using namespace bpf;

using MacBytes = std::array<uint8_t, 6>;

constexpr ProgramKind guardKind{BPF_PROG_TYPE_SCHED_CLS, 0};

struct Allowed {
    MacBytes mac{};
    std::vector<in_addr> v4;
    std::vector<in6_addr> v6;
};

/** Constants of header fields as they lie in memory. */
uint32_t word(const void* bytes) {
    uint32_t value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}
uint32_t half(const void* bytes) {
    uint16_t value;
    std::memcpy(&value, bytes, sizeof value);
    return value;
}

/**
 * The program: parts of the frame are copied to the stack and compared there. Frames that are too short
 * are dropped.
 */
class GuardProgram {
public:
    GuardProgram(PacketGuard::Kind kind, Allowed allowed) : kind_(kind), allowed_(std::move(allowed)) {}

    Code build() {
        code_.copy(r6, r1);
        fetch(0, ETH_HLEN);
        if (kind_ != PacketGuard::Kind::Routed)
            unlessMac(offsetof(ethhdr, h_source), drop_);
        if (kind_ == PacketGuard::Kind::Mac)
            code_.jump(pass_);
        else
            checkProtocol();
        code_.place(drop_);
        code_.exit(TC_ACT_SHOT);
        code_.place(pass_);
        code_.exit(TC_ACT_UNSPEC); // the next filter
        return std::move(code_);
    }

private:
    static constexpr int buffer = -16; // of the stack; an IPv6 address is the longest part
    static constexpr int ipHeader = ETH_HLEN;
    static constexpr int afterIp6 = ETH_HLEN + 40;

    /** Copies @p size bytes from @p offset of the frame to the buffer. */
    void fetch(int offset, int size) {
        code_.copy(r1, r6);
        code_.set(r2, offset);
        code_.copy(r3, r10);
        code_.compute(BPF_ADD, r3, buffer);
        code_.set(r4, size);
        code_.call(BPF_FUNC_skb_load_bytes);
        code_.jumpIf(BPF_JNE, r0, 0, drop_);
    }
    void load(Width width, size_t offset) { code_.load(width, r0, r10, buffer + static_cast<int>(offset)); }
    void unless(Width width, size_t offset, uint32_t value, Label to) {
        load(width, offset);
        code_.jumpIfWord(BPF_JNE, r0, value, to);
    }
    void unlessMac(size_t offset, Label to) {
        for (size_t part = 0; part < allowed_.mac.size(); part += 2) // a word would not be aligned
            unless(Width::Half, offset + part, half(allowed_.mac.data() + part), to);
    }
    /** Goes to @p to if the buffer has @p address at @p offset. */
    void ifAddress(size_t offset, const in6_addr& address, Label to) {
        auto other = code_.label();
        for (size_t part = 0; part < sizeof address; part += 4)
            unless(Width::Word, offset + part, word(address.s6_addr + part), other);
        code_.jump(to);
        code_.place(other);
    }

    void checkProtocol() {
        code_.load(Width::Word, r0, r6, offsetof(__sk_buff, vlan_present));
        code_.jumpIf(BPF_JNE, r0, 0, drop_);
        auto notIp4 = code_.label(), notIp6 = code_.label();
        unless(Width::Half, offsetof(ethhdr, h_proto), htons(ETH_P_IP), notIp4);
        checkIp4();
        code_.place(notIp4);
        unless(Width::Half, offsetof(ethhdr, h_proto), htons(ETH_P_IPV6), notIp6);
        checkIp6();
        code_.place(notIp6);
        if (kind_ == PacketGuard::Kind::Address) {
            unless(Width::Half, offsetof(ethhdr, h_proto), htons(ETH_P_ARP), drop_);
            checkArp();
        }
    }

    void checkIp4() {
        fetch(ipHeader + 12, 4);
        load(Width::Word, 0);
        for (const auto& address : allowed_.v4)
            code_.jumpIfWord(BPF_JEQ, r0, address.s_addr, pass_);
        code_.jump(drop_);
    }

    /** The sender, in the hardware and the protocol address; a probe has no protocol address yet. */
    void checkArp() {
        fetch(ETH_HLEN + 8, 6);
        unlessMac(0, drop_);
        fetch(ETH_HLEN + 14, 4);
        load(Width::Word, 0);
        code_.jumpIf(BPF_JEQ, r0, 0, pass_);
        for (const auto& address : allowed_.v4)
            code_.jumpIfWord(BPF_JEQ, r0, address.s_addr, pass_);
        code_.jump(drop_);
    }

    void checkIp6() {
        auto known = code_.label();
        fetch(ipHeader + 8, 16);
        for (const auto& address : allowed_.v6)
            ifAddress(0, address, known);
        if (kind_ == PacketGuard::Kind::Address) {
            auto unspecified = code_.label();
            ifAddress(0, in6addr_any, unspecified);
            code_.jump(drop_);
            code_.place(unspecified);
            checkUnspecified();
        }
        code_.jump(drop_);
        code_.place(known);
        if (kind_ == PacketGuard::Kind::Address)
            checkNext();
        code_.jump(pass_);
    }

    /** Without an address one may ask whether somebody has it, and tell of multicast groups. */
    void checkUnspecified() {
        auto notIcmp = code_.label();
        fetch(ipHeader + 6, 1);
        unless(Width::Byte, 0, IPPROTO_ICMPV6, notIcmp);
        fetch(afterIp6, 1);
        unless(Width::Byte, 0, ND_NEIGHBOR_SOLICIT, drop_);
        code_.jump(pass_);
        code_.place(notIcmp);
        unless(Width::Byte, 0, IPPROTO_HOPOPTS, drop_);
        checkMulticastReport();
    }

    /** A header with options is that of a multicast report, or hides something. */
    void checkMulticastReport() {
        fetch(afterIp6, 9);
        unless(Width::Half, 0, half("\x3a\x00"), drop_); // ICMPv6 follows after 8 bytes
        load(Width::Byte, 8);
        for (uint32_t type : {MLD_LISTENER_REPORT, MLD_LISTENER_REDUCTION, 143})
            code_.jumpIfWord(BPF_JEQ, r0, type, pass_);
        code_.jump(drop_);
    }

    /** Of neighbour discovery: no routers, and answers for the container's own addresses only. */
    void checkNext() {
        auto notOptions = code_.label(), icmp = code_.label();
        fetch(ipHeader + 6, 1);
        unless(Width::Byte, 0, IPPROTO_HOPOPTS, notOptions);
        checkMulticastReport();
        code_.place(notOptions);
        for (uint32_t header : {IPPROTO_ROUTING, IPPROTO_DSTOPTS, IPPROTO_MH})
            code_.jumpIfWord(BPF_JEQ, r0, header, drop_);
        code_.jumpIfWord(BPF_JEQ, r0, IPPROTO_ICMPV6, icmp);
        code_.jump(pass_);
        code_.place(icmp);
        fetch(afterIp6, 1);
        load(Width::Byte, 0);
        for (uint32_t type : {ND_ROUTER_ADVERT, ND_REDIRECT})
            code_.jumpIfWord(BPF_JEQ, r0, type, drop_);
        code_.jumpIfWord(BPF_JNE, r0, ND_NEIGHBOR_ADVERT, pass_);
        fetch(afterIp6 + 8, 16);
        for (const auto& address : allowed_.v6)
            ifAddress(0, address, pass_);
        code_.jump(drop_);
    }

    PacketGuard::Kind kind_;
    Allowed allowed_;
    Code code_;
    Label drop_ = code_.label(), pass_ = code_.label();
};

std::optional<MacBytes> parseMac(const std::string& text) {
    MacBytes bytes{};
    auto parts = split(text, ':');
    if (parts.size() != bytes.size())
        return {};
    for (size_t i = 0; i < bytes.size(); ++i) {
        auto value = parseNumber<unsigned>(parts[i], 16);
        if (!value || *value > 255)
            return {};
        bytes[i] = static_cast<uint8_t>(*value);
    }
    return bytes;
}

/** The address that IPv6 gives itself on a link by its hardware address. */
in6_addr linkLocal(const MacBytes& mac) {
    in6_addr address{};
    uint8_t bytes[16] = {
        0xfe,   0x80,   0,    0,    0,      0,      0,     0, static_cast<uint8_t>(mac[0] ^ 2),
        mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]};
    std::memcpy(&address, bytes, sizeof address);
    return address;
}

Result<Allowed> allowedBy(const PacketGuard& guard) {
    Allowed allowed;
    if (guard.kind != PacketGuard::Kind::Routed) {
        auto mac = parseMac(guard.mac);
        if (!mac)
            return fail(ErrorCode::InvalidArg, "'", guard.mac, "' is not a MAC address");
        allowed.mac = *mac;
    }
    if (guard.kind == PacketGuard::Kind::Address)
        allowed.v6.push_back(linkLocal(allowed.mac));
    if (guard.addresses.size() > PacketGuard::mostAddresses)
        return fail(ErrorCode::InvalidArg, "an interface can be restricted to ", PacketGuard::mostAddresses,
                    " addresses, not to ", guard.addresses.size());
    for (const auto& text : guard.addresses) {
        in_addr v4;
        in6_addr v6;
        if (::inet_pton(AF_INET, text.c_str(), &v4) == 1)
            allowed.v4.push_back(v4);
        else if (::inet_pton(AF_INET6, text.c_str(), &v6) == 1)
            allowed.v6.push_back(v6);
        else
            return fail(ErrorCode::InvalidArg, "'", text, "' is not an IP address");
    }
    return allowed;
}

} // namespace

Result<UniqueFd> loadPacketGuard(const PacketGuard& guard) {
    VZ_TRY(auto allowed, allowedBy(guard));
    return bpf::load(guardKind, "vz_guard", GuardProgram(guard.kind, std::move(allowed)).build());
}

Result<void> setPacketGuard(const std::string& hostName, const PacketGuard& guard) {
    VZ_TRY(auto program, loadPacketGuard(guard));
    VZ_TRY(auto socket, RtSocket::open());
    VZ_TRY(int index, socket.needIndex(hostName));
    auto what = cat("cannot guard the interface ", hostName);
    VZ_CHECK(openIngress(socket, index, what));
    auto message = filterMessage(RTM_NEWTFILTER, NLM_F_CREATE, index, FilterPlace::Guard, 1);
    message.text(TCA_KIND, "bpf");
    auto options = message.begin(TCA_OPTIONS);
    message.put(TCA_BPF_FD, static_cast<uint32_t>(program.get()));
    message.text(TCA_BPF_NAME, "vz-guard");
    message.put(TCA_BPF_FLAGS, static_cast<uint32_t>(TCA_BPF_FLAG_ACT_DIRECT));
    message.end(options);
    VZ_TRY(auto set, socket.ask(message));
    if (!set)
        return kernelLacks(set, "cls_bpf", what);
    return {};
}

Result<void> removePacketGuard(const std::string& hostName) {
    VZ_TRY(auto socket, RtSocket::open());
    VZ_TRY(int index, socket.needIndex(hostName));
    return removeFilter(socket, index, FilterPlace::Guard, cat("cannot stop guarding ", hostName));
}

} // namespace vz::ct
