// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/net_vlan.hpp"

#include "base/file.hpp"
#include "ct/rtnl.hpp"

#include <linux/if_bridge.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

namespace vz::ct {

namespace {

/** Adds (RTM_SETLINK) or removes (RTM_DELLINK) one VLAN. */
Result<void> sendVlan(RtSocket& socket, uint16_t type, int index, bridge_vlan_info info,
                      const std::string& what) {
    ifinfomsg header{};
    header.ifi_family = AF_BRIDGE;
    header.ifi_index = index;
    RtMessage message(type, 0, header);
    auto* spec = message.begin(IFLA_AF_SPEC);
    message.put(IFLA_BRIDGE_VLAN_INFO, info);
    message.end(spec);
    return socket.request(message, what);
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
    VZ_TRY(auto socket, RtSocket::open());
    VZ_TRY(int index, socket.needIndex(port));
    if (auto id = parseNumber<uint16_t>(setting(bridge, "default_pvid")); id && *id)
        VZ_CHECK(sendVlan(socket, RTM_DELLINK, index, {.flags = 0, .vid = *id},
                          cat("cannot take ", port, " out of the bridge's VLAN ", *id)));
    for (const auto& vlan : vlans) {
        bridge_vlan_info info{.flags = 0, .vid = static_cast<uint16_t>(vlan.id)};
        if (vlan.native)
            info.flags |= BRIDGE_VLAN_INFO_PVID;
        if (vlan.untagged)
            info.flags |= BRIDGE_VLAN_INFO_UNTAGGED;
        VZ_CHECK(
            sendVlan(socket, RTM_SETLINK, index, info, cat("cannot put ", port, " into VLAN ", vlan.id)));
    }
    return {};
}

} // namespace vz::ct
