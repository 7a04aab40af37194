// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/self_connection.hpp"

#include "libvirt/driver_table.hpp"

namespace vz::driver {

Result<Connection> connectSelf() {
    Connection connection(::virConnectOpen("vz:///system"));
    if (!connection)
        return abi::lastError("there is no connection to the daemon's other drivers");
    return connection;
}

} // namespace vz::driver
