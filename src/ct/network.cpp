// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/network.hpp"

#include "base/rollback.hpp"
#include "ct/namespace_thread.hpp"

#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include <arpa/inet.h>
#include <cstring>
#include <linux/if.h>
#include <memory>
#include <set>

namespace vz::ct {

namespace {

struct Release {
    void operator()(nl_sock* socket) const { ::nl_socket_free(socket); }
    void operator()(nl_cache* cache) const { ::nl_cache_free(cache); }
    void operator()(nl_addr* address) const { ::nl_addr_put(address); }
    void operator()(rtnl_link* link) const { ::rtnl_link_put(link); }
    void operator()(rtnl_addr* address) const { ::rtnl_addr_put(address); }
    void operator()(rtnl_route* route) const { ::rtnl_route_put(route); }
};
using Socket = std::unique_ptr<nl_sock, Release>;
using Cache = std::unique_ptr<nl_cache, Release>;
using Address = std::unique_ptr<nl_addr, Release>;
using Link = std::unique_ptr<rtnl_link, Release>;

template<typename... Parts>
Error failNetlink(int code, const Parts&... parts) {
    return fail(ErrorCode::SystemError, parts..., ": ", ::nl_geterror(code));
}

Result<Socket> connectHere() {
    Socket socket(::nl_socket_alloc());
    if (!socket)
        return fail(ErrorCode::NoMemory, "cannot make a netlink socket");
    if (int rc = ::nl_connect(socket.get(), NETLINK_ROUTE); rc < 0)
        return failNetlink(rc, "cannot open a netlink socket");
    return socket;
}

/** A socket keeps the namespace it was made in, so only its making needs to happen inside. */
Result<Socket> connectIn(int netns) {
    return inNamespace(netns, CLONE_NEWNET, connectHere);
}

Result<Cache> allLinks(nl_sock* socket) {
    nl_cache* links = nullptr;
    if (int rc = ::rtnl_link_alloc_cache(socket, AF_UNSPEC, &links); rc < 0)
        return failNetlink(rc, "cannot list network interfaces");
    return Cache(links);
}

/** Nothing in it if there is no such interface. */
Result<Link> findLink(nl_sock* socket, const std::string& name) {
    rtnl_link* link = nullptr;
    int rc = ::rtnl_link_get_kernel(socket, 0, name.c_str(), &link);
    if (rc == -NLE_OBJ_NOTFOUND || rc == -NLE_NODEV)
        return Link();
    if (rc < 0)
        return failNetlink(rc, "cannot look up the network interface ", name);
    return Link(link);
}

Result<Link> needLink(nl_sock* socket, const std::string& name) {
    VZ_TRY(auto link, findLink(socket, name));
    if (!link)
        return fail(ErrorCode::DeviceMissing, "there is no network interface ", name);
    return link;
}

Result<void> changeUp(nl_sock* socket, const std::string& name, bool up) {
    VZ_TRY(auto link, needLink(socket, name));
    Link change(::rtnl_link_alloc());
    if (up)
        ::rtnl_link_set_flags(change.get(), IFF_UP);
    else
        ::rtnl_link_unset_flags(change.get(), IFF_UP);
    if (int rc = ::rtnl_link_change(socket, link.get(), change.get(), 0); rc < 0)
        return failNetlink(rc, "cannot set interface ", name, up ? " up" : " down");
    return {};
}

Result<std::string> freeName(nl_sock* socket, std::string_view prefix) {
    VZ_TRY(auto links, allLinks(socket));
    std::set<std::string> names;
    for (auto* object = ::nl_cache_get_first(links.get()); object; object = ::nl_cache_get_next(object))
        names.insert(::rtnl_link_get_name(reinterpret_cast<rtnl_link*>(object)));
    for (unsigned number = 0;; ++number)
        if (auto name = cat(prefix, number); !names.contains(name))
            return name;
}

Result<Address> parseAddress(const std::string& text, unsigned prefix) {
    nl_addr* parsed = nullptr;
    // Without AF_UNSPEC's guesses: "1:2:3:4:5:6" would be taken for a MAC address.
    int family = text.find(':') == std::string::npos ? AF_INET : AF_INET6;
    if (text.find('/') != std::string::npos || ::nl_addr_parse(text.c_str(), family, &parsed) < 0)
        return fail(ErrorCode::ConfigUnsupported, "'", text, "' is not an IP address");
    Address address(parsed);
    unsigned most = family == AF_INET ? 32 : 128;
    if (prefix > most)
        return fail(ErrorCode::ConfigUnsupported, "prefix ", prefix, " of ", text, " is larger than ", most);
    ::nl_addr_set_prefixlen(parsed, static_cast<int>(prefix));
    return address;
}

unsigned fullPrefix(const std::string& address) {
    return address.find(':') == std::string::npos ? 32 : 128;
}

Result<void> addAddress(nl_sock* socket, int index, const IpAddress& wanted) {
    unsigned prefix = wanted.prefix ? wanted.prefix : fullPrefix(wanted.address);
    bool v6 = fullPrefix(wanted.address) == 128;
    std::unique_ptr<rtnl_addr, Release> address(::rtnl_addr_alloc());
    ::rtnl_addr_set_ifindex(address.get(), index);
    VZ_TRY(auto local,
           parseAddress(wanted.address, wanted.peer.empty() ? prefix : fullPrefix(wanted.address)));
    ::rtnl_addr_set_local(address.get(), local.get());
    if (!wanted.peer.empty()) {
        VZ_TRY(auto peer, parseAddress(wanted.peer, prefix));
        ::rtnl_addr_set_peer(address.get(), peer.get());
    } else if (!v6 && prefix < 31) {
        in_addr raw;
        std::memcpy(&raw, ::nl_addr_get_binary_addr(local.get()), sizeof raw);
        raw.s_addr |= htonl((uint32_t{1} << (32 - prefix)) - 1);
        Address broadcast(::nl_addr_build(AF_INET, &raw, sizeof raw));
        ::rtnl_addr_set_broadcast(address.get(), broadcast.get());
    }
    if (v6) // configured by the owner of the host: no second of "tentative" before it can be used
        ::rtnl_addr_set_flags(address.get(), IFA_F_NODAD);
    if (int rc = ::rtnl_addr_add(socket, address.get(), 0); rc < 0)
        return failNetlink(rc, "cannot add the address ", wanted.address, "/", prefix);
    return {};
}

Result<void> addRoute(nl_sock* socket, int index, const IpRoute& wanted) {
    std::unique_ptr<rtnl_route, Release> route(::rtnl_route_alloc());
    VZ_TRY(auto destination, parseAddress(wanted.destination, wanted.prefix));
    ::rtnl_route_set_family(route.get(), static_cast<uint8_t>(::nl_addr_get_family(destination.get())));
    ::rtnl_route_set_dst(route.get(), destination.get());
    if (wanted.metric)
        ::rtnl_route_set_priority(route.get(), wanted.metric);
    auto* hop = ::rtnl_route_nh_alloc();
    ::rtnl_route_nh_set_ifindex(hop, index);
    ::rtnl_route_add_nexthop(route.get(), hop); // the route frees it
    if (wanted.gateway.empty()) {
        ::rtnl_route_set_scope(route.get(), RT_SCOPE_LINK);
    } else {
        VZ_TRY(auto gateway, parseAddress(wanted.gateway, fullPrefix(wanted.gateway)));
        ::rtnl_route_nh_set_gateway(hop, gateway.get());
        ::rtnl_route_set_scope(route.get(), RT_SCOPE_UNIVERSE);
    }
    if (int rc = ::rtnl_route_add(socket, route.get(), NLM_F_EXCL); rc < 0)
        return failNetlink(rc, "cannot add the route to ", wanted.destination, "/", wanted.prefix,
                           wanted.gateway.empty() ? "" : " by ", wanted.gateway);
    return {};
}

Result<Link> findBridge(nl_sock* socket, const std::string& name) {
    VZ_TRY(auto bridge, findLink(socket, name));
    if (!bridge)
        return fail(ErrorCode::ConfigUnsupported, "there is no bridge '", name,
                    "' on this host: create it, or change <source bridge=.../>");
    const char* type = ::rtnl_link_get_type(bridge.get());
    if (!type || std::string_view(type) != "bridge")
        return fail(ErrorCode::ConfigUnsupported, "the interface '", name, "' is not a bridge");
    return bridge;
}

Result<void> setMacs(rtnl_link* host, rtnl_link* guest, const std::string& mac) {
    if (mac.empty())
        return {};
    nl_addr* parsed = nullptr;
    if (::nl_addr_parse(mac.c_str(), AF_LLC, &parsed) < 0 || ::nl_addr_get_len(parsed) != 6)
        return fail(ErrorCode::ConfigUnsupported, "'", mac, "' is not a MAC address");
    Address address(parsed);
    ::rtnl_link_set_addr(guest, parsed);
    // A bridge takes the lowest MAC of its ports: a high first byte keeps it from changing with each start.
    unsigned char bytes[6];
    std::memcpy(bytes, ::nl_addr_get_binary_addr(parsed), sizeof bytes);
    bytes[0] = bytes[0] == 0xfe ? 0xfa : 0xfe;
    Address ours(::nl_addr_build(AF_LLC, bytes, sizeof bytes));
    ::rtnl_link_set_addr(host, ours.get());
    return {};
}

struct PairPlan {
    std::string hostName;
    std::string guestName;
    rtnl_link* bridge;
    unsigned mtu;
};

/** The netlink code of the kernel's answer, to be looked at for a name that was taken meanwhile. */
Result<int> addPair(nl_sock* socket, int netns, const NetInterface& wanted, const PairPlan& plan) {
    Link host(::rtnl_link_veth_alloc());
    if (!host)
        return fail(ErrorCode::NoMemory, "cannot describe a veth pair");
    Link guest(::rtnl_link_veth_get_peer(host.get()));
    ::rtnl_link_set_name(host.get(), plan.hostName.c_str());
    ::rtnl_link_set_name(guest.get(), plan.guestName.c_str());
    ::rtnl_link_set_ns_fd(guest.get(), netns);
    VZ_CHECK(setMacs(host.get(), guest.get(), wanted.mac));
    if (plan.mtu) {
        ::rtnl_link_set_mtu(host.get(), plan.mtu);
        ::rtnl_link_set_mtu(guest.get(), plan.mtu);
    }
    if (plan.bridge)
        ::rtnl_link_set_master(host.get(), ::rtnl_link_get_ifindex(plan.bridge));
    return ::rtnl_link_add(socket, host.get(), NLM_F_CREATE | NLM_F_EXCL);
}

Result<void> configureGuest(nl_sock* inside, const NetInterface& wanted, const std::string& name) {
    VZ_TRY(auto link, needLink(inside, name));
    int index = ::rtnl_link_get_ifindex(link.get());
    for (const auto& address : wanted.addresses)
        VZ_CHECK(addAddress(inside, index, address));
    if (wanted.up)
        VZ_CHECK(changeUp(inside, name, true));
    // The kernel takes routes only over an interface that is up.
    for (const auto& route : wanted.up ? wanted.routes : std::vector<IpRoute>())
        VZ_CHECK(addRoute(inside, index, route));
    return {};
}

Result<void> checkName(const std::string& name) {
    if (name.size() >= IFNAMSIZ || name.find_first_of("/ \t\n:") != std::string::npos || name == "." ||
        name == "..")
        return fail(ErrorCode::ConfigUnsupported, "'", name,
                    "' is not a name for a network interface (at most ", IFNAMSIZ - 1,
                    " characters, no blanks, '/' or ':')");
    return {};
}

} // namespace

Result<CreatedInterface> createInterface(int netns, const NetInterface& wanted) {
    VZ_CHECK(checkName(wanted.hostName));
    VZ_CHECK(checkName(wanted.guestName));
    VZ_TRY(auto outside, connectHere());
    VZ_TRY(auto inside, connectIn(netns));
    Link bridge;
    if (!wanted.bridge.empty()) {
        VZ_TRY(bridge, findBridge(outside.get(), wanted.bridge));
    }
    PairPlan plan{wanted.hostName, wanted.guestName, bridge.get(), wanted.mtu};
    if (!plan.mtu && bridge)
        plan.mtu = ::rtnl_link_get_mtu(bridge.get());
    if (plan.guestName.empty()) {
        VZ_TRY(plan.guestName, freeName(inside.get(), "eth"));
    }
    constexpr int attempts = 100; // other starts pick names at the same time
    for (int attempt = 0;; ++attempt) {
        if (wanted.hostName.empty()) {
            VZ_TRY(plan.hostName, freeName(outside.get(), "vnet"));
        }
        VZ_TRY(int rc, addPair(outside.get(), netns, wanted, plan));
        if (rc == 0)
            break;
        if (rc != -NLE_EXIST || !wanted.hostName.empty() || attempt == attempts)
            return failNetlink(rc, "cannot create the interface pair ", plan.hostName, " / ", plan.guestName);
    }
    Rollback undo;
    undo.add([&] { (void)removeInterface(plan.hostName); });
    VZ_CHECK(changeUp(outside.get(), plan.hostName, true));
    VZ_CHECK(configureGuest(inside.get(), wanted, plan.guestName));
    undo.dismiss();
    return CreatedInterface{plan.hostName, plan.guestName};
}

Result<void> removeInterface(const std::string& hostName) {
    VZ_TRY(auto socket, connectHere());
    VZ_TRY(auto link, findLink(socket.get(), hostName));
    if (!link)
        return {};
    if (int rc = ::rtnl_link_delete(socket.get(), link.get());
        rc < 0 && rc != -NLE_OBJ_NOTFOUND && rc != -NLE_NODEV)
        return failNetlink(rc, "cannot remove the interface ", hostName);
    return {};
}

Result<void> setLinkUp(int netns, const std::string& guestName, bool up) {
    VZ_TRY(auto socket, connectIn(netns));
    return changeUp(socket.get(), guestName, up);
}

Result<void> setLoopbackUp(int netns) {
    return setLinkUp(netns, "lo", true);
}

Result<std::vector<InterfaceAddresses>> interfaceAddresses(int netns) {
    VZ_TRY(auto socket, connectIn(netns));
    VZ_TRY(auto links, allLinks(socket.get()));
    nl_cache* raw = nullptr;
    if (int rc = ::rtnl_addr_alloc_cache(socket.get(), &raw); rc < 0)
        return failNetlink(rc, "cannot list addresses");
    Cache addresses(raw);
    std::vector<InterfaceAddresses> found;
    char text[128];
    for (auto* object = ::nl_cache_get_first(links.get()); object; object = ::nl_cache_get_next(object)) {
        auto* link = reinterpret_cast<rtnl_link*>(object);
        InterfaceAddresses one{::rtnl_link_get_name(link), "", {}};
        if (auto* mac = ::rtnl_link_get_addr(link))
            one.mac = ::nl_addr2str(mac, text, sizeof text);
        for (auto* each = ::nl_cache_get_first(raw); each; each = ::nl_cache_get_next(each)) {
            auto* address = reinterpret_cast<rtnl_addr*>(each);
            auto* local = ::rtnl_addr_get_local(address);
            if (::rtnl_addr_get_ifindex(address) != ::rtnl_link_get_ifindex(link) || !local)
                continue;
            IpAddress ip;
            ip.address =
                ::inet_ntop(::nl_addr_get_family(local), ::nl_addr_get_binary_addr(local), text, sizeof text);
            ip.prefix = static_cast<unsigned>(::rtnl_addr_get_prefixlen(address));
            if (auto* peer = ::rtnl_addr_get_peer(address))
                ip.peer = ::inet_ntop(::nl_addr_get_family(peer), ::nl_addr_get_binary_addr(peer), text,
                                      sizeof text);
            one.addresses.push_back(std::move(ip));
        }
        found.push_back(std::move(one));
    }
    return found;
}

Result<InterfaceCounters> hostCounters(const std::string& hostName) {
    VZ_TRY(auto socket, connectHere());
    VZ_TRY(auto link, needLink(socket.get(), hostName));
    auto get = [&](rtnl_link_stat_id_t id) { return ::rtnl_link_get_stat(link.get(), id); };
    return InterfaceCounters{get(RTNL_LINK_RX_BYTES),   get(RTNL_LINK_RX_PACKETS), get(RTNL_LINK_RX_ERRORS),
                             get(RTNL_LINK_RX_DROPPED), get(RTNL_LINK_TX_BYTES),   get(RTNL_LINK_TX_PACKETS),
                             get(RTNL_LINK_TX_ERRORS),  get(RTNL_LINK_TX_DROPPED)};
}

} // namespace vz::ct
