// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/domain_xml.hpp"

#include "libvirt/driver_table.hpp"
#include "libvirt/private.hpp"

#include <libvirt/virterror.h>

namespace vz::abi {

namespace {

constexpr std::string_view formatFailed = "libvirt could not format the domain XML";

Result<std::string> format(void* def, void* option, unsigned publicFlags, unsigned privateFlags = 0) {
    auto flags = priv::virDomainDefFormatConvertXMLFlags(publicFlags) | privateFlags;
    priv::Buffer buffer{};
    int done = priv::virDomainDefFormatInternal(def, option, &buffer, flags);
    auto text = takeText(priv::virBufferContentAndReset(&buffer), formatFailed);
    return done < 0 ? lastError(formatFailed) : std::move(text);
}

/** Live-only parts are formatted exactly where they were parsed. */
unsigned formatFlags(bool live, bool secure) {
    return (live ? 0u : static_cast<unsigned>(VIR_DOMAIN_XML_INACTIVE)) |
           (secure ? static_cast<unsigned>(VIR_DOMAIN_XML_SECURE) : 0u);
}

} // namespace

DomainDef::~DomainDef() {
    priv::virDomainDefFree(def_);
}

Result<std::unique_ptr<DomainXml>> DomainXml::create() {
    if (virInitialize() < 0)
        return fail(ErrorCode::InternalError, "libvirt could not be initialized");
    // No callbacks of our own: all settings of a container are in the text, and libvirt's checks are enough.
    void* option = priv::virDomainXMLOptionNew(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
    if (!option)
        return lastError("libvirt could not make a domain XML parser");
    return std::unique_ptr<DomainXml>(new DomainXml(option));
}

DomainXml::~DomainXml() {
    priv::virObjectUnref(option_);
}

Result<Canonical> DomainXml::canonical(const std::string& xml, bool validate, bool live) const {
    unsigned flags =
        (live ? priv::kParseActualNet : priv::kParseInactive) | (validate ? priv::kParseValidateSchema : 0u);
    void* parsed = priv::virDomainDefParseString(xml.c_str(), option_, nullptr, flags);
    if (!parsed)
        return lastError("libvirt could not parse the domain XML");
    std::shared_ptr<const DomainDef> def(new DomainDef(parsed));
    VZ_TRY(auto text, format(parsed, option_, formatFlags(live, true), live ? priv::kFormatActualNet : 0));
    return Canonical{std::move(def), std::move(text)};
}

Result<std::string> DomainXml::formatPublic(const DomainDef& def, bool live, bool secure) const {
    return format(def.get(), option_, formatFlags(live, secure));
}

Result<void> DomainXml::validateSnapshot(const std::string& xml) const {
    void* parsed = priv::virDomainSnapshotDefParseString(xml.c_str(), option_, nullptr, nullptr,
                                                         priv::kParseSnapshotValidateSchema);
    if (!parsed)
        return lastError("libvirt could not parse the snapshot XML");
    priv::virObjectUnref(parsed);
    return {};
}

} // namespace vz::abi
