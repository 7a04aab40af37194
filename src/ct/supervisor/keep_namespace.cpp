// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/keep_namespace.hpp"

#include "base/file.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/vfs.h>

namespace vz::supervisor {

namespace {

constexpr const char* namespaceFile = "/proc/self/fd/3";

bool isNamespace(const std::string& path) {
    struct statfs facts {};
    return ::statfs(path.c_str(), &facts) == 0 && facts.f_type == NSFS_MAGIC;
}

Result<void> keep(const std::string& path) {
    if (isNamespace(path))
        return {};
    VZ_TRY(auto file, file::open(path, O_CREAT | O_WRONLY | O_NOFOLLOW, 0600));
    if (::mount(namespaceFile, path.c_str(), nullptr, MS_BIND, nullptr) == 0)
        return {};
    int why = errno;
    (void)file::remove(path);
    return failErrno(why, "cannot mount a namespace on ", path);
}

Result<void> drop(const std::string& path) {
    if (isNamespace(path) && ::umount2(path.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
        return failErrno(errno, "cannot unmount ", path);
    return file::remove(path);
}

int statusOf(const Result<void>& done) {
    if (!done)
        std::fprintf(stderr, "%s\n", done.error().message().c_str());
    return done ? 0 : 1;
}

} // namespace

int keepNamespace(const std::string& path) {
    return statusOf(keep(path));
}

int dropNamespace(const std::string& path) {
    return statusOf(drop(path));
}

} // namespace vz::supervisor
