// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/net_addresses.hpp"

#include <netlink/route/addr.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include <arpa/inet.h>
#include <cstring>
#include <linux/rtnetlink.h>

namespace vz::ct {

namespace {

using netlink::Address;

struct Release {
    void operator()(rtnl_addr* address) const { ::rtnl_addr_put(address); }
    void operator()(rtnl_route* route) const { ::rtnl_route_put(route); }
};
using OwnedAddress = std::unique_ptr<rtnl_addr, Release>;
using OwnedRoute = std::unique_ptr<rtnl_route, Release>;

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

Result<OwnedAddress> describe(int index, const IpAddress& wanted) {
    unsigned prefix = wanted.prefix ? wanted.prefix : fullPrefix(wanted.address);
    bool v6 = fullPrefix(wanted.address) == 128;
    OwnedAddress address(::rtnl_addr_alloc());
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
    return address;
}

Result<OwnedRoute> describe(int index, const IpRoute& wanted, bool onLink) {
    OwnedRoute route(::rtnl_route_alloc());
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
        if (onLink)
            ::rtnl_route_nh_set_flags(hop, RTNH_F_ONLINK);
        ::rtnl_route_set_scope(route.get(), RT_SCOPE_UNIVERSE);
    }
    return route;
}

std::string textOf(const IpAddress& address) {
    return cat(address.address, "/", address.prefix ? address.prefix : fullPrefix(address.address));
}

std::string textOf(const IpRoute& route) {
    return cat(route.destination, "/", route.prefix, route.gateway.empty() ? "" : " by ", route.gateway);
}

} // namespace

Result<void> addAddress(nl_sock* socket, int index, const IpAddress& wanted, IfThere ifThere) {
    VZ_TRY(auto address, describe(index, wanted));
    int rc = ::rtnl_addr_add(socket, address.get(), 0);
    if (rc < 0 && !(rc == -NLE_EXIST && ifThere == IfThere::Fine))
        return netlink::failure(rc, "cannot add the address ", textOf(wanted));
    return {};
}

Result<void> removeAddress(nl_sock* socket, int index, const IpAddress& unwanted) {
    VZ_TRY(auto address, describe(index, unwanted));
    int rc = ::rtnl_addr_delete(socket, address.get(), 0);
    if (rc < 0 && rc != -NLE_NOADDR && rc != -NLE_OBJ_NOTFOUND)
        return netlink::failure(rc, "cannot remove the address ", textOf(unwanted));
    return {};
}

Result<void> addRoute(nl_sock* socket, int index, const IpRoute& wanted, bool onLink, IfThere ifThere) {
    VZ_TRY(auto route, describe(index, wanted, onLink));
    int rc = ::rtnl_route_add(socket, route.get(), NLM_F_EXCL);
    if (rc < 0 && !(rc == -NLE_EXIST && ifThere == IfThere::Fine))
        return netlink::failure(rc, "cannot add the route to ", textOf(wanted));
    return {};
}

Result<void> removeRoute(nl_sock* socket, int index, const IpRoute& unwanted) {
    VZ_TRY(auto route, describe(index, unwanted, false));
    int rc = ::rtnl_route_delete(socket, route.get(), 0);
    if (rc < 0 && rc != -NLE_OBJ_NOTFOUND)
        return netlink::failure(rc, "cannot remove the route to ", textOf(unwanted));
    return {};
}

Result<std::vector<InterfaceAddresses>> interfaceAddresses(int netns) {
    VZ_TRY(auto socket, netlink::connectIn(netns));
    VZ_TRY(auto links, netlink::allLinks(socket.get()));
    nl_cache* raw = nullptr;
    if (int rc = ::rtnl_addr_alloc_cache(socket.get(), &raw); rc < 0)
        return netlink::failure(rc, "cannot list addresses");
    netlink::Cache addresses(raw);
    std::vector<InterfaceAddresses> found;
    char text[128];
    for (auto* object = ::nl_cache_get_first(links.get()); object; object = ::nl_cache_get_next(object)) {
        auto* link = reinterpret_cast<rtnl_link*>(object);
        InterfaceAddresses one{::rtnl_link_get_name(link), netlink::macOf(link), {}};
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

} // namespace vz::ct
