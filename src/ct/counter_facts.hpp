// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/cgroup.hpp"

#include <string>
#include <string_view>
#include <vector>

/** What cgroup files tell, read by path alone: for the daemon, which knows the hierarchies, and for programs
 * that know no more than a container's folders in them. */
namespace vz::ct {

/** The number behind a key in a "key value" file (memory.stat); 0 if it is not there. */
uint64_t keyed(std::string_view text, std::string_view key);

/** A file with one number; 0 if it is not there or none ("max"). */
uint64_t numberIn(const std::string& path);

/** The folder of @p groups, one of each hierarchy, that has the file @p name; empty if none has. */
std::string groupWith(const std::vector<std::string>& groups, std::string_view name);

/** Beancounters, of the folders that have a container's limits. */
CounterFacts counterFacts(const std::vector<std::string>& groups);

/** Adds the processes of a group and all below it; their ids are those of the reader's pid namespace. */
Result<void> collectProcesses(const std::string& group, std::vector<pid_t>& pids);

} // namespace vz::ct
