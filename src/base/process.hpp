// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace vz::process {

/** How a program is started: no shell; argv[0] is the absolute path of the program. */
struct Command {
    std::vector<std::string> argv;
    /** Descriptors for the child: first = number in the child, second = descriptor here. Others are closed.
     */
    std::vector<std::pair<int, int>> fds;
    std::vector<std::string> environment{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
};

/** Starts the program (posix_spawn); standard descriptors not in @c fds are /dev/null. The caller waits for
 * it. */
Result<pid_t> spawn(const Command& command);

/** Waits for a child of ours; the raw wait status. */
Result<int> wait(pid_t pid);

/** What a finished program left: exit status (128 + signal if killed), standard output, standard error. */
struct Finished {
    int status;
    std::string output;
    std::string errors;
};

/** Runs a program to its end with @p input on standard input; kills it after @p limit (OperationTimeout). */
Result<Finished> run(Command command, std::string_view input = {},
                     std::chrono::milliseconds limit = std::chrono::seconds(60));

} // namespace vz::process
