// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/log.hpp"
#include "libvirt/driver_table.hpp"
#include "libvirt/private.hpp"

namespace vz::abi {

namespace {

// ErrorCode repeats libvirt's numbers, so that the folders below need no libvirt header; here they are
// compared.
#define VZ_SAME_CODE(ours, theirs)                                                                           \
    static_assert(static_cast<int>(ErrorCode::ours) == static_cast<int>(VIR_ERR_##theirs))
VZ_SAME_CODE(InternalError, INTERNAL_ERROR);
VZ_SAME_CODE(NoMemory, NO_MEMORY);
VZ_SAME_CODE(NoSupport, NO_SUPPORT);
VZ_SAME_CODE(NoConnect, NO_CONNECT);
VZ_SAME_CODE(InvalidConnection, INVALID_CONN);
VZ_SAME_CODE(InvalidDomain, INVALID_DOMAIN);
VZ_SAME_CODE(InvalidArg, INVALID_ARG);
VZ_SAME_CODE(OperationFailed, OPERATION_FAILED);
VZ_SAME_CODE(XmlError, XML_ERROR);
VZ_SAME_CODE(DomainExists, DOM_EXIST);
VZ_SAME_CODE(OperationDenied, OPERATION_DENIED);
VZ_SAME_CODE(XmlDetail, XML_DETAIL);
VZ_SAME_CODE(SystemError, SYSTEM_ERROR);
VZ_SAME_CODE(NoDomain, NO_DOMAIN);
VZ_SAME_CODE(NoStoragePool, NO_STORAGE_POOL);
VZ_SAME_CODE(NoStorageVolume, NO_STORAGE_VOL);
VZ_SAME_CODE(NoSecurityModel, NO_SECURITY_MODEL);
VZ_SAME_CODE(OperationInvalid, OPERATION_INVALID);
VZ_SAME_CODE(ConfigUnsupported, CONFIG_UNSUPPORTED);
VZ_SAME_CODE(OperationTimeout, OPERATION_TIMEOUT);
VZ_SAME_CODE(NoSnapshot, NO_DOMAIN_SNAPSHOT);
VZ_SAME_CODE(InvalidStream, INVALID_STREAM);
VZ_SAME_CODE(ArgumentUnsupported, ARGUMENT_UNSUPPORTED);
VZ_SAME_CODE(StorageProbeFailed, STORAGE_PROBE_FAILED);
VZ_SAME_CODE(SnapshotRevertRisky, SNAPSHOT_REVERT_RISKY);
VZ_SAME_CODE(OperationAborted, OPERATION_ABORTED);
VZ_SAME_CODE(NoDomainMetadata, NO_DOMAIN_METADATA);
VZ_SAME_CODE(Overflow, OVERFLOW);
VZ_SAME_CODE(OperationUnsupported, OPERATION_UNSUPPORTED);
VZ_SAME_CODE(AgentUnresponsive, AGENT_UNRESPONSIVE);
VZ_SAME_CODE(ResourceBusy, RESOURCE_BUSY);
VZ_SAME_CODE(AccessDenied, ACCESS_DENIED);
VZ_SAME_CODE(StorageVolExist, STORAGE_VOL_EXIST);
VZ_SAME_CODE(XmlInvalidSchema, XML_INVALID_SCHEMA);
VZ_SAME_CODE(DeviceMissing, DEVICE_MISSING);
VZ_SAME_CODE(NoHostname, NO_HOSTNAME);
#undef VZ_SAME_CODE

priv::LogPriority priorityOf(log::Level level) {
    switch (level) {
    case log::Level::Debug:
        return priv::LogPriority::Debug;
    case log::Level::Info:
        return priv::LogPriority::Info;
    case log::Level::Warning:
        return priv::LogPriority::Warning;
    case log::Level::Error:
        break;
    }
    return priv::LogPriority::Error;
}

/** libvirt writes the priority that its log filters give this source into the structure. */
void logSink(log::Level level, const char* message) {
    static priv::LogSource source{"vz", static_cast<unsigned>(priv::LogPriority::Error), 0, 0};
    priv::virLogMessage(&source, static_cast<int>(priorityOf(level)), "vz", 0, "vz", nullptr, "%s", message);
}

} // namespace

// libvirt's error of a thread exists only after virInitialize(), which libvirtd has called long ago; it runs
// once per process, so asking again costs nothing and keeps every other program that links this safe.

void report(const Error& error) noexcept {
    virInitialize();
    priv::virRaiseErrorFull("vz", "vz", 0, VIR_FROM_PARALLELS, static_cast<int>(error.code()), VIR_ERR_ERROR,
                            error.message().c_str(), nullptr, nullptr, error.systemError(), 0, "%s",
                            error.message().c_str());
}

Error lastError(std::string_view fallback) {
    virInitialize();
    const virError* last = virGetLastError();
    if (!last || last->code == VIR_ERR_OK)
        return fail(ErrorCode::InternalError, fallback);
    Error error(static_cast<ErrorCode>(last->code),
                last->message ? std::string(last->message) : std::string(fallback),
                last->code == VIR_ERR_SYSTEM_ERROR ? last->int1 : 0);
    virResetLastError();
    return error;
}

Result<std::string> takeText(char* text, std::string_view fallback) {
    if (!text)
        return lastError(fallback);
    std::string copy = text;
    std::free(text);
    return copy;
}

void logToLibvirt() {
    log::setSink(logSink);
}

} // namespace vz::abi
