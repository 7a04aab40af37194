// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "libvirt/private.hpp"

#include <catch2/catch.hpp>

#include <libvirt/virterror.h>

/** A connection object that no driver opened, as libvirt makes one before it looks for a driver. */
struct Connection {
    Connection() {
        REQUIRE(virInitialize() == 0);
        conn = vz::abi::priv::virGetConnect();
        REQUIRE(conn);
    }
    ~Connection() { vz::abi::priv::virObjectUnref(conn); }
    virConnectPtr conn = nullptr;
};
