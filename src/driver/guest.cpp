// SPDX-License-Identifier: LGPL-2.1-or-later
// What reaches into a running container: console, namespaces, signals, facts.
#include "ct/guest_facts.hpp"
#include "ct/network.hpp"
#include "driver/client_memory.hpp"
#include "driver/methods.hpp"
#include "driver/typed_params.hpp"

#include <cerrno>
#include <ctime>
#include <sys/syscall.h>
#include <unistd.h>

namespace vz::driver {

namespace {

Result<size_t> consoleIndex(const domain::Definition& definition, const char* device) {
    if (definition.consoles.empty())
        return fail(ErrorCode::InternalError, "the container has no console");
    if (!device || !*device)
        return size_t(0);
    for (size_t i = 0; i < definition.consoles.size(); ++i) {
        if (definition.consoles[i].alias == device)
            return i;
    }
    return fail(ErrorCode::InvalidArg, "cannot find console device '", device, "'");
}

Result<pid_t> runningInit(const DomainCall& call) {
    VZ_TRY(auto container, call.domain.running());
    return container->init();
}

/** Signals a process of the container through a pidfd, so that a pid used again by another is not hit. */
Result<void> signalInside(pid_t init, long long inside, int signal) {
    VZ_TRY(pid_t pid, ct::hostPid(init, static_cast<pid_t>(inside)));
    UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!process)
        return failErrno(errno, "cannot open process ", inside, " of the container");
    VZ_TRY(pid_t still, ct::hostPid(init, static_cast<pid_t>(inside)));
    if (still != pid)
        return fail(ErrorCode::InvalidArg, "process ", inside, " ended meanwhile");
    if (::syscall(SYS_pidfd_send_signal, process.get(), signal, nullptr, 0) < 0)
        return failErrno(errno, "cannot send signal ", signal, " to process ", inside);
    return {};
}

} // namespace

Result<void> openConsole(const DomainCall& call, const char* device, virStreamPtr stream,
                         unsigned int flags) {
    VZ_CHECK(allowFlags(flags, VIR_DOMAIN_CONSOLE_FORCE | VIR_DOMAIN_CONSOLE_SAFE, "virDomainOpenConsole"));
    VZ_TRY(auto container, call.domain.running());
    auto config = call.domain.current();
    VZ_TRY(size_t index, consoleIndex(config.definition(), device));
    auto opened = container->openConsole(index, flags & VIR_DOMAIN_CONSOLE_FORCE);
    if (!opened && opened.error().code() == ErrorCode::ResourceBusy)
        return fail(ErrorCode::OperationFailed, "Active console session exists for this domain");
    if (!opened)
        return std::move(opened).takeError();
    return abi::joinStream(stream, *std::move(opened), {});
}

Result<int> openNamespace(const DomainCall& call, int** fds, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainLxcOpenNamespace"));
    VZ_TRY(auto container, call.domain.running());
    VZ_TRY(auto namespaces, container->namespaces());
    *fds = allocate<int>(namespaces.fds.size());
    int count = 0;
    for (auto& fd : namespaces.fds)
        (*fds)[count++] = fd.release();
    return count;
}

Result<void> sendProcessSignal(const DomainCall& call, long long pid, unsigned int signal,
                               unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainSendProcessSignal"));
    if (signal > VIR_DOMAIN_PROCESS_SIGNAL_RT32)
        return fail(ErrorCode::InvalidArg, "signum value ", signal, " is out of range");
    if (pid <= 0)
        return fail(ErrorCode::ArgumentUnsupported, "process ", pid,
                    ": only a single process can be signalled, not a group or all");
    VZ_TRY(auto job, call.modify());
    VZ_TRY(pid_t init, runningInit(call));
    // libvirt's numbers are Linux's own, real-time signals from 32 on included.
    return signalInside(init, pid, static_cast<int>(signal));
}

Result<std::string> getHostname(const DomainCall& call, unsigned int flags) {
    if (flags & VIR_DOMAIN_GET_HOSTNAME_LEASE)
        return fail(ErrorCode::OperationUnsupported, "host names of containers do not come from leases");
    VZ_CHECK(allowFlags(flags, VIR_DOMAIN_GET_HOSTNAME_AGENT, "virDomainGetHostname"));
    VZ_TRY(pid_t init, runningInit(call));
    return ct::hostname(init);
}

Result<void> getTime(const DomainCall& call, long long* seconds, unsigned int* nseconds, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainGetTime"));
    VZ_CHECK(call.domain.running());
    timespec now;
    if (::clock_gettime(CLOCK_REALTIME, &now) < 0)
        return failErrno(errno, "cannot read the clock");
    *seconds = now.tv_sec;
    *nseconds = static_cast<unsigned int>(now.tv_nsec);
    return {};
}

Result<void> setTime(const DomainCall& call, long long, unsigned int, unsigned int) {
    VZ_CHECK(call.domain.running());
    return fail(ErrorCode::OperationUnsupported,
                "a container has the host's clock: it cannot be set for one alone");
}

Result<void> setUserPassword(const DomainCall& call, const char* user, const char* password,
                             unsigned int flags) {
    VZ_CHECK(allowFlags(flags, VIR_DOMAIN_PASSWORD_ENCRYPTED, "virDomainSetUserPassword"));
    VZ_TRY(auto job, call.modify());
    VZ_TRY(pid_t init, runningInit(call));
    return ct::setPassword(init, user, password, flags & VIR_DOMAIN_PASSWORD_ENCRYPTED);
}

