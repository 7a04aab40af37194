// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/cgroup.hpp"

namespace vz::ct {

/** Whether a partition keeps memory for the groups in it: see protectPartition(). */
bool partitionProtected(const CgroupHost& host, const std::string& partition);

} // namespace vz::ct
