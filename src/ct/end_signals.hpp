// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <sys/types.h>

namespace vz::ct {

/** How to ask this init to stop or reboot. */
struct EndSignals {
    int poweroff = 0; ///< 0: it listens to none; then the only way is to kill
    int reboot = 0;
};
/** SIGRTMIN+3/+5 for systemd; else from the signals that init catches: SIGPWR, SIGTERM, SIGINT (see .cpp).
 * @p init: its pid in the pid namespace of the caller's /proc. */
Result<EndSignals> endSignals(pid_t init);

} // namespace vz::ct
