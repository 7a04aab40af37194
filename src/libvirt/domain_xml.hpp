// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <memory>
#include <string>

/** Domain XML through libvirt's own parser, as opaque handles. */
namespace vz::abi {

/** A parsed virDomainDef; opaque, immutable, shareable between threads. */
class DomainDef {
public:
    ~DomainDef();
    DomainDef(const DomainDef&) = delete;
    DomainDef& operator=(const DomainDef&) = delete;
    void* get() const { return def_; }

private:
    friend class DomainXml;
    explicit DomainDef(void* def) : def_(def) {}
    void* def_;
};

struct Canonical {
    std::shared_ptr<const DomainDef> def;
    std::string
        xml; ///< libvirt's own formatting of it: defaults filled in, UUID and MACs there, secrets included
};

class DomainXml {
public:
    static Result<std::unique_ptr<DomainXml>> create();
    ~DomainXml();

    /**
     * Parses and formats again. @p validate also checks against libvirt's RELAX NG schema
     * (VIR_ERR_XML_INVALID_SCHEMA).
     * @p live keeps aliases, pty paths and other live-only parts (else they are dropped), also those that
     * clients do not see: the <actual> of an interface. Errors are libvirt's own. Thread-safe.
     */
    Result<Canonical> canonical(const std::string& xml, bool validate, bool live) const;

    /** Formats as clients see it: with what a network told of an interface in place of <actual>. @p secure:
     * with secrets (VIR_DOMAIN_XML_SECURE). */
    Result<std::string> formatPublic(const DomainDef& def, bool live, bool secure) const;

    /** Checks a <domainsnapshot> document against libvirt's RELAX NG schema (VIR_ERR_XML_INVALID_SCHEMA). */
    Result<void> validateSnapshot(const std::string& xml) const;

private:
    explicit DomainXml(void* option) : option_(option) {}
    void* option_;
};

} // namespace vz::abi
