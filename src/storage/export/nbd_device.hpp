// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/export/block_device.hpp"

namespace vz::exports {

class NbdControl;

/**
 * A device of the kernel's nbd driver, whose other end is in this process. Its sequence() is a random number
 * in the text by which the kernel knows the other end (/sys/block/nbdN/backend, since Linux 5.14).
 */
class NbdDevice final : public BlockDevice {
public:
    struct Options {
        uint64_t bytes = 0;
        uint16_t flags = 0; ///< "transmission flags" of the protocol
        std::string device; ///< its path; empty: any that is free
    };
    static constexpr std::string_view pathStart = "/dev/nbd";

    NbdDevice(std::string path, uint64_t sequence) : BlockDevice(std::move(path), sequence) {}
    /** For attach(). */
    static uint64_t newSequence();
    /**
     * Makes a device that talks to @p peer, a connected stream socket. When it returns it has the autoclear
     * flag, and @p held keeps it; who dies before leaves a device to be disconnected (see NbdGuard).
     * OperationUnsupported where the kernel has no such devices, or cannot tell whose they are.
     */
    static Result<NbdDevice> attach(const UniqueFd& peer, const Options& options, uint64_t sequence,
                                    UniqueFd& held);
    /** The one with that sequence(), wherever it is. */
    static std::optional<NbdDevice> findAnywhere(uint64_t sequence);

    /** The image has another size now. */
    Result<void> refresh(uint64_t bytes) const;
    bool bound() const override;
    Result<void> setAutoclear(bool on) const override;
    Result<void> release() const override;
    /** At once, whoever uses it. */
    Result<void> disconnect() const;

private:
    Result<unsigned> number() const { return numberOf(path(), pathStart); }
    std::string backend() const;
};

} // namespace vz::exports
