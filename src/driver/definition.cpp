// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/beancounters.hpp"
#include "driver/machine_methods.hpp"
#include "driver/methods.hpp"

namespace vz::driver {

namespace {

/** The job of a domain found by name or UUID; the domain may have gone while it was waited for. */
Result<ScopedJob> lockExisting(const ConnectCall& call, const DomainRef& domain, const char* api) {
    VZ_TRY(auto job,
           domain->jobs().begin(api, std::chrono::seconds(call.driver.settings().jobTimeoutSeconds)));
    if (call.driver.registry().byUuid(domain->uuid()) != domain)
        return fail(ErrorCode::OperationFailed, "domain '", domain->name(),
                    "' went away meanwhile; try again");
    return job;
}

/** The name and UUID of a container that is being made: no virtual machine has them. */
Result<Names::Claim> claimNames(const ConnectCall& call, const domain::Definition& definition) {
    VZ_TRY(auto claim, call.driver.claimNames(definition.name, definition.uuid));
    VZ_CHECK(freeOfMachines(call, definition.name, definition.uuid));
    return claim;
}

/** The domain that this definition redefines, or null. OperationFailed if name and UUID are two domains'. */
Result<DomainRef> existing(const ConnectCall& call, const domain::Definition& definition) {
    auto same = call.driver.registry().byUuid(definition.uuid);
    if (same && same->name() != definition.name)
        return fail(ErrorCode::OperationFailed, "domain '", same->name(), "' is already defined with uuid ",
                    definition.uuid);
    if (auto other = call.driver.registry().byName(definition.name); other && other != same)
        return fail(ErrorCode::OperationFailed, "domain '", definition.name, "' already exists with uuid ",
                    other->uuid());
    return same;
}

} // namespace

Result<Passed<virDomainPtr>> defineXml(const ConnectCall& call, const char* xml) {
    return defineXmlFlags(call, xml, 0);
}

Result<Passed<virDomainPtr>> defineXmlFlags(const ConnectCall& call, const char* xml, unsigned int flags) {
    if (isMachine(xml))
        return defineMachine(call, xml, flags);
    VZ_CHECK(allowFlags(flags, VIR_DOMAIN_DEFINE_VALIDATE, "virDomainDefineXMLFlags"));
    VZ_TRY(auto config, domain::Config::parse(call.driver.parser(), xml,
                                              {.validate = (flags & VIR_DOMAIN_DEFINE_VALIDATE) != 0}));
    VZ_CHECK(ct::checkConsistent(config.definition().extension.beancounters));
    VZ_CHECK(checkAccess(call.conn, config.def().get(), "domainDefineXMLFlags", flags));
    VZ_TRY(auto names, claimNames(call, config.definition()));
    VZ_TRY(auto domain, existing(call, config.definition()));
    bool update = domain && domain->persistent();
    if (!domain) {
        domain = std::make_shared<ContainerDomain>(call.driver, config, false);
        VZ_TRY(auto job, domain->jobs().begin("virDomainDefineXMLFlags", std::chrono::seconds(1)));
        VZ_CHECK(call.driver.registry().add(domain));
        if (auto defined = domain->define(std::move(config)); !defined) {
            call.driver.registry().remove(domain);
            return std::move(defined).takeError();
        }
    } else {
        VZ_TRY(auto job, lockExisting(call, domain, "virDomainDefineXMLFlags"));
        VZ_CHECK(domain->define(std::move(config)));
        // A transient one may have ended, and gone, just before.
        if (call.driver.registry().byUuid(domain->uuid()) != domain)
            VZ_CHECK(call.driver.registry().add(domain));
    }
    call.driver.events().lifecycle(domain->subject(), VIR_DOMAIN_EVENT_DEFINED,
                                   update ? VIR_DOMAIN_EVENT_DEFINED_UPDATED
                                          : VIR_DOMAIN_EVENT_DEFINED_ADDED);
    return passed<virDomainPtr>(domainHandle(call.conn, *domain));
}

Result<Passed<virDomainPtr>> createXml(const ConnectCall& call, const char* xml, unsigned int flags) {
    if (isMachine(xml))
        return createMachine(call, xml, flags);
    VZ_CHECK(allowFlags(flags,
                        VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_AUTODESTROY | VIR_DOMAIN_START_VALIDATE |
                            VIR_DOMAIN_START_BYPASS_CACHE | VIR_DOMAIN_START_FORCE_BOOT,
                        "virDomainCreateXML"));
    VZ_TRY(auto config, domain::Config::parse(call.driver.parser(), xml,
                                              {.validate = (flags & VIR_DOMAIN_START_VALIDATE) != 0}));
    VZ_CHECK(ct::checkConsistent(config.definition().extension.beancounters));
    VZ_CHECK(checkAccess(call.conn, config.def().get(), "domainCreateXML", flags));
    VZ_TRY(auto names, claimNames(call, config.definition()));
    VZ_TRY(auto domain, existing(call, config.definition()));
    ContainerDomain::StartMode mode;
    mode.paused = flags & VIR_DOMAIN_START_PAUSED;
    mode.autodestroyOwner = flags & VIR_DOMAIN_START_AUTODESTROY ? call.conn : nullptr;
    if (domain) {
        VZ_TRY(auto job, lockExisting(call, domain, "virDomainCreateXML"));
        if (domain->active())
            return fail(ErrorCode::OperationInvalid, "domain '", domain->name(), "' is already active");
        VZ_CHECK(domain->startOnce(std::move(config), mode));
        return passed<virDomainPtr>(domainHandle(call.conn, *domain));
    }
    domain = std::make_shared<ContainerDomain>(call.driver, std::move(config), false);
    VZ_TRY(auto job, domain->jobs().begin("virDomainCreateXML", std::chrono::seconds(1)));
    VZ_CHECK(call.driver.registry().add(domain));
    if (auto started = domain->start(mode); !started) {
        call.driver.registry().remove(domain);
        (void)call.driver.idRanges().release(domain->uuid());
        return std::move(started).takeError();
    }
    return passed<virDomainPtr>(domainHandle(call.conn, *domain));
}

Result<void> undefine(const DomainCall& call) {
    return undefineFlags(call, 0);
}

Result<void> undefineFlags(const DomainCall& call, unsigned int flags) {
    // Of most of these containers have none: there is nothing to keep or to remove, and clients ask for them
    // by habit.
    VZ_CHECK(allowFlags(flags,
                        VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                            VIR_DOMAIN_UNDEFINE_NVRAM | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM |
                            VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA,
                        "virDomainUndefineFlags"));
    VZ_TRY(auto job, call.modify());
    auto count = call.domain.snapshots().tree().size();
    if (count > 0 && !call.domain.active() && !(flags & VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA))
        return fail(ErrorCode::OperationInvalid, "cannot delete inactive domain with ", count, " snapshots");
    auto subject = call.domain.subject();
    VZ_CHECK(call.domain.undefine());
    call.driver.events().lifecycle(subject, VIR_DOMAIN_EVENT_UNDEFINED, VIR_DOMAIN_EVENT_UNDEFINED_REMOVED);
    return {};
}

Result<void> rename(const DomainCall& call, const char* name, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainRename"));
    VZ_TRY(auto names, call.driver.claimNames(name, ""));
    VZ_CHECK(freeOfMachines({call.driver, call.conn}, name, ""));
    VZ_TRY(auto job, call.modify());
    auto before = call.domain.subject();
    VZ_CHECK(call.domain.rename(name));
    call.driver.events().lifecycle(before, VIR_DOMAIN_EVENT_UNDEFINED, VIR_DOMAIN_EVENT_UNDEFINED_RENAMED);
    call.driver.events().lifecycle(call.domain.subject(), VIR_DOMAIN_EVENT_DEFINED,
                                   VIR_DOMAIN_EVENT_DEFINED_RENAMED);
    return {};
}

Result<void> getAutostart(const DomainCall& call, int* autostart) {
    *autostart = call.domain.autostart();
    return {};
}

Result<void> setAutostart(const DomainCall& call, int autostart) {
    VZ_TRY(auto job, call.modify());
    return call.domain.setAutostart(autostart != 0);
}

Result<std::string> getXmlDesc(const DomainCall& call, unsigned int flags) {
    VZ_CHECK(allowFlags(flags,
                        VIR_DOMAIN_XML_SECURE | VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_UPDATE_CPU |
                            VIR_DOMAIN_XML_MIGRATABLE,
                        "virDomainGetXMLDesc"));
    auto config = flags & VIR_DOMAIN_XML_INACTIVE ? call.domain.config() : call.domain.current();
    return config.toXml(call.driver.parser(), flags);
}

Result<void> setMetadata(const DomainCall& call, int type, const char* value, const char* key,
                         const char* uri, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG, "virDomainSetMetadata"));
    if (type < VIR_DOMAIN_METADATA_DESCRIPTION || type > VIR_DOMAIN_METADATA_ELEMENT)
        return fail(ErrorCode::InvalidArg, "unknown metadata type ", type);
    auto kind = static_cast<domain::MetadataKind>(type);
    VZ_TRY(auto job, call.modify());
    VZ_TRY(auto affected, affects(call.domain, flags));
    const auto& parser = call.driver.parser();
    // Both are made before either is put in place.
    VZ_TRY(auto config, call.domain.config().withMetadata(parser, kind, value, key, uri));
    VZ_TRY(auto live, call.domain.current().withMetadata(parser, kind, value, key, uri));
    if (affected.live)
        VZ_CHECK(ct::checkConsistent(live.definition().extension.beancounters));
    if (affected.config)
        VZ_CHECK(ct::checkConsistent(config.definition().extension.beancounters));
    if (affected.live)
        VZ_CHECK(call.domain.tune(std::move(live)));
    if (affected.config)
        VZ_CHECK(call.domain.setConfig(std::move(config)));
    call.driver.events().metadataChange(call.domain.subject(), type,
                                        type == VIR_DOMAIN_METADATA_ELEMENT ? uri : nullptr);
    return {};
}

