// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/slot.hpp"

#include "driver/refusals.hpp"

namespace vz::driver {

Result<Driver*> activeDriver() {
    if (auto* driver = theDriver())
        return driver;
    return fail(ErrorCode::NoConnect, "the vz driver is not running in this daemon; its log says why");
}

Result<void> checkAccess(virConnectPtr conn, const void* def, const char* slot, unsigned int flags) {
    for (const auto& rule : abi::accessRules(slot)) {
        if (!rule.applies(flags))
            continue;
        if (rule.object == abi::AccessObject::Connect)
            VZ_CHECK(abi::checkConnectAccess(conn, rule.permission));
        else if (def)
            VZ_CHECK(abi::checkDomainAccess(conn, def, rule.permission));
    }
    return {};
}

Result<DomainRef> findContainer(Driver& driver, virDomainPtr handle) {
    VZ_TRY(auto uuid, abi::uuidText(abi::domainKey(handle).uuid));
    return driver.registry().byUuid(uuid);
}

Error refuse(const char* slot) {
    auto refusal = refusalOf(slot);
    return fail(ErrorCode::NoSupport,
                "this function is not supported by the connection driver: ", refusal.api,
                " for containers: ", refusal.reason);
}

Result<virDomainPtr> domainHandle(virConnectPtr conn, const ContainerDomain& domain) {
    auto subject = domain.subject();
    return abi::makeDomain(conn, subject.name, subject.uuid, subject.id);
}

Result<void> allowFlags(unsigned int flags, unsigned int allowed, const char* api) {
    if (unsigned int rest = flags & ~allowed)
        return fail(ErrorCode::OperationUnsupported, "flags ", rest, " of ", api,
                    " are not supported for containers");
    return {};
}

} // namespace vz::driver
