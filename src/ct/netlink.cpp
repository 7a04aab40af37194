// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/netlink.hpp"

#include "ct/namespace_thread.hpp"

#include <net/if.h>

#include <set>

namespace vz::ct::netlink {

namespace {

Result<Link> found(int rc, rtnl_link* link, std::string_view what) {
    if (rc == -NLE_OBJ_NOTFOUND || rc == -NLE_NODEV)
        return Link();
    if (rc < 0)
        return failure(rc, "cannot look up the network interface ", what);
    return Link(link);
}

} // namespace

Result<Socket> connectHere() {
    Socket socket(::nl_socket_alloc());
    if (!socket)
        return fail(ErrorCode::NoMemory, "cannot make a netlink socket");
    if (int rc = ::nl_connect(socket.get(), NETLINK_ROUTE); rc < 0)
        return failure(rc, "cannot open a netlink socket");
    return socket;
}

Result<Socket> connectIn(int netns) {
    return inNamespace(netns, CLONE_NEWNET, connectHere);
}

Result<Cache> allLinks(nl_sock* socket) {
    nl_cache* links = nullptr;
    if (int rc = ::rtnl_link_alloc_cache(socket, AF_UNSPEC, &links); rc < 0)
        return failure(rc, "cannot list network interfaces");
    return Cache(links);
}

Result<Link> findLink(nl_sock* socket, const std::string& name) {
    rtnl_link* link = nullptr;
    int rc = ::rtnl_link_get_kernel(socket, 0, name.c_str(), &link);
    return found(rc, link, name);
}

Result<Link> findLink(nl_sock* socket, int index) {
    rtnl_link* link = nullptr;
    int rc = ::rtnl_link_get_kernel(socket, index, nullptr, &link);
    return found(rc, link, cat(index));
}

Result<Link> needLink(nl_sock* socket, const std::string& name) {
    VZ_TRY(auto link, findLink(socket, name));
    if (!link)
        return fail(ErrorCode::DeviceMissing, "there is no network interface ", name);
    return link;
}

std::string typeOf(rtnl_link* link) {
    const char* type = ::rtnl_link_get_type(link);
    return type ? type : "";
}

std::string macOf(rtnl_link* link) {
    char text[64];
    auto* mac = ::rtnl_link_get_addr(link);
    return mac && ::nl_addr_get_len(mac) ? ::nl_addr2str(mac, text, sizeof text) : "";
}

Result<void> change(nl_sock* socket, rtnl_link* link, const Link& change, std::string_view what) {
    if (int rc = ::rtnl_link_change(socket, link, change.get(), 0); rc < 0)
        return failure(rc, "cannot ", what, " of interface ", ::rtnl_link_get_name(link));
    return {};
}

Result<void> setUp(nl_sock* socket, rtnl_link* link, bool up) {
    Link wanted(::rtnl_link_alloc());
    if (up)
        ::rtnl_link_set_flags(wanted.get(), IFF_UP);
    else
        ::rtnl_link_unset_flags(wanted.get(), IFF_UP);
    return change(socket, link, wanted, up ? "set the state up" : "set the state down");
}

Result<void> remove(nl_sock* socket, rtnl_link* link) {
    int rc = ::rtnl_link_delete(socket, link);
    if (rc < 0 && rc != -NLE_OBJ_NOTFOUND && rc != -NLE_NODEV)
        return failure(rc, "cannot remove the interface ", ::rtnl_link_get_name(link));
    return {};
}

Result<std::string> freeName(nl_sock* socket, std::string_view prefix) {
    VZ_TRY(auto links, allLinks(socket));
    std::set<std::string> names;
    for (auto* object = ::nl_cache_get_first(links.get()); object; object = ::nl_cache_get_next(object))
        names.insert(::rtnl_link_get_name(reinterpret_cast<rtnl_link*>(object)));
    for (unsigned number = 0;; ++number) {
        if (auto name = cat(prefix, number); !names.contains(name))
            return name;
    }
}

Result<Address> parseMac(const std::string& mac) {
    nl_addr* parsed = nullptr;
    int rc = ::nl_addr_parse(mac.c_str(), AF_LLC, &parsed);
    Address address(rc < 0 ? nullptr : parsed);
    if (!address || ::nl_addr_get_len(address.get()) != 6)
        return fail(ErrorCode::ConfigUnsupported, "'", mac, "' is not a MAC address");
    return address;
}

} // namespace vz::ct::netlink
