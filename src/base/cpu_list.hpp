// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace vz {

/** The numbers of a list such as "0-3,8", as the kernel and libvirt write CPUs and NUMA nodes, in the order
 * given; OperationFailed if it is none. */
Result<std::vector<unsigned>> parseCpuList(std::string_view text);

/** The list of such numbers, which are sorted and no two the same. */
std::string formatCpuList(const std::vector<unsigned>& numbers);

} // namespace vz
