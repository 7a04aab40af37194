// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/cgroup.hpp"

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

/**
 * The resource parameters of OpenVZ (user_beancounters): what they are called and counted in, and how a stock
 * kernel holds them. Sources: OpenVZ's UBC documentation and libvzctl; for each mechanism the kernel's own
 * (Documentation/admin-guide/cgroup-v1, cgroup-v2.rst, filesystems/devpts.rst, getrlimit(2)).
 */
namespace vz::ct {

/** Barrier and limit; which of them counts, and what happens between them, is each counter's own. */
struct Beancounter {
    static constexpr uint64_t unlimited = INT64_MAX; ///< LONG_MAX, as OpenVZ writes it

    uint64_t barrier = unlimited, limit = unlimited;

    bool operator==(const Beancounter&) const = default;
};

/** By name; only those that somebody has set. */
using Beancounters = std::map<std::string, Beancounter, std::less<>>;

enum class CounterUnit : uint8_t { Items, Bytes, Pages };

/** When a change takes effect. */
enum class CounterChange : uint8_t { Live, Restart };

struct CounterInfo {
    const char* name;
    CounterUnit unit;
    bool same;    ///< barrier and limit have to be the same
    bool noLimit; ///< a guarantee: only the barrier means something, the limit is unlimited
    CounterChange change;
};

/** All 21, in the order of /proc/user_beancounters, swappages last. */
std::span<const CounterInfo> counters();
const CounterInfo* counterNamed(std::string_view name);

/** InvalidArg naming the counter if one is unknown, or its values contradict each other. */
Result<void> checkBeancounters(const Beancounters& set);

/** ConfigUnsupported, with figures, if counters that go together contradict each other so that OpenVZ holds
 * a container with them for unusable. Not where RAM is limited (VSwap): there the rules do not apply. */
Result<void> checkConsistent(const Beancounters& set);

/** What does not fit together in a set that can be used all the same: a sentence each. Counters that are not
 * set, or have no limit, are not compared. */
std::vector<std::string> counterFindings(const Beancounters& set);

/** How far a counter is held on this host for one container. */
enum class CounterState : uint8_t {
    Enforced,    ///< the kernel refuses at the limit, for the sum over the container
    Gated,       ///< nothing more is begun at the limit; what was just beginning may still come over it
    Bounded,     ///< other limits keep the sum below a bound
    Guarantee,   ///< no limit: something is kept for the container
    Accounted,   ///< counted, not limited
    Unavailable, ///< neither: held is 0
};
const char* nameOf(CounterState state);

struct CounterStatus {
    const CounterInfo* info;
    uint64_t held = 0, maxHeld = 0; ///< in the counter's unit
    Beancounter set;
    uint64_t failures = 0; ///< failcnt; 0 where the kernel does not count
    CounterState state = CounterState::Unavailable;
    std::string mechanism; ///< what holds or counts it
};

/** What the kernel needs besides cgroups to hold the set: for the description of a start. */
struct CounterLimits {
    std::vector<ResourceLimit> rlimits;
    uint32_t maxPtys = 0;                   ///< 0: no limit
    std::optional<uint64_t> sharedMemPages; ///< kernel.shmall
    std::optional<int> oomScoreAdj;         ///< of each process; see proc(5)
    std::vector<CounterSetting> set;        ///< all of them, to be seen by the container
};
CounterLimits launchLimits(const Beancounters& set);

/** Those of sockets; a buffer's is what remains for each socket of numtcpsock. */
SocketLimits socketLimits(const Beancounters& set);

/** The limits of cgroups that the set asks for; those of @p limits that are stricter stay. */
void tighten(CgroupLimits& limits, const Beancounters& set);

/** The present figures of a running container. @p userNamespace: whether it has one of its own. Reads /proc
 * of each of its processes. */
std::vector<CounterStatus> counterStatus(const Beancounters& set, const Cgroup& group, pid_t init,
                                         bool userNamespace);
/** The same by what the cgroups have told; @p processes and @p init as /proc of this process has them. @p
 * init 0: of no container, only state and mechanism mean something. */
std::vector<CounterStatus> counterStatus(const Beancounters& set, const CounterFacts& group,
                                         const std::vector<pid_t>& processes, pid_t init, bool userNamespace);

} // namespace vz::ct
