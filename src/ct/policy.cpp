// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/policy.hpp"

#include "base/file.hpp"
#include "base/unique_fd.hpp"

#include <seccomp.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <memory>
#include <sys/mman.h>
#include <sys/socket.h>

namespace vz::ct {

namespace {

// Indexed by capability number, linux/capability.h.
constexpr std::array<std::string_view, CAP_LAST_CAP + 1> capabilityNames = {
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
};

constexpr uint64_t bit(int capability) {
    return uint64_t{1} << capability;
}

constexpr uint64_t allCapabilities = (uint64_t{1} << (CAP_LAST_CAP + 1)) - 1;

// Useless inside a user namespace because the kernel asks for them in the host's; a program that sees them
// would try, and systemd skips units by their absence.
constexpr uint64_t hostOnly = bit(CAP_SYS_MODULE) | bit(CAP_SYS_RAWIO) | bit(CAP_SYS_TIME) |
                              bit(CAP_SYS_PACCT) | bit(CAP_MAC_OVERRIDE) | bit(CAP_MAC_ADMIN) |
                              bit(CAP_SYSLOG) | bit(CAP_WAKE_ALARM) | bit(CAP_BLOCK_SUSPEND) |
                              bit(CAP_AUDIT_CONTROL) | bit(CAP_AUDIT_READ) | bit(CAP_PERFMON) | bit(CAP_BPF) |
                              bit(CAP_CHECKPOINT_RESTORE);

constexpr uint64_t withoutUserNamespace =
    bit(CAP_CHOWN) | bit(CAP_DAC_OVERRIDE) | bit(CAP_FOWNER) | bit(CAP_FSETID) | bit(CAP_KILL) |
    bit(CAP_SETGID) | bit(CAP_SETUID) | bit(CAP_SETPCAP) | bit(CAP_SETFCAP) | bit(CAP_NET_BIND_SERVICE) |
    bit(CAP_NET_BROADCAST) | bit(CAP_NET_ADMIN) | bit(CAP_NET_RAW) | bit(CAP_IPC_OWNER) |
    bit(CAP_SYS_CHROOT) | bit(CAP_SYS_PTRACE) | bit(CAP_SYS_ADMIN) | bit(CAP_SYS_BOOT) | bit(CAP_SYS_NICE) |
    bit(CAP_SYS_TTY_CONFIG) | bit(CAP_LEASE) | bit(CAP_AUDIT_WRITE);

struct Refusal {
    const char* name;
    int error;
};

// By name: libseccomp knows which architecture has which call and skips the others.
constexpr Refusal refusals[] = {
    // Another kernel or more kernel code.
    {"kexec_load", EPERM},
    {"kexec_file_load", EPERM},
    {"init_module", EPERM},
    {"finit_module", EPERM},
    {"delete_module", EPERM},
    {"create_module", ENOSYS},
    {"query_module", ENOSYS},
    {"get_kernel_syms", ENOSYS},
    // Around the mount namespace: a file handle opens any inode of the file system.
    {"open_by_handle_at", EPERM},
    // Host-wide state.
    {"swapon", EPERM},
    {"swapoff", EPERM},
    {"acct", EPERM},
    {"syslog", EPERM},
    {"nfsservctl", ENOSYS},
    {"_sysctl", ENOSYS},
    {"sysfs", ENOSYS},
    {"lookup_dcookie", EPERM},
    // Hardware.
    {"iopl", EPERM},
    {"ioperm", EPERM},
    {"vm86", EPERM},
    {"vm86old", EPERM},
    {"pciconfig_read", EPERM},
    {"pciconfig_write", EPERM},
    {"pciconfig_iobase", EPERM},
    // Large kernel surfaces that a system container lives without; programs that use them probe first.
    {"bpf", EPERM},
    {"perf_event_open", EPERM},
    {"userfaultfd", EPERM},
    {"uselib", ENOSYS},
    {"io_uring_setup", ENOSYS},
    {"io_uring_enter", ENOSYS},
    {"io_uring_register", ENOSYS},
    // Keyrings are only partly separated by namespaces.
    {"add_key", ENOSYS},
    {"request_key", ENOSYS},
    {"keyctl", ENOSYS},
};

struct ReleaseFilter {
    void operator()(void* filter) const { ::seccomp_release(filter); }
};
using Filter = std::unique_ptr<void, ReleaseFilter>;

/** The other system call tables this kernel serves beside the native one; a filter without them is no filter.
 */
Result<void> addArchitectures(scmp_filter_ctx filter) {
    std::vector<uint32_t> others;
    switch (::seccomp_arch_native()) {
    case SCMP_ARCH_X86_64:
        others = {SCMP_ARCH_X86, SCMP_ARCH_X32};
        break;
    case SCMP_ARCH_AARCH64:
        others = {SCMP_ARCH_ARM};
        break;
    default:
        break;
    }
    for (auto other : others)
        if (int rc = ::seccomp_arch_add(filter, other); rc < 0 && rc != -EEXIST)
            return failErrno(-rc, "cannot add architecture ", other, " to the seccomp filter");
    return {};
}

Result<void> addRules(scmp_filter_ctx filter) {
    for (const auto& refusal : refusals) {
        int number = ::seccomp_syscall_resolve_name(refusal.name);
        if (number == __NR_SCMP_ERROR)
            continue; // a call newer than this libseccomp: the kernel may have it, so keep the lists in step
        int rc = ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(static_cast<uint16_t>(refusal.error)), number, 0);
        if (rc < 0 && rc != -EDOM && rc != -EOPNOTSUPP)
            return failErrno(-rc, "cannot refuse ", refusal.name, " in the seccomp filter");
    }
    // Audit has no namespace; the answer makes programs take the kernel for one without it.
    int rc = ::seccomp_rule_add(filter, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 2,
                                SCMP_A0_32(SCMP_CMP_EQ, AF_NETLINK), SCMP_A2_32(SCMP_CMP_EQ, NETLINK_AUDIT));
    if (rc < 0)
        return failErrno(-rc, "cannot refuse audit sockets in the seccomp filter");
    return {};
}

Result<std::string> compile() {
    Filter filter(::seccomp_init(SCMP_ACT_ALLOW));
    if (!filter)
        return fail(ErrorCode::NoMemory, "cannot make a seccomp filter");
    ::seccomp_attr_set(filter.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));
    ::seccomp_attr_set(filter.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2);
    VZ_CHECK(addArchitectures(filter.get()));
    VZ_CHECK(addRules(filter.get()));
    UniqueFd memory(::memfd_create("seccomp", MFD_CLOEXEC));
    if (!memory)
        return failErrno(errno, "cannot make a memory file for the seccomp filter");
    if (int rc = ::seccomp_export_bpf(filter.get(), memory.get()); rc < 0)
        return failErrno(-rc, "cannot compile the seccomp filter");
    return file::read(cat("/proc/self/fd/", memory.get()));
}

} // namespace

