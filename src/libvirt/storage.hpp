// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <libvirt/libvirt.h>

#include <functional>
#include <memory>
#include <string>

/** Storage pools and volumes as libvirt's objects: makers, events, streams and access checks. */
namespace vz::abi {

/** New reference to a pool object on @p conn. @p uuid: 16 bytes. */
Result<virStoragePoolPtr> makeStoragePool(virConnectPtr conn, const std::string& name,
                                          const unsigned char* uuid);
Result<virStorageVolPtr> makeStorageVolume(virConnectPtr conn, const std::string& pool,
                                           const std::string& name, const std::string& key);
/** The name of the pool that a volume object belongs to; libvirt has no function that tells it. */
Result<std::string> poolNameOf(virStorageVolPtr volume);

/** Hands the events of storage pools to the clients that registered. Thread-safe. */
class StorageEvents {
public:
    /** Needs libvirt's event loop registered. */
    static Result<std::unique_ptr<StorageEvents>> create();
    ~StorageEvents();

    /** As the slots return: the callback's id, or -1 with the error reported. */
    int registerAny(virConnectPtr conn, virStoragePoolPtr pool, int eventId,
                    virConnectStoragePoolEventGenericCallback cb, void* opaque, virFreeCallback ff);
    int deregisterAny(virConnectPtr conn, int callbackId);

    /** @p type: virStoragePoolEventLifecycleType. */
    void lifecycle(const std::string& name, const unsigned char* uuid, int type);
    void refresh(const std::string& name, const unsigned char* uuid);

    /** Hands on the events of the pools of @p source, which is another driver's connection, until
     * stopRelay(). If it is refused, nothing stays registered. */
    Result<void> relay(virConnectPtr source);
    /** For before the source is closed. Waits for nothing. */
    void stopRelay();

private:
    struct State;
    explicit StorageEvents(std::shared_ptr<State> state);
    std::shared_ptr<State> state_;
};

/**
 * Joins a client's stream to a part of a block device, by libvirt's own reader or writer; @p length 0: to the
 * end. @p flags as of open(2). @p closed runs once when the stream has ended and the device is closed, in
 * libvirt's thread: it must be short and must not call the stream.
 */
struct DeviceStream {
    std::string device;
    unsigned long long offset = 0, length = 0;
    bool sparse = false;
    int flags = 0;
};
Result<void> joinDevice(virStreamPtr stream, const DeviceStream& part, std::function<void()> closed);

/** A pool, and maybe a volume in it, as libvirt's access manager wants them. */
class StorageSubject {
public:
    static Result<StorageSubject> ofPool(const std::string& name, const std::string& uuid,
                                         const std::string& target);
    /** The same with a volume. */
    Result<StorageSubject> withVolume(const std::string& name, const std::string& key) const;

    const void* pool() const { return pool_.get(); }
    const void* volume() const { return volume_.get(); } ///< null if there is none

private:
    std::shared_ptr<void> pool_, volume_;
};

/** See checkDomainAccess(). */
Result<void> checkPoolAccess(const StorageSubject& subject, const char* permission);
Result<void> checkVolumeAccess(const StorageSubject& subject, const char* permission);

} // namespace vz::abi
