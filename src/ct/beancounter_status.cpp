// SPDX-License-Identifier: LGPL-2.1-or-later
// What the kernel tells of a container's beancounters.
#include "base/file.hpp"
#include "base/mount_table.hpp"
#include "ct/beancounters.hpp"

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <linux/capability.h>
#include <unistd.h>

namespace vz::ct {

namespace {

/** Sums over the processes of a container, read in one pass. */
struct ProcessSums {
    uint64_t files = 0; ///< descriptors; those that processes share count for each
    uint64_t privatePages = 0;
    uint64_t lockedPages = 0;
};

uint64_t kilobytes(std::string_view status, std::string_view key) {
    auto value = field(status, key);
    return parseNumber<uint64_t>(value.substr(0, value.find(' '))).value_or(0);
}

ProcessSums sums(const std::vector<pid_t>& processes) {
    ProcessSums sums;
    auto pageKiB = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE)) / 1024;
    for (pid_t pid : processes) {
        // One that has ended meanwhile has nothing.
        if (auto names = file::list(cat("/proc/", pid, "/fd")))
            sums.files += names->size();
        auto status = file::read(cat("/proc/", pid, "/status"));
        if (!status)
            continue;
        sums.privatePages += (kilobytes(*status, "VmData") + kilobytes(*status, "VmStk")) / pageKiB;
        sums.lockedPages += kilobytes(*status, "VmLck") / pageKiB;
    }
    return sums;
}

/** Locks that processes of the container hold; those without a process (OFD) are not told apart. */
uint64_t locks(const std::vector<pid_t>& processes) {
    auto text = file::read("/proc/locks");
    if (!text)
        return 0;
    uint64_t count = 0;
    for (auto line : lines(*text)) {
        std::vector<std::string_view> parts;
        for (auto part : split(line, ' ')) {
            if (!part.empty())
                parts.push_back(part);
        }
        // "1: POSIX ADVISORY WRITE 1234 ...", or with "->" for one that waits
        if (parts.size() < 5 || parts[1] == "->")
            continue;
        auto pid = parseNumber<pid_t>(parts[4]);
        count += pid && std::ranges::find(processes, *pid) != processes.end();
    }
    return count;
}

/** The pending signals of all tasks of the user namespace's owner, who is root inside: "3/7000". */
uint64_t pendingSignals(pid_t init) {
    auto status = file::read(cat("/proc/", init, "/status"));
    if (!status)
        return 0;
    auto value = field(*status, "SigQ");
    return parseNumber<uint64_t>(value.substr(0, value.find('/'))).value_or(0);
}

/** The type of the file system that is on top at a place. */
std::string_view typeAt(const std::vector<MountEntry>& mounts, std::string_view place) {
    std::string_view type;
    for (const auto& mount : mounts) {
        if (mount.point == place)
            type = mount.type;
    }
    return type;
}

uint64_t ptys(pid_t init) {
    // What the container has mounted there itself might never answer.
    auto mounts = mountTable(init);
    if (!mounts || typeAt(*mounts, "/dev") != "tmpfs" || typeAt(*mounts, "/dev/pts") != "devpts")
        return 0;
    auto names = file::list(cat("/proc/", init, "/root/dev/pts"));
    if (!names)
        return 0;
    return static_cast<uint64_t>(
        std::ranges::count_if(*names, [](const auto& name) { return parseNumber<int>(name).has_value(); }));
}

struct Sockets {
    uint64_t tcp = 0, all = 0;
};

Sockets sockets(pid_t init) {
    Sockets sockets;
    auto value = [](std::string_view line, std::string_view key) -> uint64_t {
        auto parts = split(line, ' ');
        for (size_t i = 0; i + 1 < parts.size(); ++i) {
            if (parts[i] == key)
                return parseNumber<uint64_t>(parts[i + 1]).value_or(0);
        }
        return 0;
    };
    for (const char* name : {"sockstat", "sockstat6"}) {
        auto text = file::read(cat("/proc/", init, "/net/", name));
        if (!text)
            continue;
        for (auto line : lines(*text)) {
            if (line.starts_with("sockets:"))
                sockets.all = value(line, "used");
            else if (line.starts_with("TCP"))
                sockets.tcp += value(line, "inuse") + value(line, "tw");
        }
    }
    return sockets;
}

/** Bytes that wait in sockets of the container's network (proc(5), /proc/net/tcp). */
struct Queues {
    uint64_t send = 0, receive = 0;
};

uint64_t hexadecimal(std::string_view text) {
    uint64_t value = 0;
    (void)std::from_chars(text.data(), text.data() + text.size(), value, 16);
    return value;
}