uint64_t defaultCapabilities(bool userNamespace) {
    return userNamespace ? allCapabilities & ~hostOnly : withoutUserNamespace;
}

Result<int> capabilityByName(std::string_view name) {
    std::string wanted(name);
    std::transform(wanted.begin(), wanted.end(), wanted.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    if (wanted.starts_with("cap_"))
        wanted.erase(0, 4);
    auto found = std::find(capabilityNames.begin(), capabilityNames.end(), wanted);
    if (found == capabilityNames.end())
        return fail(ErrorCode::InvalidArg, "there is no capability named '", name, "'");
    return static_cast<int>(found - capabilityNames.begin());
}

Result<std::string> defaultSeccomp() {
    // The same for every container; compiling takes about a millisecond, which a start should not pay again.
    static const Result<std::string> compiled = compile();
    return compiled;
}

std::vector<std::string> defaultMaskedPaths(bool userNamespace) {
    std::vector<std::string> paths = {
        "/proc/kcore",
        "/proc/keys",
        "/proc/key-users",
        "/proc/timer_list",
        "/proc/sched_debug",
        "/proc/latency_stats",
        "/proc/acpi",
        "/proc/asound",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    };
    if (!userNamespace)
        for (const auto* path :
             {"/proc/kallsyms", "/proc/kpagecount", "/proc/kpageflags", "/proc/kpagecgroup", "/proc/kmsg",
              "/proc/config.gz", "/sys/kernel/debug", "/sys/kernel/tracing", "/sys/kernel/security"})
            paths.emplace_back(path);
    return paths;
}

std::vector<std::string> defaultReadOnlyPaths(bool userNamespace) {
    // With a user namespace the kernel itself refuses: these files belong to the host's root.
    std::vector<std::string> paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"};
    if (!userNamespace)
        for (const auto* path : {"/proc/sys/abi", "/proc/sys/crypto", "/proc/sys/debug", "/proc/sys/dev",
                                 "/proc/sys/fs", "/proc/sys/kernel", "/proc/sys/vm", "/proc/mtrr",
                                 "/sys/kernel/mm", "/sys/power", "/sys/module"})
            paths.emplace_back(path);
    return paths;
}

std::vector<DeviceNode> defaultDevices() {
    return {
        {"/dev/null", 'c', 1, 3, 0666, 0, 0},    {"/dev/zero", 'c', 1, 5, 0666, 0, 0},
        {"/dev/full", 'c', 1, 7, 0666, 0, 0},    {"/dev/random", 'c', 1, 8, 0666, 0, 0},
        {"/dev/urandom", 'c', 1, 9, 0666, 0, 0}, {"/dev/tty", 'c', 5, 0, 0666, 0, 0},
    };
}

std::vector<DeviceRule> defaultDeviceRules() {
    std::vector<DeviceRule> rules;
    for (const auto& node : defaultDevices())
        rules.push_back({node.type, node.major, node.minor, "rwm"});
    rules.push_back({'c', 5, 1, "rwm"});   // console
    rules.push_back({'c', 5, 2, "rwm"});   // ptmx of its own devpts
    rules.push_back({'c', 136, -1, "rw"}); // pty slaves
    // mknod alone opens nothing: archives with device nodes unpack, using the node still needs a rule.
    rules.push_back({'c', -1, -1, "m"});
    rules.push_back({'b', -1, -1, "m"});
    return rules;
}

} // namespace vz::ct
