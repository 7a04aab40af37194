// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "driver/container_domain.hpp"
#include "driver/driver.hpp"
#include "driver/forward.hpp"
#include "libvirt/access.hpp"
#include "libvirt/driver_table.hpp"
#include "libvirt/objects.hpp"
#include "vm/machines.hpp"

#include <libvirt/libvirt.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <tuple>
#include <type_traits>

/**
 * From a C++ method to a slot of libvirt's table. A method gets what it works on and the arguments of the
 * public API behind the object, and returns a Result; the wrapper made here has the C prototype, finds out
 * which guest is meant, asks for access, catches everything and turns an Error into libvirt's.
 *
 * A container's call is a method of ours, or refused by the one rule (refuse()). A virtual machine's call
 * goes to the same slot of QEMU's driver (forward.hpp), or to a method of ours that does a little more.
 */
namespace vz::driver {

/** What a method of a connection gets. */
struct ConnectCall {
    Driver& driver;
    virConnectPtr conn;
};

/** What a method of a domain gets. */
struct DomainCall {
    Driver& driver;
    virConnectPtr conn;
    virDomainPtr handle;
    ContainerDomain& domain;
    const char* api;

    /** The modify job of the domain, waited for as long as the settings say. */
    Result<ScopedJob> modify() const {
        return still(domain.jobs().begin(api, std::chrono::seconds(driver.settings().jobTimeoutSeconds)));
    }

    /** An asynchronous job: nobody else changes the domain, but it may be destroyed meanwhile. */
    Result<ScopedJob> modifyLong() const {
        return still(
            domain.jobs().beginAsync(api, std::chrono::seconds(driver.settings().jobTimeoutSeconds)));
    }

private:
    /** Whoever had it before us may have removed the domain. */
    Result<ScopedJob> still(Result<ScopedJob> job) const {
        if (job && driver.registry().byUuid(domain.uuid()).get() != &domain)
            return fail(ErrorCode::NoDomain, "no domain with matching uuid '", domain.uuid(), "' (",
                        domain.name(), ")");
        return job;
    }
};

/** Checks the connection's right to call @p slot; @p def null for calls about no domain. */
Result<void> checkAccess(virConnectPtr conn, const void* def, const char* slot, unsigned int flags);

/** The driver, or OperationInvalid-like errors while it is not initialized. */
Result<Driver*> activeDriver();

/** The container a client's handle means; null if it is not one of a container. */
Result<DomainRef> findContainer(Driver& driver, virDomainPtr handle);

/** The refusal of a call that containers do not have, with the reason from api_support.tsv. */
Error refuse(const char* slot);

/** A new handle of @p domain for a client, with its present id. */
Result<virDomainPtr> domainHandle(virConnectPtr conn, const ContainerDomain& domain);

/** Error unless @p flags has only bits of @p allowed. */
Result<void> allowFlags(unsigned int flags, unsigned int allowed, const char* api);

/** The value of a method as the C function returns it; texts become malloc'ed ones, which libvirt frees. */
template<typename R, typename T>
Result<Passed<R>> passed(Result<T>&& result) {
    if (!result)
        return std::move(result).takeError();
    if constexpr (std::is_void_v<T>)
        return Passed<R>{0};
    else if constexpr (std::is_same_v<T, Passed<R>>)
        return *std::move(result);
    else if constexpr (std::is_same_v<T, std::string>)
        return Passed<R>{::strdup((*result).c_str())};
    else
        return Passed<R>{static_cast<R>(*std::move(result))};
}

namespace detail {

template<typename R>
R failure() {
    if constexpr (std::is_pointer_v<R>)
        return nullptr;
    else if constexpr (std::is_unsigned_v<R>)
        return 0;
    else
        return -1;
}

template<typename R, typename Body>
R guarded(Body&& body) noexcept {
    try {
        auto result = body();
        if (result)
            return (*result).value;
        abi::report(result.error());
    } catch (const std::bad_alloc&) {
        abi::report(fail(ErrorCode::NoMemory, "out of memory"));
    } catch (const std::exception& error) {
        abi::report(fail(ErrorCode::InternalError, "unexpected failure: ", error.what()));
    }
    return failure<R>();
}

/** The flags of a call: by convention of libvirt's API the last argument, if it is an unsigned int. */
template<typename... Args>
unsigned int flagsOf(const Args&... args) {
    if constexpr (sizeof...(Args) == 0)
        return 0;
    else {
        const auto& last = std::get<sizeof...(Args) - 1>(std::tie(args...));
        if constexpr (std::is_same_v<std::remove_cvref_t<decltype(last)>, unsigned int>)
            return last;
        else
            return 0;
    }
}

template<Name slot, auto method, auto machineMethod, typename Public>
struct Wrapper;

/** Calls about a guest, or about a snapshot or checkpoint of one. */
template<Name slot, auto method, auto machineMethod, typename R, Subject Handle, typename... Args>
struct Wrapper<slot, method, machineMethod, R (*)(Handle, Args...)> {
    static R call(Handle handle, Args... args) noexcept {
        return guarded<R>([&]() -> Result<Passed<R>> {
            VZ_TRY(auto* driver, activeDriver());
            virDomainPtr dom = domainOf(handle);
            VZ_TRY(auto container, findContainer(*driver, dom));
            if (container)
                return onContainer(*driver, handle, *container, args...);
            return onMachine(*driver, handle, args...);
        });
    }

private:
    static Result<Passed<R>> onContainer(Driver& driver, Handle handle, ContainerDomain& domain,
                                         Args... args) {
        auto* conn = ::virDomainGetConnect(domainOf(handle));
        unsigned int deciding = flagsOf(args...);
        if constexpr (std::string_view(slot.value) == "domainInterfaceAddresses")
            deciding = std::get<1>(std::tie(args...)); // the source
        VZ_CHECK(checkAccess(conn, domain.config().def().get(), slot.value, deciding));
        if constexpr (isNone<method>)
            return refuse(slot.value);
        else if constexpr (std::is_same_v<Handle, virDomainPtr>)
            return passed<R>(method(DomainCall{driver, conn, handle, domain, slot.value}, args...));
        else
            return passed<R>(
                method(DomainCall{driver, conn, domainOf(handle), domain, slot.value}, handle, args...));
    }

