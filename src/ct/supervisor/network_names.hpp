// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/launch_spec.hpp"

/**
 * The host name and name servers of the description, written into the container's root as its distribution
 * keeps them. Called as the container's root in the container's own namespaces, so that no link in the root
 * can lead to anything that is not the container's.
 */
namespace vz::supervisor {

/**
 * Nothing is written if the description names none. A SystemError names the file; ConfigUnsupported: the root
 * has its name servers in a way that is not known here. Each file is replaced as a whole.
 */
Result<void> writeNetworkNames(const ct::LaunchSpec& spec);

} // namespace vz::supervisor
