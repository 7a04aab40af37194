// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "vm/accelerator.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace vz::driver {

/**
 * What /etc/libvirt/vz.conf can set; the names in the file are in the comments. Its syntax is that of
 * libvirt's own files: lines of `name = value`, a value being "text", a number or a list ["a", "b"], and
 * comments from # to the end of the line.
 */
struct Settings {
    std::string supervisor = defaultSupervisor(); ///< supervisor: absolute path of the program
    std::string cgroupPartition = "/machine";     ///< cgroup_partition
    uint32_t idRangeFirst = 0x20000000;           ///< id_range_first: first host id given to containers
    uint32_t idRangeLast = 0x70000000;            ///< id_range_last: first host id no longer given
    std::string configDir = "/etc/libvirt/vz";    ///< config_dir
    std::string runDir = "/run/libvirt/vz";       ///< run_dir
    std::string libDir = "/var/lib/libvirt/vz";   ///< lib_dir
    std::string logDir = "/var/log/libvirt/vz";   ///< log_dir
    unsigned startTimeoutSeconds = 30;            ///< start_timeout: a container's start, until init runs
    unsigned jobTimeoutSeconds = 30;              ///< job_timeout: wait for another job on the guest
    /** shutdown_timeout: an orderly stop, before it is given up. 90 s is what systemd gives a unit to stop
     *  (DefaultTimeoutStopSec). */
    unsigned shutdownTimeoutSeconds = 90;
    bool autostart = true; ///< autostart: start guests marked for it with the daemon

    /** auto_guarantee_containers, auto_guarantee_machines: what <vz:guarantee type='auto'> means, in percent
     * of the memory limit. */
    unsigned autoGuaranteeContainers = 0;
    unsigned autoGuaranteeMachines = 40;

    /** qemu_uri: where libvirt's QEMU driver is, which has the virtual machines; empty: there are none. */
    std::string qemuUri = "qemu:///system";
    /** show_foreign_machines: whether machines of qemu_uri that were not made through us are seen. */
    bool showForeignMachines = false;
    vm::AcceleratorWish vmAccelerator = vm::AcceleratorWish::Auto; ///< vm_accelerator: auto, kvm or tcg
    std::string kvmProbe = defaultKvmProbe(); ///< kvm_probe: absolute path of the program

    /**
     * Reads @p text; @p origin is its name in messages. Names that are not known are logged as a warning, as
     * a file may be of a newer version. ConfigUnsupported, naming the line, for bad syntax, a name given
     * twice, or a value that cannot be.
     */
    static Result<Settings> parse(std::string_view text, const std::string& origin);

    /** Reads the file; one that is not there means the defaults. */
    static Result<Settings> load(const std::string& path);

    /** Every name that a file may have. */
    static std::vector<std::string_view> names();

    bool operator==(const Settings&) const = default;

    static std::string defaultSupervisor();
    static std::string defaultKvmProbe();
};

} // namespace vz::driver
