// SPDX-License-Identifier: LGPL-2.1-or-later
// Starts of virtual machines, and calls about their disks, as far as disks that are ploop images need more
// than to be forwarded.
#include "base/xml.hpp"
#include "driver/machine_disks.hpp"
#include "driver/machine_guarantee.hpp"
#include "driver/machine_methods.hpp"

namespace vz::driver {

namespace {

constexpr std::string_view noChains =
    "QEMU sees neither its files nor its snapshots; 'ploop snapshot' and its like "
    "work on it, also while the machine runs";

/** With what a machine will run. */
Result<std::string> definitionToStart(const MachineCall& call, unsigned int flags) {
    abi::AsDaemon asDaemon;
    auto* domain = call.domain.get();
    if (!(flags & VIR_DOMAIN_START_FORCE_BOOT) && ::virDomainHasManagedSaveImage(domain, 0) == 1) {
        // QEMU's driver starts a machine anew if its saved state cannot be read.
        if (auto saved = abi::takeText(::virDomainManagedSaveGetXMLDesc(domain, 0), "no saved state"))
            return saved;
    }
    return innerDefinition(call, VIR_DOMAIN_XML_INACTIVE);
}

/** What a machine needs of us while it is started. */
struct StartNeeds {
    MachinePromise promise;
    DiskServers servers;
};

/** Nothing if the machine runs already, which is QEMU's driver's to say. */
Result<StartNeeds> prepareStart(const MachineCall& call, unsigned int flags) {
    if (::virDomainIsActive(call.domain.get()) == 1)
        return StartNeeds();
    VZ_TRY(auto definition, definitionToStart(call, flags));
    VZ_TRY(auto promise, MachinePromise::make(call.driver, definition));
    VZ_TRY(auto servers, DiskServers::start(call, definition));
    return StartNeeds{std::move(promise), std::move(servers)};
}

/** The permission that QEMU's driver asks for before it tells of a disk. */
Result<void> requireRead(const MachineCall& call) {
    VZ_CHECK(abi::takeText(::virDomainGetXMLDesc(call.domain.get(), 0), "the machine cannot be read"));
    return {};
}

/** Forwards a call about one disk, by the name that QEMU's driver knows. */
template<Name slot, typename Prototype, typename... Args>
auto forwardDisk(const MachineCall& call, const char* disk, unsigned int affected, Args... args)
    -> Result<Passed<std::invoke_result_t<Prototype, virDomainPtr, const char*, Args...>>> {
    VZ_TRY(auto name, innerDiskName(call, disk, affected));
    return forward<slot, Prototype>(call, call.domain.get(), disk ? name.c_str() : nullptr, args...);
}

} // namespace

Result<Passed<int>> startMachine(const MachineCall& call) {
    VZ_TRY(auto needs, prepareStart(call, 0));
    return needs.promise.kept(forwardDomain<"domainCreate", &virDomainCreate>(call));
}

Result<Passed<int>> startFlags(const MachineCall& call, unsigned int flags) {
    VZ_TRY(auto needs, prepareStart(call, flags));
    return needs.promise.kept(forwardDomain<"domainCreateWithFlags", &virDomainCreateWithFlags>(call, flags));
}

Result<Passed<int>> autostartMachine(const MachineCall& call, int autostart) {
    if (autostart)
        VZ_CHECK(
            refuseWithPloopDisks(call,
                                 "QEMU's driver, which starts such machines with the host, does not know "
                                 "how to open it; start the machine through this connection",
                                 VIR_DOMAIN_AFFECT_CONFIG));
    return forwardDomain<"domainSetAutostart", &virDomainSetAutostart>(call, autostart);
}

Result<Passed<int>> resizeMachineDisk(const MachineCall& call, const char* disk, unsigned long long size,
                                      unsigned int flags) {
    VZ_CHECK(refuseOnPloopDisk(
        call, disk,
        "QEMU learns its size only when it opens it; make it larger with 'ploop resize', and "
        "the machine sees that after its next start"));
    return forwardDomain<"domainBlockResize", &virDomainBlockResize>(call, disk, size, flags);
}

Result<Passed<int>> pullMachineDisk(const MachineCall& call, const char* disk, unsigned long bandwidth,
                                    unsigned int flags) {
    VZ_CHECK(refuseOnPloopDisk(call, disk, noChains));
    return forwardDomain<"domainBlockPull", &virDomainBlockPull>(call, disk, bandwidth, flags);
}

Result<Passed<int>> rebaseMachineDisk(const MachineCall& call, const char* disk, const char* base,
                                      unsigned long bandwidth, unsigned int flags) {
    VZ_CHECK(refuseOnPloopDisk(call, disk, noChains));
    return forwardDomain<"domainBlockRebase", &virDomainBlockRebase>(call, disk, base, bandwidth, flags);
}

Result<Passed<int>> copyMachineDisk(const MachineCall& call, const char* disk, const char* xml,
                                    virTypedParameterPtr params, int nparams, unsigned int flags) {
    VZ_CHECK(refuseOnPloopDisk(call, disk, "it is copied with 'ploop copy' or 'ploop convert'"));
    auto target = xml ? xml::parse(xml) : fail(ErrorCode::XmlError, "the target is missing");
    if (target && vm::isPloopFormat(xml::attribute(xml::child(xml::root(*target), "driver"), "type")))
        return fail(ErrorCode::OperationUnsupported, "a disk cannot be copied onto a ploop image");
    return forwardDomain<"domainBlockCopy", &virDomainBlockCopy>(call, disk, xml, params, nparams, flags);
}

Result<Passed<int>> commitMachineDisk(const MachineCall& call, const char* disk, const char* base,
                                      const char* top, unsigned long bandwidth, unsigned int flags) {
    VZ_CHECK(refuseOnPloopDisk(call, disk, noChains));
    return forwardDomain<"domainBlockCommit", &virDomainBlockCommit>(call, disk, base, top, bandwidth, flags);
}

Result<Passed<int>> getMachineBlockStats(const MachineCall& call, const char* disk,
                                         virDomainBlockStatsPtr stats) {
    return forwardDisk<"domainBlockStats", int (*)(virDomainPtr, const char*, virDomainBlockStatsPtr)>(
        call, disk, 0, stats);
}

Result<Passed<int>> getMachineBlockStatsFlags(const MachineCall& call, const char* disk,
                                              virTypedParameterPtr params, int* nparams, unsigned int flags) {
    return forwardDisk<"domainBlockStatsFlags", decltype(&virDomainBlockStatsFlags)>(call, disk, 0, params,
                                                                                     nparams, flags);
}

Result<Passed<int>> getMachineBlockInfo(const MachineCall& call, const char* disk, virDomainBlockInfoPtr info,
                                        unsigned int flags) {
    VZ_CHECK(requireRead(call));
    VZ_TRY(auto name, innerDiskName(call, disk));
    VZ_TRY(auto disks, ploopDisksOf(call));
    for (const auto& one : disks) {
        if (one.target != name)
            continue;
        VZ_TRY(auto size, sizeOf(call, one));
        info->capacity = size.capacity;
        info->allocation = size.allocated;
        info->physical = size.physical;
        return Passed<int>{0};
    }
    return forwardDomain<"domainGetBlockInfo", &virDomainGetBlockInfo>(call, name.c_str(), info, flags);
}

Result<Passed<int>> setMachineIoTune(const MachineCall& call, const char* disk, virTypedParameterPtr params,
                                     int nparams, unsigned int flags) {
    return forwardDisk<"domainSetBlockIoTune", decltype(&virDomainSetBlockIoTune)>(call, disk, flags, params,
                                                                                   nparams, flags);
}

Result<Passed<int>> getMachineIoTune(const MachineCall& call, const char* disk, virTypedParameterPtr params,
                                     int* nparams, unsigned int flags) {
    return forwardDisk<"domainGetBlockIoTune", decltype(&virDomainGetBlockIoTune)>(call, disk, flags, params,
                                                                                   nparams, flags);
}

} // namespace vz::driver
