// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace vz::domain {

/**
 * A change of one setting in a domain's XML. The path goes from <domain> down: "memtune/hard_limit" is the
 * text of an element, "vcpu@cpuset" an attribute, "cputune/vcpupin[vcpu=1]@cpuset" one of several elements
 * by an attribute, "devices/interface[mac@address=52:54:00:00:00:01]" (which has to be
 * there) by one of a
 * child, "blkiotune/device[path=/dev/vda]/weight" one by the text of a child (whose value begins with '/'),
 * and what begins with "vz:" is in our extension element. What is on the way is made.
 */
struct Edit {
    std::string path;
    std::optional<std::string> value; ///< none: the setting goes, and what it leaves empty around it
};
using Edits = std::vector<Edit>;

} // namespace vz::domain
