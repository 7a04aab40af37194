// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "libvirt/inner.hpp"

#include <libvirt/libvirt.h>

#include <memory>

namespace vz::driver {

struct CloseConnection {
    void operator()(virConnectPtr conn) const { ::virConnectClose(conn); }
};
using Connection = std::unique_ptr<std::remove_pointer_t<virConnectPtr>, CloseConnection>;

/**
 * A connection to this driver, through which the daemon's network, storage and nwfilter drivers are reached
 * as if a client asked: never another process, and NoSupport for a driver that the daemon does not have.
 * Calls are the client's of this thread; where there is none, or for what nobody may forbid, use
 * abi::AsDaemon.
 */
Result<Connection> connectSelf();

} // namespace vz::driver
