// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/log.hpp"
#include "driver/machine_documents.hpp"
#include "driver/methods.hpp"
#include "libvirt/host.hpp"

#include <unistd.h>

namespace vz::driver {

namespace {

/** The part of a connection's URI behind the host, without the query: "/system". */
std::string pathOf(std::string_view uri) {
    auto scheme = uri.find(':');
    uri.remove_prefix(scheme == std::string_view::npos ? 0 : scheme + 1);
    if (uri.starts_with("//")) {
        uri.remove_prefix(2);
        auto slash = uri.find('/');
        uri.remove_prefix(slash == std::string_view::npos ? uri.size() : slash);
    }
    return std::string(uri.substr(0, uri.find_first_of("?#")));
}

Result<void> open(virConnectPtr conn) {
    VZ_TRY(auto uri, abi::takeText(::virConnectGetURI(conn), "the connection has no URI"));
    auto path = pathOf(uri);
    if (path == "/session")
        return fail(ErrorCode::OperationUnsupported,
                    "vz:///session is not supported: containers need the system daemon; use vz:///system");
    if (path != "/system")
        return fail(ErrorCode::InternalError, "unexpected vz URI path '", path, "', try vz:///system");
    if (::geteuid() != 0)
        return fail(ErrorCode::OperationUnsupported,
                    "vz:///system is only served by a libvirtd that runs as root");
    VZ_TRY(auto* driver, activeDriver());
    VZ_CHECK(checkAccess(conn, nullptr, "connectOpen", 0));
    driver->connected(conn);
    return {};
}

constexpr int openSuccess = 0;
constexpr int openError = -2; // -1 would decline and let another driver try

} // namespace

int connectOpen(virConnectPtr conn, virConnectAuthPtr, void*, unsigned int) noexcept {
    try {
        auto opened = open(conn);
        if (opened)
            return openSuccess;
        abi::report(opened.error());
    } catch (const std::exception& error) {
        abi::report(fail(ErrorCode::InternalError, "unexpected failure: ", error.what()));
    }
    return openError;
}

int connectClose(virConnectPtr conn) noexcept {
    try {
        if (auto* driver = theDriver())
            driver->disconnected(conn);
    } catch (const std::exception& error) {
        log::error("closing a connection: ", error.what());
    }
    return 0;
}

int connectSupportsFeature(virConnectPtr conn, int feature) noexcept {
    if (auto supported = abi::globalFeature(feature))
        return *supported;
    // What is left is about migration, which is that of QEMU's driver.
    return detail::guarded<int>([&]() -> Result<Passed<int>> {
        VZ_TRY(auto* driver, activeDriver());
        auto machines = MachineCall::begin(*driver, conn);
        if (!machines)
            return Passed<int>{0};
        return forwardConnectAs<"connectSupportsFeature", int (*)(virConnectPtr, int)>(*machines, feature);
    });
}

Result<const char*> connectGetType(const ConnectCall&) {
    return "vz";
}

Result<void> connectGetVersion(const ConnectCall&, unsigned long* version) {
    // OpenStack Nova asks for Virtuozzo 7 or newer; the project's own version is in its minor and release
    // part.
    constexpr unsigned long major = 7;
    *version = major * 1000000 + VZ_VERSION_MAJOR * 1000 + VZ_VERSION_MINOR;
    return {};
}

Result<std::string> connectGetHostname(const ConnectCall&) {
    return abi::hostname();
}

Result<std::string> connectGetSysinfo(const ConnectCall& call, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virConnectGetSysinfo"));
    (void)call;
    return abi::sysinfoXml();
}

Result<int> connectGetMaxVcpus(const ConnectCall& call, const char* type) {
    std::string_view wanted = type ? type : "vz";
    if (wanted != "vz" && wanted != "parallels")
        return fail(ErrorCode::InvalidArg, "unknown type '", wanted,
                    "': this driver has 'vz' and 'parallels'");
    return static_cast<int>(maxVcpus(call.driver.capabilities()));
}

Result<std::string> connectGetCapabilities(const ConnectCall& call) {
    auto containers = call.driver.capabilities();
    containers.counters = call.driver.hostCounters();
    return call.driver.machineCapabilities().capabilities(containers,
                                                          machineDocuments(call.driver, call.conn));
}

Result<std::string> connectGetDomainCapabilities(const ConnectCall& call, const char* emulator,
                                                 const char* arch, const char* machine, const char* virtType,
                                                 unsigned int flags) {
    return call.driver.machineCapabilities().domainCapabilities({emulator, arch, machine, virtType, flags},
                                                                call.driver.capabilities(),
                                                                machineDocuments(call.driver, call.conn));
}

Result<int> connectIsEncrypted(const ConnectCall&) {
    return 0;
}

Result<int> connectIsSecure(const ConnectCall&) {
    return 1; // local to the daemon
}

Result<int> connectIsAlive(const ConnectCall&) {
    return 1;
}

Result<int> eventRegister(const ConnectCall& call, virConnectDomainEventCallback cb, void* opaque,
                          virFreeCallback ff) {
    return call.driver.events().registerClassic(call.conn, cb, opaque, ff);
}

Result<int> eventDeregister(const ConnectCall& call, virConnectDomainEventCallback cb) {
    return call.driver.events().deregisterClassic(call.conn, cb);
}

Result<int> eventRegisterAny(const ConnectCall& call, virDomainPtr dom, int eventId,
                             virConnectDomainEventGenericCallback cb, void* opaque, virFreeCallback ff) {
    return call.driver.events().registerAny(call.conn, dom, eventId, cb, opaque, ff);
}

Result<int> eventDeregisterAny(const ConnectCall& call, int callbackId) {
    return call.driver.events().deregisterAny(call.conn, callbackId);
}

} // namespace vz::driver
