// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/supervisor/sys.hpp"

namespace vz::supervisor {

/** The namespaces of a container that live as long as its supervisor; a reboot keeps them. */
struct HeldNamespaces {
    UniqueFd user; ///< none: the host's
    UniqueFd net;  ///< none: the host's
};

/** Makes them, with the limits of the description in force (they become caps of the user namespace) and with
 * lo up. */
Result<HeldNamespaces> makeNamespaces(const ct::LaunchSpec& spec);

/** Sets the description's limits for this process. */
Result<void> applyLimits(const ct::LaunchSpec& spec);

struct InitProcess {
    pid_t pid = 0; ///< in the supervisor's pid namespace
    UniqueFd pidFd;
    UniqueFd channel; ///< an error{} or the end (executed); held{} first if asked to wait
};

/** A file of the kernel that the container is to see otherwise. */
struct ViewMount {
    UniqueFd mount;
    std::string target;
    std::string otherwise; ///< a file to be made for it in /dev if the target is not there; or empty
};

/** What a start of init needs beside the description. */
struct InitOptions {
    int userNs = -1;
    int netNs = -1;
    std::string root; ///< path of the container's root in the supervisor's mount namespace
    std::vector<std::string> extraEnvironment;
    bool hold = false; ///< wait for go{} just before exec
    std::vector<ViewMount> view;
};

/** Forks init through a process that enters the cgroups and makes its namespaces. */
Result<InitProcess> forkInit(const ct::LaunchSpec& spec, const InitOptions& options);

/** Runs as init until exec; returns only after a failure, told on @p channel. Implemented in init.cpp. */
void becomeInit(const ct::LaunchSpec& spec, const InitOptions& options, int channel);

} // namespace vz::supervisor
