// SPDX-License-Identifier: LGPL-2.1-or-later
// The slot table. A row with one method has it for containers; with none, the call is refused for them.
// Virtual machines' calls are forwarded, or have the second method. A slot that is not here is libvirt's own.
#include "driver/machine_methods.hpp"
#include "driver/machine_migration.hpp"
#include "driver/methods.hpp"

#include <libvirt/libvirt-qemu.h>

namespace vz::driver {

namespace {

/** One slot stands behind virConnectGetAllDomainStats and virDomainListGetStats. */
using AllDomainStats = int (*)(virConnectPtr, virDomainPtr*, unsigned int, unsigned int,
                               virDomainStatsRecordPtr**, unsigned int);

/** The public API has a size behind these, which libvirt itself sees to. */
using InterfaceStats = int (*)(virDomainPtr, const char*, virDomainInterfaceStatsPtr);

using BlockStats = int (*)(virDomainPtr, const char*, virDomainBlockStatsPtr);

template<typename Function>
abi::SlotEntry plain(const char* slot, Function* function) {
    return {slot, reinterpret_cast<void*>(function)};
}

void addConnection(std::vector<abi::SlotEntry>& table) {
    table.insert(
        table.end(),
        {
            plain("connectOpen", &connectOpen),
            plain("connectClose", &connectClose),
            plain("connectSupportsFeature", &connectSupportsFeature),
            entry<"connectGetType", &virConnectGetType, &connectGetType>(),
            entry<"connectGetVersion", &virConnectGetVersion, &connectGetVersion>(),
            entry<"connectGetHostname", &virConnectGetHostname, &connectGetHostname>(),
            entry<"connectGetSysinfo", &virConnectGetSysinfo, &connectGetSysinfo>(),
            entry<"connectGetMaxVcpus", &virConnectGetMaxVcpus, &connectGetMaxVcpus>(),
            entry<"connectGetCapabilities", &virConnectGetCapabilities, &connectGetCapabilities>(),
            entry<"connectGetDomainCapabilities", &virConnectGetDomainCapabilities,
                  &connectGetDomainCapabilities>(),
            entry<"connectIsEncrypted", &virConnectIsEncrypted, &connectIsEncrypted>(),
            entry<"connectIsSecure", &virConnectIsSecure, &connectIsSecure>(),
            entry<"connectIsAlive", &virConnectIsAlive, &connectIsAlive>(),
            entry<"connectDomainEventRegister", &virConnectDomainEventRegister, &eventRegister>(),
            entry<"connectDomainEventDeregister", &virConnectDomainEventDeregister, &eventDeregister>(),
            entry<"connectDomainEventRegisterAny", &virConnectDomainEventRegisterAny, &eventRegisterAny>(),
            entry<"connectDomainEventDeregisterAny", &virConnectDomainEventDeregisterAny,
                  &eventDeregisterAny>(),
            entry<"connectListDomains", &virConnectListDomains, &listDomains>(),
            entry<"connectNumOfDomains", &virConnectNumOfDomains, &numOfDomains>(),
            entry<"connectListAllDomains", &virConnectListAllDomains, &listAllDomains>(),
            entry<"connectListDefinedDomains", &virConnectListDefinedDomains, &listDefinedDomains>(),
            entry<"connectNumOfDefinedDomains", &virConnectNumOfDefinedDomains, &numOfDefinedDomains>(),
            entryAs<"connectGetAllDomainStats", AllDomainStats, &getAllDomainStats>(),
        });
}

void addNode(std::vector<abi::SlotEntry>& table) {
    table.insert(
        table.end(),
        {
            entry<"nodeGetInfo", &virNodeGetInfo, &nodeGetInfo>(),
            entry<"nodeGetCPUMap", &virNodeGetCPUMap, &nodeGetCpuMap>(),
            entry<"nodeGetCPUStats", &virNodeGetCPUStats, &nodeGetCpuStats>(),
            entry<"nodeGetMemoryStats", &virNodeGetMemoryStats, &nodeGetMemoryStats>(),
            entry<"nodeGetCellsFreeMemory", &virNodeGetCellsFreeMemory, &nodeGetCellsFreeMemory>(),
            entry<"nodeGetFreeMemory", &virNodeGetFreeMemory, &nodeGetFreeMemory>(),
            entry<"nodeGetFreePages", &virNodeGetFreePages, &nodeGetFreePages>(),
            entry<"nodeAllocPages", &virNodeAllocPages, &nodeAllocPages>(),
            entry<"nodeGetMemoryParameters", &virNodeGetMemoryParameters, &nodeGetMemoryParameters>(),
            entry<"nodeSetMemoryParameters", &virNodeSetMemoryParameters, &nodeSetMemoryParameters>(),
            entry<"nodeGetSecurityModel", &virNodeGetSecurityModel, &nodeGetSecurityModel>(),
        });
}

void addDefinition(std::vector<abi::SlotEntry>& table) {
    table.insert(table.end(),
                 {
                     entry<"domainLookupByID", &virDomainLookupByID, &lookupById>(),
                     entry<"domainLookupByUUID", &virDomainLookupByUUID, &lookupByUuid>(),
                     entry<"domainLookupByName", &virDomainLookupByName, &lookupByName>(),
                     entry<"domainDefineXML", &virDomainDefineXML, &defineXml>(),
                     entry<"domainDefineXMLFlags", &virDomainDefineXMLFlags, &defineXmlFlags>(),
                     entry<"domainCreateXML", &virDomainCreateXML, &createXml>(),
                     entry<"domainCreateXMLWithFiles", &virDomainCreateXMLWithFiles, &createXmlWithFiles>(),
                     entry<"domainUndefine", &virDomainUndefine, &undefine>(),
                     entry<"domainUndefineFlags", &virDomainUndefineFlags, &undefineFlags>(),
                     entry<"domainRename", &virDomainRename, &rename, &renameMachine>(),
                     entry<"domainGetAutostart", &virDomainGetAutostart, &getAutostart>(),
                     entry<"domainSetAutostart", &virDomainSetAutostart, &setAutostart>(),
                     entry<"domainGetXMLDesc", &virDomainGetXMLDesc, &getXmlDesc, &getMachineXml>(),
                     entry<"domainSetMetadata", &virDomainSetMetadata, &setMetadata, &setMachineMetadata>(),
                     entry<"domainGetMetadata", &virDomainGetMetadata, &getMetadata, &getMachineMetadata>(),
                     entry<"domainSetLifecycleAction", &virDomainSetLifecycleAction, &setLifecycleAction>(),
                 });
}

void addLifecycle(std::vector<abi::SlotEntry>& table) {
    table.insert(table.end(),
                 {
                     entry<"domainCreate", &virDomainCreate, &create>(),
                     entry<"domainCreateWithFlags", &virDomainCreateWithFlags, &createWithFlags>(),
                     entry<"domainShutdown", &virDomainShutdown, &shutdown>(),
                     entry<"domainShutdownFlags", &virDomainShutdownFlags, &shutdownFlags>(),
                     entry<"domainReboot", &virDomainReboot, &reboot>(),
                     entry<"domainReset", &virDomainReset, &reset>(),
                     entry<"domainDestroy", &virDomainDestroy, &destroy>(),
                     entry<"domainDestroyFlags", &virDomainDestroyFlags, &destroyFlags>(),
                     entry<"domainSuspend", &virDomainSuspend, &suspend>(),
                     entry<"domainResume", &virDomainResume, &resume>(),
                 });
}

void addState(std::vector<abi::SlotEntry>& table) {
    table.insert(
        table.end(),
        {
            entry<"domainGetOSType", &virDomainGetOSType, &getOsType>(),
            entry<"domainGetInfo", &virDomainGetInfo, &getInfo>(),
            entry<"domainGetState", &virDomainGetState, &getState>(),
            entry<"domainGetControlInfo", &virDomainGetControlInfo, &getControlInfo>(),
            entry<"domainIsActive", &virDomainIsActive, &isActive>(),
            entry<"domainIsPersistent", &virDomainIsPersistent, &isPersistent>(),
            entry<"domainIsUpdated", &virDomainIsUpdated, &isUpdated>(),
            entry<"domainHasManagedSaveImage", &virDomainHasManagedSaveImage, &hasManagedSaveImage>(),
            entry<"domainGetMaxMemory", &virDomainGetMaxMemory, &getMaxMemory>(),
            entry<"domainGetVcpusFlags", &virDomainGetVcpusFlags, &getVcpusFlags>(),
            entry<"domainGetMaxVcpus", &virDomainGetMaxVcpus, &getMaxVcpus>(),
            entry<"domainGetVcpus", &virDomainGetVcpus, &getVcpus>(),
            entry<"domainGetSecurityLabel", &virDomainGetSecurityLabel, &getSecurityLabel>(),
            entry<"domainGetSecurityLabelList", &virDomainGetSecurityLabelList, &getSecurityLabelList>(),
            entry<"domainGetCPUStats", &virDomainGetCPUStats, &getCpuStats>(),
            entry<"domainMemoryStats", &virDomainMemoryStats, &memoryStats>(),
            entryAs<"domainInterfaceStats", InterfaceStats, &interfaceStats>(),
        });
}

void addGuest(std::vector<abi::SlotEntry>& table) {
    table.insert(table.end(),
                 {
                     entry<"domainAttachDevice", &virDomainAttachDevice, &attachDevice, &attachToMachine>(),
                     entry<"domainAttachDeviceFlags", &virDomainAttachDeviceFlags, &attachDeviceFlags,
                           &attachToMachineFlags>(),
                     entry<"domainDetachDevice", &virDomainDetachDevice, &detachDevice>(),
                     entry<"domainDetachDeviceFlags", &virDomainDetachDeviceFlags, &detachDeviceFlags>(),
                     entry<"domainDetachDeviceAlias", &virDomainDetachDeviceAlias, &detachDeviceAlias>(),
                     entry<"domainUpdateDeviceFlags", &virDomainUpdateDeviceFlags, &updateDeviceFlags,
                           &updateMachineDevice>(),
                     entry<"domainOpenConsole", &virDomainOpenConsole, &openConsole>(),
                     entry<"domainLxcOpenNamespace", &virDomainLxcOpenNamespace, &openNamespace>(),
                     entry<"domainSendProcessSignal", &virDomainSendProcessSignal, &sendProcessSignal>(),
                     entry<"domainGetHostname", &virDomainGetHostname, &getHostname>(),
                     entry<"domainGetTime", &virDomainGetTime, &getTime>(),
                     entry<"domainSetTime", &virDomainSetTime, &setTime>(),
                     entry<"domainSetUserPassword", &virDomainSetUserPassword, &setUserPassword>(),
                     entry<"domainInterfaceAddresses", &virDomainInterfaceAddresses, &interfaceAddresses>(),
                     entry<"domainGetFSInfo", &virDomainGetFSInfo, &getFsInfo>(),
                     entry<"domainGetGuestInfo", &virDomainGetGuestInfo, &getGuestInfo>(),
                 });
}

/** What containers have by other means, or not yet. */
void addMachineSizes(std::vector<abi::SlotEntry>& table) {
    table.insert(table.end(),
                 {
                     entry<"domainSetMaxMemory", &virDomainSetMaxMemory>(),
                     entry<"domainSetMemory", &virDomainSetMemory>(),
                     entry<"domainSetMemoryFlags", &virDomainSetMemoryFlags>(),
                     entry<"domainSetMemoryStatsPeriod", &virDomainSetMemoryStatsPeriod>(),
                     entry<"domainSetMemoryParameters", &virDomainSetMemoryParameters>(),
                     entry<"domainGetMemoryParameters", &virDomainGetMemoryParameters>(),
                     entry<"domainSetNumaParameters", &virDomainSetNumaParameters>(),
                     entry<"domainGetNumaParameters", &virDomainGetNumaParameters>(),
                     entry<"domainSetBlkioParameters", &virDomainSetBlkioParameters>(),
                     entry<"domainGetBlkioParameters", &virDomainGetBlkioParameters>(),
                     entry<"domainSetVcpus", &virDomainSetVcpus>(),
                     entry<"domainSetVcpusFlags", &virDomainSetVcpusFlags>(),
                     entry<"domainSetVcpu", &virDomainSetVcpu>(),
                     entry<"domainGetGuestVcpus", &virDomainGetGuestVcpus>(),
                     entry<"domainSetGuestVcpus", &virDomainSetGuestVcpus>(),
                     entry<"domainPinVcpu", &virDomainPinVcpu>(),
                     entry<"domainPinVcpuFlags", &virDomainPinVcpuFlags>(),
                     entry<"domainGetVcpuPinInfo", &virDomainGetVcpuPinInfo>(),
                     entry<"domainPinEmulator", &virDomainPinEmulator>(),
                     entry<"domainGetEmulatorPinInfo", &virDomainGetEmulatorPinInfo>(),
                     entry<"domainGetIOThreadInfo", &virDomainGetIOThreadInfo>(),
                     entry<"domainPinIOThread", &virDomainPinIOThread>(),
                     entry<"domainAddIOThread", &virDomainAddIOThread>(),
                     entry<"domainDelIOThread", &virDomainDelIOThread>(),
                     entry<"domainSetIOThreadParams", &virDomainSetIOThreadParams>(),
                     entry<"domainGetSchedulerType", &virDomainGetSchedulerType>(),
                     entry<"domainGetSchedulerParameters", &virDomainGetSchedulerParameters>(),
                     entry<"domainGetSchedulerParametersFlags", &virDomainGetSchedulerParametersFlags>(),
                     entry<"domainSetSchedulerParameters", &virDomainSetSchedulerParameters>(),
                     entry<"domainSetSchedulerParametersFlags", &virDomainSetSchedulerParametersFlags>(),
                     entry<"domainSetInterfaceParameters", &virDomainSetInterfaceParameters>(),
                     entry<"domainGetInterfaceParameters", &virDomainGetInterfaceParameters>(),
                     entry<"domainGetPerfEvents", &virDomainGetPerfEvents>(),
                     entry<"domainSetPerfEvents", &virDomainSetPerfEvents>(),
                 });
}

void addMachineBlocks(std::vector<abi::SlotEntry>& table) {
    table.insert(table.end(), {
                                  entryAs<"domainBlockStats", BlockStats>(),
                                  entry<"domainBlockStatsFlags", &virDomainBlockStatsFlags>(),
                                  entry<"domainBlockResize", &virDomainBlockResize>(),
                                  entry<"domainBlockPeek", &virDomainBlockPeek>(),
                                  entry<"domainGetBlockInfo", &virDomainGetBlockInfo>(),
                                  entry<"domainGetDiskErrors", &virDomainGetDiskErrors>(),
                                  entry<"domainBlockJobAbort", &virDomainBlockJobAbort>(),
                                  entry<"domainGetBlockJobInfo", &virDomainGetBlockJobInfo>(),
                                  entry<"domainBlockJobSetSpeed", &virDomainBlockJobSetSpeed>(),
                                  entry<"domainBlockPull", &virDomainBlockPull>(),
                                  entry<"domainBlockRebase", &virDomainBlockRebase>(),
                                  entry<"domainBlockCopy", &virDomainBlockCopy>(),
                                  entry<"domainBlockCommit", &virDomainBlockCommit>(),
                                  entry<"domainSetBlockIoTune", &virDomainSetBlockIoTune>(),
                                  entry<"domainGetBlockIoTune", &virDomainGetBlockIoTune>(),
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

void addSnapshots(std::vector<abi::SlotEntry>& table) {
    table.insert(
        table.end(),
        {
            entry<"domainSnapshotCreateXML", &virDomainSnapshotCreateXML, none, &createSnapshot>(),
            entry<"domainSnapshotGetXMLDesc", &virDomainSnapshotGetXMLDesc, none, &getSnapshotXml>(),
            entry<"domainSnapshotNum", &virDomainSnapshotNum>(),
            entry<"domainSnapshotListNames", &virDomainSnapshotListNames>(),
            entry<"domainListAllSnapshots", &virDomainListAllSnapshots>(),
            entry<"domainSnapshotNumChildren", &virDomainSnapshotNumChildren>(),
            entry<"domainSnapshotListChildrenNames", &virDomainSnapshotListChildrenNames>(),
            entry<"domainSnapshotListAllChildren", &virDomainSnapshotListAllChildren>(),
            entry<"domainSnapshotLookupByName", &virDomainSnapshotLookupByName>(),
            entry<"domainHasCurrentSnapshot", &virDomainHasCurrentSnapshot>(),
            entry<"domainSnapshotGetParent", &virDomainSnapshotGetParent>(),
            entry<"domainSnapshotCurrent", &virDomainSnapshotCurrent>(),
            entry<"domainSnapshotIsCurrent", &virDomainSnapshotIsCurrent>(),
            entry<"domainSnapshotHasMetadata", &virDomainSnapshotHasMetadata>(),
            entry<"domainRevertToSnapshot", &virDomainRevertToSnapshot>(),
            entry<"domainSnapshotDelete", &virDomainSnapshotDelete>(),
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
                     entry<"domainFSTrim", &virDomainFSTrim>(),
                     entry<"domainFSFreeze", &virDomainFSFreeze>(),
                     entry<"domainFSThaw", &virDomainFSThaw>(),
                     entry<"domainAgentSetResponseTimeout", &virDomainAgentSetResponseTimeout>(),
                     entry<"domainAuthorizedSSHKeysGet", &virDomainAuthorizedSSHKeysGet>(),
                     entry<"domainAuthorizedSSHKeysSet", &virDomainAuthorizedSSHKeysSet>(),
                     entry<"domainGetMessages", &virDomainGetMessages>(),
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
    table.insert(table.end(),
                 {
                     entry<"connectCompareCPU", &virConnectCompareCPU>(),
                     entry<"connectBaselineCPU", &virConnectBaselineCPU>(),
                     entry<"connectGetCPUModelNames", &virConnectGetCPUModelNames>(),
                     entry<"connectCompareHypervisorCPU", &virConnectCompareHypervisorCPU>(),
                     entry<"connectBaselineHypervisorCPU", &virConnectBaselineHypervisorCPU>(),
                     entry<"nodeSuspendForDuration", &virNodeSuspendForDuration>(),
                     entry<"nodeGetSEVInfo", &virNodeGetSEVInfo>(),
                     entry<"connectDomainXMLFromNative", &virConnectDomainXMLFromNative, &xmlFromNative>(),
                     entry<"connectDomainXMLToNative", &virConnectDomainXMLToNative, &xmlToNative>(),
                     entry<"connectDomainQemuMonitorEventRegister", &virConnectDomainQemuMonitorEventRegister,
                           &monitorEventRegister>(),
                     entry<"connectDomainQemuMonitorEventDeregister",
                           &virConnectDomainQemuMonitorEventDeregister, &monitorEventDeregister>(),
                     plain("nodeDeviceDettach", &nodeDeviceDettach),
                     plain("nodeDeviceDetachFlags", &nodeDeviceDetachFlags),
                     plain("nodeDeviceReAttach", &nodeDeviceReAttach),
                     plain("nodeDeviceReset", &nodeDeviceReset),
                 });
}

} // namespace

std::vector<abi::SlotEntry> slotTable() {
    std::vector<abi::SlotEntry> table;
    addConnection(table);
    addNode(table);
    addDefinition(table);
    addLifecycle(table);
    addState(table);
    addGuest(table);
    addMachineSizes(table);
    addMachineBlocks(table);
    addMachineSaving(table);
    addSnapshots(table);
    addMachineGuest(table);
    addMigration(table);
    addMachineHost(table);
    return table;
}

} // namespace vz::driver
