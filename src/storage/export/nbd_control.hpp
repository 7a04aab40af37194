// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace vz::exports {

/**
 * Orders to the kernel's nbd driver, by generic netlink (linux/nbd-netlink.h). Devices are named by their
 * number. The driver listens in the host's own network namespace only.
 */
class NbdControl {
public:
    /** Has the module loaded if it is not. OperationUnsupported where there is no such driver. */
    static Result<NbdControl> open();

    struct Device {
        std::optional<unsigned> number; ///< nothing: any that is free
        uint64_t bytes = 0;
        uint32_t blockBytes = 512;
        uint16_t flags = 0;        ///< "transmission flags" of the protocol
        std::string backend;       ///< shown in sysfs; later orders have to give it again
        std::span<UniqueFd> peers; ///< connected stream sockets, of which the kernel takes a reference
        /** Requests that were not answered for that long fail, as all that come after them; in seconds. */
        uint64_t requestLimit = 0;
    };
    /** The number of the device. ResourceBusy if the one asked for is in use. */
    Result<unsigned> connect(const Device& device);

    struct Change {
        std::optional<uint64_t> bytes;
        std::optional<bool> autoclear; ///< whether the last user's leaving disconnects it
    };
    /** InvalidArg if the device is not connected, or not to that backend. */
    Result<void> change(unsigned number, const std::string& backend, const Change& change);
    /** Disconnects it: whatever is not answered fails, also if somebody uses it. */
    Result<void> disconnect(unsigned number);

private:
    explicit NbdControl(UniqueFd socket) : socket_(std::move(socket)) {}
    Result<void> findFamily();
    Result<std::string> exchange(const std::string& message);

    UniqueFd socket_;
    uint16_t family_ = 0;
};

} // namespace vz::exports
