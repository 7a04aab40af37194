// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <cstddef>
#include <cstdint>

/**
 * The functions and structures of libvirt.so that have no public header. Internal to src/libvirt: nothing
 * else includes this file. All functions carry the symbol version LIBVIRT_PRIVATE_<version>, so a driver
 * built for one libvirt does not load into another. Where each prototype is proven is told in
 * docs/libvirt-abi.md; the tests in tests/unit/libvirt call every one of them.
 */
namespace vz::abi::priv {

/** virConnectDriver. The structure is read by libvirt for the life of the process. */
struct ConnectDriver {
    bool localOnly;
    bool remoteOnly;
    bool embeddable;
    const char** uriSchemes; ///< ends with null
    void* hypervisor;
    void* interface;
    void* network;
    void* nodeDevice;
    void* nwfilter;
    void* secret;
    void* storage;
};
static_assert(offsetof(ConnectDriver, hypervisor) == 16 && sizeof(ConnectDriver) == 72);

using Inhibit = void (*)(bool on, void* opaque);

/** virStateDriver. */
struct StateDriver {
    const char* name;
    bool initialized; ///< libvirt's own
    int (*initialize)(bool, const char*, bool, Inhibit, void*);
    int (*cleanup)();
    int (*reload)();
    int (*stop)();
    int (*shutdownPrepare)();
    int (*shutdownWait)();
};
static_assert(sizeof(StateDriver) == 64);

/** virLogSource: libvirt caches the priority of a source in it. The last field is room for older versions. */
struct LogSource {
    const char* name;
    unsigned priority;
    unsigned serial;
    unsigned flags;
};

/** virBuffer is a pointer and an int; the rest is room to spare. Starts as zeros. */
struct Buffer {
    alignas(16) unsigned char bytes[64];
};

/** virTypedParamList. */
struct TypedParamList {
    virTypedParameterPtr params;
    size_t count;
    size_t capacity;
};

/** Bits of virDomainDefParseFlags, found by what the parser does (tests/unit/libvirt/domain_xml_test.cpp). */
constexpr unsigned kParseInactive = 1u << 1;
constexpr unsigned kParseActualNet = 1u << 2;
constexpr unsigned kParseValidateSchema = 1u << 6;
/** Of virDomainDefFormatFlags; found by what is printed. */
constexpr unsigned kFormatActualNet = 1u << 4;
/** Of virDomainSnapshotParseFlags; found in the same way. */
constexpr unsigned kParseSnapshotValidateSchema = 1u << 3;

/** virLogPriority. */
enum class LogPriority : int { Debug = 1, Info, Warning, Error };

extern "C" {

int virRegisterConnectDriver(ConnectDriver* driver, bool setSharedDrivers);
int virRegisterStateDriver(StateDriver* driver);

void virRaiseErrorFull(const char* file, const char* function, size_t line, int domain, int code, int level,
                       const char* str1, const char* str2, const char* str3, int int1, int int2,
                       const char* format, ...) __attribute__((format(printf, 12, 13)));
void virLogMessage(LogSource* source, int priority, const char* file, int line, const char* function,
                   void* metadata, const char* format, ...) __attribute__((format(printf, 7, 8)));

void* virDomainXMLOptionNew(void* config, void* privateData, void* xmlNamespace, void* abiStability,
                            void* saveCookie, void* jobConfig);
void* virDomainDefParseString(const char* xml, void* option, void* parseOpaque, unsigned flags);
char* virDomainDefFormat(void* def, void* option, unsigned flags);
/** Takes private flags, too. Below 0 on failure; what is in the buffer is to be freed in any case. */
int virDomainDefFormatInternal(void* def, void* option, Buffer* buffer, unsigned flags);
unsigned virDomainDefFormatConvertXMLFlags(unsigned publicFlags);
void virDomainDefFree(void* def);
/** @p current may be null unless the flags are those of a driver that reads its own files. */
void* virDomainSnapshotDefParseString(const char* xml, void* option, void* parseOpaque, bool* current,
                                      unsigned flags);
void virObjectUnref(void* object);

virConnectPtr virGetConnect();
virDomainPtr virGetDomain(virConnectPtr conn, const char* name, const unsigned char* uuid, int id);
virDomainSnapshotPtr virGetDomainSnapshot(virDomainPtr dom, const char* name);
virDomainCheckpointPtr virGetDomainCheckpoint(virDomainPtr dom, const char* name);
virNodeDevicePtr virGetNodeDevice(virConnectPtr conn, const char* name);
virStoragePoolPtr virGetStoragePool(virConnectPtr conn, const char* name, const unsigned char* uuid,
                                    void* privateData, virFreeCallback freePrivateData);
virStorageVolPtr virGetStorageVol(virConnectPtr conn, const char* pool, const char* name, const char* key,
                                  void* privateData, virFreeCallback freePrivateData);
int virUUIDParse(const char* text, unsigned char* uuid);
int virUUIDGenerate(unsigned char* uuid);
int virGetHostUUID(unsigned char* uuid);

void* virObjectEventStateNew();
int virDomainEventStateRegister(virConnectPtr conn, void* state, virConnectDomainEventCallback callback,
                                void* opaque, virFreeCallback freeOpaque);
int virDomainEventStateDeregister(virConnectPtr conn, void* state, virConnectDomainEventCallback callback);
int virDomainEventStateRegisterID(virConnectPtr conn, void* state, virDomainPtr dom, int eventId,
                                  virConnectDomainEventGenericCallback callback, void* opaque,
                                  virFreeCallback freeOpaque, int* callbackId);
int virObjectEventStateDeregisterID(virConnectPtr conn, void* state, int callbackId, bool freeOpaque);
void virObjectEventStateQueue(void* state, void* event);
void* virDomainEventLifecycleNew(int id, const char* name, const unsigned char* uuid, int type, int detail);
void* virDomainEventRebootNew(int id, const char* name, const unsigned char* uuid);

int virStoragePoolEventStateRegisterID(virConnectPtr conn, void* state, virStoragePoolPtr pool, int eventId,
                                       virConnectStoragePoolEventGenericCallback callback, void* opaque,
                                       virFreeCallback freeOpaque, int* callbackId);
void* virStoragePoolEventLifecycleNew(const char* name, const unsigned char* uuid, int type, int detail);
void* virStoragePoolEventRefreshNew(const char* name, const unsigned char* uuid);

// Their arguments are those of the public callback for the event, between domain and opaque pointer. Texts
// are copied; what is given without const belongs to the event from then on (docs/libvirt-abi.md).
void* virDomainEventLifecycleNewFromDom(virDomainPtr dom, int type, int detail);
void* virDomainEventRebootNewFromDom(virDomainPtr dom);
void* virDomainEventRTCChangeNewFromDom(virDomainPtr dom, long long offset);
void* virDomainEventWatchdogNewFromDom(virDomainPtr dom, int action);
void* virDomainEventIOErrorNewFromDom(virDomainPtr dom, const char* path, const char* alias, int action);
void* virDomainEventGraphicsNewFromDom(virDomainPtr dom, int phase, virDomainEventGraphicsAddressPtr local,
                                       virDomainEventGraphicsAddressPtr remote, const char* authScheme,
                                       virDomainEventGraphicsSubjectPtr subject);
void* virDomainEventIOErrorReasonNewFromDom(virDomainPtr dom, const char* path, const char* alias, int action,
                                            const char* reason);
void* virDomainEventControlErrorNewFromDom(virDomainPtr dom);
void* virDomainEventBlockJobNewFromDom(virDomainPtr dom, const char* path, int type, int status);
void* virDomainEventDiskChangeNewFromDom(virDomainPtr dom, const char* oldPath, const char* newPath,
                                         const char* alias, int reason);
void* virDomainEventTrayChangeNewFromDom(virDomainPtr dom, const char* alias, int reason);
void* virDomainEventPMWakeupNewFromDom(virDomainPtr dom, int reason);
void* virDomainEventPMSuspendNewFromDom(virDomainPtr dom, int reason);
void* virDomainEventBalloonChangeNewFromDom(virDomainPtr dom, unsigned long long actual);
void* virDomainEventPMSuspendDiskNewFromDom(virDomainPtr dom, int reason);
void* virDomainEventDeviceRemovedNewFromDom(virDomainPtr dom, const char* alias);
void* virDomainEventBlockJob2NewFromDom(virDomainPtr dom, const char* target, int type, int status);
/** Takes the parameters and sets the pointer to null, also when it fails. */
void* virDomainEventTunableNewFromDom(virDomainPtr dom, virTypedParameterPtr* params, int count);
void* virDomainEventAgentLifecycleNewFromDom(virDomainPtr dom, int state, int reason);
void* virDomainEventDeviceAddedNewFromDom(virDomainPtr dom, const char* alias);
void* virDomainEventMigrationIterationNewFromDom(virDomainPtr dom, int iteration);
/** Takes the parameters, also when it fails. */
void* virDomainEventJobCompletedNewFromDom(virDomainPtr dom, virTypedParameterPtr params, int count);
void* virDomainEventDeviceRemovalFailedNewFromDom(virDomainPtr dom, const char* alias);
void* virDomainEventMetadataChangeNewFromDom(virDomainPtr dom, int type, const char* uri);
void* virDomainEventBlockThresholdNewFromDom(virDomainPtr dom, const char* target, const char* path,
                                             unsigned long long threshold, unsigned long long excess);
void* virDomainEventMemoryFailureNewFromDom(virDomainPtr dom, int recipient, int action, unsigned flags);
void* virDomainEventMemoryDeviceSizeChangeNewFromDom(virDomainPtr dom, const char* alias,
                                                     unsigned long long size);

/** A new array for virTypedParamsFree; null if there are none. */
void virTypedParamsCopy(virTypedParameterPtr* copy, virTypedParameterPtr params, int count);

int virFDStreamOpen(virStreamPtr stream, int fd);
int virFDStreamOpenBlockDevice(virStreamPtr stream, const char* path, unsigned long long offset,
                               unsigned long long length, bool sparse, int flags);
int virFDStreamSetInternalCloseCb(virStreamPtr stream, void (*callback)(virStreamPtr, void*), void* opaque,
                                  void (*freeOpaque)(void*));

void* virAccessManagerGetDefault();
int virAccessManagerCheckConnect(void* manager, const char* driver, int permission);
int virAccessManagerCheckDomain(void* manager, const char* driver, const void* def, int permission);
int virAccessManagerCheckStoragePool(void* manager, const char* driver, const void* pool, int permission);
int virAccessManagerCheckStorageVol(void* manager, const char* driver, const void* pool, const void* volume,
                                    int permission);
int virAccessPermStoragePoolTypeFromString(const char* name);
int virAccessPermStorageVolTypeFromString(const char* name);
void* virStoragePoolDefParse(const char* xml, const char* file, unsigned flags);
void virStoragePoolDefFree(void* def);
void* virStorageVolDefParse(void* pool, const char* xml, const char* file, unsigned flags);
void virStorageVolDefFree(void* def);
int virAccessPermConnectTypeFromString(const char* name);
int virAccessPermDomainTypeFromString(const char* name);

// Identities are reference-counted: a getter gives a reference, the helper takes one.
void* virIdentityGetCurrent();
void* virIdentityGetSystem();
int virIdentitySetCurrent(void* identity);
void virIdentityRestoreHelper(void** identity);
TypedParamList* virIdentityGetParameters(void* identity); // a copy
void virTypedParamListFree(TypedParamList* list);
void* virIdentityNew();             // for the tests
int virIdentityIsCurrentElevated(); // for the tests

int virCapabilitiesGetNodeInfo(virNodeInfoPtr info);
int virHostCPUGetMap(unsigned char** map, unsigned* online, unsigned flags);
int virHostCPUGetStats(int cpu, virNodeCPUStatsPtr params, int* count, unsigned flags);
int virHostMemGetStats(int cell, virNodeMemoryStatsPtr params, int* count, unsigned flags);
int virHostMemGetCellsFree(unsigned long long* free, int startCell, int maxCells);
int virHostMemGetInfo(unsigned long long* total, unsigned long long* free);
int virHostMemGetFreePages(unsigned pageCount, unsigned* pages, int startCell, unsigned cellCount,
                           int lastCell, unsigned long long* counts);
int virHostMemAllocPages(unsigned pageCount, unsigned* sizes, unsigned long long* counts, int startCell,
                         unsigned cellCount, int lastCell, bool add);
int virHostMemGetParameters(virTypedParameterPtr params, int* count, unsigned flags);
int virHostMemSetParameters(virTypedParameterPtr params, int count, unsigned flags);
bool virDriverFeatureIsGlobal(int feature, int* supported);
int virNumaGetMaxNode();
void* virSysinfoRead();
int virSysinfoFormat(Buffer* buffer, void* sysinfo);
void virSysinfoDefFree(void* sysinfo);
char* virBufferContentAndReset(Buffer* buffer);
char* virGetHostname();

// What the daemon and QEMU's driver call; here for the tests.
int virDomainQemuMonitorEventStateRegisterID(virConnectPtr conn, void* state, virDomainPtr dom,
                                             const char* event,
                                             virConnectDomainQemuMonitorEventCallback callback, void* opaque,
                                             virFreeCallback freeOpaque, unsigned flags, int* callbackId);
void* virDomainQemuMonitorEventNew(int id, const char* name, const unsigned char* uuid, const char* event,
                                   long long seconds, unsigned micros, const char* details);
int virStateInitialize(bool privileged, bool mandatory, const char* root, bool monolithic, Inhibit inhibit,
                       void* opaque);
int virStateReload();
int virStateStop();
int virStateShutdownPrepare();
int virStateShutdownWait();
int virStateCleanup();

} // extern "C"

} // namespace vz::abi::priv
