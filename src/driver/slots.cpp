// SPDX-License-Identifier: LGPL-2.1-or-later
// The slot table: what containers have, and calls about no guest. machine_slots.cpp has the rest. A row with
// one method has it for containers; virtual machines' calls are forwarded, or have the second method. A slot
// that is in neither file is libvirt's own.
#include "driver/machine_methods.hpp"
#include "driver/methods.hpp"

namespace vz::driver {

namespace {

/** One slot stands behind virConnectGetAllDomainStats and virDomainListGetStats. */
using AllDomainStats = int (*)(virConnectPtr, virDomainPtr*, unsigned int, unsigned int,
                               virDomainStatsRecordPtr**, unsigned int);

/** The public API has a size behind these, which libvirt itself sees to. */
using InterfaceStats = int (*)(virDomainPtr, const char*, virDomainInterfaceStatsPtr);
using BlockStats = int (*)(virDomainPtr, const char*, virDomainBlockStatsPtr);

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
                     entry<"domainSetAutostart", &virDomainSetAutostart, &setAutostart, &autostartMachine>(),
                     entry<"domainGetXMLDesc", &virDomainGetXMLDesc, &getXmlDesc, &getMachineXml>(),
                     entry<"domainSetMetadata", &virDomainSetMetadata, &setMetadata, &setMachineMetadata>(),
                     entry<"domainGetMetadata", &virDomainGetMetadata, &getMetadata, &getMachineMetadata>(),
                     entry<"domainSetLifecycleAction", &virDomainSetLifecycleAction, &setLifecycleAction>(),
                 });
}

void addLifecycle(std::vector<abi::SlotEntry>& table) {
    table.insert(
        table.end(),
        {
            entry<"domainCreate", &virDomainCreate, &create, &startMachine>(),
            entry<"domainCreateWithFlags", &virDomainCreateWithFlags, &createWithFlags, &startFlags>(),
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
            entry<"domainGetMessages", &virDomainGetMessages, &getMessages>(),
            entry<"domainMemoryStats", &virDomainMemoryStats, &memoryStats>(),
            entryAs<"domainInterfaceStats", InterfaceStats, &interfaceStats>(),
        });
}

