// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/methods.hpp"

#include <cstdlib>

namespace vz::driver {

namespace {

bool mayList(const ConnectCall& call, const ContainerDomain& domain) {
    return abi::mayAccessDomain(call.conn, domain.config().def().get(), "getattr");
}

std::vector<DomainRef> listed(const ConnectCall& call, bool active) {
    auto domains = call.driver.registry().all();
    std::erase_if(domains,
                  [&](auto& domain) { return domain->active() != active || !mayList(call, *domain); });
    return domains;
}

constexpr unsigned int allListFlags =
    VIR_CONNECT_LIST_DOMAINS_ACTIVE | VIR_CONNECT_LIST_DOMAINS_INACTIVE |
    VIR_CONNECT_LIST_DOMAINS_PERSISTENT | VIR_CONNECT_LIST_DOMAINS_TRANSIENT |
    VIR_CONNECT_LIST_DOMAINS_RUNNING | VIR_CONNECT_LIST_DOMAINS_PAUSED | VIR_CONNECT_LIST_DOMAINS_SHUTOFF |
    VIR_CONNECT_LIST_DOMAINS_OTHER | VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE |
    VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE | VIR_CONNECT_LIST_DOMAINS_AUTOSTART |
    VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART | VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT |
    VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT | VIR_CONNECT_LIST_DOMAINS_HAS_CHECKPOINT |
    VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT;

/** One group of list flags: no bit of it asked for, or one that fits. */
bool fits(unsigned int flags, std::initializer_list<std::pair<unsigned int, bool>> group) {
    bool asked = false;
    for (auto [flag, is] : group) {
        if (!(flags & flag))
            continue;
        if (is)
            return true;
        asked = true;
    }
    return !asked;
}

bool matches(const ContainerDomain& domain, unsigned int flags) {
    bool active = domain.active(), persistent = domain.persistent(), autostart = domain.autostart();
    int state = domain.state().first;
    bool other = state != VIR_DOMAIN_RUNNING && state != VIR_DOMAIN_PAUSED && state != VIR_DOMAIN_SHUTOFF;
    return fits(flags,
                {{VIR_CONNECT_LIST_DOMAINS_ACTIVE, active}, {VIR_CONNECT_LIST_DOMAINS_INACTIVE, !active}}) &&
           fits(flags, {{VIR_CONNECT_LIST_DOMAINS_PERSISTENT, persistent},
                        {VIR_CONNECT_LIST_DOMAINS_TRANSIENT, !persistent}}) &&
           fits(flags, {{VIR_CONNECT_LIST_DOMAINS_RUNNING, state == VIR_DOMAIN_RUNNING},
                        {VIR_CONNECT_LIST_DOMAINS_PAUSED, state == VIR_DOMAIN_PAUSED},
                        {VIR_CONNECT_LIST_DOMAINS_SHUTOFF, state == VIR_DOMAIN_SHUTOFF},
                        {VIR_CONNECT_LIST_DOMAINS_OTHER, other}}) &&
           fits(flags, {{VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE, false},
                        {VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE, true}}) &&
           fits(flags, {{VIR_CONNECT_LIST_DOMAINS_AUTOSTART, autostart},
                        {VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART, !autostart}}) &&
           fits(flags, {{VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT, false},
                        {VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT, true}}) &&
           fits(flags, {{VIR_CONNECT_LIST_DOMAINS_HAS_CHECKPOINT, false},
                        {VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT, true}});
}

/** The found domain as a handle, if the connection may see it. */
Result<virDomainPtr> found(const ConnectCall& call, const DomainRef& domain, const char* slot,
                           const std::string& what) {
    if (!domain)
        return fail(ErrorCode::NoDomain, "no domain with matching ", what);
    VZ_CHECK(checkAccess(call.conn, domain->config().def().get(), slot, 0));
    return domainHandle(call.conn, *domain);
}

} // namespace

Result<int> listDomains(const ConnectCall& call, int* ids, int max) {
    int count = 0;
    for (auto& domain : listed(call, true)) {
        int id = domain->id();
        if (id > 0 && count < max)
            ids[count++] = id;
    }
    return count;
}

Result<int> numOfDomains(const ConnectCall& call) {
    return static_cast<int>(listed(call, true).size());
}

Result<int> listDefinedDomains(const ConnectCall& call, char** names, int max) {
    int count = 0;
    for (auto& domain : listed(call, false)) {
        if (count < max)
            names[count++] = ::strdup(domain->name().c_str());
    }
    return count;
}

Result<int> numOfDefinedDomains(const ConnectCall& call) {
    return static_cast<int>(listed(call, false).size());
}

Result<int> listAllDomains(const ConnectCall& call, virDomainPtr** domains, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, allListFlags, "virConnectListAllDomains"));
    auto all = call.driver.registry().all();
    std::erase_if(all, [&](auto& domain) { return !matches(*domain, flags) || !mayList(call, *domain); });
    if (!domains)
        return static_cast<int>(all.size());
    auto** list = static_cast<virDomainPtr*>(std::calloc(all.size() + 1, sizeof(virDomainPtr)));
    if (!list)
        throw std::bad_alloc();
    int count = 0;
    for (auto& domain : all) {
        auto made = domainHandle(call.conn, *domain);
        if (!made) {
            while (count > 0)
                ::virDomainFree(list[--count]);
            std::free(list);
            return std::move(made).takeError();
        }
        list[count++] = *made;
    }
    *domains = list;
    return count;
}

Result<virDomainPtr> lookupById(const ConnectCall& call, int id) {
    return found(call, call.driver.registry().byId(id), "domainLookupByID", cat("id ", id));
}

Result<virDomainPtr> lookupByUuid(const ConnectCall& call, const unsigned char* uuid) {
    VZ_TRY(auto text, abi::uuidText(uuid));
    return found(call, call.driver.registry().byUuid(text), "domainLookupByUUID", cat("uuid '", text, "'"));
}

Result<virDomainPtr> lookupByName(const ConnectCall& call, const char* name) {
    return found(call, call.driver.registry().byName(name), "domainLookupByName", cat("name '", name, "'"));
}

} // namespace vz::driver