    static Result<Passed<R>> onMachine(Driver& driver, Handle handle, Args... args) {
        VZ_TRY(auto call, MachineCall::begin(driver, domainOf(handle)));
        if constexpr (isNone<machineMethod>) {
            VZ_TRY(auto inner, innerOf(call, handle));
            return forward<slot, R (*)(Handle, Args...)>(call, inner.get(), args...);
        } else if constexpr (std::is_same_v<Handle, virDomainPtr>)
            return passed<R>(machineMethod(call, args...));
        else
            return passed<R>(machineMethod(call, handle, args...));
    }
};

/** Calls about no guest in particular: a method of ours, or QEMU's driver's where there is none. */
template<Name slot, auto method, typename R, typename... Args>
struct Wrapper<slot, method, none, R (*)(virConnectPtr, Args...)> {
    static R call(virConnectPtr conn, Args... args) noexcept {
        return guarded<R>([&]() -> Result<Passed<R>> {
            VZ_TRY(auto* driver, activeDriver());
            VZ_CHECK(checkAccess(conn, nullptr, slot.value, flagsOf(args...)));
            if constexpr (isNone<method>) {
                VZ_TRY(auto call, MachineCall::begin(*driver, conn));
                return forward<slot, R (*)(virConnectPtr, Args...)>(call, call.inner->get(), args...);
            } else
                return passed<R>(method(ConnectCall{*driver, conn}, args...));
        });
    }
};

} // namespace detail

/** A table entry for a function that has the slot's prototype itself. */
template<typename Function>
abi::SlotEntry plain(const char* slot, Function* function) {
    return {slot, reinterpret_cast<void*>(function)};
}

/** A table entry for a slot whose prototype is no public API's. */
template<Name slot, typename Prototype, auto method = none, auto machineMethod = none>
abi::SlotEntry entryAs() {
    static constexpr Name name = slot;
    return {name.value,
            reinterpret_cast<void*>(&detail::Wrapper<slot, method, machineMethod, Prototype>::call)};
}

/**
 * A table entry: the slot called @p slot, with the prototype of the public API @p publicApi. Containers have
 * @p method for it, or it is refused for them. Virtual machines have @p machineMethod, or it is forwarded. A
 * call about no guest has @p method, or is forwarded.
 */
template<Name slot, auto publicApi, auto method = none, auto machineMethod = none>
abi::SlotEntry entry() {
    return entryAs<slot, std::decay_t<decltype(*publicApi)>, method, machineMethod>();
}

} // namespace vz::driver
