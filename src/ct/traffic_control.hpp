// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/rtnl.hpp"

#include <linux/pkt_cls.h>

/** What all uses of traffic control at the host end of an interface share. */
namespace vz::ct {

/** Where in the order of filters for what comes in each of ours is; lower ones are asked first. */
enum class FilterPlace : uint16_t { Guard = 10, Shaping = 20 };

RtMessage tcMessage(uint16_t type, unsigned flags, int index, uint32_t parent, uint32_t handle);
/** About the one filter of that place. */
RtMessage filterMessage(uint16_t type, unsigned flags, int index, FilterPlace place, uint32_t handle = 0);

/** Makes the hook that filters for what comes in are at, if it is not there yet. */
Result<void> openIngress(RtSocket& socket, int index, const std::string& what);

/** Sends a removal; what is not there is fine. */
Result<void> removed(RtSocket& socket, RtMessage& message, const std::string& what);
Result<void> removeFilter(RtSocket& socket, int index, FilterPlace place, const std::string& what);

/** The error for the answer to making something of kernel module @p module. */
Error kernelLacks(const RtAnswer& answer, const char* module, const std::string& what);

} // namespace vz::ct
