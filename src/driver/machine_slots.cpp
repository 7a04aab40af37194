// SPDX-License-Identifier: LGPL-2.1-or-later
// The slots that only virtual machines have, until now or for ever. A row without a method is forwarded to
// QEMU's driver; if it is about a guest, it is refused for containers.
#include "driver/machine_methods.hpp"
#include "driver/machine_migration.hpp"
#include "driver/methods.hpp"

#include <libvirt/libvirt-qemu.h>

namespace vz::driver {

namespace {

/** What containers have by other means, or not yet. */
void addMachineSizes(std::vector<abi::SlotEntry>& table) {
    table.insert(table.end(), {
                                  entry<"domainSetMemoryStatsPeriod", &virDomainSetMemoryStatsPeriod>(),
                                  entry<"domainSetVcpu", &virDomainSetVcpu>(),
                                  entry<"domainGetGuestVcpus", &virDomainGetGuestVcpus>(),
                                  entry<"domainSetGuestVcpus", &virDomainSetGuestVcpus>(),
                                  entry<"domainGetIOThreadInfo", &virDomainGetIOThreadInfo>(),
                                  entry<"domainPinIOThread", &virDomainPinIOThread>(),
                                  entry<"domainAddIOThread", &virDomainAddIOThread>(),
                                  entry<"domainDelIOThread", &virDomainDelIOThread>(),
                                  entry<"domainSetIOThreadParams", &virDomainSetIOThreadParams>(),
                                  entry<"domainGetPerfEvents", &virDomainGetPerfEvents>(),
                                  entry<"domainSetPerfEvents", &virDomainSetPerfEvents>(),
                              });
}

void addMachineBlocks(std::vector<abi::SlotEntry>& table) {
    table.insert(table.end(),
                 {
                     entry<"domainBlockPeek", &virDomainBlockPeek>(),
                     entry<"domainGetDiskErrors", &virDomainGetDiskErrors>(),
                     entry<"domainBlockJobAbort", &virDomainBlockJobAbort>(),
                     entry<"domainGetBlockJobInfo", &virDomainGetBlockJobInfo>(),
                     entry<"domainBlockJobSetSpeed", &virDomainBlockJobSetSpeed>(),
                     entry<"domainBlockPull", &virDomainBlockPull, none, &pullMachineDisk>(),
                     entry<"domainBlockRebase", &virDomainBlockRebase, none, &rebaseMachineDisk>(),
                     entry<"domainBlockCopy", &virDomainBlockCopy, none, &copyMachineDisk>(),
                     entry<"domainBlockCommit", &virDomainBlockCommit, none, &commitMachineDisk>(),
                     entry<"domainSetBlockThreshold", &virDomainSetBlockThreshold>(),
                     entry<"domainFDAssociate", &virDomainFDAssociate>(),
                     entry<"domainBackupBegin", &virDomainBackupBegin>(),
                     entry<"domainBackupGetXMLDesc", &virDomainBackupGetXMLDesc>(),
                 });
}

void addMachineSaving(std::vector<abi::SlotEntry>& table) {
    table.insert(
        table.end(),
        {
            entry<"domainSave", &virDomainSave>(),
            entry<"domainSaveFlags", &virDomainSaveFlags, none, &saveMachineFlags>(),
            entry<"domainSaveParams", &virDomainSaveParams, none, &saveMachineParams>(),
            entry<"domainRestore", &virDomainRestore, &restore>(),
            entry<"domainRestoreFlags", &virDomainRestoreFlags, &restoreFlags>(),
            entry<"domainRestoreParams", &virDomainRestoreParams, &restoreParams>(),
            entry<"domainSaveImageGetXMLDesc", &virDomainSaveImageGetXMLDesc, &getSaveImageXml>(),
            entry<"domainSaveImageDefineXML", &virDomainSaveImageDefineXML, &defineSaveImageXml>(),
            entry<"domainManagedSave", &virDomainManagedSave>(),
            entry<"domainManagedSaveRemove", &virDomainManagedSaveRemove>(),
            entry<"domainManagedSaveGetXMLDesc", &virDomainManagedSaveGetXMLDesc, none, &getManagedSaveXml>(),
            entry<"domainManagedSaveDefineXML", &virDomainManagedSaveDefineXML, none,
                  &defineManagedSaveXml>(),
            entry<"domainCoreDump", &virDomainCoreDump>(),
            entry<"domainCoreDumpWithFormat", &virDomainCoreDumpWithFormat>(),
            entry<"domainCreateWithFiles", &virDomainCreateWithFiles>(),
        });
}

void addCheckpoints(std::vector<abi::SlotEntry>& table) {
    table.insert(
        table.end(),
        {
            entry<"domainCheckpointCreateXML", &virDomainCheckpointCreateXML, none, &createCheckpoint>(),
            entry<"domainCheckpointGetXMLDesc", &virDomainCheckpointGetXMLDesc, none, &getCheckpointXml>(),
            entry<"domainListAllCheckpoints", &virDomainListAllCheckpoints>(),
            entry<"domainCheckpointListAllChildren", &virDomainCheckpointListAllChildren>(),
            entry<"domainCheckpointLookupByName", &virDomainCheckpointLookupByName>(),
            entry<"domainCheckpointGetParent", &virDomainCheckpointGetParent>(),
            entry<"domainCheckpointDelete", &virDomainCheckpointDelete>(),
        });
}

void addMachineGuest(std::vector<abi::SlotEntry>& table) {
    table.insert(table.end(),
                 {
                     entry<"domainPMSuspendForDuration", &virDomainPMSuspendForDuration>(),
                     entry<"domainPMWakeup", &virDomainPMWakeup>(),
                     entry<"domainScreenshot", &virDomainScreenshot>(),
                     entry<"domainOpenChannel", &virDomainOpenChannel>(),
                     entry<"domainOpenGraphics", &virDomainOpenGraphics>(),
                     entry<"domainOpenGraphicsFD", &virDomainOpenGraphicsFD>(),
                     entry<"domainInjectNMI", &virDomainInjectNMI>(),
                     entry<"domainSendKey", &virDomainSendKey>(),
                     entry<"domainMemoryPeek", &virDomainMemoryPeek>(),
                     entry<"domainFSFreeze", &virDomainFSFreeze>(),
                     entry<"domainFSThaw", &virDomainFSThaw>(),
                     entry<"domainAgentSetResponseTimeout", &virDomainAgentSetResponseTimeout>(),
                     entry<"domainAuthorizedSSHKeysGet", &virDomainAuthorizedSSHKeysGet>(),
                     entry<"domainAuthorizedSSHKeysSet", &virDomainAuthorizedSSHKeysSet>(),
                     entry<"domainGetLaunchSecurityInfo", &virDomainGetLaunchSecurityInfo>(),
                     entry<"domainSetLaunchSecurityState", &virDomainSetLaunchSecurityState>(),
                     entry<"domainQemuMonitorCommand", &virDomainQemuMonitorCommand>(),
                     entry<"domainQemuMonitorCommandWithFiles", &virDomainQemuMonitorCommandWithFiles>(),
                     entry<"domainQemuAgentCommand", &virDomainQemuAgentCommand>(),
                     entry<"domainQemuAttach", &virDomainQemuAttach>(),
                     entry<"domainGetJobInfo", &virDomainGetJobInfo>(),
                     entry<"domainGetJobStats", &virDomainGetJobStats>(),
                     entry<"domainAbortJob", &virDomainAbortJob>(),
                     entry<"domainAbortJobFlags", &virDomainAbortJobFlags>(),
                 });
}

void addMigration(std::vector<abi::SlotEntry>& table) {
    table.insert(
        table.end(),
        {
            entry<"domainMigrateGetMaxDowntime", &virDomainMigrateGetMaxDowntime>(),
            entry<"domainMigrateSetMaxDowntime", &virDomainMigrateSetMaxDowntime>(),
            entry<"domainMigrateGetCompressionCache", &virDomainMigrateGetCompressionCache>(),
            entry<"domainMigrateSetCompressionCache", &virDomainMigrateSetCompressionCache>(),
            entry<"domainMigrateGetMaxSpeed", &virDomainMigrateGetMaxSpeed>(),
            entry<"domainMigrateSetMaxSpeed", &virDomainMigrateSetMaxSpeed>(),
            entry<"domainMigrateStartPostCopy", &virDomainMigrateStartPostCopy>(),
            entry<"domainStartDirtyRateCalc", &virDomainStartDirtyRateCalc>(),
            entryAs<"domainMigrateBegin3", MigrateBegin3, none, &migrateBegin>(),
            entryAs<"domainMigratePrepare3", MigratePrepare3, &migratePrepare>(),
            entryAs<"domainMigratePrepareTunnel3", MigratePrepareTunnel3, &migratePrepareTunnel>(),
            entryAs<"domainMigratePerform3", MigratePerform3, none, &migratePerform>(),
            entryAs<"domainMigrateFinish3", MigrateFinish3>(),
            entryAs<"domainMigrateConfirm3", MigrateConfirm3>(),
            entryAs<"domainMigrateBegin3Params", MigrateBegin3Params, none, &migrateBeginParams>(),
            entryAs<"domainMigratePrepare3Params", MigratePrepare3Params, &migratePrepareParams>(),
            entryAs<"domainMigratePrepareTunnel3Params", MigratePrepareTunnel3Params,
                    &migratePrepareTunnelParams>(),
            entryAs<"domainMigratePerform3Params", MigratePerform3Params, none, &migratePerformParams>(),
            entryAs<"domainMigrateFinish3Params", MigrateFinish3Params>(),
            entryAs<"domainMigrateConfirm3Params", MigrateConfirm3Params>(),
            entryAs<"domainMigratePrepare", MigratePrepare>(),
            entryAs<"domainMigratePerform", MigratePerform>(),
            entryAs<"domainMigrateFinish", MigrateFinish>(),
            entryAs<"domainMigratePrepare2", MigratePrepare2, &migratePrepare2>(),
            entryAs<"domainMigrateFinish2", MigrateFinish2>(),
            entryAs<"domainMigratePrepareTunnel", MigratePrepareTunnel, &migratePrepareTunnel2>(),
        });
}

void addMachineHost(std::vector<abi::SlotEntry>& table) {
    table.insert(
        table.end(),
        {
            entry<"connectCompareCPU", &virConnectCompareCPU>(),
            entry<"connectBaselineCPU", &virConnectBaselineCPU>(),
            entry<"connectGetCPUModelNames", &virConnectGetCPUModelNames>(),
            entry<"connectCompareHypervisorCPU", &virConnectCompareHypervisorCPU, &compareHypervisorCpu>(),
            entry<"connectBaselineHypervisorCPU", &virConnectBaselineHypervisorCPU, &baselineHypervisorCpu>(),
            entry<"nodeSuspendForDuration", &virNodeSuspendForDuration>(),
            entry<"nodeGetSEVInfo", &virNodeGetSEVInfo>(),
            entry<"connectDomainXMLFromNative", &virConnectDomainXMLFromNative, &xmlFromNative>(),
            entry<"connectDomainXMLToNative", &virConnectDomainXMLToNative, &xmlToNative>(),
            entry<"connectDomainQemuMonitorEventRegister", &virConnectDomainQemuMonitorEventRegister,
                  &monitorEventRegister>(),
            entry<"connectDomainQemuMonitorEventDeregister", &virConnectDomainQemuMonitorEventDeregister,
                  &monitorEventDeregister>(),
            plain("nodeDeviceDettach", &nodeDeviceDettach),
            plain("nodeDeviceDetachFlags", &nodeDeviceDetachFlags),
            plain("nodeDeviceReAttach", &nodeDeviceReAttach),
            plain("nodeDeviceReset", &nodeDeviceReset),
        });
}

} // namespace

void addMachineSlots(std::vector<abi::SlotEntry>& table) {
    addMachineSizes(table);
    addMachineBlocks(table);
    addMachineSaving(table);
    addCheckpoints(table);
    addMachineGuest(table);
    addMigration(table);
    addMachineHost(table);
}

} // namespace vz::driver
