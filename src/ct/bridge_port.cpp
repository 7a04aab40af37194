// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/bridge_port.hpp"

#include "ct/rtnl.hpp"

#include <cerrno>
#include <sys/socket.h>

namespace vz::ct {

Result<void> setPortIsolated(const std::string& hostName, bool isolated) {
    VZ_TRY(auto socket, RtSocket::open());
    VZ_TRY(int index, socket.needIndex(hostName));
    ifinfomsg header{};
    header.ifi_family = AF_BRIDGE;
    header.ifi_index = index;
    RtMessage message(RTM_SETLINK, 0, header);
    auto port = message.begin(IFLA_PROTINFO | NLA_F_NESTED);
    message.put(IFLA_BRPORT_ISOLATED, static_cast<uint8_t>(isolated));
    message.end(port);
    VZ_TRY(auto set, socket.ask(message));
    if (set)
        return {};
    if (set.error == EINVAL || set.error == EOPNOTSUPP)
        return fail(ErrorCode::ConfigUnsupported,
                    "<port isolated=> is for ports of Linux bridges: ", hostName, " is none");
    return failErrno(set.error, "cannot isolate the port ", hostName);
}

} // namespace vz::ct