void addQueues(Queues& queues, std::string_view line) {
    std::vector<std::string_view> parts;
    for (auto part : split(line, ' ')) {
        if (!part.empty())
            parts.push_back(part);
    }
    // Of a TCP socket that listens they count connections.
    constexpr size_t stateAt = 3, queuesAt = 4;
    auto colon = parts.size() > queuesAt ? parts[queuesAt].find(':') : std::string_view::npos;
    if (colon == std::string_view::npos || parts[stateAt] == "0A")
        return;
    queues.send += hexadecimal(parts[queuesAt].substr(0, colon));
    queues.receive += hexadecimal(parts[queuesAt].substr(colon + 1));
}

Queues queuesOf(pid_t init, std::initializer_list<const char*> tables) {
    Queues queues;
    for (const char* name : tables) {
        auto text = file::read(cat("/proc/", init, "/net/", name));
        if (!text)
            continue;
        for (auto line : lines(*text))
            addQueues(queues, line);
    }
    return queues;
}

std::optional<int> scoreOf(pid_t init) {
    auto text = file::read(cat("/proc/", init, "/oom_score_adj"));
    return text ? parseNumber<int>(trim(*text)) : std::nullopt;
}

/** Whether this process may keep others from being killed: CAP_SYS_RESOURCE. */
bool mayLowerScore() {
    auto status = file::read("/proc/self/status");
    return status && (hexadecimal(field(*status, "CapEff")) >> CAP_SYS_RESOURCE & 1) != 0;
}

/** Everything that is read once for all counters. */
struct Facts {
    CounterFacts group;
    ProcessSums sums;
    uint64_t locks, signals, ptys;
    Sockets sockets;
    Queues tcp, datagrams;
    std::optional<int> score, wantedScore; ///< oom_score_adj of init
    SocketLimits socketLimits;
    bool userNamespace;
    bool ofHost; ///< of no container: what is asked is not how much
};

/** The part of a limit that one socket gets. */
std::string part(const Facts& facts, uint64_t bytes) {
    return facts.ofHost ? "its part" : cat(bytes, " bytes");
}

using State = CounterState;

/** What keeps the OOM killer off; empty if nothing does. */
std::string killGuarantee(const Facts& facts) {
    if (!facts.wantedScore)
        return mayLowerScore() ? "oom_score_adj of each process" : "";
    bool held = facts.score && *facts.score <= *facts.wantedScore;
    return held ? cat("oom_score_adj ", *facts.wantedScore, " of each process") : "";
}

void holdsMemory(CounterStatus& status, std::string_view name, const Facts& facts) {
    const auto& group = facts.group;
    auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    auto set = [&](uint64_t held, uint64_t peak, uint64_t failures, State state,
                   const std::string& mechanism) {
        status.held = held;
        status.maxHeld = std::max(held, peak);
        status.failures = failures;
        status.state = mechanism.empty() ? State::Unavailable : state;
        status.mechanism = mechanism;
    };
    if (name == "physpages")
        set(group.memory / page, group.memoryPeak / page, group.memoryFailures, State::Enforced,
            group.memoryFile);
    else if (name == "swappages")
        set(group.swap / page, group.swapPeak / page, group.swapFailures, State::Enforced, group.swapFile);
    else if (name == "kmemsize")
        set(group.kernel, group.kernelPeak, 0, State::Accounted, group.kernelFile);
    else if (name == "dcachesize")
        set(group.reclaimableSlab, 0, 0, State::Accounted, group.slabFile);
    else if (name == "shmpages")
        set(group.shared / page, 0, 0, State::Bounded,
            group.memoryFile.empty() ? "" : "kernel.shmall for System V, the memory limit for the rest");
    else if (name == "vmguarpages")
        set(0, 0, 0, State::Guarantee, group.guaranteeFile);
    else if (name == "oomguarpages")
        set((group.memory + group.swap) / page, 0, 0, State::Guarantee, killGuarantee(facts));
    if (status.state == State::Unavailable)
        status.held = status.maxHeld = status.failures = 0;
}

