// SPDX-License-Identifier: LGPL-2.1-or-later
#include "cli/ploop.hpp"

#include "storage/export/resize.hpp"

#include <cerrno>
#include <cstdio>
#include <unistd.h>

namespace vz::cli {

using namespace ploop;

int exitStatusOf(const Error& error) {
    switch (error.code()) {
    case ErrorCode::InvalidArg:
    case ErrorCode::OperationUnsupported:
    case ErrorCode::Overflow:
        return exitParameter;
    case ErrorCode::NoMemory:
        return exitMemory;
    case ErrorCode::NoSnapshot:
        return exitNoSnapshot;
    case ErrorCode::StorageProbeFailed:
        return exitBadFormat;
    case ErrorCode::StorageVolExist:
        return exitExists;
    case ErrorCode::ResourceBusy:
        return exitLock;
    case ErrorCode::OperationInvalid:
        return exitInUse;
    case ErrorCode::OperationAborted:
        return exitAbort;
    case ErrorCode::XmlError:
    case ErrorCode::XmlDetail:
        return exitDescriptor;
    default:
        return error.systemError() == ENOENT || error.systemError() == EACCES ? exitOpen : exitSystem;
    }
}

namespace {

/** The line on the terminal; shared by the copies of the function that has it. */
class ProgressLine {
public:
    explicit ProgressLine(std::string what) : what_(std::move(what)) {}
    ProgressLine(const ProgressLine&) = delete;
    ProgressLine& operator=(const ProgressLine&) = delete;
    ~ProgressLine() {
        if (shown_ >= 0)
            std::fprintf(stderr, "\r\033[K");
    }
    void show(uint64_t done, uint64_t total) {
        auto now = std::chrono::steady_clock::now();
        int percent =
            total ? static_cast<int>(static_cast<double>(done) / static_cast<double>(total) * 100) : 100;
        // What is over at once needs no line.
        if (percent == shown_ || now - begin_ < std::chrono::milliseconds(500))
            return;
        shown_ = percent;
        std::fprintf(stderr, "\r%s: %d%%", what_.c_str(), percent);
    }

private:
    std::string what_;
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
    int shown_ = -1;
};

} // namespace

Progress terminalProgress(const std::string& what) {
    if (!::isatty(STDERR_FILENO))
        return {};
    auto line = std::make_shared<ProgressLine>(what);
    return [line](uint64_t done, uint64_t total) {
        line->show(done, total);
        return true;
    };
}

Result<std::unique_ptr<Volume>> openVolume(const std::string& given) {
    Volume::Options options;
    options.access = Access::ReadWrite;
    options.wait = lockWait;
    return Volume::open(hostFiles(), descriptorPath(hostFiles(), given), options);
}

Result<Descriptor::Mode> parseMode(const std::string& text) {
    if (text == "raw")
        return Descriptor::Mode::Raw;
    if (text == "expanded" || text == "ploop1")
        return Descriptor::Mode::Expanded;
    if (text == "preallocated")
        return Descriptor::Mode::Preallocated;
    return fail(ErrorCode::InvalidArg, "the format '", text,
                "' is not known: raw, expanded and preallocated are");
}

Result<Version> parseVersion(const std::string& text) {
    if (text == "1")
        return Version::V1;
    if (text == "2")
        return Version::V2;
    return fail(ErrorCode::InvalidArg, "the version '", text, "' is not known: 1 and 2 are");
}

Result<std::optional<exports::Attachment>> runningOf(const std::string& given) {
    return exports::find(descriptorPath(hostFiles(), given));
}

int failWith(int status, const Error& error) {
    std::fprintf(stderr, "ploop: %s\n", error.message().c_str());
    return status;
}

Outcome resizeTo(const std::string& given, uint64_t sectors) {
    auto failed = exports::resizeImage(descriptorPath(hostFiles(), given), sectors * sectorSize, lockWait);
    if (!failed)
        return exitOk;
    switch (failed->step) {
    case exports::ResizeStep::Check:
        return failWith(exitFsck, failed->error);
    case exports::ResizeStep::FileSystem:
        return failWith(exitResizeFs, failed->error);
    case exports::ResizeStep::Image:
        break;
    }
    return std::move(failed->error);
}

} // namespace vz::cli
