// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/network.hpp"

#include "base/unique_fd.hpp"
#include "ct/net_addresses.hpp"
#include "ct/net_vlan.hpp"
#include "ct/netlink.hpp"

#include <netlink/route/link/macvlan.h>
#include <netlink/route/link/veth.h>

#include <algorithm>
#include <fcntl.h>
#include <net/if.h>

namespace vz::ct {

using netlink::Link;

namespace {

Result<void> checkName(const std::string& name) {
    if (name.size() >= IFNAMSIZ || name.find_first_of("/ \t\n:") != std::string::npos || name == "." ||
        name == "..")
        return fail(ErrorCode::ConfigUnsupported, "'", name,
                    "' is not a name for a network interface (at most ", IFNAMSIZ - 1,
                    " characters, no blanks, '/' or ':')");
    return {};
}

Result<Link> findBridge(nl_sock* socket, const std::string& name) {
    VZ_TRY(auto bridge, netlink::findLink(socket, name));
    if (!bridge)
        return fail(ErrorCode::ConfigUnsupported, "there is no bridge '", name,
                    "' on this host: create it, or change <source bridge=.../>");
    if (netlink::typeOf(bridge.get()) != "bridge")
        return fail(ErrorCode::ConfigUnsupported, "the interface '", name, "' is not a bridge");
    return bridge;
}

Result<Link> findHostInterface(nl_sock* socket, const std::string& name, std::string_view element) {
    VZ_TRY(auto link, netlink::findLink(socket, name));
    if (!link)
        return fail(ErrorCode::ConfigUnsupported, "there is no interface '", name,
                    "' on this host: create it, or change ", element);
    return link;
}

/** The interface inside, under whatever name it has by now; null if it is gone. */
Result<Link> findInside(nl_sock* inside, const CreatedInterface& made) {
    if (made.guestIndex)
        return netlink::findLink(inside, made.guestIndex);
    VZ_TRY(auto link, netlink::findLink(inside, made.guestName));
    if (link && netlink::macOf(link.get()) != made.mac)
        link.reset();
    return link;
}

Result<Link> needInside(nl_sock* inside, const CreatedInterface& made) {
    VZ_TRY(auto link, findInside(inside, made));
    if (!link)
        return fail(ErrorCode::DeviceMissing, "the interface ", made.guestName,
                    " is not in the container any more");
    return link;
}

/** The host end, if it is ours: somebody else's may have got the name since. */
Result<Link> findHostEnd(nl_sock* outside, const CreatedInterface& made) {
    VZ_TRY(auto link, netlink::findLink(outside, made.hostName));
    bool ours = link && netlink::typeOf(link.get()) == "veth" &&
                (made.mac.empty() || netlink::macOf(link.get()) == hostMac(made.mac));
    if (!ours)
        link.reset();
    return link;
}

Result<Link> needHostEnd(nl_sock* outside, const CreatedInterface& made) {
    VZ_TRY(auto link, findHostEnd(outside, made));
    if (!link)
        return fail(ErrorCode::DeviceMissing, "the interface ", made.hostName, " is not there any more");
    return link;
}

/** The netlink code of the kernel's answer, to be looked at for a name that was taken meanwhile. */
Result<int> addPair(nl_sock* socket, int netns, const CreatedInterface& plan, rtnl_link* bridge,
                    unsigned mtu) {
    Link host(::rtnl_link_veth_alloc());
    if (!host)
        return fail(ErrorCode::NoMemory, "cannot describe a veth pair");
    Link guest(::rtnl_link_veth_get_peer(host.get()));
    ::rtnl_link_set_name(host.get(), plan.hostName.c_str());
    ::rtnl_link_set_name(guest.get(), plan.guestName.c_str());
    ::rtnl_link_set_ns_fd(guest.get(), netns);
    if (!plan.mac.empty()) {
        VZ_TRY(auto inner, netlink::parseMac(plan.mac));
        VZ_TRY(auto outer, netlink::parseMac(hostMac(plan.mac)));
        ::rtnl_link_set_addr(guest.get(), inner.get());
        ::rtnl_link_set_addr(host.get(), outer.get());
    }
    if (mtu) {
        ::rtnl_link_set_mtu(host.get(), mtu);
        ::rtnl_link_set_mtu(guest.get(), mtu);
    }
    if (bridge)
        ::rtnl_link_set_master(host.get(), ::rtnl_link_get_ifindex(bridge));
    return ::rtnl_link_add(socket, host.get(), NLM_F_CREATE | NLM_F_EXCL);
}

/** What all kinds need while they are made. */
struct Making {
    nl_sock* outside;
    nl_sock* inside;
    int netns;
    const NetInterface& wanted;
    const Announce& announce;

