// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/file.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <sys/stat.h>

namespace vz::file {

static_assert(AT_FDCWD == -100);

Result<UniqueFd> open(const std::string& path, int flags, mode_t mode, int dirFd) {
    int fd = ::openat(dirFd, path.c_str(), flags | O_CLOEXEC, mode);
    if (fd < 0)
        return failErrno(errno, "cannot open ", path);
    return UniqueFd(fd);
}

Result<std::string> read(const std::string& path, size_t limit, int dirFd) {
    VZ_TRY(auto fd, open(path, O_RDONLY, 0, dirFd));
    std::string content;
    for (;;) {
        constexpr size_t chunk = 8192;
        size_t before = content.size();
        content.resize(before + chunk);
        ssize_t got = ::read(fd.get(), content.data() + before, chunk);
        if (got < 0 && errno == EINTR)
            got = 0;
        else if (got == 0) {
            content.resize(before);
            return content;
        }
        if (got < 0)
            return failErrno(errno, "cannot read ", path);
        content.resize(before + static_cast<size_t>(got));
        if (content.size() > limit)
            return fail(ErrorCode::OperationFailed, path, " is larger than ", limit, " bytes");
    }
}

Result<void> writeAll(int fd, std::string_view content) {
    while (!content.empty()) {
        ssize_t done = ::write(fd, content.data(), content.size());
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return failErrno(errno, "cannot write");
        content.remove_prefix(static_cast<size_t>(done));
    }
    return {};
}

Result<void> writeValue(const std::string& path, std::string_view value, int dirFd) {
    VZ_TRY(auto fd, open(path, O_WRONLY, 0, dirFd));
    ssize_t done;
    do {
        done = ::write(fd.get(), value.data(), value.size());
    } while (done < 0 && errno == EINTR);
    if (done < 0)
        return failErrno(errno, "cannot write '", trim(value), "' to ", path);
    return {};
}

static std::string parentOf(const std::string& path) {
    auto slash = path.rfind('/');
    if (slash == std::string::npos)
        return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

namespace {

/** Puts a new file in the place of @p path in one step; on disk too, if @p lasting. */
Result<void> replace(const std::string& path, std::string_view content, mode_t mode, bool lasting) {
    std::string temporary = cat(path, ".new.XXXXXX");
    UniqueFd fd(::mkostemp(temporary.data(), O_CLOEXEC));
    if (!fd)
        return failErrno(errno, "cannot create ", temporary);
    auto abandon = [&](Error error) {
        ::unlink(temporary.c_str());
        return error;
    };
    if (auto written = writeAll(fd.get(), content); !written)
        return abandon(std::move(written).takeError().within(temporary));
    if (::fchmod(fd.get(), mode) < 0 || (lasting && ::fsync(fd.get()) < 0))
        return abandon(failErrno(errno, "cannot flush ", temporary));
    if (::rename(temporary.c_str(), path.c_str()) < 0)
        return abandon(failErrno(errno, "cannot replace ", path));
    return {};
}

} // namespace

Result<void> writeAtomic(const std::string& path, std::string_view content, mode_t mode) {
    VZ_CHECK(replace(path, content, mode, true));
    VZ_TRY(auto folder, open(parentOf(path), O_RDONLY | O_DIRECTORY));
    if (::fsync(folder.get()) < 0)
        return failErrno(errno, "cannot flush the folder of ", path);
    return {};
}

Result<void> writeVolatile(const std::string& path, std::string_view content, mode_t mode) {
    return replace(path, content, mode, false);
}

Result<void> makeDirs(const std::string& path, mode_t mode) {
    if (isDirectory(path))
        return {};
    if (auto parent = parentOf(path); parent != path)
        VZ_CHECK(makeDirs(parent, mode));
    if (::mkdir(path.c_str(), mode) < 0 && errno != EEXIST)
        return failErrno(errno, "cannot create the folder ", path);
    return {};
}

Result<void> remove(const std::string& path) {
    if (::unlink(path.c_str()) < 0 && errno != ENOENT)
        return failErrno(errno, "cannot remove ", path);
    return {};
}

namespace {

struct CloseDir {
    void operator()(DIR* dir) const { ::closedir(dir); }
};
using Dir = std::unique_ptr<DIR, CloseDir>;

Result<Dir> openDir(int dirFd, const std::string& path) {
    VZ_TRY(auto fd, open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, dirFd));
    Dir dir(::fdopendir(fd.get()));
    if (!dir)
        return failErrno(errno, "cannot read the folder ", path);
    (void)fd.release();
    return dir;
}

bool isDot(const char* name) {
    return std::string_view(name) == "." || std::string_view(name) == "..";
}

Result<void> removeIn(int parent, const std::string& name, dev_t device) {
    struct stat info;
    if (::fstatat(parent, name.c_str(), &info, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? Result<void>() : failErrno(errno, "cannot look at ", name);
    if (!S_ISDIR(info.st_mode)) {
        if (::unlinkat(parent, name.c_str(), 0) < 0 && errno != ENOENT)
            return failErrno(errno, "cannot remove ", name);
        return {};
    }
    if (info.st_dev != device)
        return fail(ErrorCode::OperationFailed, "cannot remove ", name,
                    ": another file system is mounted on it");
    VZ_TRY(auto dir, openDir(parent, name));
    while (auto* entry = ::readdir(dir.get())) {
        if (!isDot(entry->d_name))
            VZ_CHECK(removeIn(::dirfd(dir.get()), entry->d_name, device));
    }
    if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) < 0 && errno != ENOENT)
        return failErrno(errno, "cannot remove the folder ", name);
    return {};
}

} // namespace

Result<void> removeTree(const std::string& path) {
    struct stat info;
    if (::lstat(path.c_str(), &info) < 0)
        return errno == ENOENT ? Result<void>() : failErrno(errno, "cannot look at ", path);
    return removeIn(AT_FDCWD, path, info.st_dev);
}

Result<std::vector<std::string>> list(const std::string& path) {
    VZ_TRY(auto fd, open(path, O_RDONLY | O_DIRECTORY));
    Dir dir(::fdopendir(fd.get()));
    if (!dir)
        return failErrno(errno, "cannot read the folder ", path);
    (void)fd.release();
    std::vector<std::string> names;
    while (auto* entry = ::readdir(dir.get())) {
        if (!isDot(entry->d_name))
            names.emplace_back(entry->d_name);
    }
    std::sort(names.begin(), names.end());
    return names;
}

bool exists(const std::string& path) {
    struct stat info;
    return ::lstat(path.c_str(), &info) == 0;
}

bool isDirectory(const std::string& path) {
    struct stat info;
    return ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

Result<std::string> readLink(const std::string& path) {
    std::array<char, PATH_MAX> target;
    ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
    if (size < 0)
        return failErrno(errno, "cannot read the link ", path);
    return std::string(target.data(), static_cast<size_t>(size));
}

} // namespace vz::file
