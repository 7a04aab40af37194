// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/supervisor/root_tree.hpp"

namespace vz::supervisor {

/** A pseudo terminal of the container's devpts, both sides open: a read never ends for want of an opener. */
struct GuestTerminal {
    UniqueFd master; ///< non-blocking
    UniqueFd slave;
    unsigned number = 0; ///< /dev/pts/NUMBER inside
};

/**
 * The container's /dev: a tmpfs with the nodes of the description, its own devpts, and the consoles. All of
 * it is made with the host's rights, so that the nodes work and the limits cannot be changed inside.
 */
class DeviceTree {
public:
    Result<void> create(const ct::LaunchSpec& spec, const RootTree& root);
    /** Makes console @p index: the first is /dev/console, further ones /dev/ttyINDEX. */
    Result<GuestTerminal> addConsole(const ct::LaunchSpec& spec, size_t index);
    /** As many terminals as the description now says. */
    Result<void> limitPtys(const ct::LaunchSpec& spec);
    Result<void> addNode(const ct::LaunchSpec& spec, const ct::DeviceNode& device, const RootTree& root);
    /** Removes the node if it (still) is that device. */
    Result<void> removeNode(const ct::DeviceNode& device, const RootTree& root);
    /** Takes all of it off the root. */
    void remove(const RootTree& root);

private:
    Result<void> makeNode(int dir, const std::string& name, const ct::LaunchSpec& spec,
                          const ct::DeviceNode& device);

    UniqueFd dev_;
    UniqueFd pts_;
};

} // namespace vz::supervisor
