// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "driver/container_domain.hpp"
#include "driver/driver.hpp"
#include "libvirt/access.hpp"
#include "libvirt/driver_table.hpp"
#include "libvirt/objects.hpp"

#include <libvirt/libvirt.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <tuple>
#include <type_traits>

/**
 * From a C++ method to a slot of libvirt's table. A method gets what it works on and the arguments of the
 * public API behind the object, and returns a Result; the wrapper made here has the C prototype, finds the
 * domain, asks for access, catches everything and turns an Error into libvirt's.
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
        return domain.jobs().begin(api, std::chrono::seconds(driver.settings().jobTimeoutSeconds));
    }
};

/** A text as template argument. */
template<size_t N>
struct Name {
    consteval Name(const char (&text)[N]) { std::copy_n(text, N, value); }
    char value[N];
};

/** Checks the connection's right to call @p slot; @p def null for calls about no domain. */
Result<void> checkAccess(virConnectPtr conn, const void* def, const char* slot, unsigned int flags);

/** The driver, or OperationInvalid-like errors while it is not initialized. */
Result<Driver*> activeDriver();

/** The domain a client's handle means; NoDomain with its name and UUID if it is gone. */
Result<DomainRef> findDomain(Driver& driver, virDomainPtr handle);

/** A new handle of @p domain for a client, with its present id. */
Result<virDomainPtr> domainHandle(virConnectPtr conn, const ContainerDomain& domain);

/** Error unless @p flags has only bits of @p allowed. */
Result<void> allowFlags(unsigned int flags, unsigned int allowed, const char* api);

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

/** The value of a method as the C function returns it; texts become malloc'ed ones, which libvirt frees. */
template<typename R, typename T>
R toC(Result<T>&& result) {
    if (!result) {
        abi::report(result.error());
        return failure<R>();
    }
    if constexpr (std::is_void_v<T>)
        return 0;
    else if constexpr (std::is_same_v<T, std::string>)
        return ::strdup((*result).c_str());
    else
        return static_cast<R>(*std::move(result));
}

template<typename R, typename Body>
R guarded(Body&& body) noexcept {
    try {
        return toC<R>(body());
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

template<Name slot, auto method, typename Public>
struct Wrapper;

template<Name slot, auto method, typename R, typename... Args>
struct Wrapper<slot, method, R (*)(virDomainPtr, Args...)> {
    static R call(virDomainPtr handle, Args... args) noexcept {
        return guarded<R>([&]() -> decltype(method(std::declval<const DomainCall&>(), args...)) {
            VZ_TRY(auto* driver, activeDriver());
            VZ_TRY(auto domain, findDomain(*driver, handle));
            auto* conn = ::virDomainGetConnect(handle);
            VZ_CHECK(checkAccess(conn, domain->config().def().get(), slot.value, flagsOf(args...)));
            return method(DomainCall{*driver, conn, handle, *domain, slot.value}, args...);
        });
    }
};

template<Name slot, auto method, typename R, typename... Args>
struct Wrapper<slot, method, R (*)(virConnectPtr, Args...)> {
    static R call(virConnectPtr conn, Args... args) noexcept {
        return guarded<R>([&]() -> decltype(method(std::declval<const ConnectCall&>(), args...)) {
            VZ_TRY(auto* driver, activeDriver());
            VZ_CHECK(checkAccess(conn, nullptr, slot.value, flagsOf(args...)));
            return method(ConnectCall{*driver, conn}, args...);
        });
    }
};

} // namespace detail

/** A table entry for a slot whose prototype is no public API's. */
template<Name slot, typename Prototype, auto method>
abi::SlotEntry entryAs() {
    static constexpr Name name = slot;
    return {name.value, reinterpret_cast<void*>(&detail::Wrapper<slot, method, Prototype>::call)};
}

/** A table entry: the slot called @p slot, with the prototype of the public API @p publicApi, done by @p
 * method. */
template<Name slot, auto publicApi, auto method>
abi::SlotEntry entry() {
    return entryAs<slot, std::decay_t<decltype(*publicApi)>, method>();
}

} // namespace vz::driver
