// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/driver_table.hpp"
#include "libvirt/layout.hpp"
#include "libvirt/objects.hpp"
#include "libvirt/private.hpp"
#include "libvirt/storage.hpp"

#include <algorithm>

namespace vz::abi {

namespace {

struct Unref {
    void operator()(void* object) const { priv::virObjectUnref(object); }
};
using Manager = std::unique_ptr<void, Unref>;

/** libvirt's tables write "read_secure", its polkit actions "read-secure"; both are accepted. */
Result<int> permissionNumber(const char* permission, int (*fromString)(const char*)) {
    std::string name(permission);
    std::ranges::replace(name, '-', '_');
    int number = fromString(name.c_str());
    if (number < 0)
        return fail(ErrorCode::InternalError, "libvirt knows no access permission '", permission, "'");
    return number;
}

/** True if allowed. @p check asks the manager: 1 allowed, 0 denied, -1 failed. */
template<typename Check>
Result<bool> ask(const char* permission, int (*fromString)(const char*), Check check) {
    VZ_TRY(int number, permissionNumber(permission, fromString));
    Manager manager(priv::virAccessManagerGetDefault());
    if (!manager)
        return lastError("libvirt has no access manager");
    int answer = check(manager.get(), number);
    if (answer < 0)
        return lastError("libvirt could not check the access");
    return answer > 0;
}

Result<bool> askConnect(const char* permission) {
    return ask(permission, priv::virAccessPermConnectTypeFromString, [](void* manager, int number) {
        return priv::virAccessManagerCheckConnect(manager, driverName(), number);
    });
}

Result<bool> askDomain(const void* def, const char* permission) {
    return ask(permission, priv::virAccessPermDomainTypeFromString, [&](void* manager, int number) {
        return priv::virAccessManagerCheckDomain(manager, driverName(), def, number);
    });
}

Result<void> require(Result<bool> allowed, const char* what, const char* permission) {
    VZ_TRY(bool yes, std::move(allowed));
    if (!yes)
        return fail(ErrorCode::AccessDenied, "access denied: the ", driverName(),
                    " driver asked for permission '", permission, "' on this ", what,
                    ", and libvirtd's access drivers refused it");
    return {};
}

} // namespace

Result<void> checkConnectAccess(virConnectPtr, const char* permission) {
    return require(askConnect(permission), "connection", permission);
}

Result<void> checkDomainAccess(virConnectPtr, const void* def, const char* permission) {
    return require(askDomain(def, permission), "domain", permission);
}

Result<void> checkPoolAccess(const StorageSubject& subject, const char* permission) {
    auto answer =
        ask(permission, priv::virAccessPermStoragePoolTypeFromString, [&](void* manager, int number) {
            return priv::virAccessManagerCheckStoragePool(manager, driverName(), subject.pool(), number);
        });
    return require(std::move(answer), "storage pool", permission);
}

Result<void> checkVolumeAccess(const StorageSubject& subject, const char* permission) {
    auto answer =
        ask(permission, priv::virAccessPermStorageVolTypeFromString, [&](void* manager, int number) {
            return priv::virAccessManagerCheckStorageVol(manager, driverName(), subject.pool(),
                                                         subject.volume(), number);
        });
    return require(std::move(answer), "storage volume", permission);
}

bool mayAccessDomain(virConnectPtr, const void* def, const char* permission) {
    return askDomain(def, permission).valueOr(false);
}

bool mayAccessConnect(virConnectPtr, const char* permission) {
    return askConnect(permission).valueOr(false);
}

} // namespace vz::abi
