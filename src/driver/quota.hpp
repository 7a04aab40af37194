// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "domain/definition.hpp"

#include <vector>

namespace vz::driver {

/**
 * Puts <vz:quota> of a container in force, also while it runs; without the element it is without a quota.
 * @p uids: its id ranges, the first host id of which is its project's number. ConfigUnsupported if its root
 * cannot have one.
 */
Result<void> setQuota(const domain::Definition& definition, const std::vector<ct::IdRange>& uids);

} // namespace vz::driver
