// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/net_vlan.hpp"

#include "base/file.hpp"
#include "ct/netlink.hpp"

#include <netlink/msg.h>

#include <linux/if_bridge.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace vz::ct {

namespace {

struct FreeMessage {
    void operator()(nl_msg* message) const { ::nlmsg_free(message); }
};

/** Adds (RTM_SETLINK) or removes (RTM_DELLINK) one VLAN; the answer's netlink code. */
Result<int> sendVlan(nl_sock* socket, int type, int index, bridge_vlan_info info) {
    std::unique_ptr<nl_msg, FreeMessage> message(::nlmsg_alloc_simple(type, 0));
    ifinfomsg header{};
    header.ifi_family = AF_BRIDGE;
    header.ifi_index = index;
    bool fits = message && ::nlmsg_append(message.get(), &header, sizeof header, NLMSG_ALIGNTO) == 0;
    auto* spec = fits ? ::nla_nest_start(message.get(), IFLA_AF_SPEC) : nullptr;
    if (!spec || ::nla_put(message.get(), IFLA_BRIDGE_VLAN_INFO, sizeof info, &info) < 0)
        return fail(ErrorCode::NoMemory, "cannot describe a VLAN");
    ::nla_nest_end(message.get(), spec);
    return ::nl_send_sync(socket, message.release()); // which frees it
}

std::string setting(const std::string& bridge, const char* name) {
    return std::string(trim(file::read(cat("/sys/class/net/", bridge, "/bridge/", name)).valueOr("")));
}

} // namespace

Result<void> checkFiltersVlans(const std::string& bridge) {
    auto filtering = setting(bridge, "vlan_filtering");
    if (filtering == "1")
        return {};
    if (filtering.empty())
        return fail(ErrorCode::ConfigUnsupported, "<vlan>: the kernel of this host has no VLAN filtering of ",
                    "bridges, or '", bridge, "' is no Linux bridge");
    return fail(ErrorCode::ConfigUnsupported, "<vlan>: the bridge '", bridge,
                "' does not filter VLANs: turn that on (ip link set ", bridge,
                " type bridge vlan_filtering 1)");
}

Result<void> setPortVlans(const std::string& port, const std::string& bridge,
                          const std::vector<PortVlan>& vlans) {
    VZ_TRY(auto socket, netlink::connectHere());
    VZ_TRY(auto link, netlink::needLink(socket.get(), port));
    int index = ::rtnl_link_get_ifindex(link.get());
    if (auto id = parseNumber<uint16_t>(setting(bridge, "default_pvid")); id && *id) {
        VZ_TRY(int gone, sendVlan(socket.get(), RTM_DELLINK, index, {.flags = 0, .vid = *id}));
        if (gone < 0)
            return netlink::failure(gone, "cannot take ", port, " out of the bridge's VLAN ", *id);
    }
    for (const auto& vlan : vlans) {
        bridge_vlan_info info{.flags = 0, .vid = static_cast<uint16_t>(vlan.id)};
        if (vlan.native)
            info.flags |= BRIDGE_VLAN_INFO_PVID;
        if (vlan.untagged)
            info.flags |= BRIDGE_VLAN_INFO_UNTAGGED;
        VZ_TRY(int set, sendVlan(socket.get(), RTM_SETLINK, index, info));
        if (set < 0)
            return netlink::failure(set, "cannot put ", port, " into VLAN ", vlan.id);
    }
    return {};
}

} // namespace vz::ct
