// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <sys/types.h>

#include <string>
#include <vector>

/** Small file helpers. All errors are SystemError with the path and the errno, unless stated otherwise. */
namespace vz::file {

/** open(2) with O_CLOEXEC; @p dirFd as in openat(2). */
Result<UniqueFd> open(const std::string& path, int flags, mode_t mode = 0, int dirFd = -100 /* AT_FDCWD */);

/** The whole content, at most @p limit bytes (OperationFailed beyond that). Works for /proc and cgroup files.
 */
Result<std::string> read(const std::string& path, size_t limit = 16u << 20, int dirFd = -100);

/** Writes to an existing kernel file (proc, sys, cgroup) in one write(2). The message carries the value. */
Result<void> writeValue(const std::string& path, std::string_view value, int dirFd = -100);

/**
 * Replaces @p path so that after a crash there is either the old or the new content:
 * temporary file beside it, fsync, rename, fsync of the folder.
 */
Result<void> writeAtomic(const std::string& path, std::string_view content, mode_t mode = 0600);

/** The same for files that need not outlive the host's power, as those in /run: nothing is flushed. */
Result<void> writeVolatile(const std::string& path, std::string_view content, mode_t mode = 0600);

/** Writes all of @p content to @p fd, however many write(2) calls that takes. */
Result<void> writeAll(int fd, std::string_view content);

/** mkdir -p. */
Result<void> makeDirs(const std::string& path, mode_t mode = 0755);

/** Removes a file; one that is not there is fine. */
Result<void> remove(const std::string& path);

/** Removes a folder and all in it without following links or leaving its file system; a missing one is fine.
 */
Result<void> removeTree(const std::string& path);

/** Names in a folder, without "." and "..", sorted. */
Result<std::vector<std::string>> list(const std::string& path);

bool exists(const std::string& path);
bool isDirectory(const std::string& path);

/** Target of a symbolic link. */
Result<std::string> readLink(const std::string& path);

} // namespace vz::file
