// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

/**
 * Ids of running domains. A container's is the process id of its init, as its clients expect. A virtual
 * machine's is the one that QEMU's driver gave it, moved above the largest process id that Linux ever gives
 * (PID_MAX_LIMIT, include/linux/threads.h), so that the two never meet. Inactive is -1 on both sides.
 */
namespace vz::vm {

constexpr int kFirstId = 4 * 1024 * 1024;

constexpr int outerId(int innerId) {
    return innerId < 0 ? innerId : innerId + kFirstId;
}

constexpr int innerId(int outerId) {
    return outerId < 0 ? outerId : outerId - kFirstId;
}

constexpr bool isMachineId(int outerId) {
    return outerId >= kFirstId;
}

} // namespace vz::vm
