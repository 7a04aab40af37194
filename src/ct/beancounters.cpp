// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/beancounters.hpp"

#include <algorithm>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

namespace vz::ct {

namespace {

using enum CounterUnit;
using enum CounterChange;

constexpr CounterInfo table[] = {
    {"kmemsize", Bytes, false, false, Live},     {"lockedpages", Pages, false, false, Live},
    {"privvmpages", Pages, false, false, Live},  {"shmpages", Pages, true, false, Live},
    {"numproc", Items, true, false, Live},       {"physpages", Pages, false, false, Live},
    {"vmguarpages", Pages, false, true, Live},   {"oomguarpages", Pages, false, true, Live},
    {"numtcpsock", Items, true, false, Live},    {"numflock", Items, false, false, Live},
    {"numpty", Items, true, false, Live},        {"numsiginfo", Items, true, false, Restart},
    {"tcpsndbuf", Bytes, false, false, Live},    {"tcprcvbuf", Bytes, false, false, Live},
    {"othersockbuf", Bytes, false, false, Live}, {"dgramrcvbuf", Bytes, false, false, Live},
    {"numothersock", Items, true, false, Live},  {"dcachesize", Bytes, false, false, Live},
    {"numfile", Items, true, false, Live},       {"numiptent", Items, true, false, Live},
    {"swappages", Pages, false, false, Live},
};
static_assert(std::size(table) == 21);

uint64_t pageSize() {
    static const auto size = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    return size;
}

std::optional<uint64_t> limitOf(const Beancounters& set, std::string_view name) {
    auto found = set.find(name);
    if (found == set.end() || found->second.limit >= Beancounter::unlimited)
        return std::nullopt;
    return found->second.limit;
}

std::optional<uint64_t> pagesInBytes(std::optional<uint64_t> pages) {
    if (!pages)
        return std::nullopt;
    return *pages > unlimitedBytes / pageSize() ? unlimitedBytes : *pages * pageSize();
}

void lower(std::optional<uint64_t>& value, std::optional<uint64_t> limit) {
    if (limit)
        value = std::min(value.value_or(*limit), *limit);
}

/** Pages that the kernel's OOM killer reckons with: 1000 of its points. */
uint64_t pagesOfHost() {
    struct sysinfo info {};
    ::sysinfo(&info);
    return (uint64_t(info.totalram) + info.totalswap) * info.mem_unit / pageSize();
}

/** So many points less that each process is let off what is guaranteed. */
std::optional<int> scoreFor(const Beancounters& set) {
    constexpr uint64_t most = 999; // at 1000 nothing could be killed at all
    auto found = set.find("oomguarpages");
    // All that there is cannot be kept for one container; OpenVZ's configs write it where RAM is limited.
    if (found == set.end() || !found->second.barrier || found->second.barrier >= Beancounter::unlimited)
        return std::nullopt;
    auto all = pagesOfHost();
    auto pages = std::min(found->second.barrier, all);
    return all ? -static_cast<int>(std::min(pages * 1000 / all, most)) : 0;
}

} // namespace

std::span<const CounterInfo> counters() {
    return table;
}

const CounterInfo* counterNamed(std::string_view name) {
    auto found = std::ranges::find(table, name, [](const auto& info) { return std::string_view(info.name); });
    return found == std::end(table) ? nullptr : found;
}

Result<void> checkBeancounters(const Beancounters& set) {
    for (const auto& [name, value] : set) {
        const auto* info = counterNamed(name);
        if (!info)
            return fail(ErrorCode::InvalidArg, "there is no beancounter '", name, "'");
        if (info->noLimit && value.limit != Beancounter::unlimited)
            return fail(ErrorCode::InvalidArg, "<", name,
                        "> guarantees its barrier and has no limit: leave it "
                        "away, or write limit='unlimited'");
        if (info->same && value.barrier != value.limit)
            return fail(ErrorCode::InvalidArg, "the barrier of <", name, "> (", value.barrier,
                        ") has to be the same as its limit (", value.limit, ")");
        if (value.barrier > value.limit)
            return fail(ErrorCode::InvalidArg, "the barrier of <", name, "> (", value.barrier,
                        ") is above its limit (", value.limit, ")");
        if (value.limit == 0 && (name == "numproc" || name == "physpages" || name == "numfile"))
            return fail(ErrorCode::InvalidArg, "<", name, "> with limit 0 leaves nothing to run in");
    }
    return {};
}

const char* nameOf(CounterState state) {
    constexpr const char* names[] = {"enforced", "gated", "bounded", "guarantee", "accounted", "unavailable"};
    return names[static_cast<size_t>(state)];
}

CounterLimits launchLimits(const Beancounters& set) {
    CounterLimits limits;
    auto add = [&](int resource, std::optional<uint64_t> value) {
        if (value)
            limits.rlimits.push_back({resource, *value, *value});
    };
    add(RLIMIT_MEMLOCK, pagesInBytes(limitOf(set, "lockedpages")));
    add(RLIMIT_DATA, pagesInBytes(limitOf(set, "privvmpages")));
    add(RLIMIT_NOFILE, limitOf(set, "numfile"));
    add(RLIMIT_SIGPENDING, limitOf(set, "numsiginfo"));
    limits.maxPtys = static_cast<uint32_t>(
        std::min<uint64_t>(limitOf(set, "numpty").value_or(0), std::numeric_limits<int32_t>::max()));
    limits.sharedMemPages = limitOf(set, "shmpages");
    limits.oomScoreAdj = scoreFor(set);
    for (const auto& [name, value] : set)
        limits.set.push_back({name, value.barrier, value.limit});
    return limits;
}

SocketLimits socketLimits(const Beancounters& set) {
    auto tcp = limitOf(set, "numtcpsock"), other = limitOf(set, "numothersock");
    auto each = [&](const char* name, std::optional<uint64_t> sockets) -> uint64_t {
        constexpr uint64_t least = 4608; // the kernel gives no socket less (SOCK_MIN_SNDBUF)
        auto all = limitOf(set, name);
        return all && sockets && *sockets ? std::max(*all / *sockets, least) : 0;
    };
    return {.tcp = tcp.value_or(SocketLimits::unlimited),
            .other = other.value_or(SocketLimits::unlimited),
            .buffers = {.send = each("tcpsndbuf", tcp),
                        .receive = each("tcprcvbuf", tcp),
                        .otherSend = each("othersockbuf", other),
                        .otherReceive = each("dgramrcvbuf", other)}};
}

void tighten(CgroupLimits& limits, const Beancounters& set) {
    lower(limits.pids, limitOf(set, "numproc"));
    limits.sockets = socketLimits(set);
    auto ram = pagesInBytes(limitOf(set, "physpages"));
    lower(limits.memoryBytes, ram);
    if (auto swap = pagesInBytes(limitOf(set, "swappages"))) {
        auto both = limits.memoryBytes.value_or(unlimitedBytes) + *swap;
        lower(limits.memorySwapBytes, std::min(both, unlimitedBytes));
    }
    auto guarantee = set.find("vmguarpages");
    if (guarantee != set.end() && guarantee->second.barrier < Beancounter::unlimited)
        limits.memoryLowBytes =
            std::max(limits.memoryLowBytes.value_or(0), *pagesInBytes(guarantee->second.barrier));
}

} // namespace vz::ct
