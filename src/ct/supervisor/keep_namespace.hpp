// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <string>

namespace vz::supervisor {

/**
 * Another use of this program, which AppArmor's rules for libvirtd let mount: `vz-supervisor keep FILE`
 * mounts the namespace that descriptor 3 is on the file (made if it is not there), so that it outlives
 * whoever is in it; `vz-supervisor drop FILE` takes it away. Both may be done twice. The exit status; why is
 * on stderr.
 */
int keepNamespace(const std::string& path);
int dropNamespace(const std::string& path);

} // namespace vz::supervisor
