// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <libvirt/libvirt.h>

#include <memory>
#include <string>

/**
 * Another driver of this daemon, called as if it were a library: a connection to it, the functions in its
 * slot table, and objects that belong to that connection. Calling the slots leaves the public API's checks
 * out, which the client's own call has passed already, and lets streams of one connection be used on the
 * other.
 */
namespace vz::abi {

/** Lets go of a reference to any of libvirt's objects, and leaves the thread's last error as it is. */
struct Unref {
    void operator()(void* object) const noexcept;
};
using DomainHandle = std::unique_ptr<std::remove_pointer_t<virDomainPtr>, Unref>;
using SnapshotHandle = std::unique_ptr<std::remove_pointer_t<virDomainSnapshotPtr>, Unref>;
using CheckpointHandle = std::unique_ptr<std::remove_pointer_t<virDomainCheckpointPtr>, Unref>;
using NodeDeviceHandle = std::unique_ptr<std::remove_pointer_t<virNodeDevicePtr>, Unref>;
using ConnectHandle = std::unique_ptr<std::remove_pointer_t<virConnectPtr>, Unref>;

/** A connection to another driver. Safe to use from many threads; closed with the last owner. */
class InnerConnection {
public:
    /**
     * Opens @p uri. @p ours is any connection to our own driver, from which the place of the table in a
     * connection is learnt. Errors: those of libvirt's own for that URI.
     */
    static Result<std::shared_ptr<InnerConnection>> open(const std::string& uri, virConnectPtr ours);

    virConnectPtr get() const { return conn_.get(); }
    /** False if it is one to another process, and that is gone. */
    bool alive() const;
    /** True if the driver runs in this process. If not, streams of our clients cannot be handed to it. */
    bool inProcess() const;
    /** What is in slot @p index of its table (hypervisorSlot()); null if that driver has no such function. */
    void* slot(int index) const { return index > 0 ? table_[index] : nullptr; }

    // Objects as its driver expects them. Errors: those of libvirt (out of memory).
    Result<DomainHandle> domain(const char* name, const unsigned char* uuid, int id) const;
    Result<NodeDeviceHandle> nodeDevice(const char* name) const;

private:
    InnerConnection(ConnectHandle conn, void* const* table) : conn_(std::move(conn)), table_(table) {}
    ConnectHandle conn_;
    void* const* table_;
};

/**
 * While it lives, this thread's calls are the daemon's own and not its client's: for what the driver must
 * know itself, whatever the client may see. Ends in the thread that it began in.
 */
class AsDaemon {
public:
    AsDaemon();
    ~AsDaemon();
    AsDaemon(const AsDaemon&) = delete;
    AsDaemon& operator=(const AsDaemon&) = delete;

private:
    void* before_;
};

/** New reference to a snapshot or checkpoint object of @p domain; the object keeps the domain object. */
Result<virDomainSnapshotPtr> makeSnapshot(virDomainPtr domain, const char* name);
Result<virDomainCheckpointPtr> makeCheckpoint(virDomainPtr domain, const char* name);

} // namespace vz::abi
