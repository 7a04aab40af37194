// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "libvirt/private.hpp"
#include "turn_until.hpp"

#include <catch2/catch.hpp>

#include <libvirt/libvirt.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>

/** Parts of the event tests: the event loop, connections, and a driver whose events the tests make up. */
namespace events {

/** Registers libvirt's event loop and starts the drivers, so that connections open as in the daemon. The
 * scheme of the made-up driver is "vzsource". */
void startLibvirt();

/** The event loop in a thread of its own, as in the daemon. */
class Loop {
public:
    Loop();
    ~Loop();

private:
    int timer_; ///< wakes it for the end
    std::atomic<bool> ends_ = false;
    std::thread thread_;
};

/** A connection; the test says when it has to be the last reference. */
class Connection {
public:
    /** One that no driver opened. */
    Connection();
    explicit Connection(const char* uri);
    ~Connection();
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;
    operator virConnectPtr() const { return conn_; }
    /** How many others refer to it still. */
    int close();

private:
    virConnectPtr conn_;
};

/** The hub of the made-up driver. */
void* sourceHub();
/** The made-up driver accepts so many registrations from now on and refuses the next, or accepts all. */
void refuseAfter(int registrations);
void acceptAll();

/** Runs when the last reference to a connection of the made-up driver is gone. */
void atClose(std::function<void()> function);

/** "NAME/ID/last byte of the UUID". */
std::string who(virDomainPtr dom);
/** A domain object of @p conn, unreferenced at the end. */
class Domain {
public:
    Domain(virConnectPtr conn, const char* name, int id, unsigned char lastOfUuid);
    ~Domain();
    Domain(const Domain&) = delete;
    Domain& operator=(const Domain&) = delete;
    operator virDomainPtr() const { return dom_; }

private:
    virDomainPtr dom_;
};

} // namespace events
