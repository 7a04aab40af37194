// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/inner.hpp"

#include "libvirt/driver_table.hpp"
#include "libvirt/layout.hpp"
#include "libvirt/private.hpp"

#include <atomic>
#include <cstring>
#include <string_view>

namespace vz::abi {

namespace {

/**
 * Where in a connection the pointer to its driver's table is. It is looked for in a connection of our own,
 * where its value is known, among the first fields: less than what every connection has.
 */
size_t tableOffset(virConnectPtr ours) {
    static std::atomic<size_t> known{0};
    if (size_t offset = known.load())
        return offset;
    constexpr size_t kSearched = 128;
    const void* wanted = hypervisorTable();
    for (size_t offset = sizeof(void*); offset < kSearched; offset += sizeof(void*)) {
        if (std::memcmp(reinterpret_cast<const char*>(ours) + offset, &wanted, sizeof wanted) == 0) {
            known = offset;
            return offset;
        }
    }
    return 0;
}

/** Tells another daemon on whose behalf this thread calls; else it would take all clients for root. */
Result<void> handOnIdentity(virConnectPtr conn) {
    void* identity = priv::virIdentityGetCurrent();
    if (!identity)
        return {};
    std::unique_ptr<priv::TypedParamList, decltype(&priv::virTypedParamListFree)> list(
        priv::virIdentityGetParameters(identity), priv::virTypedParamListFree);
    priv::virIdentityRestoreHelper(&identity); // it is the present one: this lets our reference go
    if (!list || ::virConnectSetIdentity(conn, list->params, static_cast<int>(list->count), 0) < 0)
        return lastError("the other daemon cannot be told who the client is");
    return {};
}

} // namespace

void Unref::operator()(void* object) const noexcept {
    priv::virObjectUnref(object);
}

Result<std::shared_ptr<InnerConnection>> InnerConnection::open(const std::string& uri, virConnectPtr ours) {
    size_t offset = tableOffset(ours);
    if (!offset)
        return fail(ErrorCode::InternalError,
                    "the driver table of a connection was not found where this libvirt should have it");
    ConnectHandle conn(::virConnectOpen(uri.c_str()));
    if (!conn)
        return lastError(cat("cannot connect to ", uri));
    void* const* table = nullptr;
    std::memcpy(&table, reinterpret_cast<const char*>(conn.get()) + offset, sizeof table);
    if (!table)
        return fail(ErrorCode::InternalError, "the connection to ", uri, " has no driver");
    std::shared_ptr<InnerConnection> opened(new InnerConnection(std::move(conn), table));
    if (!opened->inProcess())
        VZ_CHECK(handOnIdentity(opened->get()));
    return opened;
}

bool InnerConnection::alive() const {
    static const int index = hypervisorSlot("connectIsAlive");
    auto* isAlive = reinterpret_cast<int (*)(virConnectPtr)>(slot(index));
    return !isAlive || isAlive(conn_.get()) > 0;
}

bool InnerConnection::inProcess() const {
    return std::string_view(static_cast<const char*>(table_[0])) != "remote";
}

Result<DomainHandle> InnerConnection::domain(const char* name, const unsigned char* uuid, int id) const {
    DomainHandle domain(priv::virGetDomain(conn_.get(), name, uuid, id));
    if (!domain)
        return lastError("libvirt could not make a domain object");
    return domain;
}

Result<NodeDeviceHandle> InnerConnection::nodeDevice(const char* name) const {
    NodeDeviceHandle device(priv::virGetNodeDevice(conn_.get(), name));
    if (!device)
        return lastError("libvirt could not make a node device object");
    return device;
}

AsDaemon::AsDaemon() : before_(priv::virIdentityGetCurrent()) {
    // One for all threads; nothing changes it. If libvirt cannot make it, the call stays the client's.
    static void* const daemon = priv::virIdentityGetSystem();
    if (daemon)
        priv::virIdentitySetCurrent(daemon);
}

AsDaemon::~AsDaemon() {
    if (before_)
        priv::virIdentityRestoreHelper(&before_);
    else
        priv::virIdentitySetCurrent(nullptr);
}

Result<virDomainSnapshotPtr> makeSnapshot(virDomainPtr domain, const char* name) {
    if (auto* snapshot = priv::virGetDomainSnapshot(domain, name))
        return snapshot;
    return lastError("libvirt could not make a snapshot object");
}

Result<virDomainCheckpointPtr> makeCheckpoint(virDomainPtr domain, const char* name) {
    if (auto* checkpoint = priv::virGetDomainCheckpoint(domain, name))
        return checkpoint;
    return lastError("libvirt could not make a checkpoint object");
}

} // namespace vz::abi