void holdsItems(CounterStatus& status, std::string_view name, const Facts& facts) {
    auto set = [&](uint64_t held, State state, const char* mechanism) {
        status.held = status.maxHeld = held;
        status.state = state;
        status.mechanism = mechanism;
    };
    if (name == "numproc" && facts.group.hasPids) {
        set(facts.group.pids, State::Enforced, "pids.max");
        status.maxHeld = std::max(facts.group.pids, facts.group.pidsPeak);
        status.failures = facts.group.pidsFailures;
    } else if (name == "numfile")
        set(facts.sums.files, State::Bounded, "RLIMIT_NOFILE of each process");
    else if (name == "privvmpages")
        set(facts.sums.privatePages, State::Bounded, "RLIMIT_DATA of each process");
    else if (name == "lockedpages")
        set(facts.sums.lockedPages, State::Bounded, "RLIMIT_MEMLOCK of each process");
    else if (name == "numflock")
        set(facts.locks, State::Accounted, "/proc/locks");
    else if (name == "numpty")
        set(facts.ptys, State::Enforced, "max of devpts");
    else if (name == "numsiginfo" && facts.userNamespace)
        set(facts.signals, State::Enforced, "RLIMIT_SIGPENDING of the user namespace");
    else if (name == "numsiginfo")
        set(facts.signals, State::Bounded, "RLIMIT_SIGPENDING of each user");
    else if (name == "numtcpsock" && facts.group.hasSockets) {
        set(facts.group.tcpSockets.held, State::Gated, "BPF: refuses socket(), and connections that come in");
        status.maxHeld = facts.group.tcpSockets.most;
        status.failures = facts.group.tcpSockets.refused;
    } else if (name == "numothersock" && facts.group.hasSockets) {
        set(facts.sockets.all - std::min(facts.sockets.all, facts.sockets.tcp), State::Accounted,
            "/proc/net/sockstat; BPF limits those of the internet protocols");
        status.failures = facts.group.otherSockets.refused;
    } else if (name == "numtcpsock")
        set(facts.sockets.tcp, State::Accounted, "/proc/net/sockstat");
    else if (name == "numothersock")
        set(facts.sockets.all - std::min(facts.sockets.all, facts.sockets.tcp), State::Accounted,
            "/proc/net/sockstat");
}

void holdsBuffers(CounterStatus& status, std::string_view name, const Facts& facts) {
    bool send = name == "tcpsndbuf";
    if (!send && name != "tcprcvbuf")
        return;
    status.held = status.maxHeld = send ? facts.tcp.send : facts.tcp.receive;
    auto each = send ? facts.socketLimits.buffers.send : facts.socketLimits.buffers.receive;
    bool bounded = each && facts.group.hasSockets;
    status.state = bounded ? State::Bounded : State::Accounted;
    status.mechanism = bounded ? cat(send ? "tcp_wmem" : "tcp_rmem", " and BPF: ", part(facts, each),
                                     " for each of numtcpsock")
                               : "/proc/net/tcp";
}

/** Local sockets are neither counted by the programs nor told with what they hold, so their sum has no bound.
 */
void holdsDatagrams(CounterStatus& status, std::string_view name, const Facts& facts) {
    bool send = name == "othersockbuf";
    if (!send && name != "dgramrcvbuf")
        return;
    status.held = status.maxHeld = send ? facts.datagrams.send : facts.datagrams.receive;
    auto each = send ? facts.socketLimits.buffers.otherSend : facts.socketLimits.buffers.otherReceive;
    bool cut = each && facts.group.hasDatagrams;
    status.state = cut && !send ? State::Bounded : State::Accounted;
    status.mechanism = !cut   ? "/proc/net/udp"
                       : send ? cat("/proc/net/udp; BPF gives each socket ", part(facts, each))
                              : cat("BPF: ", part(facts, each), " for each UDP socket of numothersock");
}

} // namespace

std::vector<CounterStatus> counterStatus(const Beancounters& set, const Cgroup& group, pid_t init,
                                         bool userNamespace) {
    return counterStatus(set, group.counterFacts(), group.processes().valueOr({}), init, userNamespace);
}

std::vector<CounterStatus> counterStatus(const Beancounters& set, const CounterFacts& group,
                                         const std::vector<pid_t>& processes, pid_t init,
                                         bool userNamespace) {
    Facts facts{group,
                sums(processes),
                locks(processes),
                pendingSignals(init),
                ptys(init),
                sockets(init),
                queuesOf(init, {"tcp", "tcp6"}),
                queuesOf(init, {"udp", "udp6"}),
                scoreOf(init),
                launchLimits(set).oomScoreAdj,
                socketLimits(set),
                userNamespace,
                init == 0};
    std::vector<CounterStatus> out;
    for (const auto& info : counters()) {
        CounterStatus status{.info = &info};
        if (auto found = set.find(info.name); found != set.end())
            status.set = found->second;
        holdsMemory(status, info.name, facts);
        holdsItems(status, info.name, facts);
        holdsBuffers(status, info.name, facts);
        holdsDatagrams(status, info.name, facts);
        out.push_back(std::move(status));
    }
    return out;
}

} // namespace vz::ct
