// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/text.hpp"

#include <string>

namespace vz {

/**
 * What kind of failure it is. The numbers are libvirt's virErrorNumber (libvirt/virterror.h), checked
 * against that header in src/libvirt; they are repeated here so that src/base and src/ct need no libvirt.
 * There is no "unknown" on purpose: choosing the code is part of failing.
 */
enum class ErrorCode : int {
    InternalError = 1,
    NoMemory = 2,
    NoSupport = 3, ///< never for this kind of guest or connection
    NoConnect = 5,
    InvalidConnection = 6,
    InvalidDomain = 7,
    InvalidArg = 8,
    OperationFailed = 9,
    XmlError = 27,
    DomainExists = 28,
    OperationDenied = 29,
    XmlDetail = 35,
    SystemError = 38,
    NoDomain = 42,
    NoStoragePool = 49,
    NoStorageVolume = 50,
    NoSecurityModel = 54,
    OperationInvalid = 55,  ///< not in this state
    ConfigUnsupported = 67, ///< not with this setting in the XML
    OperationTimeout = 68,
    NoSnapshot = 72,
    InvalidStream = 73,
    ArgumentUnsupported = 74, ///< not with this flag or argument
    StorageProbeFailed = 75,  ///< a file is not the image it should be, or a damaged one
    SnapshotRevertRisky = 77, ///< only with FORCE
    OperationAborted = 78,
    NoDomainMetadata = 80,
    Overflow = 82,
    OperationUnsupported = 84,
    AgentUnresponsive = 86,
    ResourceBusy = 87,
    AccessDenied = 88,
    StorageVolExist = 90,
    XmlInvalidSchema = 92,
    DeviceMissing = 99,
    NoHostname = 108,
};

/** A failure: its kind, the errno behind it (0 if none) and one whole sentence for a person. */
class Error {
public:
    Error(ErrorCode code, std::string message, int systemError = 0)
        : code_(code), systemError_(systemError), message_(std::move(message)) {}

    ErrorCode code() const { return code_; }
    int systemError() const { return systemError_; }
    const std::string& message() const { return message_; }

    /** The same error with @p what put before its message: "what: message". */
    Error within(std::string_view what) && {
        message_ = cat(what, ": ", message_);
        return std::move(*this);
    }

private:
    ErrorCode code_;
    int systemError_;
    std::string message_;
};

/** An Error whose message is the parts put together. */
template<typename... Parts>
[[nodiscard]] Error fail(ErrorCode code, const Parts&... parts) {
    return Error(code, cat(parts...));
}

/** The text of an errno value; safe in threads. */
[[nodiscard]] std::string errnoText(int systemError);

/** A SystemError from @p systemError: "parts: text of the errno". */
template<typename... Parts>
[[nodiscard]] Error failErrno(int systemError, const Parts&... parts) {
    return Error(ErrorCode::SystemError, cat(parts..., ": ", errnoText(systemError)), systemError);
}

} // namespace vz
