// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/bandwidth.hpp"

#include "base/rollback.hpp"
#include "base/text.hpp"
#include "ct/traffic_control.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>
#include <linux/if_ether.h>
#include <linux/pkt_sched.h>
#include <linux/tc_act/tc_mirred.h>
#include <map>
#include <net/if.h>

namespace vz::ct {

namespace {

constexpr uint32_t rootHandle = TC_H_MAKE(1u << 16, 0);
constexpr uint32_t classHandle = TC_H_MAKE(1u << 16, 1);
constexpr uint32_t leafHandle = TC_H_MAKE(2u << 16, 0);

uint64_t times(uint64_t value, uint64_t factor) {
    return value > std::numeric_limits<uint64_t>::max() / factor ? std::numeric_limits<uint64_t>::max()
                                                                 : value * factor;
}

/** The time that @p bytes take, in the scheduler's units of 64 ns. */
uint32_t ticks(uint64_t bytes, uint64_t rate) {
    constexpr double perSecond = 1e9 / 64;
    double count = static_cast<double>(bytes) / static_cast<double>(rate) * perSecond;
    return count < 1 ? 1
                     : static_cast<uint32_t>(std::min(count, double(std::numeric_limits<uint32_t>::max())));
}

tc_ratespec rateSpec(uint64_t rate) {
    tc_ratespec spec{};
    // Told, it needs no table of transmission times.
    spec.linklayer = TC_LINKLAYER_ETHERNET;
    spec.rate = static_cast<uint32_t>(std::min<uint64_t>(rate, std::numeric_limits<uint32_t>::max()));
    return spec;
}

/** Bytes that may go at once so that a timer that is late costs nothing: those of 20 ms, and one packet of
 * segments that the network card would cut. */
uint64_t leastBurst(uint64_t rate) {
    return std::max<uint64_t>(rate / 50, 16 << 10);
}

RtMessage classOf(int index, const BandwidthLimit& limit) {
    uint64_t rate = times(limit.average, 1000);
    uint64_t ceiling = limit.peak ? std::max(rate, times(limit.peak, 1000)) : rate;
    uint64_t burst = std::max(times(limit.burst, 1024), leastBurst(rate));
    uint64_t ceilingBurst = limit.peak ? leastBurst(ceiling) : burst;
    tc_htb_opt parameters{};
    parameters.rate = rateSpec(rate);
    parameters.ceil = rateSpec(ceiling);
    parameters.buffer = ticks(burst, rate);
    parameters.cbuffer = ticks(ceilingBurst, ceiling);
    parameters.quantum = 64 << 10; // there is one class only, which needs no share
    auto message = tcMessage(RTM_NEWTCLASS, NLM_F_CREATE, index, rootHandle, classHandle);
    message.text(TCA_KIND, "htb");
    auto options = message.begin(TCA_OPTIONS);
    message.put(TCA_HTB_PARMS, parameters).put(TCA_HTB_RATE64, rate).put(TCA_HTB_CEIL64, ceiling);
    message.end(options);
    return message;
}

/** Bytes, not packets: those differ by a factor of 1000. What waits is sent within 200 ms, or is two of the
 * largest. */
RtMessage leafOf(int index, const BandwidthLimit& limit) {
    uint64_t bytes = std::clamp<uint64_t>(times(limit.average, 200), 128 << 10, 64 << 20);
    tc_fifo_qopt fifo{static_cast<uint32_t>(bytes)};
    auto message = tcMessage(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, index, classHandle, leafHandle);
    message.text(TCA_KIND, "bfifo").put(TCA_OPTIONS, fifo);
    return message;
}

/** Sends what goes out of the interface @p index at the limit's pace. */
Result<void> shape(RtSocket& socket, int index, const BandwidthLimit& limit, const std::string& what) {
    auto root = tcMessage(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, index, TC_H_ROOT, rootHandle);
    root.text(TCA_KIND, "htb");
    auto options = root.begin(TCA_OPTIONS);
    tc_htb_glob global{};
    global.version = 3;
    global.rate2quantum = 10;
    global.defcls = TC_H_MIN(classHandle);
    root.put(TCA_HTB_INIT, global);
    root.end(options);
    VZ_TRY(auto made, socket.ask(root));
    if (!made && made.error != EEXIST)
        return kernelLacks(made, "sch_htb", what);
    auto group = classOf(index, limit);
    VZ_CHECK(socket.request(group, what));
    auto leaf = leafOf(index, limit);
    return socket.request(leaf, what);
}

Result<void> unshape(RtSocket& socket, int index, const std::string& what) {
    auto message = tcMessage(RTM_DELQDISC, 0, index, TC_H_ROOT, rootHandle);
    return removed(socket, message, what);
}

constexpr std::string_view shaperPrefix = "vzifb";

std::string shaperName(int hostEnd) {
    return cat(shaperPrefix, hostEnd);
}

struct Shaper {
    int index = 0;
    bool up = false;
};

Result<Shaper> findShaper(RtSocket& socket, int hostEnd) {
    Shaper shaper;
    RtMessage message(RTM_GETLINK, 0, ifinfomsg{});
    message.text(IFLA_IFNAME, shaperName(hostEnd));
    VZ_CHECK(socket.get<ifinfomsg>(message, [&](const ifinfomsg& link, const auto&) {
        shaper = {link.ifi_index, (link.ifi_flags & IFF_UP) != 0};
    }));
    return shaper;
}

Result<Shaper> makeShaper(RtSocket& socket, int hostEnd, const std::string& what) {
    RtMessage message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, ifinfomsg{});
    message.text(IFLA_IFNAME, shaperName(hostEnd));
    auto info = message.begin(IFLA_LINKINFO);
    message.text(IFLA_INFO_KIND, "ifb");
    message.end(info);
    VZ_TRY(auto made, socket.ask(message));
    if (!made)
        return kernelLacks(made, "ifb", what);
    return findShaper(socket, hostEnd);
}

Result<void> removeLink(RtSocket& socket, int index) {
    ifinfomsg header{};
    header.ifi_index = index;
    RtMessage message(RTM_DELLINK, 0, header);
    return removed(socket, message, "cannot remove an intermediate device");
}

Result<void> bringUp(RtSocket& socket, int index, const std::string& hostName, const std::string& what) {
    ifinfomsg header{};
    header.ifi_index = index;
    header.ifi_flags = header.ifi_change = IFF_UP;
    RtMessage message(RTM_NEWLINK, 0, header);
    message.text(IFLA_IFALIAS, hostName);
    return socket.request(message, what);
}

/** All that comes in at @p hostEnd goes to the device @p target instead. */
RtMessage redirection(int hostEnd, int target) {
    auto message = filterMessage(RTM_NEWTFILTER, NLM_F_CREATE | NLM_F_EXCL, hostEnd, FilterPlace::Shaping);
    message.text(TCA_KIND, "u32");
    auto options = message.begin(TCA_OPTIONS);
    tc_u32_sel selector{};
    selector.flags = TC_U32_TERMINAL;
    selector.nkeys = 1;
    // The one key is all zeros: none of its bits counts.
    std::array<char, sizeof selector + sizeof(tc_u32_key)> all{};
    std::memcpy(all.data(), &selector, sizeof selector);
    message.put(TCA_U32_SEL, all);
    auto actions = message.begin(TCA_U32_ACT);
    auto first = message.begin(1);
    message.text(TCA_ACT_KIND, "mirred");
    auto parts = message.begin(TCA_ACT_OPTIONS);
    tc_mirred parameters{};
    parameters.action = TC_ACT_STOLEN;
    parameters.eaction = TCA_EGRESS_REDIR;
    parameters.ifindex = static_cast<uint32_t>(target);
    message.put(TCA_MIRRED_PARMS, parameters);
    message.end(parts);
    message.end(first);
    message.end(actions);
    message.end(options);
    return message;
}

/** The device comes up last: one that is up has all it needs, also after a crash in the midst of this. */
Result<void> shapeIncoming(RtSocket& socket, int hostEnd, const std::string& hostName,
                           const BandwidthLimit& limit, const std::string& what) {
    VZ_TRY(auto shaper, findShaper(socket, hostEnd));
    if (shaper.index && shaper.up)
        return shape(socket, shaper.index, limit, what);
    if (!shaper.index) {
        VZ_TRY(shaper, makeShaper(socket, hostEnd, what));
    }
    Rollback undo;
    undo.add([&] { (void)removeLink(socket, shaper.index); });
    VZ_CHECK(shape(socket, shaper.index, limit, what));
    VZ_CHECK(openIngress(socket, hostEnd, what));
    VZ_CHECK(removeFilter(socket, hostEnd, FilterPlace::Shaping, what));
    undo.add([&] { (void)removeFilter(socket, hostEnd, FilterPlace::Shaping, what); });
    auto redirect = redirection(hostEnd, shaper.index);
    VZ_TRY(auto redirected, socket.ask(redirect));
    if (!redirected)
        return kernelLacks(redirected, "cls_u32 or act_mirred", what);
    VZ_CHECK(bringUp(socket, shaper.index, hostName, what));
    undo.dismiss();
    return {};
}

Result<void> unshapeIncoming(RtSocket& socket, int hostEnd, const std::string& what) {
    VZ_TRY(auto shaper, findShaper(socket, hostEnd));
    if (!shaper.index)
        return {};
    VZ_CHECK(removeFilter(socket, hostEnd, FilterPlace::Shaping, what));
    return removeLink(socket, shaper.index);
}

} // namespace

