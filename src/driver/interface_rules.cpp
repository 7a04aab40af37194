// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/interface_rules.hpp"

#include "base/log.hpp"
#include "base/rollback.hpp"
#include "ct/bandwidth.hpp"
#include "ct/bridge_port.hpp"
#include "ct/packet_guard.hpp"
#include "ct/venet.hpp"
#include "driver/filter_binding.hpp"

#include <algorithm>

namespace vz::driver {

namespace {

ct::BandwidthLimit limitOf(const std::optional<domain::NetRate>& rate) {
    return rate ? ct::BandwidthLimit{rate->average, rate->peak, rate->burst} : ct::BandwidthLimit();
}

ct::Bandwidth bandwidthOf(const domain::Interface& interface) {
    return {limitOf(interface.bandwidth.inbound), limitOf(interface.bandwidth.outbound)};
}

std::vector<std::string> addressesOf(const domain::Interface& interface) {
    std::vector<std::string> addresses;
    for (const auto& address : interface.addresses)
        addresses.push_back(address.address);
    return addresses;
}

/** What it may send; nothing for what is left to the user, or free. */
std::optional<ct::PacketGuard> guardOf(const domain::Interface& interface) {
    using domain::AntiSpoofing;
    if (interface.routed)
        return ct::PacketGuard{ct::PacketGuard::Kind::Routed, {}, addressesOf(interface)};
    auto mode = interface.antiSpoofing.value_or(AntiSpoofing::Mac);
    if (interface.plug != "bridge" || mode == AntiSpoofing::Off)
        return {};
    if (mode == AntiSpoofing::Mac)
        return ct::PacketGuard{ct::PacketGuard::Kind::Mac, interface.mac, {}};
    return ct::PacketGuard{ct::PacketGuard::Kind::Address, interface.mac, addressesOf(interface)};
}

Result<void> setGuard(const domain::Interface& interface, const std::string& hostName) {
    auto guard = guardOf(interface);
    if (!guard)
        return {};
    auto set = ct::setPacketGuard(hostName, *guard);
    // Nobody asked for it: a host that cannot do that is no reason to refuse the interface.
    if (!set && !interface.routed && !interface.antiSpoofing &&
        set.error().code() == ErrorCode::ConfigUnsupported) {
        log::warning(set.error().message(), "; the container can use any MAC address");
        return {};
    }
    return set;
}

/** Of an interface that is in the container as a whole, nothing is left here where it could be held. */
Result<void> checkFree(const domain::Interface& interface) {
    const char* what = interface.filter                            ? "<filterref>"
                       : interface.isolated                        ? "<port isolated=>"
                       : bandwidthOf(interface) != ct::Bandwidth() ? "<bandwidth>"
                                                                   : nullptr;
    if (!what)
        return {};
    return fail(ErrorCode::ConfigUnsupported, what, " of the interface ", interface.mac,
                " is not possible for containers with type='", interface.plug,
                "': root in the container could take it away. Use a bridge");
}

void warn(const Result<void>& result, std::string_view what) {
    if (!result)
        log::warning(what, ": ", result.error().message());
}

} // namespace

void noteRules(const domain::Interface& wanted, domain::UsedInterface& used) {
    used.filtered = used.filtered || wanted.filter;
    used.shaped = used.shaped || bandwidthOf(wanted) != ct::Bandwidth();
    used.routed = used.routed || wanted.routed;
}

bool sameRules(const domain::Interface& a, const domain::Interface& b) {
    return a.bandwidth == b.bandwidth && a.filter == b.filter && a.isolated == b.isolated &&
           a.antiSpoofing == b.antiSpoofing && a.addresses == b.addresses;
}

Result<void> applyRules(const InterfaceOwner& owner, const domain::Interface& wanted,
                        const domain::UsedInterface& used, int) {
    if (used.link.kind != ct::LinkKind::Veth)
        return checkFree(wanted);
    const auto& host = used.link.hostName;
    VZ_CHECK(setGuard(wanted, host));
    if (auto limits = bandwidthOf(wanted); limits != ct::Bandwidth())
        VZ_CHECK(ct::setBandwidth(host, limits));
    if (wanted.isolated)
        VZ_CHECK(ct::setPortIsolated(host, true));
    return wanted.filter ? bindFilter(owner, wanted, host) : Result<void>();
}

Result<void> connectRouted(const domain::Interface& wanted, const domain::UsedInterface& used, int netns) {
    if (!wanted.routed || !wanted.linkUp)
        return {};
    return ct::configureVenet(netns, {used.link.hostName, used.link.guestName, addressesOf(wanted)});
}

Result<void> restoreRules(const InterfaceOwner& owner, const domain::Interface& wanted,
                          const domain::UsedInterface& used) {
    if (used.link.kind != ct::LinkKind::Veth)
        return {};
    const auto& host = used.link.hostName;
    VZ_CHECK(guardOf(wanted) ? setGuard(wanted, host) : ct::removePacketGuard(host));
    if (used.shaped)
        VZ_CHECK(ct::setBandwidth(host, bandwidthOf(wanted)));
    if (wanted.plug == "bridge" && used.switchBridge.empty())
        VZ_CHECK(ct::setPortIsolated(host, wanted.isolated));
    if (!used.filtered)
        return {};
    VZ_TRY(bool bound, hasFilter(host));
    if (wanted.filter && !bound)
        return bindFilter(owner, wanted, host);
    return !wanted.filter && bound ? unbindFilter(host) : Result<void>();
}

Result<void> changeRules(const InterfaceOwner& owner, const domain::Interface& was,
                         const domain::Interface& wanted, const domain::UsedInterface& used, int netns) {
    if (used.link.kind != ct::LinkKind::Veth)
        return checkFree(wanted);
    const auto& host = used.link.hostName;
    auto change = [&](const domain::Interface& from, const domain::Interface& to) -> Result<void> {
        if (guardOf(to))
            VZ_CHECK(setGuard(to, host));
        else if (guardOf(from))
            VZ_CHECK(ct::removePacketGuard(host));
        if (bandwidthOf(from) != bandwidthOf(to))
            VZ_CHECK(ct::setBandwidth(host, bandwidthOf(to)));
        if (from.isolated != to.isolated)
            VZ_CHECK(ct::setPortIsolated(host, to.isolated));
        if (from.addresses != to.addresses)
            VZ_CHECK(connectRouted(to, used, netns));
        if (from.filter == to.filter)
            return {};
        return to.filter ? bindFilter(owner, to, host) : unbindFilter(host);
    };
    Rollback undo;
    undo.add([&] { warn(change(wanted, was), "an interface is not as it was"); });
    VZ_CHECK(change(was, wanted));
    undo.dismiss();
    return {};
}

void dropRules(const InterfaceOwner& owner, const domain::UsedInterface& used) {
    if (used.link.kind != ct::LinkKind::Veth)
        return;
    const auto& host = used.link.hostName;
    if (used.filtered)
        warn(unbindFilter(host), cat("a network filter of '", owner.name, "' is left over"));
    if (!used.shaped && !used.routed)
        return;
    // Where the interface is gone, its name may be another's by now.
    auto there = ct::hostEndExists(used.link);
    bool ours = there && *there;
    if (used.shaped && ours)
        (void)ct::setBandwidth(host, {}); // the kernel may be removing it just now
    if (used.shaped)
        warn(ct::removeOrphanedShapers(), cat("an intermediate device of '", owner.name, "' is left over"));
    if (used.routed)
        warn(ours ? ct::releaseVenet(host) : ct::removeOrphanedProxies(),
             cat("addresses of '", owner.name, "' are left over"));
}

} // namespace vz::driver