    Result<void> tell(const CreatedInterface& made) const {
        return announce ? announce(made) : Result<void>();
    }
    /** Sets the number inside; what was made goes again if that fails. */
    Result<CreatedInterface> finish(CreatedInterface made) const {
        auto link = netlink::needLink(inside, made.guestName);
        if (!link) {
            (void)removeInterface(netns, made);
            return std::move(link).takeError();
        }
        made.guestIndex = ::rtnl_link_get_ifindex(link->get());
        return made;
    }
};

Result<CreatedInterface> makeVeth(const Making& making, CreatedInterface made) {
    const auto& wanted = making.wanted;
    Link bridge;
    if (!wanted.bridge.empty()) {
        VZ_TRY(bridge, findBridge(making.outside, wanted.bridge));
    }
    if (!wanted.vlans.empty())
        VZ_CHECK(checkFiltersVlans(wanted.bridge));
    unsigned mtu = !wanted.mtu && bridge ? ::rtnl_link_get_mtu(bridge.get()) : wanted.mtu;
    constexpr int attempts = 100; // other starts pick names at the same time
    for (int attempt = 0;; ++attempt) {
        if (wanted.hostName.empty()) {
            VZ_TRY(made.hostName, netlink::freeName(making.outside, "vnet"));
        }
        VZ_CHECK(making.tell(made));
        VZ_TRY(int rc, addPair(making.outside, making.netns, made, bridge.get(), mtu));
        if (rc == 0)
            break;
        if (rc != -NLE_EXIST || !wanted.hostName.empty() || attempt == attempts)
            return netlink::failure(rc, "cannot create the interface pair ", made.hostName, " / ",
                                    made.guestName);
    }
    if (!wanted.vlans.empty()) {
        if (auto set = setPortVlans(made.hostName, wanted.bridge, wanted.vlans); !set) {
            (void)removeInterface(making.netns, made);
            return std::move(set).takeError();
        }
    }
    return making.finish(std::move(made));
}

Result<CreatedInterface> makeMacvlan(const Making& making, CreatedInterface made) {
    const auto& wanted = making.wanted;
    VZ_TRY(auto parent, findHostInterface(making.outside, wanted.parent, "<source dev=.../>"));
    Link link(::rtnl_link_macvlan_alloc());
    if (!link)
        return fail(ErrorCode::NoMemory, "cannot describe a macvlan interface");
    ::rtnl_link_set_name(link.get(), made.guestName.c_str());
    ::rtnl_link_set_link(link.get(), ::rtnl_link_get_ifindex(parent.get()));
    ::rtnl_link_set_ns_fd(link.get(), making.netns);
    int mode = ::rtnl_link_macvlan_str2mode(wanted.mode == "passthrough" ? "passthru" : wanted.mode.c_str());
    if (mode < 0 || ::rtnl_link_macvlan_set_mode(link.get(), static_cast<uint32_t>(mode)) < 0)
        return fail(ErrorCode::ConfigUnsupported, "'", wanted.mode,
                    "' is no mode of a macvlan interface: use bridge, private, vepa or passthrough");
    if (!made.mac.empty()) {
        VZ_TRY(auto mac, netlink::parseMac(made.mac));
        ::rtnl_link_set_addr(link.get(), mac.get());
    }
    if (wanted.mtu)
        ::rtnl_link_set_mtu(link.get(), wanted.mtu);
    VZ_CHECK(making.tell(made));
    int rc = ::rtnl_link_add(making.outside, link.get(), NLM_F_CREATE | NLM_F_EXCL);
    if (rc == -NLE_INVAL || rc == -NLE_BUSY)
        return fail(ErrorCode::ConfigUnsupported, "the interface '", wanted.parent,
                    "' of the host cannot have another macvlan in mode ", wanted.mode,
                    ": one in mode passthrough has it alone (", ::nl_geterror(rc), ")");
    if (rc < 0)
        return netlink::failure(rc, "cannot create a macvlan interface on ", wanted.parent);
    return making.finish(std::move(made));
}

Result<void> moveTo(nl_sock* from, rtnl_link* link, int netns, const std::string& name) {
    Link change(::rtnl_link_alloc());
    ::rtnl_link_set_ns_fd(change.get(), netns);
    ::rtnl_link_set_name(change.get(), name.c_str());
    return netlink::change(from, link, change, "change the network namespace");
}

Result<CreatedInterface> moveIn(const Making& making, CreatedInterface made) {
    VZ_TRY(auto link, findHostInterface(making.outside, made.hostName, "<interface> of the <hostdev>"));
    made.mac = netlink::macOf(link.get());
    made.mtu = ::rtnl_link_get_mtu(link.get());
    VZ_CHECK(making.tell(made));
    VZ_CHECK(netlink::setUp(making.outside, link.get(), false));
    VZ_CHECK(moveTo(making.outside, link.get(), making.netns, made.guestName));
    return making.finish(std::move(made));
}

/** A device of hardware that the kernel took out of a namespace that ended is here, under the name that it
 * had there or one like "dev7". */
Result<void> renameReturned(nl_sock* outside, const CreatedInterface& made) {
    VZ_TRY(auto links, netlink::allLinks(outside));
    for (auto* object = ::nl_cache_get_first(links.get()); object; object = ::nl_cache_get_next(object)) {
        auto* link = reinterpret_cast<rtnl_link*>(object);
        if (!netlink::typeOf(link).empty() || netlink::macOf(link) != made.mac)
            continue;
        VZ_CHECK(netlink::setUp(outside, link, false));
        Link change(::rtnl_link_alloc());
        ::rtnl_link_set_name(change.get(), made.hostName.c_str());
        return netlink::change(outside, link, change, cat("give back the name ", made.hostName));
    }
    return fail(ErrorCode::DeviceMissing, "the interface ", made.hostName, " cannot be found");
}

Result<void> moveBack(nl_sock* outside, nl_sock* inside, const CreatedInterface& made) {
    VZ_TRY(auto home, netlink::findLink(outside, made.hostName));
    if (home && netlink::macOf(home.get()) == made.mac)
        return {}; // it never left, or is back
    if (!inside)
        return renameReturned(outside, made);
    VZ_TRY(auto link, needInside(inside, made));
    VZ_CHECK(netlink::setUp(inside, link.get(), false));
    Link change(::rtnl_link_alloc());
    if (made.mtu)
        ::rtnl_link_set_mtu(change.get(), made.mtu);
    if (!made.mac.empty()) {
        VZ_TRY(auto mac, netlink::parseMac(made.mac));
        ::rtnl_link_set_addr(change.get(), mac.get());
    }
    // Root inside may have made that impossible; to have it back is more important.
    (void)netlink::change(inside, link.get(), change, "restore");
    UniqueFd here(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    return moveTo(inside, link.get(), here.get(), made.hostName);
}

/** An address that is alone in its network (32, 128) has its gateway on the link all the same. */
bool gatewayOnLink(const NetInterface& wanted, const IpRoute& route) {
    auto v6 = [](const std::string& address) { return address.find(':') != std::string::npos; };
    bool any = false;
    for (const auto& address : wanted.addresses) {
        if (v6(address.address) != v6(route.gateway))
            continue;
        unsigned full = v6(address.address) ? 128 : 32;
        if ((address.prefix && address.prefix != full) || !address.peer.empty())
            return false;
        any = true;
    }
    return any;
}

Result<void> addRoutes(nl_sock* inside, int index, const NetInterface& wanted) {
    for (const auto& route : wanted.routes)
        VZ_CHECK(addRoute(inside, index, route, gatewayOnLink(wanted, route), IfThere::Error));
    return {};
}

template<typename T>
bool has(const std::vector<T>& all, const T& one) {
    return std::find(all.begin(), all.end(), one) != all.end();
}

/** What goes may take others with it, such as secondary addresses and routes by them: what stays is made
 * again. */
Result<void> exchangeAddresses(nl_sock* inside, int index, const NetInterface& was, const NetInterface& now,
                               IfThere ifThere) {
    for (const auto& route : was.routes) {
        if (!has(now.routes, route))
            VZ_CHECK(removeRoute(inside, index, route));
    }
    for (const auto& address : was.addresses) {
        if (!has(now.addresses, address))
            VZ_CHECK(removeAddress(inside, index, address));
    }
    for (const auto& address : now.addresses)
        VZ_CHECK(addAddress(inside, index, address, has(was.addresses, address) ? IfThere::Fine : ifThere));
    for (const auto& route : now.routes)
        VZ_CHECK(addRoute(inside, index, route, gatewayOnLink(now, route),
                          has(was.routes, route) ? IfThere::Fine : ifThere));
    return {};
}

} // namespace

Result<bool> hostEndExists(const CreatedInterface& made) {
    VZ_TRY(auto outside, netlink::connectHere());
    VZ_TRY(auto link, findHostEnd(outside.get(), made));
    return static_cast<bool>(link);
}

std::string hostMac(const std::string& guestMac) {
    if (guestMac.size() < 2)
        return guestMac;
    auto first = guestMac.substr(0, 2);
    return cat(first == "fe" || first == "FE" ? "fa" : "fe", guestMac.substr(2));
}

Result<CreatedInterface> makeInterface(int netns, const NetInterface& wanted, const Announce& announce) {
    VZ_CHECK(checkName(wanted.hostName));
    VZ_CHECK(checkName(wanted.guestName));
    VZ_TRY(auto outside, netlink::connectHere());
    VZ_TRY(auto inside, netlink::connectIn(netns));
    CreatedInterface made{.kind = wanted.kind,
                          .hostName = wanted.kind == LinkKind::Macvlan ? "" : wanted.hostName,
                          .guestName = wanted.guestName,
                          .mac = wanted.mac};
    if (made.guestName.empty()) {
        VZ_TRY(made.guestName, netlink::freeName(inside.get(), "eth"));
    }
    Making making{outside.get(), inside.get(), netns, wanted, announce};
    switch (wanted.kind) {
    case LinkKind::Veth:
        return makeVeth(making, std::move(made));
    case LinkKind::Macvlan:
        return makeMacvlan(making, std::move(made));
    case LinkKind::Moved:
        break;
    }
    return moveIn(making, std::move(made));
}

Result<void> configureInterface(int netns, const NetInterface& wanted, const CreatedInterface& made) {
    VZ_TRY(auto inside, netlink::connectIn(netns));
    VZ_TRY(auto link, needInside(inside.get(), made));
    int index = ::rtnl_link_get_ifindex(link.get());
    for (const auto& address : wanted.addresses)
        VZ_CHECK(addAddress(inside.get(), index, address, IfThere::Error));
    if (made.kind == LinkKind::Veth) {
        VZ_TRY(auto outside, netlink::connectHere());
        VZ_TRY(auto host, needHostEnd(outside.get(), made));
        VZ_CHECK(netlink::setUp(outside.get(), host.get(), wanted.up));
    } else if (!wanted.up) {
        return {};
    }
    VZ_CHECK(netlink::setUp(inside.get(), link.get(), true));
    return addRoutes(inside.get(), index, wanted); // the kernel takes them only over an interface that is up
}

Result<CreatedInterface> createInterface(int netns, const NetInterface& wanted) {
    VZ_TRY(auto made, makeInterface(netns, wanted));
    if (auto configured = configureInterface(netns, wanted, made); !configured) {
        (void)removeInterface(netns, made);
        return std::move(configured).takeError();
    }
    return made;
}

Result<void> removeInterface(int netns, const CreatedInterface& made) {
    VZ_TRY(auto outside, netlink::connectHere());
    if (made.kind == LinkKind::Veth) {
        VZ_TRY(auto link, findHostEnd(outside.get(), made));
        return link ? netlink::remove(outside.get(), link.get()) : Result<void>();
    }
    netlink::Socket inside;
    if (netns >= 0) {
        VZ_TRY(inside, netlink::connectIn(netns));
    }
    if (made.kind == LinkKind::Moved)
        return moveBack(outside.get(), inside.get(), made);
    if (!inside)
        return {};
    VZ_TRY(auto link, findInside(inside.get(), made));
    return link ? netlink::remove(inside.get(), link.get()) : Result<void>();
}

Result<bool> interfaceExists(int netns, const CreatedInterface& made) {
    VZ_TRY(auto inside, netlink::connectIn(netns));
    VZ_TRY(auto link, findInside(inside.get(), made));
    return link != nullptr;
}

Result<void> setLinkUp(int netns, const CreatedInterface& made, const NetInterface& wanted) {
    if (made.kind == LinkKind::Veth) {
        VZ_TRY(auto outside, netlink::connectHere());
        VZ_TRY(auto link, needHostEnd(outside.get(), made));
        return netlink::setUp(outside.get(), link.get(), wanted.up);
    }
    VZ_TRY(auto inside, netlink::connectIn(netns));
    VZ_TRY(auto link, needInside(inside.get(), made));
    bool isUp = ::rtnl_link_get_flags(link.get()) & IFF_UP;
    VZ_CHECK(netlink::setUp(inside.get(), link.get(), wanted.up));
    // They go with the state.
    return wanted.up && !isUp ? addRoutes(inside.get(), ::rtnl_link_get_ifindex(link.get()), wanted)
                              : Result<void>();
}

Result<void> changeAddresses(int netns, const CreatedInterface& made, const NetInterface& was,
                             const NetInterface& now) {
    VZ_TRY(auto inside, netlink::connectIn(netns));
    VZ_TRY(auto link, needInside(inside.get(), made));
    int index = ::rtnl_link_get_ifindex(link.get());
    auto change = [&](NetInterface from, NetInterface to, IfThere ifThere) {
        // An interface that is down has no routes; setLinkUp() makes them.
        if (!(::rtnl_link_get_flags(link.get()) & IFF_UP))
            from.routes = to.routes = {};
        return exchangeAddresses(inside.get(), index, from, to, ifThere);
    };
    auto changed = change(was, now, IfThere::Error);
    if (!changed)
        (void)change(now, was, IfThere::Fine);
    return changed;
}

Result<void> setMtu(int netns, const CreatedInterface& made, unsigned mtu) {
    Link change(::rtnl_link_alloc());
    ::rtnl_link_set_mtu(change.get(), mtu);
    if (made.kind == LinkKind::Veth) {
        VZ_TRY(auto outside, netlink::connectHere());
        VZ_TRY(auto host, needHostEnd(outside.get(), made));
        VZ_CHECK(netlink::change(outside.get(), host.get(), change, cat("set the MTU ", mtu)));
    }
    VZ_TRY(auto inside, netlink::connectIn(netns));
    VZ_TRY(auto link, needInside(inside.get(), made));
    return netlink::change(inside.get(), link.get(), change, cat("set the MTU ", mtu));
}

Result<void> setBridge(const CreatedInterface& made, const std::string& bridge) {
    VZ_TRY(auto outside, netlink::connectHere());
    VZ_TRY(auto link, needHostEnd(outside.get(), made));
    int master = 0;
    if (!bridge.empty()) {
        VZ_TRY(auto found, findBridge(outside.get(), bridge));
        master = ::rtnl_link_get_ifindex(found.get());
    }
    Link change(::rtnl_link_alloc());
    ::rtnl_link_set_master(change.get(), master);
    return netlink::change(outside.get(), link.get(), change, cat("change the bridge to '", bridge, "'"));
}

Result<std::string> masterOf(const std::string& hostName) {
    VZ_TRY(auto outside, netlink::connectHere());
    VZ_TRY(auto link, netlink::needLink(outside.get(), hostName));
    int index = ::rtnl_link_get_master(link.get());
    if (!index)
        return std::string();
    VZ_TRY(auto master, netlink::findLink(outside.get(), index));
    return std::string(master ? ::rtnl_link_get_name(master.get()) : "");
}

Result<void> setLoopbackUp(int netns) {
    VZ_TRY(auto socket, netlink::connectIn(netns));
    VZ_TRY(auto link, netlink::needLink(socket.get(), "lo"));
    return netlink::setUp(socket.get(), link.get(), true);
}

Result<InterfaceCounters> interfaceCounters(int netns, const CreatedInterface& made) {
    bool veth = made.kind == LinkKind::Veth;
    netlink::Socket socket;
    Link link;
    if (veth) {
        VZ_TRY(socket, netlink::connectHere());
        VZ_TRY(link, needHostEnd(socket.get(), made));
    } else {
        VZ_TRY(socket, netlink::connectIn(netns));
        VZ_TRY(link, needInside(socket.get(), made));
    }
    auto get = [&](rtnl_link_stat_id_t id) { return ::rtnl_link_get_stat(link.get(), id); };
    InterfaceCounters out{get(RTNL_LINK_RX_BYTES),   get(RTNL_LINK_RX_PACKETS), get(RTNL_LINK_RX_ERRORS),
                          get(RTNL_LINK_RX_DROPPED), get(RTNL_LINK_TX_BYTES),   get(RTNL_LINK_TX_PACKETS),
                          get(RTNL_LINK_TX_ERRORS),  get(RTNL_LINK_TX_DROPPED)};
    // What the host's end of the pair receives, the guest has sent.
    return veth ? InterfaceCounters{out.txBytes, out.txPackets, out.txErrors, out.txDropped,
                                    out.rxBytes, out.rxPackets, out.rxErrors, out.rxDropped}
                : out;
}

} // namespace vz::ct
