// SPDX-License-Identifier: LGPL-2.1-or-later
// The calls about snapshots of containers.
#include "driver/methods.hpp"
#include "libvirt/inner.hpp"

#include <cstdlib>

namespace vz::driver {

namespace {

constexpr unsigned int listFilters = VIR_DOMAIN_SNAPSHOT_LIST_ROOTS | VIR_DOMAIN_SNAPSHOT_LIST_METADATA |
                                     VIR_DOMAIN_SNAPSHOT_LIST_LEAVES | VIR_DOMAIN_SNAPSHOT_LIST_NO_LEAVES |
                                     VIR_DOMAIN_SNAPSHOT_LIST_NO_METADATA |
                                     VIR_DOMAIN_SNAPSHOT_LIST_INACTIVE | VIR_DOMAIN_SNAPSHOT_LIST_ACTIVE |
                                     VIR_DOMAIN_SNAPSHOT_LIST_DISK_ONLY | VIR_DOMAIN_SNAPSHOT_LIST_INTERNAL |
                                     VIR_DOMAIN_SNAPSHOT_LIST_EXTERNAL | VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL;

/** The snapshot that a client's handle means. */
Result<domain::SnapshotRef> snapshotOf(const DomainCall& call, virDomainSnapshotPtr handle) {
    return call.domain.snapshots().tree().get(::virDomainSnapshotGetName(handle));
}

Result<Passed<virDomainSnapshotPtr>> handleOf(const DomainCall& call, const std::string& name) {
    return passed<virDomainSnapshotPtr>(abi::makeSnapshot(call.handle, name.c_str()));
}

/** Names below @p from, or of the whole domain. */
Result<std::vector<std::string>> namesOf(const DomainCall& call, virDomainSnapshotPtr from,
                                         unsigned int flags) {
    VZ_CHECK(allowFlags(flags, listFilters, call.api));
    auto tree = call.domain.snapshots().tree();
    if (!from)
        return tree.list({}, flags);
    VZ_TRY(auto snapshot, tree.get(::virDomainSnapshotGetName(from)));
    return tree.list(snapshot->name, flags);
}

Result<int> fillNames(const std::vector<std::string>& found, char** names, int max) {
    int count = std::min(static_cast<int>(found.size()), max);
    for (int i = 0; i < count; ++i)
        names[i] = ::strdup(found[static_cast<size_t>(i)].c_str());
    return count;
}

/** The array and what is in it belong to the client. */
Result<int> fillHandles(const DomainCall& call, const std::vector<std::string>& found,
                        virDomainSnapshotPtr** handles) {
    if (!handles)
        return static_cast<int>(found.size());
    auto** array = static_cast<virDomainSnapshotPtr*>(std::calloc(found.size() + 1, sizeof(void*)));
    if (!array)
        return fail(ErrorCode::NoMemory, "no memory for a list of snapshots");
    for (size_t i = 0; i < found.size(); ++i) {
        auto made = abi::makeSnapshot(call.handle, found[i].c_str());
        if (!made) {
            while (i > 0)
                ::virDomainSnapshotFree(array[--i]);
            std::free(static_cast<void*>(array));
            return std::move(made).takeError();
        }
        array[i] = *made;
    }
    *handles = array;
    return static_cast<int>(found.size());
}

} // namespace

Result<Passed<virDomainSnapshotPtr>> snapshotCreateXml(const DomainCall& call, const char* xml,
                                                       unsigned int flags) {
    constexpr unsigned int redefine = VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE;
    VZ_CHECK(allowFlags(flags,
                        redefine | VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT |
                            VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA | VIR_DOMAIN_SNAPSHOT_CREATE_HALT |
                            VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY | VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE |
                            VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC | VIR_DOMAIN_SNAPSHOT_CREATE_LIVE |
                            VIR_DOMAIN_SNAPSHOT_CREATE_VALIDATE,
                        "virDomainSnapshotCreateXML"));
    if ((flags & redefine) && (flags & VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA))
        return fail(ErrorCode::InvalidArg, "redefining a snapshot without metadata makes no sense");
    if ((flags & VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT) && !(flags & redefine))
        return fail(ErrorCode::InvalidArg, "only a snapshot that is redefined can be made the current one: "
                                           "a new one always is");
    if (flags & VIR_DOMAIN_SNAPSHOT_CREATE_LIVE)
        return fail(ErrorCode::OperationUnsupported,
                    "live snapshot creation is supported only with memory, and that not for containers");
    if ((flags & VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE) && !(flags & VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY))
        return fail(ErrorCode::InvalidArg, "quiesce requires disk-only");
    const auto& parser = call.driver.parser();
    if (flags & VIR_DOMAIN_SNAPSHOT_CREATE_VALIDATE)
        VZ_CHECK(domain::validateSnapshot(parser, xml));
    if (flags & redefine) {
        VZ_TRY(auto snapshot, domain::parseSnapshot(parser, xml));
        VZ_TRY(auto job, call.modify());
        VZ_TRY(auto name, call.domain.redefineSnapshot(std::move(snapshot), flags));
        return handleOf(call, name);
    }
    VZ_TRY(auto request, domain::parseSnapshotRequest(xml));
    VZ_TRY(auto job, call.modify());
    VZ_TRY(auto name, call.domain.createSnapshot(request, flags));
    return handleOf(call, name);
}

Result<std::string> snapshotGetXmlDesc(const DomainCall& call, virDomainSnapshotPtr handle,
                                       unsigned int flags) {
    VZ_CHECK(allowFlags(flags, VIR_DOMAIN_SNAPSHOT_XML_SECURE, "virDomainSnapshotGetXMLDesc"));
    VZ_TRY(auto snapshot, snapshotOf(call, handle));
    return domain::formatSnapshot(call.driver.parser(), *snapshot, flags);
}

Result<int> snapshotNum(const DomainCall& call, unsigned int flags) {
    VZ_TRY(auto names, namesOf(call, nullptr, flags));
    return static_cast<int>(names.size());
}

Result<int> snapshotListNames(const DomainCall& call, char** names, int max, unsigned int flags) {
    VZ_TRY(auto found, namesOf(call, nullptr, flags));
    return fillNames(found, names, max);
}

Result<int> listAllSnapshots(const DomainCall& call, virDomainSnapshotPtr** handles, unsigned int flags) {
    VZ_TRY(auto found, namesOf(call, nullptr, flags));
    return fillHandles(call, found, handles);
}

Result<int> snapshotNumChildren(const DomainCall& call, virDomainSnapshotPtr from, unsigned int flags) {
    VZ_TRY(auto names, namesOf(call, from, flags));
    return static_cast<int>(names.size());
}

Result<int> snapshotListChildrenNames(const DomainCall& call, virDomainSnapshotPtr from, char** names,
                                      int max, unsigned int flags) {
    VZ_TRY(auto found, namesOf(call, from, flags));
    return fillNames(found, names, max);
}

Result<int> snapshotListAllChildren(const DomainCall& call, virDomainSnapshotPtr from,
                                    virDomainSnapshotPtr** handles, unsigned int flags) {
    VZ_TRY(auto found, namesOf(call, from, flags));
    return fillHandles(call, found, handles);
}

Result<Passed<virDomainSnapshotPtr>> snapshotLookupByName(const DomainCall& call, const char* name,
                                                          unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainSnapshotLookupByName"));
    VZ_TRY(auto snapshot, call.domain.snapshots().tree().get(name));
    return handleOf(call, snapshot->name);
}

Result<int> hasCurrentSnapshot(const DomainCall& call, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainHasCurrentSnapshot"));
    return call.domain.snapshots().tree().current().empty() ? 0 : 1;
}

Result<Passed<virDomainSnapshotPtr>> snapshotGetParent(const DomainCall& call, virDomainSnapshotPtr handle,
                                                       unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainSnapshotGetParent"));
    VZ_TRY(auto snapshot, snapshotOf(call, handle));
    if (snapshot->parent.empty())
        return fail(ErrorCode::NoSnapshot, "snapshot '", snapshot->name, "' does not have a parent");
    return handleOf(call, snapshot->parent);
}

Result<Passed<virDomainSnapshotPtr>> snapshotCurrent(const DomainCall& call, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainSnapshotCurrent"));
    auto current = call.domain.snapshots().tree().current();
    if (current.empty())
        return fail(ErrorCode::NoSnapshot, "the domain does not have a current snapshot");
    return handleOf(call, current);
}

Result<int> snapshotIsCurrent(const DomainCall& call, virDomainSnapshotPtr handle, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainSnapshotIsCurrent"));
    VZ_TRY(auto snapshot, snapshotOf(call, handle));
    return call.domain.snapshots().tree().current() == snapshot->name ? 1 : 0;
}

Result<int> snapshotHasMetadata(const DomainCall& call, virDomainSnapshotPtr handle, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainSnapshotHasMetadata"));
    VZ_CHECK(snapshotOf(call, handle));
    return 1; // all that there is to know of one is metadata
}

Result<void> revertToSnapshot(const DomainCall& call, virDomainSnapshotPtr handle, unsigned int flags) {
    // Containers have no NVRAM: to make it anew is nothing to do.
    VZ_CHECK(allowFlags(flags,
                        VIR_DOMAIN_SNAPSHOT_REVERT_RUNNING | VIR_DOMAIN_SNAPSHOT_REVERT_PAUSED |
                            VIR_DOMAIN_SNAPSHOT_REVERT_FORCE | VIR_DOMAIN_SNAPSHOT_REVERT_RESET_NVRAM,
                        "virDomainRevertToSnapshot"));
    VZ_TRY(auto job, call.modify());
    return call.domain.revertTo(::virDomainSnapshotGetName(handle), flags);
}

Result<void> snapshotDelete(const DomainCall& call, virDomainSnapshotPtr handle, unsigned int flags) {
    VZ_CHECK(allowFlags(flags,
                        VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN | VIR_DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY |
                            VIR_DOMAIN_SNAPSHOT_DELETE_CHILDREN_ONLY,
                        "virDomainSnapshotDelete"));
    VZ_TRY(auto job, call.modifyLong());
    return call.domain.deleteSnapshot(::virDomainSnapshotGetName(handle), flags);
}

} // namespace vz::driver
