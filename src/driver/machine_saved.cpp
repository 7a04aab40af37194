// SPDX-License-Identifier: LGPL-2.1-or-later
// Saved virtual machines: their images hold a domain document.
#include "driver/machine_disks.hpp"
#include "driver/machine_methods.hpp"
#include "driver/typed_params.hpp"

namespace vz::driver {

namespace {

/** What a saved image is to become: the client's own document, or the one in the image. */
struct Restored {
    vm::InnerDomain domain;
    bool edited; ///< the document is another than the one in the image

    const char* xml() const { return edited ? domain.xml.c_str() : nullptr; }
};

/** The document in a saved image, as QEMU's driver has it. */
Result<std::string> savedXml(const MachineCall& call, const char* file) {
    return abi::takeText(
        ::virDomainSaveImageGetXMLDesc(call.inner->get(), file, VIR_DOMAIN_SAVE_IMAGE_XML_SECURE),
        cat("'", file, "' cannot be read"));
}

Result<Restored> restored(const MachineCall& call, const char* from, const char* xml) {
    VZ_TRY(auto saved, savedXml(call, from));
    // One that was not saved through us becomes ours by being restored.
    bool edited = xml || vm::markedType(saved).empty();
    auto document = xml ? std::string(xml) : vm::toOuter(saved);
    VZ_TRY(auto wanted, vm::domainToInner(document, inwardFacts(call, document.c_str(), typeOf(saved))));
    return Restored{std::move(wanted), edited};
}

} // namespace

Result<Passed<int>> saveMachineFlags(const MachineCall& call, const char* to, const char* xml,
                                     unsigned int flags) {
    VZ_TRY(auto inner, innerXml(call, xml));
    return forwardDomain<"domainSaveFlags", &virDomainSaveFlags>(call, to, orNull(inner), flags);
}

Result<Passed<int>> saveMachineParams(const MachineCall& call, virTypedParameterPtr params, int nparams,
                                      unsigned int flags) {
    EditedParams edited(params, nparams);
    VZ_TRY(auto inner, innerXml(call, edited.text(VIR_DOMAIN_SAVE_PARAM_DXML)));
    edited.setText(VIR_DOMAIN_SAVE_PARAM_DXML, std::move(inner));
    return forwardDomain<"domainSaveParams", &virDomainSaveParams>(call, edited.params(), edited.count(),
                                                                   flags);
}

Result<Passed<int>> restore(const ConnectCall& call, const char* from) {
    return restoreFlags(call, from, nullptr, 0);
}

Result<Passed<int>> restoreFlags(const ConnectCall& call, const char* from, const char* xml,
                                 unsigned int flags) {
    VZ_TRY(auto machines, MachineCall::begin(call.driver, call.conn));
    VZ_TRY(auto wanted, restored(machines, from, xml));
    VZ_TRY(auto claim, claimMachine(machines, wanted.domain));
    VZ_TRY(auto servers, DiskServers::start(machines, wanted.domain.xml));
    return claim.kept(
        forwardConnect<"domainRestoreFlags", &virDomainRestoreFlags>(machines, from, wanted.xml(), flags));
}

Result<Passed<int>> restoreParams(const ConnectCall& call, virTypedParameterPtr params, int nparams,
                                  unsigned int flags) {
    VZ_TRY(auto machines, MachineCall::begin(call.driver, call.conn));
    EditedParams edited(params, nparams);
    const char* from = edited.text(VIR_DOMAIN_SAVE_PARAM_FILE);
    if (!from)
        return fail(ErrorCode::InvalidArg, "the parameter '", VIR_DOMAIN_SAVE_PARAM_FILE, "' is missing");
    VZ_TRY(auto wanted, restored(machines, from, edited.text(VIR_DOMAIN_SAVE_PARAM_DXML)));
    VZ_TRY(auto claim, claimMachine(machines, wanted.domain));
    VZ_TRY(auto servers, DiskServers::start(machines, wanted.domain.xml));
    if (wanted.edited)
        edited.setText(VIR_DOMAIN_SAVE_PARAM_DXML, wanted.domain.xml);
    return claim.kept(forwardConnect<"domainRestoreParams", &virDomainRestoreParams>(
        machines, edited.params(), edited.count(), flags));
}

Result<Passed<char*>> getSaveImageXml(const ConnectCall& call, const char* file, unsigned int flags) {
    VZ_TRY(auto machines, MachineCall::begin(call.driver, call.conn));
    return xmlOutward(
        forwardConnect<"domainSaveImageGetXMLDesc", &virDomainSaveImageGetXMLDesc>(machines, file, flags));
}

Result<Passed<int>> defineSaveImageXml(const ConnectCall& call, const char* file, const char* xml,
                                       unsigned int flags) {
    VZ_TRY(auto machines, MachineCall::begin(call.driver, call.conn));
    VZ_TRY(auto saved, savedXml(machines, file));
    VZ_TRY(auto wanted, vm::domainToInner(xml, inwardFacts(machines, xml, typeOf(saved))));
    return forwardConnect<"domainSaveImageDefineXML", &virDomainSaveImageDefineXML>(
        machines, file, wanted.xml.c_str(), flags);
}

Result<Passed<char*>> getManagedSaveXml(const MachineCall& call, unsigned int flags) {
    return xmlOutward(
        forwardDomain<"domainManagedSaveGetXMLDesc", &virDomainManagedSaveGetXMLDesc>(call, flags));
}

Result<Passed<int>> defineManagedSaveXml(const MachineCall& call, const char* xml, unsigned int flags) {
    VZ_TRY(auto inner, innerXml(call, xml));
    return forwardDomain<"domainManagedSaveDefineXML", &virDomainManagedSaveDefineXML>(call, orNull(inner),
                                                                                       flags);
}

} // namespace vz::driver
