// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/export/block_export.hpp"
#include "storage/ploop/guid.hpp"

#include <sys/types.h>

/**
 * Which images are block devices at present. Each has two files in the run folder (/run/vz-ploop, or what
 * VZ_PLOOP_RUNDIR says): ID.state with what an Attachment tells, and ID.sock, at which its vz-ploopd
 * listens.
 */
namespace vz::exports {

struct Attachment {
    std::string id;
    std::string descriptor; ///< real path
    ploop::Guid guid;       ///< the state of the image that is seen
    std::string device;
    uint64_t sequence = 0; ///< see BlockDevice
    std::string partition; ///< of the file system: the device itself if there is no partition table
    pid_t pid = 0;         ///< of vz-ploopd
    bool readOnly = false;
    Mechanism mechanism = Mechanism::Fuse;
    std::vector<std::string> files; ///< of the chain, base first, when it was attached

    std::string statePath() const;
    std::string socketPath() const;
};

std::string runFolder();
/** An id that is not in use. */
std::string newId();

Result<void> writeState(const Attachment& attachment);
void removeState(const Attachment& attachment);
/** What the state files say, without a look at whether it is so. */
Result<std::vector<Attachment>> readStates();

} // namespace vz::exports
