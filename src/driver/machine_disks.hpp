// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/unique_fd.hpp"
#include "driver/forward.hpp"
#include "vm/ploop_disk.hpp"

#include <vector>

/** Disks of virtual machines that are ploop images: who serves them, and what cannot be done with them. */
namespace vz::driver {

/**
 * The servers of a machine's disks while QEMU is being started. A server ends when this has gone and QEMU has
 * hung up, or never came: whatever becomes of the start, or of this process, none is left over.
 */
class DiskServers {
public:
    /** Starts one for each ploop image in a domain or disk document of QEMU's driver. */
    static Result<DiskServers> start(const MachineCall& call, const std::string& innerXml);

private:
    std::vector<UniqueFd> ties_;
};

/** What XML on its way in is told about ploop images, for the machine of that UUID. */
vm::PloopFacts ploopFacts(const MachineCall& call);

/** The document that QEMU's driver has of the machine of @p call. */
Result<std::string> innerDefinition(const MachineCall& call, unsigned int flags);

// @p affected, as virDomainModificationImpact: with VIR_DOMAIN_AFFECT_CONFIG alone the disks that the machine
// will have; else those that it has now, which are the same if it does not run.

/** The ploop images among the disks of the machine of @p call. */
Result<std::vector<vm::PloopDisk>> ploopDisksOf(const MachineCall& call, unsigned int affected = 0);
/** OperationUnsupported if it has any: @p why cannot be. */
Result<void> refuseWithPloopDisks(const MachineCall& call, std::string_view why, unsigned int affected = 0);
/** OperationUnsupported if @p disk, the target or path of a disk, is one: @p why cannot be. */
Result<void> refuseOnPloopDisk(const MachineCall& call, const char* disk, std::string_view why);

/** What virDomainBlockInfo tells of a disk, in bytes, also while it is in use. */
struct DiskSize {
    uint64_t capacity;
    uint64_t allocated; ///< what its files take on the host's disk
    uint64_t physical;  ///< how long they are
};
Result<DiskSize> sizeOf(const MachineCall& call, const vm::PloopDisk& disk);

/** The target of the disk that the client calls by the path of its image; other names as they are. */
Result<std::string> innerDiskName(const MachineCall& call, const char* disk, unsigned int affected = 0);

} // namespace vz::driver
