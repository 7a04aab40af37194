// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/unique_fd.hpp"
#include "ct/container.hpp"

#include <string>
#include <vector>

/** Internal to src/ct: how the daemon comes to a connection with a supervisor. */
namespace vz::ct {

/** A connection that is past its greeting. */
struct SupervisorLink {
    UniqueFd control;
    UniqueFd supervisor; ///< pidfd
    UniqueFd init;       ///< pidfd; none if nothing runs inside now
    unsigned boots = 0;
    std::vector<std::string> consoles; ///< host pty paths
};

/** Starts a supervisor and leads the dialogue of a start to its end (protocol.hpp). */
Result<SupervisorLink> startSupervisor(LaunchSpec& spec, const Container::StartOptions& options);

/** Connects to the supervisor of @p runDir; NoDomain if there is none. */
Result<SupervisorLink> findSupervisor(const std::string& runDir);

/** The process behind a pidfd as this process' /proc shows it; -1 if it has ended. */
pid_t pidOf(int pidFd);

} // namespace vz::ct
