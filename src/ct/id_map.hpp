// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "ct/launch_spec.hpp"

#include <vector>

namespace vz::ct {

/** A new user namespace with these maps and no process in it, as the fd of it that id-mapped mounts want. */
Result<UniqueFd> makeUserNamespace(const std::vector<IdRange>& uids, const std::vector<IdRange>& gids);

/** A detached copy of the mount at @p path (AT_EMPTY_PATH not used), owners mapped by @p userNamespace. */
Result<UniqueFd> cloneIdMapped(const std::string& path, int userNamespace);

} // namespace vz::ct
