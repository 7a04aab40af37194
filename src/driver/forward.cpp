// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/forward.hpp"

#include "vm/machines.hpp"

namespace vz::driver {

namespace {

/** libvirt's error of this thread tells why if it is null. */
template<typename T>
T reported(Result<T>&& made) {
    if (made)
        return *made;
    abi::report(made.error());
    return nullptr;
}

} // namespace

Result<MachineCall> MachineCall::begin(Driver& driver, virDomainPtr outer) {
    auto [uuid, id] = abi::domainKey(outer);
    const char* name = ::virDomainGetName(outer);
    auto* conn = ::virDomainGetConnect(outer);
    VZ_TRY(auto text, abi::uuidText(uuid));
    auto inner = driver.machineConnection(conn);
    if (!inner && (driver.machines().absent() || inner.error().code() == ErrorCode::AccessDenied))
        return fail(ErrorCode::NoDomain, "no domain with matching uuid '", text, "' (", name, ")");
    if (!inner)
        return std::move(inner).takeError().within(cat("domain '", name, "' (", text, ") is no container"));
    VZ_TRY(auto domain, (*inner)->domain(name, uuid, vm::isMachineId(id) ? vm::innerId(id) : -1));
    if (!driver.machines().visible(domain.get()))
        return fail(ErrorCode::NoDomain, "no domain with matching uuid '", text, "' (", name, ")");
    return MachineCall{driver, conn, *std::move(inner), outer, std::move(domain)};
}

Result<MachineCall> MachineCall::begin(Driver& driver, virConnectPtr conn) {
    VZ_TRY(auto inner, driver.machineConnection(conn));
    return MachineCall{driver, conn, std::move(inner)};
}

Result<virDomainPtr> outerHandle(virConnectPtr conn, virDomainPtr inner) {
    auto [uuid, id] = abi::domainKey(inner);
    return abi::makeDomain(conn, ::virDomainGetName(inner), uuid, vm::outerId(id));
}

virDomainPtr outward(const MachineCall& call, virDomainPtr inner) {
    abi::DomainHandle owned(inner);
    return reported(outerHandle(call.conn, inner));
}

virDomainSnapshotPtr outward(const MachineCall& call, virDomainSnapshotPtr inner) {
    abi::SnapshotHandle owned(inner);
    return reported(abi::makeSnapshot(call.outer, ::virDomainSnapshotGetName(inner)));
}

virDomainCheckpointPtr outward(const MachineCall& call, virDomainCheckpointPtr inner) {
    abi::CheckpointHandle owned(inner);
    return reported(abi::makeCheckpoint(call.outer, ::virDomainCheckpointGetName(inner)));
}

void sameId(const MachineCall& call) {
    abi::setDomainId(call.outer, vm::outerId(abi::domainKey(call.domain.get()).id));
}

Result<Borrowed> innerOf(const MachineCall& call, virDomainPtr) {
    return Borrowed{call.domain.get()};
}

Result<abi::SnapshotHandle> innerOf(const MachineCall& call, virDomainSnapshotPtr outer) {
    VZ_TRY(auto* snapshot, abi::makeSnapshot(call.domain.get(), ::virDomainSnapshotGetName(outer)));
    return abi::SnapshotHandle(snapshot);
}

Result<abi::CheckpointHandle> innerOf(const MachineCall& call, virDomainCheckpointPtr outer) {
    VZ_TRY(auto* checkpoint, abi::makeCheckpoint(call.domain.get(), ::virDomainCheckpointGetName(outer)));
    return abi::CheckpointHandle(checkpoint);
}

Result<void> takesStreams(const MachineCall& call) {
    if (call.inner->inProcess())
        return {};
    return fail(ErrorCode::OperationUnsupported,
                "streams reach a virtual machine only where QEMU's driver runs in this daemon; use a "
                "connection to ",
                call.driver.machines().settings().uri);
}

} // namespace vz::driver
