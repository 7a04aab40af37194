// SPDX-License-Identifier: LGPL-2.1-or-later
// The storage table: every slot knows ploop pools, and hands on the rest (storage_call.hpp).
#include "driver/storage_methods.hpp"

namespace vz::driver {

std::vector<abi::SlotEntry> storageTable() {
    return {
        storageEntry<"connectNumOfStoragePools", &virConnectNumOfStoragePools, &numOfPools>(),
        storageEntry<"connectListStoragePools", &virConnectListStoragePools, &listPools>(),
        storageEntry<"connectNumOfDefinedStoragePools", &virConnectNumOfDefinedStoragePools,
                     &numOfDefinedPools>(),
        storageEntry<"connectListDefinedStoragePools", &virConnectListDefinedStoragePools,
                     &listDefinedPools>(),
        storageEntry<"connectListAllStoragePools", &virConnectListAllStoragePools, &listAllPools>(),
        storageEntry<"connectFindStoragePoolSources", &virConnectFindStoragePoolSources, &findPoolSources>(),
        storageEntry<"connectStoragePoolEventRegisterAny", &virConnectStoragePoolEventRegisterAny,
                     &registerPoolEvent>(),
        storageEntry<"connectStoragePoolEventDeregisterAny", &virConnectStoragePoolEventDeregisterAny,
                     &deregisterPoolEvent>(),
        storageEntry<"connectGetStoragePoolCapabilities", &virConnectGetStoragePoolCapabilities,
                     &poolCapabilities>(),
        storageEntry<"storagePoolLookupByName", &virStoragePoolLookupByName, &lookupPoolByName>(),
        storageEntry<"storagePoolLookupByUUID", &virStoragePoolLookupByUUID, &lookupPoolByUuid>(),
        storageEntry<"storagePoolLookupByVolume", &virStoragePoolLookupByVolume, &poolOfVolume>(),
        storageEntry<"storagePoolLookupByTargetPath", &virStoragePoolLookupByTargetPath,
                     &lookupPoolByTarget>(),
        storageEntry<"storagePoolCreateXML", &virStoragePoolCreateXML, &createPoolXml>(),
        storageEntry<"storagePoolDefineXML", &virStoragePoolDefineXML, &definePool>(),
        storageEntry<"storagePoolBuild", &virStoragePoolBuild, &buildPool>(),
        storageEntry<"storagePoolUndefine", &virStoragePoolUndefine, &undefinePool>(),
        storageEntry<"storagePoolCreate", &virStoragePoolCreate, &startPool>(),
        storageEntry<"storagePoolDestroy", &virStoragePoolDestroy, &stopPool>(),
        storageEntry<"storagePoolDelete", &virStoragePoolDelete, &deletePool>(),
        storageEntry<"storagePoolRefresh", &virStoragePoolRefresh, &refreshPool>(),
        storageEntry<"storagePoolGetInfo", &virStoragePoolGetInfo, &poolInfo>(),
        storageEntry<"storagePoolGetXMLDesc", &virStoragePoolGetXMLDesc, &poolXml>(),
        storageEntry<"storagePoolGetAutostart", &virStoragePoolGetAutostart, &getPoolAutostart>(),
        storageEntry<"storagePoolSetAutostart", &virStoragePoolSetAutostart, &setPoolAutostart>(),
        storageEntry<"storagePoolNumOfVolumes", &virStoragePoolNumOfVolumes, &numOfVolumes>(),
        storageEntry<"storagePoolListVolumes", &virStoragePoolListVolumes, &listVolumes>(),
        storageEntry<"storagePoolListAllVolumes", &virStoragePoolListAllVolumes, &listAllVolumes>(),
        storageEntry<"storageVolLookupByName", &virStorageVolLookupByName, &lookupVolumeByName>(),
        storageEntry<"storageVolLookupByKey", &virStorageVolLookupByKey, &lookupVolumeByKey>(),
        storageEntry<"storageVolLookupByPath", &virStorageVolLookupByPath, &lookupVolumeByPath>(),
        storageEntry<"storageVolCreateXML", &virStorageVolCreateXML, &createVolume>(),
        storageEntry<"storageVolCreateXMLFrom", &virStorageVolCreateXMLFrom, &createVolumeFrom>(),
        storageEntry<"storageVolDownload", &virStorageVolDownload, &downloadVolume>(),
        storageEntry<"storageVolUpload", &virStorageVolUpload, &uploadVolume>(),
        storageEntry<"storageVolDelete", &virStorageVolDelete, &deleteVolume>(),
        storageEntry<"storageVolWipe", &virStorageVolWipe, &wipeVolume>(),
        storageEntry<"storageVolWipePattern", &virStorageVolWipePattern, &wipeVolumePattern>(),
        storageEntry<"storageVolGetInfo", &virStorageVolGetInfo, &volumeInfo>(),
        storageEntry<"storageVolGetInfoFlags", &virStorageVolGetInfoFlags, &volumeInfoFlags>(),
        storageEntry<"storageVolGetXMLDesc", &virStorageVolGetXMLDesc, &volumeXml>(),
        storageEntry<"storageVolGetPath", &virStorageVolGetPath, &volumePath>(),
        storageEntry<"storageVolResize", &virStorageVolResize, &resizeVolume>(),
        storageEntry<"storagePoolIsActive", &virStoragePoolIsActive, &poolIsActive>(),
        storageEntry<"storagePoolIsPersistent", &virStoragePoolIsPersistent, &poolIsPersistent>(),
    };
}

} // namespace vz::driver
