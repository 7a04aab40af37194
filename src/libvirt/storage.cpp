// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/storage.hpp"

#include "base/text.hpp"
#include "libvirt/driver_table.hpp"
#include "libvirt/objects.hpp"
#include "libvirt/private.hpp"

#include <cstring>

namespace vz::abi {

namespace {

/** The largest offset that is looked at: that of the key in a volume object, header (24), connection, pool,
 * name and key. */
constexpr size_t volumeFields = 56;

/**
 * Where a volume object has the name of its pool. Name and key are found by the public functions, which
 * return the object's own pointers; in every libvirt there is the pool before them. 0: not so here.
 */
size_t findPoolOffset(virConnectPtr conn) {
    constexpr const char* wanted = "the pool of a volume that nobody has";
    auto volume = makeStorageVolume(conn, wanted, "a name", "a key");
    if (!volume)
        return 0;
    const auto* start = reinterpret_cast<const char*>(*volume);
    size_t found = 0;
    const char* name = ::virStorageVolGetName(*volume);
    for (size_t offset = 2 * sizeof(void*); offset + sizeof(void*) <= volumeFields; offset += sizeof(void*)) {
        if (std::memcmp(start + offset, &name, sizeof name) != 0)
            continue;
        const char* pool = nullptr;
        std::memcpy(&pool, start + offset - sizeof pool, sizeof pool);
        if (pool && pool != reinterpret_cast<const char*>(conn) && std::strcmp(pool, wanted) == 0)
            found = offset - sizeof pool;
    }
    ::virStorageVolFree(*volume);
    return found;
}

using Closed = std::function<void()>;

} // namespace

Result<virStoragePoolPtr> makeStoragePool(virConnectPtr conn, const std::string& name,
                                          const unsigned char* uuid) {
    if (auto* pool = priv::virGetStoragePool(conn, name.c_str(), uuid, nullptr, nullptr))
        return pool;
    return lastError("libvirt could not make a storage pool object");
}

Result<virStorageVolPtr> makeStorageVolume(virConnectPtr conn, const std::string& pool,
                                           const std::string& name, const std::string& key) {
    if (auto* volume =
            priv::virGetStorageVol(conn, pool.c_str(), name.c_str(), key.c_str(), nullptr, nullptr))
        return volume;
    return lastError("libvirt could not make a storage volume object");
}

Result<std::string> poolNameOf(virStorageVolPtr volume) {
    static const size_t offset = findPoolOffset(::virStorageVolGetConnect(volume));
    if (!offset)
        return fail(ErrorCode::InternalError,
                    "the pool of a volume was not found where this libvirt should have it");
    const char* pool = nullptr;
    std::memcpy(&pool, reinterpret_cast<const char*>(volume) + offset, sizeof pool);
    return std::string(pool);
}

Result<void> joinDevice(virStreamPtr stream, const DeviceStream& part, std::function<void()> closed) {
    if (priv::virFDStreamOpenBlockDevice(stream, part.device.c_str(), part.offset, part.length, part.sparse,
                                         part.flags) < 0)
        return lastError("libvirt could not join the stream");
    auto* callback = new Closed(std::move(closed));
    auto run = [](virStreamPtr, void* opaque) { (*static_cast<Closed*>(opaque))(); };
    auto drop = [](void* opaque) { delete static_cast<Closed*>(opaque); };
    if (priv::virFDStreamSetInternalCloseCb(stream, run, callback, drop) < 0) {
        delete callback;
        return lastError("libvirt could not watch the end of the stream");
    }
    return {};
}

Result<StorageSubject> StorageSubject::ofPool(const std::string& name, const std::string& uuid,
                                              const std::string& target) {
    // libvirt's parser knows no pools of ours; the access manager looks at name and UUID only.
    auto text = cat("<pool type='dir'><name>", escapeXml(name), "</name><uuid>", uuid,
                    "</uuid><target><path>", escapeXml(target), "</path></target></pool>");
    StorageSubject subject;
    subject.pool_ = std::shared_ptr<void>(priv::virStoragePoolDefParse(text.c_str(), nullptr, 0),
                                          [](void* def) { priv::virStoragePoolDefFree(def); });
    if (!subject.pool_)
        return lastError("libvirt could not make a storage pool definition");
    return subject;
}

Result<StorageSubject> StorageSubject::withVolume(const std::string& name, const std::string& key) const {
    auto text = cat("<volume><name>", escapeXml(name), "</name><key>", escapeXml(key),
                    "</key><capacity>0</capacity></volume>");
    StorageSubject subject = *this;
    subject.volume_ =
        std::shared_ptr<void>(priv::virStorageVolDefParse(pool_.get(), text.c_str(), nullptr, 0),
                              [](void* def) { priv::virStorageVolDefFree(def); });
    if (!subject.volume_)
        return lastError("libvirt could not make a storage volume definition");
    return subject;
}

} // namespace vz::abi
