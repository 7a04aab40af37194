// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "driver/slot.hpp"
#include "vm/machines.hpp"
#include "vm/xml.hpp"

#include <libvirt/libvirt-qemu.h>

#include <string>
#include <utility>

/**
 * What virtual machines need besides being forwarded: XML of ours on the way in and out, the names that
 * containers have, and calls about no guest that are about a machine all the same.
 */
namespace vz::driver {

/** The names of a machine that is being made, and that clients see it from its first event on. */
class MachineClaim {
public:
    MachineClaim(vm::Machines& machines, std::string uuid, Names::Claim names)
        : machines_(&machines), uuid_(std::move(uuid)), names_(std::move(names)) {
        machines_->made(uuid_);
    }
    MachineClaim(MachineClaim&& other) noexcept
        : machines_(std::exchange(other.machines_, nullptr)), uuid_(std::move(other.uuid_)),
          names_(std::move(other.names_)) {}
    MachineClaim& operator=(MachineClaim&&) = delete;
    ~MachineClaim() {
        if (machines_)
            machines_->forget(uuid_);
    }

    /** Passes on the answer of QEMU's driver; if that is a success, the machine is there to stay. */
    template<typename R>
    Result<Passed<R>> kept(Result<Passed<R>>&& answer) {
        if (answer && !detail::failed((*answer).value))
            machines_ = nullptr;
        return std::move(answer);
    }

private:
    vm::Machines* machines_;
    std::string uuid_;
    Names::Claim names_;
};

// machine_definition.cpp
/** OperationFailed if a container, or a machine that clients do not see, has the name or UUID. */
Result<MachineClaim> claimMachine(const MachineCall& call, const vm::InnerDomain& wanted);
/** True if the document wants a virtual machine. */
bool isMachine(const char* xml);
Result<Passed<virDomainPtr>> defineMachine(const ConnectCall& call, const char* xml, unsigned int flags);
Result<Passed<virDomainPtr>> createMachine(const ConnectCall& call, const char* xml, unsigned int flags);
Result<Passed<virDomainPtr>> createXmlWithFiles(const ConnectCall& call, const char* xml, unsigned int nfiles,
                                                int* files, unsigned int flags);
Result<Passed<int>> renameMachine(const MachineCall& call, const char* name, unsigned int flags);
/** OperationFailed if a virtual machine has this name or UUID. The caller has claimed both. */
Result<void> freeOfMachines(const ConnectCall& call, const std::string& name, const std::string& uuid);
Result<Passed<int>> setMachineMetadata(const MachineCall& call, int type, const char* value, const char* key,
                                       const char* uri, unsigned int flags);
Result<Passed<char*>> getMachineMetadata(const MachineCall& call, int type, const char* uri,
                                         unsigned int flags);

// machine_xml.cpp
/** For a document about the machine of @p call, which keeps its type. Both refer to their arguments. */
vm::InwardFacts inwardFacts(const MachineCall& call);
/** For the domain document @p xml of a machine that is made: of @p type, or if that is empty, of the one for
 * which this host is best. */
vm::InwardFacts inwardFacts(const MachineCall& call, const char* xml, const std::string& type = {});
/** The type of a domain document; empty if it is none. */
std::string typeOf(const std::string& xml);
/** The client's document for the machine of @p call on its way in; empty if it gave none. */
Result<std::string> innerXml(const MachineCall& call, const char* xml);
/** As the slots have it: null for a document that the client did not give. */
inline const char* orNull(const std::string& text) {
    return text.empty() ? nullptr : text.c_str();
}
/** A text that QEMU's driver has given, as the client gets it. */
Result<Passed<char*>> xmlOutward(Result<Passed<char*>>&& answer);
Result<Passed<char*>> getMachineXml(const MachineCall& call, unsigned int flags);
Result<Passed<int>> attachToMachine(const MachineCall& call, const char* xml);
Result<Passed<int>> attachToMachineFlags(const MachineCall& call, const char* xml, unsigned int flags);
Result<Passed<int>> updateMachineDevice(const MachineCall& call, const char* xml, unsigned int flags);
Result<Passed<virDomainSnapshotPtr>> createSnapshot(const MachineCall& call, const char* xml,
                                                    unsigned int flags);
Result<Passed<char*>> getSnapshotXml(const MachineCall& call, virDomainSnapshotPtr snapshot,
                                     unsigned int flags);
Result<Passed<virDomainCheckpointPtr>> createCheckpoint(const MachineCall& call, const char* xml,
                                                        unsigned int flags);
Result<Passed<char*>> getCheckpointXml(const MachineCall& call, virDomainCheckpointPtr checkpoint,
                                       unsigned int flags);
Result<Passed<char*>> xmlFromNative(const ConnectCall& call, const char* format, const char* native,
                                    unsigned int flags);
Result<Passed<char*>> xmlToNative(const ConnectCall& call, const char* format, const char* xml,
                                  unsigned int flags);

// machine_blocks.cpp: what disks that are ploop images need.
Result<Passed<int>> startMachine(const MachineCall& call);
Result<Passed<int>> startFlags(const MachineCall& call, unsigned int flags);
Result<Passed<int>> autostartMachine(const MachineCall& call, int autostart);
Result<Passed<int>> resizeMachineDisk(const MachineCall& call, const char* disk, unsigned long long size,
                                      unsigned int flags);
Result<Passed<int>> pullMachineDisk(const MachineCall& call, const char* disk, unsigned long bandwidth,
                                    unsigned int flags);
Result<Passed<int>> rebaseMachineDisk(const MachineCall& call, const char* disk, const char* base,
                                      unsigned long bandwidth, unsigned int flags);
Result<Passed<int>> copyMachineDisk(const MachineCall& call, const char* disk, const char* xml,
                                    virTypedParameterPtr params, int nparams, unsigned int flags);
Result<Passed<int>> commitMachineDisk(const MachineCall& call, const char* disk, const char* base,
                                      const char* top, unsigned long bandwidth, unsigned int flags);
Result<Passed<int>> getMachineBlockStats(const MachineCall& call, const char* disk,
                                         virDomainBlockStatsPtr stats);
Result<Passed<int>> getMachineBlockStatsFlags(const MachineCall& call, const char* disk,
                                              virTypedParameterPtr params, int* nparams, unsigned int flags);
Result<Passed<int>> getMachineBlockInfo(const MachineCall& call, const char* disk, virDomainBlockInfoPtr info,
                                        unsigned int flags);
Result<Passed<int>> setMachineIoTune(const MachineCall& call, const char* disk, virTypedParameterPtr params,
                                     int nparams, unsigned int flags);
Result<Passed<int>> getMachineIoTune(const MachineCall& call, const char* disk, virTypedParameterPtr params,
                                     int* nparams, unsigned int flags);

// machine_events.cpp: what QEMU's monitor tells. Containers have none: a client that asks for theirs is
// refused.
Result<Passed<int>> monitorEventRegister(const ConnectCall& call, virDomainPtr domain, const char* event,
                                         virConnectDomainQemuMonitorEventCallback callback, void* opaque,
                                         virFreeCallback freeOpaque, unsigned int flags);
Result<Passed<int>> monitorEventDeregister(const ConnectCall& call, int callbackId);

// machine_documents.cpp: which CPU a machine of our types has.
Result<Passed<int>> compareHypervisorCpu(const ConnectCall& call, const char* emulator, const char* arch,
                                         const char* machine, const char* type, const char* cpu,
                                         unsigned int flags);
Result<Passed<char*>> baselineHypervisorCpu(const ConnectCall& call, const char* emulator, const char* arch,
                                            const char* machine, const char* type, const char** cpus,
                                            unsigned int count, unsigned int flags);

// machine_saved.cpp
Result<Passed<int>> saveMachineFlags(const MachineCall& call, const char* to, const char* xml,
                                     unsigned int flags);
Result<Passed<int>> saveMachineParams(const MachineCall& call, virTypedParameterPtr params, int nparams,
                                      unsigned int flags);
Result<Passed<int>> restore(const ConnectCall& call, const char* from);
Result<Passed<int>> restoreFlags(const ConnectCall& call, const char* from, const char* xml,
                                 unsigned int flags);
Result<Passed<int>> restoreParams(const ConnectCall& call, virTypedParameterPtr params, int nparams,
                                  unsigned int flags);
Result<Passed<char*>> getSaveImageXml(const ConnectCall& call, const char* file, unsigned int flags);
Result<Passed<int>> defineSaveImageXml(const ConnectCall& call, const char* file, const char* xml,
                                       unsigned int flags);
Result<Passed<char*>> getManagedSaveXml(const MachineCall& call, unsigned int flags);
Result<Passed<int>> defineManagedSaveXml(const MachineCall& call, const char* xml, unsigned int flags);

// machine_host_devices.cpp: the host's devices, which are handed to virtual machines. The client's object
// does not tell its connection, so these go through one of the driver's own.
int nodeDeviceDettach(virNodeDevicePtr device) noexcept;
int nodeDeviceDetachFlags(virNodeDevicePtr device, const char* driver, unsigned int flags) noexcept;
int nodeDeviceReAttach(virNodeDevicePtr device) noexcept;
int nodeDeviceReset(virNodeDevicePtr device) noexcept;

} // namespace vz::driver
