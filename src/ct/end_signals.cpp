// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/end_signals.hpp"

#include "base/file.hpp"

#include <csignal>

namespace vz::ct {

namespace {

bool contains(uint64_t mask, int signal) {
    return mask & (uint64_t(1) << (signal - 1));
}

} // namespace

Result<EndSignals> endSignals(pid_t init) {
    VZ_TRY(auto status, file::read(cat("/proc/", init, "/status")));
    auto name = field(status, "Name");
    // systemd(1), "Signals": SIGRTMIN+3 starts halt.target, SIGRTMIN+5 reboot.target.
    if (name == "systemd")
        return EndSignals{SIGRTMIN + 3, SIGRTMIN + 5};
    // busybox init's help text: USR1 halt, USR2 poweroff, TERM reboot.
    VZ_TRY(auto program, file::readLink(cat("/proc/", init, "/exe")));
    if (name == "init" && program.ends_with("/busybox"))
        return EndSignals{SIGUSR2, SIGTERM};
    // Blocked ones count as well: who blocks a signal takes it by signalfd(2) or sigwait(3).
    uint64_t caught = parseNumber<uint64_t>(field(status, "SigCgt"), 16).value_or(0) |
                      parseNumber<uint64_t>(field(status, "SigBlk"), 16).value_or(0);
    EndSignals signals;
    for (int signal : {SIGPWR, SIGTERM, SIGINT}) {
        if (!signals.poweroff && contains(caught, signal))
            signals.poweroff = signal;
    }
    // Control-Alt-Delete: what sysvinit and its like restart at. Another init is stopped and started again.
    signals.reboot = contains(caught, SIGINT) ? SIGINT : signals.poweroff;
    return signals;
}

} // namespace vz::ct
