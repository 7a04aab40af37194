// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/beancounters.hpp"

namespace vz::ct {

/**
 * How this host holds each beancounter of a container with a user namespace that has a limit of all of them:
 * state and mechanism, no figures. Found out by doing: control groups are made, with the BPF programs of a
 * container, and removed again. ConfigUnsupported or a system error if no groups can be made. Takes some
 * milliseconds; any thread.
 */
Result<std::vector<CounterStatus>> hostCounters(const CgroupHost& host);

} // namespace vz::ct
