// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "driver/machine_methods.hpp"

/**
 * Memory that virtual machines are guaranteed. QEMU's driver knows no such thing, so it is metadata to it:
 *
 *     <metadata><vz:machine xmlns:vz="urn:libvirt-vz:machine:1.0"><vz:memory><vz:guarantee
 * type="percent">50</...
 */
namespace vz::driver {

inline constexpr std::string_view kMachineUri = "urn:libvirt-vz:machine:1.0";

/** What a machine that is being started is promised; taken back unless the start succeeds. */
class MachinePromise {
public:
    MachinePromise() = default;
    /** @p innerXml: the definition. OperationFailed if the host cannot give that much (Guarantees). */
    static Result<MachinePromise> make(Driver& driver, const std::string& innerXml);
    MachinePromise(MachinePromise&& other) noexcept
        : driver_(std::exchange(other.driver_, nullptr)), uuid_(std::move(other.uuid_)) {}
    MachinePromise& operator=(MachinePromise&&) = delete;
    ~MachinePromise() {
        if (driver_)
            driver_->guarantees().release(uuid_);
    }

    /** Passes on the answer of QEMU's driver; after a success its events tell what becomes of the machine. */
    template<typename R>
    Result<Passed<R>> kept(Result<Passed<R>>&& answer) {
        if (answer && !detail::failed((*answer).value))
            driver_ = nullptr;
        return std::move(answer);
    }

private:
    MachinePromise(Driver& driver, std::string uuid) : driver_(&driver), uuid_(std::move(uuid)) {}

    Driver* driver_ = nullptr;
    std::string uuid_;
};

/** Keeps right what is known of a machine by its lifecycle event, and its control group by that. */
void noteMachineGuarantee(Driver& driver, virDomainPtr machine, int lifecycleType);
/** The same for all machines that run already. */
void noteRunningMachines(Driver& driver, const abi::InnerConnection& inner);

/** Sets the element of kMachineUri. */
Result<Passed<int>> setMachineGuarantee(const MachineCall& call, const char* value, const char* key,
                                        unsigned int flags);

} // namespace vz::driver
