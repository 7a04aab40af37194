// SPDX-License-Identifier: LGPL-2.1-or-later
// Migration of virtual machines, protocol 3 with and without typed parameters. What one phase gives the
// client for the next one stays in the form of QEMU's driver, whose business it is; only the client's own
// documents are translated, and the machine that arrives is claimed and marked.
#include "driver/machine_migration.hpp"

#include "driver/machine_disks.hpp"
#include "driver/typed_params.hpp"

namespace vz::driver {

namespace {

Result<std::string> toInner(const MachineCall& call, const char* xml) {
    // What Begin gave comes back in Perform; that of a machine which was not made through us has no mark.
    auto type = xml ? typeOf(xml) : std::string();
    bool foreign = (type == "kvm" || type == "qemu") && vm::markedType(xml).empty();
    return foreign ? innerXml(call, vm::toOuter(xml).c_str()) : innerXml(call, xml);
}

/** The client's documents for the machine at its destination. */
Result<EditedParams> withInnerXml(const MachineCall& call, virTypedParameterPtr params, int nparams) {
    EditedParams edited(params, nparams);
    for (const char* name : {VIR_MIGRATE_PARAM_DEST_XML, VIR_MIGRATE_PARAM_PERSIST_XML}) {
        VZ_TRY(auto inner, toInner(call, edited.text(name)));
        edited.setText(name, std::move(inner));
    }
    return edited;
}

/** The machine that is about to arrive. @p name is its new one, or null. */
Result<vm::InnerDomain> arriving(const MachineCall& call, const char* xml, const char* name) {
    if (!xml)
        return fail(ErrorCode::InvalidArg, "the migration has no domain document");
    // One that was not made through us on its host becomes ours by coming to us.
    std::string document = vm::markedType(xml).empty() ? vm::toOuter(xml) : std::string(xml);
    VZ_TRY(auto wanted, vm::domainToInner(document, inwardFacts(call, document.c_str(), typeOf(xml))));
    if (name)
        wanted.name = name;
    return wanted;
}

/** Lets a machine arrive by @p prepare, which gets QEMU's driver and the inner document. */
template<typename Prepare>
Result<Passed<int>> arrive(const ConnectCall& call, const char* xml, const char* name, Prepare&& prepare) {
    VZ_TRY(auto machines, MachineCall::begin(call.driver, call.conn));
    VZ_TRY(auto wanted, arriving(machines, xml, name));
    VZ_TRY(auto claim, claimMachine(machines, wanted));
    return claim.kept(prepare(machines, wanted.xml.c_str()));
}

/** The same for a document among typed parameters; @p prepare gets these with the inner one. */
template<typename Prepare>
Result<Passed<int>> arriveByParams(const ConnectCall& call, virTypedParameterPtr params, int nparams,
                                   Prepare&& prepare) {
    EditedParams edited(params, nparams);
    return arrive(call, edited.text(VIR_MIGRATE_PARAM_DEST_XML), edited.text(VIR_MIGRATE_PARAM_DEST_NAME),
                  [&](const MachineCall& machines, const char* inner) {
                      edited.setText(VIR_MIGRATE_PARAM_DEST_XML, inner);
                      return prepare(machines, edited);
                  });
}

/** A definition goes anywhere; but two hosts cannot have an image open at a time. */
Result<void> checkDisks(const MachineCall& call, unsigned long flags) {
    if (flags & VIR_MIGRATE_OFFLINE)
        return {};
    return refuseWithPloopDisks(call, "a running machine cannot take it to another host");
}

} // namespace

Result<Passed<char*>> migrateBegin(const MachineCall& call, const char* xml, char** cookie, int* cookieLength,
                                   unsigned long flags, const char* name, unsigned long bandwidth) {
    VZ_CHECK(checkDisks(call, flags));
    VZ_TRY(auto inner, toInner(call, xml));
    return forward<"domainMigrateBegin3", MigrateBegin3>(call, call.domain.get(), orNull(inner), cookie,
                                                         cookieLength, flags, name, bandwidth);
}

Result<Passed<char*>> migrateBeginParams(const MachineCall& call, virTypedParameterPtr params, int nparams,
                                         char** cookie, int* cookieLength, unsigned int flags) {
    VZ_CHECK(checkDisks(call, flags));
    VZ_TRY(auto edited, withInnerXml(call, params, nparams));
    return forward<"domainMigrateBegin3Params", MigrateBegin3Params>(
        call, call.domain.get(), edited.params(), edited.count(), cookie, cookieLength, flags);
}

Result<Passed<int>> migratePerform(const MachineCall& call, const char* xml, const char* cookieIn,
                                   int cookieInLength, char** cookie, int* cookieLength,
                                   const char* destination, const char* uri, unsigned long flags,
                                   const char* name, unsigned long bandwidth) {
    VZ_CHECK(checkDisks(call, flags));
    VZ_TRY(auto inner, toInner(call, xml));
    return forward<"domainMigratePerform3", MigratePerform3>(call, call.domain.get(), orNull(inner), cookieIn,
                                                             cookieInLength, cookie, cookieLength,
                                                             destination, uri, flags, name, bandwidth);
}

Result<Passed<int>> migratePerformParams(const MachineCall& call, const char* destination,
                                         virTypedParameterPtr params, int nparams, const char* cookieIn,
                                         int cookieInLength, char** cookie, int* cookieLength,
                                         unsigned int flags) {
    VZ_CHECK(checkDisks(call, flags));
    VZ_TRY(auto edited, withInnerXml(call, params, nparams));
    return forward<"domainMigratePerform3Params", MigratePerform3Params>(
        call, call.domain.get(), destination, edited.params(), edited.count(), cookieIn, cookieInLength,
        cookie, cookieLength, flags);
}

Result<Passed<int>> migratePrepare(const ConnectCall& call, const char* cookieIn, int cookieInLength,
                                   char** cookie, int* cookieLength, const char* uriIn, char** uriOut,
                                   unsigned long flags, const char* name, unsigned long bandwidth,
                                   const char* xml) {
    return arrive(call, xml, name, [&](const MachineCall& machines, const char* inner) {
        return forward<"domainMigratePrepare3", MigratePrepare3>(machines, machines.inner->get(), cookieIn,
                                                                 cookieInLength, cookie, cookieLength, uriIn,
                                                                 uriOut, flags, name, bandwidth, inner);
    });
}

Result<Passed<int>> migratePrepareTunnel(const ConnectCall& call, virStreamPtr stream, const char* cookieIn,
                                         int cookieInLength, char** cookie, int* cookieLength,
                                         unsigned long flags, const char* name, unsigned long bandwidth,
                                         const char* xml) {
    return arrive(call, xml, name, [&](const MachineCall& machines, const char* inner) {
        return forward<"domainMigratePrepareTunnel3", MigratePrepareTunnel3>(
            machines, machines.inner->get(), stream, cookieIn, cookieInLength, cookie, cookieLength, flags,
            name, bandwidth, inner);
    });
}

Result<Passed<int>> migratePrepareParams(const ConnectCall& call, virTypedParameterPtr params, int nparams,
                                         const char* cookieIn, int cookieInLength, char** cookie,
                                         int* cookieLength, char** uriOut, unsigned int flags) {
    return arriveByParams(call, params, nparams, [&](const MachineCall& machines, EditedParams& edited) {
        return forward<"domainMigratePrepare3Params", MigratePrepare3Params>(
            machines, machines.inner->get(), edited.params(), edited.count(), cookieIn, cookieInLength,
            cookie, cookieLength, uriOut, flags);
    });
}

Result<Passed<int>> migratePrepareTunnelParams(const ConnectCall& call, virStreamPtr stream,
                                               virTypedParameterPtr params, int nparams, const char* cookieIn,
                                               int cookieInLength, char** cookie, int* cookieLength,
                                               unsigned int flags) {
    return arriveByParams(call, params, nparams, [&](const MachineCall& machines, EditedParams& edited) {
        return forward<"domainMigratePrepareTunnel3Params", MigratePrepareTunnel3Params>(
            machines, machines.inner->get(), stream, edited.params(), edited.count(), cookieIn,
            cookieInLength, cookie, cookieLength, flags);
    });
}

Result<Passed<int>> migratePrepare2(const ConnectCall& call, char** cookie, int* cookieLength,
                                    const char* uriIn, char** uriOut, unsigned long flags, const char* name,
                                    unsigned long bandwidth, const char* xml) {
    return arrive(call, xml, name, [&](const MachineCall& machines, const char* inner) {
        return forward<"domainMigratePrepare2", MigratePrepare2>(machines, machines.inner->get(), cookie,
                                                                 cookieLength, uriIn, uriOut, flags, name,
                                                                 bandwidth, inner);
    });
}

Result<Passed<int>> migratePrepareTunnel2(const ConnectCall& call, virStreamPtr stream, unsigned long flags,
                                          const char* name, unsigned long bandwidth, const char* xml) {
    return arrive(call, xml, name, [&](const MachineCall& machines, const char* inner) {
        return forward<"domainMigratePrepareTunnel", MigratePrepareTunnel>(
            machines, machines.inner->get(), stream, flags, name, bandwidth, inner);
    });
}

} // namespace vz::driver
