// SPDX-License-Identifier: LGPL-2.1-or-later
// Buffers of a container's TCP sockets: what its programs ask for is cut to the most that a socket may have,
// and the network namespace's own limits, which are set beside this, cannot be raised inside.
#include "ct/bpf.hpp"
#include "ct/cgroup_internal.hpp"

#include <algorithm>
#include <cstring>
#include <netinet/in.h>
#include <sys/socket.h>

namespace vz::ct::cgroups {

namespace {

using namespace bpf;

constexpr ProgramKind optionKind{BPF_PROG_TYPE_CGROUP_SOCKOPT, BPF_CGROUP_SETSOCKOPT};
constexpr ProgramKind settingKind{BPF_PROG_TYPE_CGROUP_SYSCTL, BPF_CGROUP_SYSCTL};
constexpr const char* optionName = "vz_sock_option";
constexpr const char* settingName = "vz_sock_setting";
constexpr const char* capsName = "vz_sock_caps";

/** The most that setsockopt(2) may ask for; the kernel takes twice that. */
struct Caps {
    uint64_t send, receive;
};

Code optionProgram(const UniqueFd& caps) {
    Code code;
    auto pass = code.label(), send = code.label(), receive = code.label(), cut = code.label();
    code.copy(r6, r1);
    code.load(Width::Word, r1, r6, offsetof(bpf_sockopt, level));
    code.jumpIf(BPF_JNE, r1, SOL_SOCKET, pass);
    code.load(Width::Double, r1, r6, offsetof(bpf_sockopt, sk));
    code.load(Width::Word, r1, r1, offsetof(bpf_sock, protocol));
    auto tcp = code.label();
    code.jumpIf(BPF_JEQ, r1, IPPROTO_TCP, tcp);
    code.jumpIf(BPF_JNE, r1, IPPROTO_MPTCP, pass);
    code.place(tcp);
    code.load(Width::Word, r1, r6, offsetof(bpf_sockopt, optname));
    for (int option : {SO_SNDBUF, SO_SNDBUFFORCE})
        code.jumpIf(BPF_JEQ, r1, option, send);
    for (int option : {SO_RCVBUF, SO_RCVBUFFORCE})
        code.jumpIf(BPF_JEQ, r1, option, receive);
    code.jump(pass);
    code.place(send);
    code.mapValue(r8, caps.get(), offsetof(Caps, send));
    code.jump(cut);
    code.place(receive);
    code.mapValue(r8, caps.get(), offsetof(Caps, receive));
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

Result<void> take(int group, ProgramKind kind, const char* name) {
    VZ_TRY(auto there, find(group, kind, name));
    return there ? detach(group, kind, *there) : Result<void>();
}

Result<UniqueFd> ensureLimits(int group) {
    VZ_TRY(auto there, find(group, optionKind, optionName));
    if (there)
        return mapOf(*there, capsName);
    VZ_TRY(auto caps, makeArray(capsName, sizeof(Caps)));
    // Until they are known all may be asked for.
    Caps none{UINT32_MAX, UINT32_MAX};
    VZ_CHECK(writeArray(caps.get(), std::as_bytes(std::span(&none, 1))));
    VZ_TRY(auto guarded, find(group, settingKind, settingName));
    if (!guarded)
        VZ_CHECK(put(group, settingKind, settingName, settingProgram()));
    VZ_CHECK(put(group, optionKind, optionName, optionProgram(caps)));
    return caps;
}

} // namespace

Result<void> limitBuffers(int group, const BufferLimits& limits) {
    if (limits == BufferLimits()) {
        VZ_CHECK(take(group, optionKind, optionName));
        return take(group, settingKind, settingName);
    }
    VZ_TRY(auto map, ensureLimits(group));
    auto cap = [](uint64_t bytes) { return bytes ? std::min<uint64_t>(bytes / 2, UINT32_MAX) : UINT32_MAX; };
    Caps caps{cap(limits.send), cap(limits.receive)};
    return writeArray(map.get(), std::as_bytes(std::span(&caps, 1)));
}

} // namespace vz::ct::cgroups