Result<std::string> getMetadata(const DomainCall& call, int type, const char* uri, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG, "virDomainGetMetadata"));
    if (type < VIR_DOMAIN_METADATA_DESCRIPTION || type > VIR_DOMAIN_METADATA_ELEMENT)
        return fail(ErrorCode::InvalidArg, "unknown metadata type ", type);
    VZ_TRY(auto affected, affects(call.domain, flags));
    auto config = affected.live ? call.domain.current() : call.domain.config();
    return config.metadata(static_cast<domain::MetadataKind>(type), uri);
}

Result<void> setLifecycleAction(const DomainCall& call, unsigned int type, unsigned int action,
                                unsigned int flags) {
    static constexpr const char* elements[] = {"on_poweroff", "on_reboot", "on_crash"};
    static constexpr const char* actions[] = {"destroy",  "restart",          "rename-restart",
                                              "preserve", "coredump-destroy", "coredump-restart"};
    VZ_CHECK(
        allowFlags(flags, VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG, "virDomainSetLifecycleAction"));
    if (type >= std::size(elements) || action >= std::size(actions))
        return fail(ErrorCode::InvalidArg, "unknown lifecycle type ", type, " or action ", action);
    VZ_TRY(auto job, call.modify());
    VZ_TRY(auto affected, affects(call.domain, flags));
    const auto& parser = call.driver.parser();
    const domain::Edits edits{{elements[type], actions[action]}};
    VZ_TRY(auto config, call.domain.config().edited(parser, edits));
    VZ_TRY(auto live, call.domain.current().edited(parser, edits));
    if (affected.live) {
        VZ_CHECK(call.domain.setEndActions(live.definition()));
        VZ_CHECK(call.domain.setLive(std::move(live)));
    }
    return affected.config ? call.domain.setConfig(std::move(config)) : Result<void>();
}

} // namespace vz::driver
