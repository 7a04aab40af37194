// SPDX-License-Identifier: LGPL-2.1-or-later
// What beancounters have to be to each other (OpenVZ: "UBC consistency check").
#include "ct/beancounters.hpp"

#include <algorithm>

namespace vz::ct {

namespace {

/** A part of a sum: so much for each of what a counter allows, its limit or its barrier. */
struct Term {
    const char* counter;
    bool barrier;
    uint64_t times;
};

/** What a counter has to be at least, and why that is of interest. */
struct Rule {
    const char* counter;
    enum class Part : uint8_t { Barrier, Limit, Gap } part;
    std::vector<Term> atLeast;
    uint64_t plus = 0;
    const char* otherwise;
    bool needed = false; ///< vzcfgvalidate calls it an error, not a warning
};

constexpr uint64_t kib = 1024;
/** What one socket may have sent or queued before it is held back. */
constexpr uint64_t socketReserve = 2560;

const std::vector<Rule>& rules() {
    using enum Rule::Part;
    static const std::vector<Rule> all = {
        {"kmemsize",
         Barrier,
         {{"numproc", true, 20 * kib}, {"dcachesize", false, 1}},
         0,
         "processes fail before numproc is reached",
         true},
        {"privvmpages", Barrier, {{"vmguarpages", true, 1}}, 0, "less can be allocated than is guaranteed"},
        {"dcachesize", Limit, {{"numfile", true, 384}}, 0, "files are looked up slowly"},
        {"tcpsndbuf", Gap, {{"numtcpsock", true, socketReserve}}, 0, "connections hang", true},
        {"tcprcvbuf", Gap, {{"numtcpsock", true, socketReserve}}, 0, "connections are slow"},
        {"othersockbuf", Gap, {{"numothersock", true, socketReserve}}, 0, "local connections hang", true},
        {"tcpsndbuf", Barrier, {}, 64 * kib, "connections are slow"},
        {"tcprcvbuf", Barrier, {}, 64 * kib, "connections are slow"},
        {"othersockbuf", Barrier, {}, 32 * kib, "local connections are slow"},
        {"dgramrcvbuf", Barrier, {}, 32 * kib, "datagrams are lost"},
        {"numfile", Barrier, {{"numproc", true, 16}}, 0, "processes fail before numproc is reached"},
        {"numfile",
         Barrier,
         {{"numtcpsock", true, 1}, {"numothersock", true, 1}, {"numpty", true, 1}},
         0,
         "sockets fail before their limits are reached"},
    };
    return all;
}

uint64_t valueOf(const Beancounter& counter, bool barrier) {
    return std::min(barrier ? counter.barrier : counter.limit, Beancounter::unlimited);
}

/** Nothing if a counter in it is not set or has no limit: then there is nothing to compare with. */
std::optional<uint64_t> sumOf(const Rule& rule, const Beancounters& set) {
    uint64_t sum = rule.plus;
    for (const auto& term : rule.atLeast) {
        auto found = set.find(term.counter);
        auto value = found == set.end() ? Beancounter::unlimited : valueOf(found->second, term.barrier);
        if (value == Beancounter::unlimited)
            return std::nullopt;
        uint64_t product = 0;
        if (__builtin_mul_overflow(value, term.times, &product) || __builtin_add_overflow(sum, product, &sum))
            return Beancounter::unlimited;
    }
    return sum;
}

std::string describe(const Rule& rule) {
    std::string out;
    for (const auto& term : rule.atLeast)
        out += cat(out.empty() ? "" : " + ", term.times == 1 ? "" : cat(term.times, " * "), term.counter);
    return out.empty() ? "" : cat(" (", out, ")");
}

std::optional<std::string> findingOf(const Rule& rule, const Beancounters& set) {
    auto found = set.find(rule.counter);
    auto needed = sumOf(rule, set);
    if (found == set.end() || !needed || found->second.limit >= Beancounter::unlimited)
        return std::nullopt;
    const auto& counter = found->second;
    bool gap = rule.part == Rule::Part::Gap;
    uint64_t has = gap ? counter.limit - counter.barrier : valueOf(counter, rule.part == Rule::Part::Barrier);
    if (has >= *needed)
        return std::nullopt;
    const char* what = gap                                ? "the gap between barrier and limit of "
                       : rule.part == Rule::Part::Barrier ? "the barrier of "
                                                          : "the limit of ";
    return cat(what, rule.counter, " is ", has, " and should be at least ", *needed, describe(rule),
               ": else ", rule.otherwise);
}

/** Where RAM is limited (VSwap), no other counter has to be. */
bool limitsMemory(const Beancounters& set) {
    auto found = set.find("physpages");
    return found != set.end() && found->second.limit < Beancounter::unlimited;
}

} // namespace

Result<void> checkConsistent(const Beancounters& set) {
    if (limitsMemory(set))
        return {};
    for (const auto& rule : rules()) {
        auto finding = rule.needed ? findingOf(rule, set) : std::nullopt;
        if (finding)
            return fail(ErrorCode::ConfigUnsupported, "these beancounters contradict each other: ", *finding);
    }
    return {};
}

std::vector<std::string> counterFindings(const Beancounters& set) {
    std::vector<std::string> findings;
    for (const auto& rule : rules()) {
        if (auto finding = findingOf(rule, set))
            findings.push_back(*std::move(finding));
    }
    return findings;
}

} // namespace vz::ct
