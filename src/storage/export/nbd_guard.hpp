// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <cstdint>
#include <string_view>
#include <sys/types.h>

namespace vz::exports {

/**
 * A small process that disconnects an NbdDevice when this one is gone. The kernel leaves requests that a dead
 * server has taken unanswered until their time is over, and a device whose server has died bound to nothing.
 */
class NbdGuard {
public:
    /** Of the device with that sequence, which may not be there yet. */
    static Result<NbdGuard> start(uint64_t sequence);
    NbdGuard() = default;
    NbdGuard(NbdGuard&& other) noexcept;
    NbdGuard& operator=(NbdGuard&& other) noexcept;
    /** Lets it do its work, and waits for its end. */
    ~NbdGuard() { end(); }

private:
    void end();

    UniqueFd channel_;
    pid_t process_ = 0;
};

/** The argument by which vz-ploopd becomes that process; the sequence follows. */
constexpr std::string_view guardArgument = "--guard-nbd";
/** What it does then. */
int guardDevice(std::string_view sequence);

} // namespace vz::exports
