// SPDX-License-Identifier: LGPL-2.1-or-later
// Internet sockets of a container: counted, and refused at a limit, by BPF programs on its cgroup2 group. A
// socket that counts carries a mark, so that those from before, or of others, are not taken off. Sockets that
// accept(2) gives are not made by a program of the container: they count from the moment they are connected,
// and at the limit no more requests for a connection are let in.
#include "base/file.hpp"
#include "base/log.hpp"
#include "ct/bpf.hpp"
#include "ct/cgroup_internal.hpp"

#include <cerrno>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <netinet/in.h>

namespace vz::ct::cgroups {

namespace {

using namespace bpf;

constexpr ProgramKind createKind{BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET_SOCK_CREATE};
constexpr ProgramKind releaseKind{BPF_PROG_TYPE_CGROUP_SOCK, BPF_CGROUP_INET_SOCK_RELEASE};
constexpr ProgramKind stateKind{BPF_PROG_TYPE_SOCK_OPS, BPF_CGROUP_SOCK_OPS};
constexpr ProgramKind gateKind{BPF_PROG_TYPE_CGROUP_SKB, BPF_CGROUP_INET_INGRESS};

constexpr const char* createName = "vz_sock_new";
constexpr const char* releaseName = "vz_sock_end";
constexpr const char* stateName = "vz_sock_state";
constexpr const char* gateName = "vz_sock_gate";
constexpr const char* countsName = "vz_sock_counts";
constexpr const char* limitsName = "vz_sock_limits";
constexpr const char* marksName = "vz_sock_marks";

/** What the programs write. */
struct Counts {
    SocketCount tcp, other;
};
/** What they obey. */
struct Limits {
    uint64_t tcp, other;
};

/** The marks of sockets: made by the container, or accepted. */
constexpr int32_t made = 1, accepted = 2;

struct Maps {
    UniqueFd counts, limits, marks;
};

constexpr int heldAt = offsetof(SocketCount, held), mostAt = offsetof(SocketCount, most),
              refusedAt = offsetof(SocketCount, refused);

/** Puts the addresses of a counter into r7 and of its limit into r8, by the protocol in r2. */
void choose(Code& code, const Maps& maps) {
    auto tcp = code.label(), chosen = code.label();
    code.jumpIf(BPF_JEQ, r2, IPPROTO_TCP, tcp);
    code.jumpIf(BPF_JEQ, r2, IPPROTO_MPTCP, tcp);
    code.mapValue(r7, maps.counts.get(), offsetof(Counts, other));
    code.mapValue(r8, maps.limits.get(), offsetof(Limits, other));
    code.jump(chosen);
    code.place(tcp);
    code.mapValue(r7, maps.counts.get(), offsetof(Counts, tcp));
    code.mapValue(r8, maps.limits.get(), offsetof(Limits, tcp));
    code.place(chosen);
}

/** Adds to a number of the counter in r7; uses r1. */
void count(Code& code, int at, int32_t what) {
    code.set(r1, what);
    code.atomic(BPF_ADD, Width::Double, r7, at, r1);
}

/** Takes one more into the counter in r7; r1: how many that are. */
void takeOne(Code& code) {
    code.set(r1, 1);
    code.atomic(BPF_ADD | BPF_FETCH, Width::Double, r7, heldAt, r1);
    code.compute(BPF_ADD, r1, 1);
}

/** Keeps the most of r1. */
void noteMost(Code& code) {
    auto done = code.label();
    code.load(Width::Double, r2, r7, mostAt);
    code.jumpIf(BPF_JLE, r1, r2, done);
    code.store(Width::Double, r7, mostAt, r1);
    code.place(done);
}

/** The address of the mark of the socket in r2 into r0, or 0; r1 to r5 are lost. */
void findMark(Code& code, const Maps& maps, bool make) {
    code.map(r1, maps.marks.get());
    code.set(r3, 0);
    code.set(r4, make ? BPF_LOCAL_STORAGE_GET_F_CREATE : 0);
    code.call(BPF_FUNC_sk_storage_get);
}

/** Marks the socket in r2, which has been taken into the counter in r7; without memory for that it does not
 * count. */
void mark(Code& code, const Maps& maps, int32_t value) {
    auto failed = code.label(), done = code.label();
    findMark(code, maps, true);
    code.jumpIf(BPF_JEQ, r0, 0, failed);
    code.set(r1, value);
    code.store(Width::Word, r0, 0, r1);
    code.jump(done);
    code.place(failed);
    count(code, heldAt, -1);
    code.place(done);
}

/** A socket that loses its mark no longer counts; r0 has the mark's address. */
void takeOff(Code& code) {
    auto none = code.label();
    code.set(r1, 0);
    code.atomic(BPF_XCHG, Width::Word, r0, 0, r1);
    code.jumpIf(BPF_JEQ, r1, 0, none);
    count(code, heldAt, -1);
    code.place(none);
}

Code createProgram(const Maps& maps) {
    Code code;
    auto refuse = code.label();
    code.copy(r6, r1);
    code.load(Width::Word, r2, r6, offsetof(bpf_sock, protocol));
    choose(code, maps);
    takeOne(code);
    code.load(Width::Double, r2, r8, 0);
    code.jumpIf(BPF_JGT, r1, r2, refuse);
    noteMost(code);
    code.copy(r2, r6);
    mark(code, maps, made);
    code.exit(1);
    code.place(refuse);
    count(code, heldAt, -1);
    count(code, refusedAt, 1);
    code.set(r1, -ENOBUFS); // as OpenVZ
    code.call(BPF_FUNC_set_retval);
    code.exit(0);
    return code;
}

Code releaseProgram(const Maps& maps) {
    Code code;
    auto unmarked = code.label();
    code.copy(r6, r1);
    code.load(Width::Word, r2, r6, offsetof(bpf_sock, protocol));
    choose(code, maps);
    code.copy(r2, r6);
    findMark(code, maps, false);
    code.jumpIf(BPF_JEQ, r0, 0, unmarked);
    takeOff(code);
    code.place(unmarked);
    code.exit(1);
    return code;
}

/** Connections that come in, and those of them that end before anybody has accepted them. */
Code stateProgram(const Maps& maps) {
    Code code;
    auto end = code.label(), connected = code.label();
    code.copy(r6, r1);
    code.mapValue(r7, maps.counts.get(), offsetof(Counts, tcp));
    code.load(Width::Word, r1, r6, offsetof(bpf_sock_ops, op));
    code.jumpIf(BPF_JEQ, r1, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, connected);
    code.jumpIf(BPF_JNE, r1, BPF_SOCK_OPS_STATE_CB, end);
    code.load(Width::Word, r1, r6, offsetof(bpf_sock_ops, args[1]));
    code.jumpIf(BPF_JNE, r1, BPF_TCP_CLOSE, end);
    code.load(Width::Double, r2, r6, offsetof(bpf_sock_ops, sk));
    code.jumpIf(BPF_JEQ, r2, 0, end);
    findMark(code, maps, false);
    code.jumpIf(BPF_JEQ, r0, 0, end);
    code.load(Width::Word, r1, r0, 0);
    code.jumpIf(BPF_JNE, r1, accepted, end);
    takeOff(code);
    code.jump(end);
    code.place(connected);
    code.load(Width::Double, r8, r6, offsetof(bpf_sock_ops, sk));
    code.jumpIf(BPF_JEQ, r8, 0, end);
    takeOne(code);
    noteMost(code);
    code.copy(r2, r8);
    mark(code, maps, accepted);
    code.load(Width::Word, r2, r6, offsetof(bpf_sock_ops, bpf_sock_ops_cb_flags));
    code.compute(BPF_OR, r2, BPF_SOCK_OPS_STATE_CB_FLAG);
    code.copy(r1, r6);
    code.call(BPF_FUNC_sock_ops_cb_flags_set);
    code.place(end);
    code.exit(1);
    return code;
}

/** Loads a byte of the packet of the context in r6, at the offset in r2, into r1; else on to @p otherwise. */
void loadByte(Code& code, Label otherwise) {
    code.copy(r1, r6);
    code.copy(r3, r10);
    code.compute(BPF_ADD, r3, -8);
    code.set(r4, 1);
    code.call(BPF_FUNC_skb_load_bytes);
    code.jumpIf(BPF_JNE, r0, 0, otherwise);
    code.load(Width::Byte, r1, r10, -8);
}

/** Lets no request for a connection in while there are as many sockets as there may be. */
Code gateProgram(const Maps& maps) {
    constexpr int32_t v4Protocol = 9, v6Protocol = 6, v6Length = 40; // RFC 791, RFC 8200
    constexpr int32_t tcpFlags = 13, syn = 0x02, synAck = 0x12;      // RFC 9293
    Code code;
    auto pass = code.label(), v6 = code.label(), tcp = code.label();
    code.copy(r6, r1);
    code.mapValue(r7, maps.counts.get(), offsetof(Counts, tcp));
    code.mapValue(r8, maps.limits.get(), offsetof(Limits, tcp));
    code.load(Width::Double, r1, r7, heldAt);
    code.load(Width::Double, r2, r8, 0);
    code.jumpIf(BPF_JLT, r1, r2, pass);
    code.load(Width::Word, r1, r6, offsetof(__sk_buff, protocol));
    code.jumpIf(BPF_JEQ, r1, htons(ETH_P_IPV6), v6);
    code.jumpIf(BPF_JNE, r1, htons(ETH_P_IP), pass);
    code.set(r2, v4Protocol);
    loadByte(code, pass);
    code.jumpIf(BPF_JNE, r1, IPPROTO_TCP, pass);
    code.set(r2, 0);
    loadByte(code, pass);
    code.compute(BPF_AND, r1, 15);
    code.compute(BPF_LSH, r1, 2);
    code.copy(r9, r1);
    code.jump(tcp);
    code.place(v6);
    code.set(r2, v6Protocol);
    loadByte(code, pass);
    code.jumpIf(BPF_JNE, r1, IPPROTO_TCP, pass);
    code.set(r9, v6Length);
    code.place(tcp);
    code.copy(r2, r9);
    code.compute(BPF_ADD, r2, tcpFlags);
    loadByte(code, pass);
    code.compute(BPF_AND, r1, synAck);
    code.jumpIf(BPF_JNE, r1, syn, pass);
    count(code, refusedAt, 1);
    code.exit(0);
    code.place(pass);
    code.exit(1);
    return code;
}

Result<Maps> makeMaps() {
    Maps maps;
    VZ_TRY(maps.counts, makeArray(countsName, sizeof(Counts)));
    VZ_TRY(maps.limits, makeArray(limitsName, sizeof(Limits)));
    VZ_TRY(maps.marks, makeSocketStorage(marksName));
    return maps;
}

/** The maps of a group's programs; those that are not there yet are made. The first to come is the last that
 * is looked for: a group that a daemon left half done gets the rest. */
Result<Maps> ensure(int group) {
    VZ_TRY(auto there, find(group, createKind, createName));
    if (there) {
        Maps maps;
        VZ_TRY(maps.counts, mapOf(*there, countsName));
        VZ_TRY(maps.limits, mapOf(*there, limitsName));
        VZ_TRY(maps.marks, mapOf(*there, marksName));
        return maps;
    }
    VZ_TRY(auto maps, makeMaps());
    VZ_CHECK(put(group, releaseKind, releaseName, releaseProgram(maps)));
    VZ_CHECK(put(group, stateKind, stateName, stateProgram(maps)));
    VZ_CHECK(put(group, createKind, createName, createProgram(maps)));
    return maps;
}

Result<void> setGate(int group, const Maps& maps, bool wanted) {
    VZ_TRY(auto there, find(group, gateKind, gateName));
    if (wanted && !there)
        return put(group, gateKind, gateName, gateProgram(maps));
    return !wanted && there ? detach(group, gateKind, *there) : Result<void>();
}

Result<void> set(const std::string& dir, const SocketLimits& wanted) {
    VZ_TRY(auto group, file::open(dir, O_RDONLY | O_DIRECTORY));
    VZ_TRY(auto maps, ensure(group.get()));
    Limits limits{wanted.tcp, wanted.other};
    VZ_CHECK(writeArray(maps.limits.get(), std::as_bytes(std::span(&limits, 1))));
    VZ_CHECK(setGate(group.get(), maps, wanted.tcp != SocketLimits::unlimited));
    return limitBuffers(group.get(), wanted.buffers);
}

Result<Counts> counts(const std::string& dir) {
    VZ_TRY(auto group, file::open(dir, O_RDONLY | O_DIRECTORY));
    VZ_TRY(auto there, find(group.get(), createKind, createName));
    if (!there)
        return fail(ErrorCode::OperationUnsupported, "nothing counts the sockets of ", dir);
    VZ_TRY(auto map, mapOf(*there, countsName));
    Counts found{};
    VZ_CHECK(readArray(map.get(), std::as_writable_bytes(std::span(&found, 1))));
    return found;
}

} // namespace

void limitSockets(const std::string& group, const std::string& name, const SocketLimits& limits) {
    auto done =
        group.empty() ? fail(ErrorCode::ConfigUnsupported, "there is no cgroup2 tree") : set(group, limits);
    if (done)
        return;
    auto say = limits == SocketLimits() ? log::info<std::string> : log::warning<std::string>;
    say(cat("sockets of ", name, " are neither counted nor limited: ", done.error().message()));
}

void addSockets(const std::string& group, CounterFacts& facts) {
    if (auto found = counts(group)) {
        facts.hasSockets = true;
        facts.hasDatagrams = datagramsLimited(group);
        facts.tcpSockets = found->tcp;
        facts.otherSockets = found->other;
    }
}

} // namespace vz::ct::cgroups