Result<void> setBandwidth(const std::string& hostName, const Bandwidth& limits) {
    VZ_TRY(auto socket, RtSocket::open());
    VZ_TRY(int index, socket.needIndex(hostName));
    auto what = cat("cannot limit the bandwidth of ", hostName);
    VZ_CHECK(limits.inbound ? shape(socket, index, limits.inbound, what) : unshape(socket, index, what));
    return limits.outbound ? shapeIncoming(socket, index, hostName, limits.outbound, what)
                           : unshapeIncoming(socket, index, what);
}

Result<void> removeOrphanedShapers() {
    VZ_TRY(auto socket, RtSocket::open());
    std::map<int, int> shapers; // host end by index
    RtMessage message(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{});
    VZ_TRY(auto answer, socket.get<ifinfomsg>(message, [&](const ifinfomsg& link, const RtAttributes& found) {
        auto name = found.text(IFLA_IFNAME);
        auto hostEnd = name.starts_with(shaperPrefix)
                           ? parseNumber<int>(std::string_view(name).substr(shaperPrefix.size()))
                           : std::nullopt;
        if (hostEnd && found.nest(IFLA_LINKINFO).text(IFLA_INFO_KIND) == "ifb")
            shapers[link.ifi_index] = *hostEnd;
    }));
    if (!answer)
        return failErrno(answer.error, "cannot list network interfaces");
    for (auto [shaper, hostEnd] : shapers) {
        // Asked now: another thread may have made the pair while the list was read.
        ifinfomsg header{};
        header.ifi_index = hostEnd;
        RtMessage question(RTM_GETLINK, 0, header);
        VZ_TRY(auto there, socket.ask(question));
        if (there.error == ENODEV)
            VZ_CHECK(removeLink(socket, shaper));
    }
    return {};
}

} // namespace vz::ct
