// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "driver/storage_call.hpp"

/** The methods of the storage table (storage_table.cpp), by the file that they are in. */
namespace vz::driver {

// storage_listing.cpp: what there is, in both drivers
Result<int> numOfPools(const ConnectCall& call);
Result<int> listPools(const ConnectCall& call, char** names, int most);
Result<int> numOfDefinedPools(const ConnectCall& call);
Result<int> listDefinedPools(const ConnectCall& call, char** names, int most);
Result<int> listAllPools(const ConnectCall& call, virStoragePoolPtr** pools, unsigned int flags);
Result<Passed<virStoragePoolPtr>> lookupPoolByName(const ConnectCall& call, const char* name);
Result<Passed<virStoragePoolPtr>> lookupPoolByUuid(const ConnectCall& call, const unsigned char* uuid);
Result<Passed<virStoragePoolPtr>> lookupPoolByTarget(const ConnectCall& call, const char* path);
Result<Passed<virStorageVolPtr>> lookupVolumeByKey(const ConnectCall& call, const char* key);
Result<Passed<virStorageVolPtr>> lookupVolumeByPath(const ConnectCall& call, const char* path);
Result<virStoragePoolPtr> poolOfVolume(const VolumeCall& call);
Result<Passed<char*>> poolCapabilities(const ConnectCall& call, unsigned int flags);
Result<Passed<char*>> findPoolSources(const ConnectCall& call, const char* type, const char* source,
                                      unsigned int flags);
Result<int> registerPoolEvent(const ConnectCall& call, virStoragePoolPtr pool, int eventId,
                              virConnectStoragePoolEventGenericCallback cb, void* opaque, virFreeCallback ff);
Result<int> deregisterPoolEvent(const ConnectCall& call, int callbackId);

// storage_pools.cpp: a pool as a whole
Result<Passed<virStoragePoolPtr>> definePool(const ConnectCall& call, const char* xml, unsigned int flags);
Result<Passed<virStoragePoolPtr>> createPoolXml(const ConnectCall& call, const char* xml, unsigned int flags);
Result<void> buildPool(const PoolCall& call, unsigned int flags);
Result<void> undefinePool(const PoolCall& call);
Result<void> startPool(const PoolCall& call, unsigned int flags);
Result<void> stopPool(const PoolCall& call);
Result<void> deletePool(const PoolCall& call, unsigned int flags);
Result<void> refreshPool(const PoolCall& call, unsigned int flags);
Result<void> poolInfo(const PoolCall& call, virStoragePoolInfoPtr info);
Result<std::string> poolXml(const PoolCall& call, unsigned int flags);
Result<void> getPoolAutostart(const PoolCall& call, int* autostart);
Result<void> setPoolAutostart(const PoolCall& call, int autostart);
Result<int> poolIsActive(const PoolCall& call);
Result<int> poolIsPersistent(const PoolCall& call);

// storage_volumes.cpp
Result<int> numOfVolumes(const PoolCall& call);
Result<int> listVolumes(const PoolCall& call, char** names, int most);
Result<int> listAllVolumes(const PoolCall& call, virStorageVolPtr** volumes, unsigned int flags);
Result<virStorageVolPtr> lookupVolumeByName(const PoolCall& call, const char* name);
Result<virStorageVolPtr> createVolume(const PoolCall& call, const char* xml, unsigned int flags);
Result<virStorageVolPtr> createVolumeFrom(const PoolCall& call, const char* xml, virStorageVolPtr source,
                                          unsigned int flags);
Result<void> deleteVolume(const VolumeCall& call, unsigned int flags);
Result<void> wipeVolume(const VolumeCall& call, unsigned int flags);
Result<void> wipeVolumePattern(const VolumeCall& call, unsigned int algorithm, unsigned int flags);
Result<void> volumeInfo(const VolumeCall& call, virStorageVolInfoPtr info);
Result<void> volumeInfoFlags(const VolumeCall& call, virStorageVolInfoPtr info, unsigned int flags);
Result<std::string> volumeXml(const VolumeCall& call, unsigned int flags);
Result<std::string> volumePath(const VolumeCall& call);
Result<void> resizeVolume(const VolumeCall& call, unsigned long long capacity, unsigned int flags);

// storage_streams.cpp
Result<void> downloadVolume(const VolumeCall& call, virStreamPtr stream, unsigned long long offset,
                            unsigned long long length, unsigned int flags);
Result<void> uploadVolume(const VolumeCall& call, virStreamPtr stream, unsigned long long offset,
                          unsigned long long length, unsigned int flags);

} // namespace vz::driver
