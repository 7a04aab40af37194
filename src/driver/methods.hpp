// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "driver/slot.hpp"
#include "libvirt/features.hpp"

#include <libvirt/libvirt-lxc.h>

/** The methods behind the slots (slots.cpp), by topic; each has the meaning of the public API of its name. */
namespace vz::driver {

// connection.cpp
int connectOpen(virConnectPtr conn, virConnectAuthPtr auth, void* conf, unsigned int flags) noexcept;
int connectClose(virConnectPtr conn) noexcept;
int connectSupportsFeature(virConnectPtr conn, int feature) noexcept;
Result<const char*> connectGetType(const ConnectCall& call);
Result<void> connectGetVersion(const ConnectCall& call, unsigned long* version);
Result<std::string> connectGetHostname(const ConnectCall& call);
Result<std::string> connectGetSysinfo(const ConnectCall& call, unsigned int flags);
Result<int> connectGetMaxVcpus(const ConnectCall& call, const char* type);
Result<std::string> connectGetCapabilities(const ConnectCall& call);
Result<std::string> connectGetDomainCapabilities(const ConnectCall& call, const char* emulator,
                                                 const char* arch, const char* machine, const char* virtType,
                                                 unsigned int flags);
Result<int> connectIsEncrypted(const ConnectCall& call);
Result<int> connectIsSecure(const ConnectCall& call);
Result<int> connectIsAlive(const ConnectCall& call);
Result<int> eventRegister(const ConnectCall& call, virConnectDomainEventCallback cb, void* opaque,
                          virFreeCallback ff);
Result<int> eventDeregister(const ConnectCall& call, virConnectDomainEventCallback cb);
Result<int> eventRegisterAny(const ConnectCall& call, virDomainPtr dom, int eventId,
                             virConnectDomainEventGenericCallback cb, void* opaque, virFreeCallback ff);
Result<int> eventDeregisterAny(const ConnectCall& call, int callbackId);

// node.cpp
Result<void> nodeGetInfo(const ConnectCall& call, virNodeInfoPtr info);
Result<int> nodeGetCpuMap(const ConnectCall& call, unsigned char** map, unsigned int* online,
                          unsigned int flags);
Result<void> nodeGetCpuStats(const ConnectCall& call, int cpu, virNodeCPUStatsPtr params, int* count,
                             unsigned int flags);
Result<void> nodeGetMemoryStats(const ConnectCall& call, int cell, virNodeMemoryStatsPtr params, int* count,
                                unsigned int flags);
Result<int> nodeGetCellsFreeMemory(const ConnectCall& call, unsigned long long* free, int startCell,
                                   int maxCells);
Result<unsigned long long> nodeGetFreeMemory(const ConnectCall& call);
Result<int> nodeGetFreePages(const ConnectCall& call, unsigned int npages, unsigned int* pages, int startCell,
                             unsigned int cellCount, unsigned long long* counts, unsigned int flags);
Result<int> nodeAllocPages(const ConnectCall& call, unsigned int npages, unsigned int* sizes,
                           unsigned long long* counts, int startCell, unsigned int cellCount,
                           unsigned int flags);
Result<void> nodeGetMemoryParameters(const ConnectCall& call, virTypedParameterPtr params, int* count,
                                     unsigned int flags);
Result<void> nodeSetMemoryParameters(const ConnectCall& call, virTypedParameterPtr params, int count,
                                     unsigned int flags);
Result<void> nodeGetSecurityModel(const ConnectCall& call, virSecurityModelPtr model);

// listing.cpp
Result<int> listDomains(const ConnectCall& call, int* ids, int max);
Result<int> numOfDomains(const ConnectCall& call);
Result<int> listAllDomains(const ConnectCall& call, virDomainPtr** domains, unsigned int flags);
Result<int> listDefinedDomains(const ConnectCall& call, char** names, int max);
Result<int> numOfDefinedDomains(const ConnectCall& call);
Result<Passed<virDomainPtr>> lookupById(const ConnectCall& call, int id);
Result<Passed<virDomainPtr>> lookupByUuid(const ConnectCall& call, const unsigned char* uuid);
Result<Passed<virDomainPtr>> lookupByName(const ConnectCall& call, const char* name);

// definition.cpp
Result<Passed<virDomainPtr>> defineXml(const ConnectCall& call, const char* xml);
Result<Passed<virDomainPtr>> defineXmlFlags(const ConnectCall& call, const char* xml, unsigned int flags);
Result<Passed<virDomainPtr>> createXml(const ConnectCall& call, const char* xml, unsigned int flags);
Result<void> undefine(const DomainCall& call);
Result<void> undefineFlags(const DomainCall& call, unsigned int flags);
Result<void> rename(const DomainCall& call, const char* name, unsigned int flags);
Result<void> getAutostart(const DomainCall& call, int* autostart);
Result<void> setAutostart(const DomainCall& call, int autostart);
Result<std::string> getXmlDesc(const DomainCall& call, unsigned int flags);
Result<void> setMetadata(const DomainCall& call, int type, const char* value, const char* key,
                         const char* uri, unsigned int flags);
Result<std::string> getMetadata(const DomainCall& call, int type, const char* uri, unsigned int flags);
Result<void> setLifecycleAction(const DomainCall& call, unsigned int type, unsigned int action,
                                unsigned int flags);

// lifecycle.cpp
Result<void> create(const DomainCall& call);
Result<void> createWithFlags(const DomainCall& call, unsigned int flags);
Result<void> shutdown(const DomainCall& call);
Result<void> shutdownFlags(const DomainCall& call, unsigned int flags);
Result<void> reboot(const DomainCall& call, unsigned int flags);
Result<void> reset(const DomainCall& call, unsigned int flags);
Result<void> destroy(const DomainCall& call);
Result<void> destroyFlags(const DomainCall& call, unsigned int flags);
Result<void> suspend(const DomainCall& call);
Result<void> resume(const DomainCall& call);

// state.cpp
Result<std::string> getOsType(const DomainCall& call);
Result<void> getInfo(const DomainCall& call, virDomainInfoPtr info);
Result<void> getState(const DomainCall& call, int* state, int* reason, unsigned int flags);
Result<void> getControlInfo(const DomainCall& call, virDomainControlInfoPtr info, unsigned int flags);
Result<int> isActive(const DomainCall& call);
Result<int> isPersistent(const DomainCall& call);
Result<int> isUpdated(const DomainCall& call);
Result<int> hasManagedSaveImage(const DomainCall& call, unsigned int flags);
Result<unsigned long long> getMaxMemory(const DomainCall& call);
Result<int> getVcpusFlags(const DomainCall& call, unsigned int flags);
Result<int> getMaxVcpus(const DomainCall& call);
Result<int> getVcpus(const DomainCall& call, virVcpuInfoPtr info, int maxInfo, unsigned char* maps,
                     int mapLength);
Result<void> getSecurityLabel(const DomainCall& call, virSecurityLabelPtr label);
Result<int> getMessages(const DomainCall& call, char*** messages, unsigned int flags);
Result<int> getSecurityLabelList(const DomainCall& call, virSecurityLabelPtr* labels);

// snapshots.cpp
Result<Passed<virDomainSnapshotPtr>> snapshotCreateXml(const DomainCall& call, const char* xml,
                                                       unsigned int flags);
Result<std::string> snapshotGetXmlDesc(const DomainCall& call, virDomainSnapshotPtr handle,
                                       unsigned int flags);
Result<int> snapshotNum(const DomainCall& call, unsigned int flags);
Result<int> snapshotListNames(const DomainCall& call, char** names, int max, unsigned int flags);
Result<int> listAllSnapshots(const DomainCall& call, virDomainSnapshotPtr** handles, unsigned int flags);
Result<int> snapshotNumChildren(const DomainCall& call, virDomainSnapshotPtr from, unsigned int flags);
Result<int> snapshotListChildrenNames(const DomainCall& call, virDomainSnapshotPtr from, char** names,
                                      int max, unsigned int flags);
Result<int> snapshotListAllChildren(const DomainCall& call, virDomainSnapshotPtr from,
                                    virDomainSnapshotPtr** handles, unsigned int flags);
Result<Passed<virDomainSnapshotPtr>> snapshotLookupByName(const DomainCall& call, const char* name,
                                                          unsigned int flags);
Result<int> hasCurrentSnapshot(const DomainCall& call, unsigned int flags);
Result<Passed<virDomainSnapshotPtr>> snapshotGetParent(const DomainCall& call, virDomainSnapshotPtr handle,
                                                       unsigned int flags);
Result<Passed<virDomainSnapshotPtr>> snapshotCurrent(const DomainCall& call, unsigned int flags);
Result<int> snapshotIsCurrent(const DomainCall& call, virDomainSnapshotPtr handle, unsigned int flags);
Result<int> snapshotHasMetadata(const DomainCall& call, virDomainSnapshotPtr handle, unsigned int flags);
Result<void> revertToSnapshot(const DomainCall& call, virDomainSnapshotPtr handle, unsigned int flags);
Result<void> snapshotDelete(const DomainCall& call, virDomainSnapshotPtr handle, unsigned int flags);

// statistics.cpp
Result<int> getAllDomainStats(const ConnectCall& call, virDomainPtr* domains, unsigned int count,
                              unsigned int stats, virDomainStatsRecordPtr** records, unsigned int flags);
Result<int> getCpuStats(const DomainCall& call, virTypedParameterPtr params, unsigned int nparams,
                        int startCpu, unsigned int ncpus, unsigned int flags);
Result<int> memoryStats(const DomainCall& call, virDomainMemoryStatPtr stats, unsigned int count,
                        unsigned int flags);
Result<void> interfaceStats(const DomainCall& call, const char* device, virDomainInterfaceStatsPtr stats);

// devices.cpp
Result<void> attachDevice(const DomainCall& call, const char* xml);
Result<void> attachDeviceFlags(const DomainCall& call, const char* xml, unsigned int flags);
Result<void> detachDevice(const DomainCall& call, const char* xml);
Result<void> detachDeviceFlags(const DomainCall& call, const char* xml, unsigned int flags);
Result<void> detachDeviceAlias(const DomainCall& call, const char* alias, unsigned int flags);
Result<void> updateDeviceFlags(const DomainCall& call, const char* xml, unsigned int flags);

// blocks.cpp
Result<void> blockResize(const DomainCall& call, const char* name, unsigned long long size,
                         unsigned int flags);
Result<void> getBlockInfo(const DomainCall& call, const char* name, virDomainBlockInfoPtr info,
                          unsigned int flags);
Result<void> blockStats(const DomainCall& call, const char* name, virDomainBlockStatsPtr stats);
Result<void> blockStatsFlags(const DomainCall& call, const char* name, virTypedParameterPtr params,
                             int* count, unsigned int flags);
Result<void> fsTrim(const DomainCall& call, const char* mountPoint, unsigned long long minimum,
                    unsigned int flags);

// guest.cpp
Result<void> openConsole(const DomainCall& call, const char* device, virStreamPtr stream, unsigned int flags);
Result<int> openNamespace(const DomainCall& call, int** fds, unsigned int flags);
Result<void> sendProcessSignal(const DomainCall& call, long long pid, unsigned int signal,
                               unsigned int flags);
Result<std::string> getHostname(const DomainCall& call, unsigned int flags);
Result<void> getTime(const DomainCall& call, long long* seconds, unsigned int* nseconds, unsigned int flags);
Result<void> setTime(const DomainCall& call, long long seconds, unsigned int nseconds, unsigned int flags);
Result<void> setUserPassword(const DomainCall& call, const char* user, const char* password,
                             unsigned int flags);
Result<int> interfaceAddresses(const DomainCall& call, virDomainInterfacePtr** interfaces,
                               unsigned int source, unsigned int flags);
Result<int> getFsInfo(const DomainCall& call, virDomainFSInfoPtr** info, unsigned int flags);
Result<void> getGuestInfo(const DomainCall& call, unsigned int types, virTypedParameterPtr* params,
                          int* nparams, unsigned int flags);

// tuning_memory.cpp
Result<void> setMemoryFlags(const DomainCall& call, unsigned long kib, unsigned int flags);
Result<void> setMemory(const DomainCall& call, unsigned long kib);
Result<void> setMaxMemory(const DomainCall& call, unsigned long kib);
Result<void> setMemoryParameters(const DomainCall& call, virTypedParameterPtr params, int count,
                                 unsigned int flags);
Result<void> getMemoryParameters(const DomainCall& call, virTypedParameterPtr params, int* count,
                                 unsigned int flags);

// tuning_cpu.cpp
Result<void> setVcpusFlags(const DomainCall& call, unsigned int count, unsigned int flags);
Result<void> setVcpus(const DomainCall& call, unsigned int count);
Result<void> pinVcpuFlags(const DomainCall& call, unsigned int vcpu, unsigned char* map, int length,
                          unsigned int flags);
Result<void> pinVcpu(const DomainCall& call, unsigned int vcpu, unsigned char* map, int length);
Result<int> getVcpuPinInfo(const DomainCall& call, int count, unsigned char* maps, int length,
                           unsigned int flags);
Result<void> pinEmulator(const DomainCall& call, unsigned char* map, int length, unsigned int flags);
Result<int> getEmulatorPinInfo(const DomainCall& call, unsigned char* map, int length, unsigned int flags);
Result<std::string> getSchedulerType(const DomainCall&, int* count);
Result<void> getSchedulerParametersFlags(const DomainCall& call, virTypedParameterPtr params, int* count,
                                         unsigned int flags);
Result<void> getSchedulerParameters(const DomainCall& call, virTypedParameterPtr params, int* count);
Result<void> setSchedulerParametersFlags(const DomainCall& call, virTypedParameterPtr params, int count,
                                         unsigned int flags);
Result<void> setSchedulerParameters(const DomainCall& call, virTypedParameterPtr params, int count);
Result<void> setNumaParameters(const DomainCall& call, virTypedParameterPtr params, int count,
                               unsigned int flags);
Result<void> getNumaParameters(const DomainCall& call, virTypedParameterPtr params, int* count,
                               unsigned int flags);

// tuning_block.cpp
Result<void> setBlkioParameters(const DomainCall& call, virTypedParameterPtr params, int count,
                                unsigned int flags);
Result<void> setBlockIoTune(const DomainCall& call, const char* disk, virTypedParameterPtr params, int count,
                            unsigned int flags);
Result<void> getBlockIoTune(const DomainCall& call, const char* disk, virTypedParameterPtr params, int* count,
                            unsigned int flags);
Result<void> getBlkioParameters(const DomainCall& call, virTypedParameterPtr params, int* count,
                                unsigned int flags);

// tuning_interface.cpp
Result<void> setInterfaceParameters(const DomainCall& call, const char* device, virTypedParameterPtr params,
                                    int count, unsigned int flags);
Result<void> getInterfaceParameters(const DomainCall& call, const char* device, virTypedParameterPtr params,
                                    int* count, unsigned int flags);

/** The table of all slots we fill. */
std::vector<abi::SlotEntry> slotTable();
/** Its part that only virtual machines have (machine_slots.cpp). */
void addMachineSlots(std::vector<abi::SlotEntry>& table);

/** What VIR_DOMAIN_AFFECT_* mean for this domain now; OperationInvalid where it cannot be. */
struct Affects {
    bool live, config;
};
Result<Affects> affects(const ContainerDomain& domain, unsigned int flags);

} // namespace vz::driver
