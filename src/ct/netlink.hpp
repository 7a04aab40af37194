// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <netlink/netlink.h>
#include <netlink/route/link.h>

#include <memory>
#include <string>

/** Owned libnl objects and the questions that all of rtnetlink's users ask. For src/ct and its tests. */
namespace vz::ct::netlink {

struct Release {
    void operator()(nl_sock* socket) const { ::nl_socket_free(socket); }
    void operator()(nl_cache* cache) const { ::nl_cache_free(cache); }
    void operator()(nl_addr* address) const { ::nl_addr_put(address); }
    void operator()(rtnl_link* link) const { ::rtnl_link_put(link); }
};
using Socket = std::unique_ptr<nl_sock, Release>;
using Cache = std::unique_ptr<nl_cache, Release>;
using Address = std::unique_ptr<nl_addr, Release>;
using Link = std::unique_ptr<rtnl_link, Release>;

/** A SystemError with libnl's text for its code. */
template<typename... Parts>
Error failure(int code, const Parts&... parts) {
    return fail(ErrorCode::SystemError, parts..., ": ", ::nl_geterror(code));
}

/** A socket in the caller's network namespace, or in @p netns; it stays there wherever it is used. */
Result<Socket> connectHere();
Result<Socket> connectIn(int netns);

Result<Cache> allLinks(nl_sock* socket);
/** Null if there is no such interface. */
Result<Link> findLink(nl_sock* socket, const std::string& name);
Result<Link> findLink(nl_sock* socket, int index);
/** DeviceMissing if there is none. */
Result<Link> needLink(nl_sock* socket, const std::string& name);

/** "bridge", "veth", "macvlan"; empty for hardware. */
std::string typeOf(rtnl_link* link);
/** "52:54:00:12:34:56"; empty if it has none. */
std::string macOf(rtnl_link* link);

/** Sends the values set in @p change to the interface. */
Result<void> change(nl_sock* socket, rtnl_link* link, const Link& change, std::string_view what);
Result<void> setUp(nl_sock* socket, rtnl_link* link, bool up);
/** One that is gone already is fine. */
Result<void> remove(nl_sock* socket, rtnl_link* link);

/** "vnet3": the first name of that kind that no interface has. */
Result<std::string> freeName(nl_sock* socket, std::string_view prefix);

/** ConfigUnsupported for what is no MAC address. */
Result<Address> parseMac(const std::string& mac);

} // namespace vz::ct::netlink
