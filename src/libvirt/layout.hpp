// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <span>

/** The order of libvirt's driver tables, generated from layouts/<version>.tsv. Internal to src/libvirt. */
namespace vz::abi {

namespace layout {

/** libvirt version these tables belong to: "9.0.0". */
const char* version();
/** Slot names in order; index 0 is "name". */
std::span<const char* const> hypervisor();
std::span<const char* const> storage();

} // namespace layout

/** Name of the registered driver; "vz" before registration. */
const char* driverName();
/** The registered hypervisor table, as libvirt has it in our connections; null before registration. */
const void* hypervisorTable();

} // namespace vz::abi
