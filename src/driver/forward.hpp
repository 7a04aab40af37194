// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "driver/driver.hpp"
#include "libvirt/driver_table.hpp"
#include "libvirt/features.hpp"
#include "libvirt/inner.hpp"
#include "libvirt/objects.hpp"
#include "vm/ids.hpp"

#include <libvirt/libvirt.h>

#include <algorithm>
#include <type_traits>

/**
 * The way of a virtual machine's call to QEMU's driver: the same slot of that driver's table, with the
 * objects of our client replaced by its own on the way in, and its objects by ours on the way out.
 */
namespace vz::driver {

/** A text as template argument. */
template<size_t N>
struct Name {
    consteval Name(const char (&text)[N]) { std::copy_n(text, N, value); }
    char value[N];
};

/** Stands for a method that there is not. */
inline constexpr struct None {
} none;
template<auto method>
inline constexpr bool isNone = std::is_same_v<std::remove_cvref_t<decltype(method)>, None>;

/** What a C function returns. If it is that of a failure, libvirt's error of this thread tells why. */
template<typename R>
struct Passed {
    R value;
};

template<typename T>
concept Subject = std::is_same_v<T, virDomainPtr> || std::is_same_v<T, virDomainSnapshotPtr> ||
    std::is_same_v<T, virDomainCheckpointPtr>;

inline virDomainPtr domainOf(virDomainPtr domain) {
    return domain;
}
inline virDomainPtr domainOf(virDomainSnapshotPtr snapshot) {
    return ::virDomainSnapshotGetDomain(snapshot);
}
inline virDomainPtr domainOf(virDomainCheckpointPtr checkpoint) {
    return ::virDomainCheckpointGetDomain(checkpoint);
}

/** What a call of a virtual machine is done with. Of a call about no machine, @c outer and @c domain are
 * null. */
struct MachineCall {
    Driver& driver;
    virConnectPtr conn; ///< the client's
    std::shared_ptr<abi::InnerConnection> inner;
    virDomainPtr outer = nullptr; ///< the client's handle
    abi::DomainHandle domain{};   ///< the same machine's for QEMU's driver

    /** Finds the machine behind @p outer. NoDomain if clients see none of that UUID. */
    static Result<MachineCall> begin(Driver& driver, virDomainPtr outer);
    /** For a call about no machine, or about one that is to be. */
    static Result<MachineCall> begin(Driver& driver, virConnectPtr conn);
};

/** The function in the slot of QEMU's driver. NoSupport if it has none. */
template<Name slot, typename Prototype>
Result<Prototype> innerFunction(const abi::InnerConnection& inner) {
    static const int index = abi::hypervisorSlot(slot.value);
    if (void* function = inner.slot(index))
        return reinterpret_cast<Prototype>(function);
    return fail(ErrorCode::NoSupport, "this function is not supported by the connection driver: ", slot.value,
                " of QEMU's driver");
}

/** A client's handle of a machine that QEMU's driver knows as @p inner. */
Result<virDomainPtr> outerHandle(virConnectPtr conn, virDomainPtr inner);

// Objects of QEMU's driver as the client's; null, with libvirt's error, if there is no memory. Each takes the
// reference it is given.
virDomainPtr outward(const MachineCall& call, virDomainPtr inner);
virDomainSnapshotPtr outward(const MachineCall& call, virDomainSnapshotPtr inner);
virDomainCheckpointPtr outward(const MachineCall& call, virDomainCheckpointPtr inner);

/** Gives the client's handle the id that the call has left in the other one (of a start). */
void sameId(const MachineCall& call);

// The client's objects as those of QEMU's driver.
struct Borrowed {
    virDomainPtr domain;
    virDomainPtr get() const { return domain; }
};
Result<Borrowed> innerOf(const MachineCall& call, virDomainPtr outer);
Result<abi::SnapshotHandle> innerOf(const MachineCall& call, virDomainSnapshotPtr outer);
Result<abi::CheckpointHandle> innerOf(const MachineCall& call, virDomainCheckpointPtr outer);

/** OperationUnsupported if QEMU's driver is in another process: it would not know this stream. */
Result<void> takesStreams(const MachineCall& call);

namespace detail {

// the kinds of objects that a call can return are those it can be about

template<typename R>
bool failed(R value) {
    if constexpr (std::is_pointer_v<R>)
        return !value;
    else if constexpr (std::is_signed_v<R>)
        return value < 0;
    else
        return value == 0;
}

/** Makes the objects in a list that a call has filled the client's. */
template<typename T>
void listOutward(const MachineCall& call, int count, const T& argument) {
    if constexpr (std::is_same_v<T, virDomainPtr**> || std::is_same_v<T, virDomainSnapshotPtr**> ||
                  std::is_same_v<T, virDomainCheckpointPtr**>) {
        for (int i = 0; argument && i < count; ++i)
            (*argument)[i] = outward(call, (*argument)[i]);
    }
}

} // namespace detail

/** Calls @p slot of QEMU's driver; what it returns, error and all, is the client's answer. */
template<Name slot, typename Prototype, typename First, typename... Args>
auto forward(const MachineCall& call, First first, Args... args)
    -> Result<Passed<std::invoke_result_t<Prototype, First, Args...>>> {
    using R = std::invoke_result_t<Prototype, First, Args...>;
    if constexpr ((std::is_same_v<Args, virStreamPtr> || ...))
        VZ_CHECK(takesStreams(call));
    VZ_TRY(auto function, (innerFunction<slot, Prototype>(*call.inner)));
    R value = function(first, args...);
    if (call.outer && !detail::failed(value))
        sameId(call);
    if constexpr (Subject<R>)
        value = value ? outward(call, value) : value;
    else if constexpr (std::is_same_v<R, int>)
        (detail::listOutward(call, value, args), ...);
    return Passed<R>{value};
}

/** The same for a public API about the machine of @p call. */
template<Name slot, auto publicApi, typename... Args>
auto forwardDomain(const MachineCall& call, Args... args) {
    return forward<slot, std::decay_t<decltype(*publicApi)>>(call, call.domain.get(), args...);
}

/** The same for a call about no guest, with a prototype that is no public API's. */
template<Name slot, typename Prototype, typename... Args>
auto forwardConnectAs(const MachineCall& call, Args... args) {
    return forward<slot, Prototype>(call, call.inner->get(), args...);
}

/** The same for a public API about no guest. */
template<Name slot, auto publicApi, typename... Args>
auto forwardConnect(const MachineCall& call, Args... args) {
    return forward<slot, std::decay_t<decltype(*publicApi)>>(call, call.inner->get(), args...);
}

} // namespace vz::driver
