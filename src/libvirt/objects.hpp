// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <libvirt/libvirt.h>

#include <functional>
#include <memory>
#include <string>

/** Makers of libvirt's public objects, events, streams and access checks. */
namespace vz::abi {

/** New reference to a domain object on @p conn (virDomainFree by its receiver). @p uuid: 16 bytes; id -1 if
 * inactive. */
Result<virDomainPtr> makeDomain(virConnectPtr conn, const std::string& name, const unsigned char* uuid,
                                int id);

/** Text <-> 16 bytes. */
Result<std::string> uuidText(const unsigned char* uuid);
Result<void> uuidBytes(const std::string& text, unsigned char* uuid);
std::string newUuid();
/** Unique id of this host (host_uuid of libvirtd.conf or DMI). */
std::string hostUuid();

/** The event hub of one driver: hands events to the clients that registered. Thread-safe. */
class Events {
public:
    /** Needs libvirt's event loop registered. */
    static Result<std::unique_ptr<Events>> create();
    ~Events();

    /** virConnectDomainEventRegister and ...RegisterAny; return what the slots return: 0 (classic) or the
     * callback's id (any), -1 with the error reported. */
    int registerClassic(virConnectPtr conn, virConnectDomainEventCallback cb, void* opaque,
                        virFreeCallback ff);
    int deregisterClassic(virConnectPtr conn, virConnectDomainEventCallback cb);
    int registerAny(virConnectPtr conn, virDomainPtr dom, int eventId,
                    virConnectDomainEventGenericCallback cb, void* opaque, virFreeCallback ff);
    int deregisterAny(virConnectPtr conn, int callbackId);

    /** What an event is about. */
    struct Subject {
        int id;
        std::string name;
        unsigned char uuid[16];
    };
    void lifecycle(const Subject& subject, int type, int detail);
    void reboot(const Subject& subject);
    void metadataChange(const Subject& subject, int type, const char* uri);
    void deviceAdded(const Subject& subject, const std::string& alias);
    void deviceRemoved(const Subject& subject, const std::string& alias);
    void deviceRemovalFailed(const Subject& subject, const std::string& alias);
    void balloonChange(const Subject& subject, unsigned long long actualKiB);
    void controlError(const Subject& subject);
    /** An event of any kind: @p make gets a domain object of @p subject and gives libvirt's event object, or
     * null with the error raised. For src/libvirt. */
    void queue(const Subject& subject, const std::function<void*(virDomainPtr)>& make);

private:
    struct State;
    explicit Events(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

/**
 * Joins a client's stream to our end of a byte stream (console). Takes @p fd. @p closed runs once when it
 * ends (finished, aborted, or the client gone), in libvirt's thread with the stream locked: it must be short
 * and must not call the stream.
 */
Result<void> joinStream(virStreamPtr stream, UniqueFd fd, std::function<void()> closed);

/**
 * Access control, as the stock drivers do it: where libvirtd runs with access_drivers, asks for @p permission
 * ("getattr", "read", "write", "start", "init-control", ... as virsh polkit actions name them).
 * Denied: AccessDenied. @p def is the domain's parsed XML (DomainDef::get()).
 */
Result<void> checkConnectAccess(virConnectPtr conn, const char* permission);
Result<void> checkDomainAccess(virConnectPtr conn, const void* def, const char* permission);
/** The same as a filter for listings: false instead of an error. */
bool mayAccessDomain(virConnectPtr conn, const void* def, const char* permission);
bool mayAccessConnect(virConnectPtr conn, const char* permission);

} // namespace vz::abi