Result<int> getFsInfo(const DomainCall& call, virDomainFSInfoPtr** info, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainGetFSInfo"));
    VZ_TRY(pid_t init, runningInit(call));
    VZ_TRY(auto found, ct::fileSystems(init));
    auto** list = allocate<virDomainFSInfoPtr>(found.size() + 1);
    for (size_t i = 0; i < found.size(); ++i) {
        list[i] = allocate<virDomainFSInfo>();
        list[i]->mountpoint = copyText(found[i].mountPoint);
        list[i]->name = copyText(found[i].source);
        list[i]->fstype = copyText(found[i].type);
    }
    *info = list;
    return static_cast<int>(found.size());
}

namespace {

Result<void> addUsers(TypedParams& out, pid_t init) {
    VZ_TRY(auto users, ct::loggedInUsers(init));
    out.add("user.count", static_cast<unsigned int>(users.size()));
    for (size_t i = 0; i < users.size(); ++i) {
        out.add(cat("user.", i, ".name"), users[i].name);
        out.add(cat("user.", i, ".login-time"), static_cast<unsigned long long>(users[i].loginTimeMs));
    }
    return {};
}

Result<void> addOs(TypedParams& out, pid_t init) {
    VZ_TRY(auto os, ct::osInfo(init));
    const std::pair<const char*, const std::string*> fields[] = {{"os.id", &os.id},
                                                                 {"os.name", &os.name},
                                                                 {"os.pretty-name", &os.prettyName},
                                                                 {"os.version", &os.version},
                                                                 {"os.version-id", &os.versionId},
                                                                 {"os.kernel-release", &os.kernelRelease},
                                                                 {"os.kernel-version", &os.kernelVersion},
                                                                 {"os.machine", &os.machine}};
    for (auto [name, value] : fields) {
        if (!value->empty())
            out.add(name, *value);
    }
    return {};
}

Result<void> addFileSystems(TypedParams& out, pid_t init) {
    VZ_TRY(auto found, ct::fileSystems(init));
    out.add("fs.count", static_cast<unsigned int>(found.size()));
    for (size_t i = 0; i < found.size(); ++i) {
        out.add(cat("fs.", i, ".mountpoint"), found[i].mountPoint);
        out.add(cat("fs.", i, ".name"), found[i].source);
        out.add(cat("fs.", i, ".fstype"), found[i].type);
        out.add(cat("fs.", i, ".total-bytes"), static_cast<unsigned long long>(found[i].totalBytes));
        out.add(cat("fs.", i, ".used-bytes"), static_cast<unsigned long long>(found[i].usedBytes));
    }
    return {};
}

Result<void> addInterfaces(TypedParams& out, const DomainCall& call) {
    VZ_TRY(auto container, call.domain.running());
    VZ_TRY(auto netns, container->networkNamespace());
    VZ_TRY(auto found, ct::interfaceAddresses(netns.get()));
    out.add("if.count", static_cast<unsigned int>(found.size()));
    for (size_t i = 0; i < found.size(); ++i) {
        out.add(cat("if.", i, ".name"), found[i].name);
        if (!found[i].mac.empty())
            out.add(cat("if.", i, ".hwaddr"), found[i].mac);
        out.add(cat("if.", i, ".addr.count"), static_cast<unsigned int>(found[i].addresses.size()));
        for (size_t j = 0; j < found[i].addresses.size(); ++j) {
            const auto& address = found[i].addresses[j];
            auto prefix = cat("if.", i, ".addr.", j);
            out.add(prefix + ".type", address.address.find(':') == std::string::npos ? "ipv4" : "ipv6");
            out.add(prefix + ".addr", address.address);
            out.add(prefix + ".prefix", address.prefix);
        }
    }
    return {};
}

} // namespace

Result<void> getGuestInfo(const DomainCall& call, unsigned int types, virTypedParameterPtr* params,
                          int* nparams, unsigned int flags) {
    constexpr unsigned int supported = VIR_DOMAIN_GUEST_INFO_USERS | VIR_DOMAIN_GUEST_INFO_OS |
                                       VIR_DOMAIN_GUEST_INFO_HOSTNAME | VIR_DOMAIN_GUEST_INFO_FILESYSTEM |
                                       VIR_DOMAIN_GUEST_INFO_INTERFACES;
    VZ_CHECK(allowFlags(flags, 0, "virDomainGetGuestInfo"));
    if (types & ~supported)
        return fail(ErrorCode::OperationUnsupported,
                    "containers tell of users, os, hostname, filesystem and interfaces only");
    if (!types)
        types = supported;
    VZ_TRY(pid_t init, runningInit(call));
    TypedParams out;
    if (types & VIR_DOMAIN_GUEST_INFO_USERS)
        VZ_CHECK(addUsers(out, init));
    if (types & VIR_DOMAIN_GUEST_INFO_OS)
        VZ_CHECK(addOs(out, init));
    if (types & VIR_DOMAIN_GUEST_INFO_HOSTNAME) {
        VZ_TRY(auto name, ct::hostname(init));
        out.add("hostname", name);
    }
    if (types & VIR_DOMAIN_GUEST_INFO_FILESYSTEM)
        VZ_CHECK(addFileSystems(out, init));
    if (types & VIR_DOMAIN_GUEST_INFO_INTERFACES)
        VZ_CHECK(addInterfaces(out, call));
    out.release(params, nparams);
    return {};
}

} // namespace vz::driver