void addTuning(std::vector<abi::SlotEntry>& table) {
    table.insert(
        table.end(),
        {
            entry<"domainSetMaxMemory", &virDomainSetMaxMemory, &setMaxMemory>(),
            entry<"domainSetMemory", &virDomainSetMemory, &setMemory>(),
            entry<"domainSetMemoryFlags", &virDomainSetMemoryFlags, &setMemoryFlags>(),
            entry<"domainSetMemoryParameters", &virDomainSetMemoryParameters, &setMemoryParameters>(),
            entry<"domainGetMemoryParameters", &virDomainGetMemoryParameters, &getMemoryParameters>(),
            entry<"domainSetNumaParameters", &virDomainSetNumaParameters, &setNumaParameters>(),
            entry<"domainGetNumaParameters", &virDomainGetNumaParameters, &getNumaParameters>(),
            entry<"domainSetBlkioParameters", &virDomainSetBlkioParameters, &setBlkioParameters>(),
            entry<"domainGetBlkioParameters", &virDomainGetBlkioParameters, &getBlkioParameters>(),
            entry<"domainSetInterfaceParameters", &virDomainSetInterfaceParameters,
                  &setInterfaceParameters>(),
            entry<"domainGetInterfaceParameters", &virDomainGetInterfaceParameters,
                  &getInterfaceParameters>(),
            entry<"domainSetVcpus", &virDomainSetVcpus, &setVcpus>(),
            entry<"domainSetVcpusFlags", &virDomainSetVcpusFlags, &setVcpusFlags>(),
            entry<"domainPinVcpu", &virDomainPinVcpu, &pinVcpu>(),
            entry<"domainPinVcpuFlags", &virDomainPinVcpuFlags, &pinVcpuFlags>(),
            entry<"domainGetVcpuPinInfo", &virDomainGetVcpuPinInfo, &getVcpuPinInfo>(),
            entry<"domainPinEmulator", &virDomainPinEmulator, &pinEmulator>(),
            entry<"domainGetEmulatorPinInfo", &virDomainGetEmulatorPinInfo, &getEmulatorPinInfo>(),
            entry<"domainGetSchedulerType", &virDomainGetSchedulerType, &getSchedulerType>(),
            entry<"domainGetSchedulerParameters", &virDomainGetSchedulerParameters,
                  &getSchedulerParameters>(),
            entry<"domainGetSchedulerParametersFlags", &virDomainGetSchedulerParametersFlags,
                  &getSchedulerParametersFlags>(),
            entry<"domainSetSchedulerParameters", &virDomainSetSchedulerParameters,
                  &setSchedulerParameters>(),
            entry<"domainSetSchedulerParametersFlags", &virDomainSetSchedulerParametersFlags,
                  &setSchedulerParametersFlags>(),
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

void addSnapshots(std::vector<abi::SlotEntry>& table) {
    table.insert(
        table.end(),
        {
            entry<"domainSnapshotCreateXML", &virDomainSnapshotCreateXML, &snapshotCreateXml,
                  &createSnapshot>(),
            entry<"domainSnapshotGetXMLDesc", &virDomainSnapshotGetXMLDesc, &snapshotGetXmlDesc,
                  &getSnapshotXml>(),
            entry<"domainSnapshotNum", &virDomainSnapshotNum, &snapshotNum>(),
            entry<"domainSnapshotListNames", &virDomainSnapshotListNames, &snapshotListNames>(),
            entry<"domainListAllSnapshots", &virDomainListAllSnapshots, &listAllSnapshots>(),
            entry<"domainSnapshotNumChildren", &virDomainSnapshotNumChildren, &snapshotNumChildren>(),
            entry<"domainSnapshotListChildrenNames", &virDomainSnapshotListChildrenNames,
                  &snapshotListChildrenNames>(),
            entry<"domainSnapshotListAllChildren", &virDomainSnapshotListAllChildren,
                  &snapshotListAllChildren>(),
            entry<"domainSnapshotLookupByName", &virDomainSnapshotLookupByName, &snapshotLookupByName>(),
            entry<"domainHasCurrentSnapshot", &virDomainHasCurrentSnapshot, &hasCurrentSnapshot>(),
            entry<"domainSnapshotGetParent", &virDomainSnapshotGetParent, &snapshotGetParent>(),
            entry<"domainSnapshotCurrent", &virDomainSnapshotCurrent, &snapshotCurrent>(),
            entry<"domainSnapshotIsCurrent", &virDomainSnapshotIsCurrent, &snapshotIsCurrent>(),
            entry<"domainSnapshotHasMetadata", &virDomainSnapshotHasMetadata, &snapshotHasMetadata>(),
            entry<"domainRevertToSnapshot", &virDomainRevertToSnapshot, &revertToSnapshot>(),
            entry<"domainSnapshotDelete", &virDomainSnapshotDelete, &snapshotDelete>(),
        });
}

void addBlocks(std::vector<abi::SlotEntry>& table) {
    table.insert(
        table.end(),
        {
            entry<"domainBlockResize", &virDomainBlockResize, &blockResize, &resizeMachineDisk>(),
            entry<"domainGetBlockInfo", &virDomainGetBlockInfo, &getBlockInfo, &getMachineBlockInfo>(),
            entryAs<"domainBlockStats", BlockStats, &blockStats, &getMachineBlockStats>(),
            entry<"domainBlockStatsFlags", &virDomainBlockStatsFlags, &blockStatsFlags,
                  &getMachineBlockStatsFlags>(),
            entry<"domainSetBlockIoTune", &virDomainSetBlockIoTune, &setBlockIoTune, &setMachineIoTune>(),
            entry<"domainGetBlockIoTune", &virDomainGetBlockIoTune, &getBlockIoTune, &getMachineIoTune>(),
            entry<"domainFSTrim", &virDomainFSTrim, &fsTrim>(),
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
    addTuning(table);
    addGuest(table);
    addSnapshots(table);
    addBlocks(table);
    addMachineSlots(table);
    return table;
}

} // namespace vz::driver
