// SPDX-License-Identifier: LGPL-2.1-or-later
// Buffers of a container's sockets: what its programs ask for is cut to the most that a socket may have.
// Those that do not ask get the network namespace's own limits, which are set beside this and cannot be
// raised inside (TCP), are told when they are first used (UDP), or have what the host gives (all others).
#include "base/file.hpp"
#include "ct/bpf.hpp"
#include "ct/cgroup_internal.hpp"

#include <algorithm>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <span>
#include <sys/socket.h>
#include <utility>

namespace vz::ct::cgroups {

namespace {

using namespace bpf;

constexpr ProgramKind optionKind{BPF_PROG_TYPE_CGROUP_SOCKOPT, BPF_CGROUP_SETSOCKOPT};
constexpr ProgramKind settingKind{BPF_PROG_TYPE_CGROUP_SYSCTL, BPF_CGROUP_SYSCTL};
constexpr const char* optionName = "vz_sock_option";
constexpr const char* settingName = "vz_sock_setting";
constexpr const char* datagramName = "vz_sock_udp";
constexpr const char* capsName = "vz_sock_caps";

/** The most that a socket may ask for by setsockopt(2); the kernel takes twice that. */
struct Caps {
    uint64_t send, receive, otherSend, otherReceive;
};
constexpr uint64_t none = UINT32_MAX;

/** On to @p send and @p receive, if the option in r1 is about such a buffer. */
void chooseBuffer(Code& code, Label send, Label receive) {
    for (int option : {SO_SNDBUF, SO_SNDBUFFORCE})
        code.jumpIf(BPF_JEQ, r1, option, send);
    for (int option : {SO_RCVBUF, SO_RCVBUFFORCE})
        code.jumpIf(BPF_JEQ, r1, option, receive);
}

Code optionProgram(const UniqueFd& caps) {
    Code code;
    auto pass = code.label(), cut = code.label();
    auto inet = code.label(), tcp = code.label(), other = code.label();
    auto send = code.label(), receive = code.label();
    auto otherSend = code.label(), otherReceive = code.label();
    code.copy(r6, r1);
    code.load(Width::Word, r1, r6, offsetof(bpf_sockopt, level));
    code.jumpIf(BPF_JNE, r1, SOL_SOCKET, pass);
    code.load(Width::Double, r7, r6, offsetof(bpf_sockopt, sk));
    code.load(Width::Word, r1, r6, offsetof(bpf_sockopt, optname));
    // The numbers of protocols are each family's own.
    code.load(Width::Word, r2, r7, offsetof(bpf_sock, family));
    for (int family : {AF_INET, AF_INET6})
        code.jumpIf(BPF_JEQ, r2, family, inet);
    code.jump(other);
    code.place(inet);
    code.load(Width::Word, r2, r7, offsetof(bpf_sock, protocol));
    for (int protocol : {IPPROTO_TCP, IPPROTO_MPTCP})
        code.jumpIf(BPF_JEQ, r2, protocol, tcp);
    code.place(other);
    chooseBuffer(code, otherSend, otherReceive);
    code.jump(pass);
    code.place(tcp);
    chooseBuffer(code, send, receive);
    code.jump(pass);
    for (auto [label, offset] :
         {std::pair(send, offsetof(Caps, send)), std::pair(receive, offsetof(Caps, receive)),
          std::pair(otherSend, offsetof(Caps, otherSend)),
          std::pair(otherReceive, offsetof(Caps, otherReceive))}) {
        code.place(label);
        code.mapValue(r8, caps.get(), offset);
        code.jump(cut);
    }
    code.place(cut);
    code.load(Width::Double, r5, r8, 0);
    code.load(Width::Double, r2, r6, offsetof(bpf_sockopt, optval));
    code.load(Width::Double, r3, r6, offsetof(bpf_sockopt, optval_end));
    code.copy(r4, r2);
    code.compute(BPF_ADD, r4, sizeof(int));
    code.jumpIf(BPF_JGT, r4, r3, pass);
    code.load(Width::Word, r1, r2, 0);
    code.jumpIf(BPF_JLE, r1, r5, pass);
    code.store(Width::Word, r2, 0, r5);
    code.place(pass);
    code.exit(1);
    return code;
}

/** Where a socket of UDP comes by before anything can reach it, or leave it. */
constexpr ProgramKind datagramKinds[] = {{BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_BIND},
                                         {BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_BIND},
                                         {BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT},
                                         {BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET6_CONNECT},
                                         {BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_UDP4_SENDMSG},
                                         {BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_UDP6_SENDMSG}};

/** Gives it the buffers that it may have: what the host has for all sockets is no setting of a namespace. */
Code datagramProgram(const UniqueFd& caps) {
    Code code;
    auto end = code.label();
    code.copy(r6, r1);
    code.load(Width::Word, r1, r6, offsetof(bpf_sock_addr, protocol));
    code.jumpIf(BPF_JNE, r1, IPPROTO_UDP, end);
    for (auto [option, offset] : {std::pair(SO_SNDBUF, offsetof(Caps, otherSend)),
                                  std::pair(SO_RCVBUF, offsetof(Caps, otherReceive))}) {
        auto next = code.label();
        code.mapValue(r8, caps.get(), offset);
        code.load(Width::Double, r1, r8, 0);
        code.jumpIf(BPF_JGT, r1, INT32_MAX, next);
        code.store(Width::Word, r10, -8, r1);
        code.copy(r1, r6);
        code.set(r2, SOL_SOCKET);
        code.set(r3, option);
        code.copy(r4, r10);
        code.compute(BPF_ADD, r4, -8);
        code.set(r5, sizeof(int));
        code.call(BPF_FUNC_setsockopt);
        code.place(next);
    }
    code.place(end);
    code.exit(1);
    return code;
}

uint64_t word(const char (&text)[9]) {
    uint64_t value = 0;
    std::memcpy(&value, text, sizeof value);
    return value;
}

/** No writing to net/ipv4/tcp_wmem and tcp_rmem. */
Code settingProgram() {
    constexpr int room = 24, at = -room;
    Code code;
    auto pass = code.label(), named = code.label();
    code.load(Width::Word, r2, r1, offsetof(bpf_sysctl, write));
    code.jumpIf(BPF_JEQ, r2, 0, pass);
    code.set(r2, 0);
    for (int i = 0; i < room; i += 8)
        code.store(Width::Double, r10, at + i, r2);
    code.copy(r2, r10);
    code.compute(BPF_ADD, r2, at);
    code.set(r3, room);
    code.set(r4, 0);
    code.call(BPF_FUNC_sysctl_get_name);
    code.load(Width::Double, r1, r10, at);
    code.constant(r2, word("net/ipv4"));
    code.jumpIf(BPF_JNE, r1, r2, pass);
    code.load(Width::Half, r1, r10, at + 16);
    code.jumpIf(BPF_JNE, r1, 'm', pass); // and the end of the text
    code.load(Width::Double, r1, r10, at + 8);
    code.constant(r2, word("/tcp_wme"));
    code.jumpIf(BPF_JEQ, r1, r2, named);
    code.constant(r2, word("/tcp_rme"));
    code.jumpIf(BPF_JNE, r1, r2, pass);
    code.place(named);
    code.exit(0);
    code.place(pass);
    code.exit(1);
    return code;
}

/** Puts the programs of some kinds on the group, or takes them off. */
Result<void> keep(int group, std::span<const ProgramKind> kinds, const char* name, bool wanted,
                  const Code& code) {
    for (const auto& kind : kinds) {
        VZ_TRY(auto there, find(group, kind, name));
        if (wanted && !there)
            VZ_CHECK(put(group, kind, name, code));
        else if (!wanted && there)
            VZ_CHECK(detach(group, kind, *there));
    }
    return {};
}

/** The program for options is there as long as any limit is; all have the same map. */
Result<UniqueFd> ensureCaps(int group) {
    VZ_TRY(auto there, find(group, optionKind, optionName));
    if (there)
        return mapOf(*there, capsName);
    VZ_TRY(auto caps, makeArray(capsName, sizeof(Caps)));
    // Until they are known all may be asked for.
    Caps unlimited{none, none, none, none};
    VZ_CHECK(writeArray(caps.get(), std::as_bytes(std::span(&unlimited, 1))));
    VZ_CHECK(put(group, optionKind, optionName, optionProgram(caps)));
    return caps;
}

} // namespace

Result<void> limitBuffers(int group, const BufferLimits& limits) {
    bool tcp = limits.send || limits.receive, other = limits.otherSend || limits.otherReceive;
    UniqueFd map;
    if (tcp || other) {
        VZ_TRY(map, ensureCaps(group));
        auto cap = [](uint64_t bytes) { return bytes ? std::min(bytes / 2, none) : none; };
        Caps caps{cap(limits.send), cap(limits.receive), cap(limits.otherSend), cap(limits.otherReceive)};
        VZ_CHECK(writeArray(map.get(), std::as_bytes(std::span(&caps, 1))));
    }
    VZ_CHECK(keep(group, {&settingKind, 1}, settingName, tcp, settingProgram()));
    VZ_CHECK(keep(group, datagramKinds, datagramName, other, other ? datagramProgram(map) : Code()));
    return tcp || other ? Result<void>() : keep(group, {&optionKind, 1}, optionName, false, Code());
}

bool datagramsLimited(const std::string& group) {
    auto dir = file::open(group, O_RDONLY | O_DIRECTORY);
    return dir && std::ranges::all_of(datagramKinds, [&](const auto& kind) {
               auto there = find(dir->get(), kind, datagramName);
               return there && *there;
           });
}

} // namespace vz::ct::cgroups
