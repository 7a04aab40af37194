// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <sys/types.h>

#include <chrono>
#include <ctime>
#include <mutex>
#include <optional>
#include <string>

namespace vz::vm {

/** What runs the processors of virtual machines. */
struct Accelerator {
    bool kvm = false;    ///< the host's processor; else QEMU emulates one (TCG)
    std::string reason;  ///< why, one sentence for a person without a full stop
    bool forced = false; ///< the settings say so, nothing was tried

    bool operator==(const Accelerator&) const = default;
};

/** What the settings want. */
enum class AcceleratorWish { Auto, Kvm, Tcg };

/**
 * Finds out whether KVM works, by letting the program vz-kvm-probe run a guest of a few instructions in it:
 * that /dev/kvm is there says little, as many a nested machine has one that runs nothing. The answer is found
 * when it is first needed and kept as long as the device stays the same file; `touch /dev/kvm` makes the next
 * need try again. Thread-safe: who asks meanwhile waits for the same answer.
 */
class AcceleratorProbe {
public:
    struct Options {
        std::string helper; ///< absolute path of vz-kvm-probe
        AcceleratorWish wish = AcceleratorWish::Auto;
        std::string device = "/dev/kvm";
        std::chrono::milliseconds limit = std::chrono::seconds(3); ///< the helper is killed after that
    };
    explicit AcceleratorProbe(Options options) : options_(std::move(options)) {}

    /** Takes up to the limit when it has to try, else no time. */
    Accelerator accelerator();

private:
    /** Which file a path led to; all 0 for none. */
    struct Identity {
        dev_t device = 0;
        ino_t inode = 0;
        time_t seconds = 0;
        long nanoseconds = 0;
        bool operator==(const Identity&) const = default;
    };
    Identity identify() const;
    Accelerator tryKvm() const;

    const Options options_;
    std::mutex mutex_;
    Identity tried_;
    std::optional<Accelerator> answer_;
};

} // namespace vz::vm
