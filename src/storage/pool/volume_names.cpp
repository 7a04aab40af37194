// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/pool/volume_names.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "storage/ploop/guid.hpp"
#include "storage/pool/permissions.hpp"
#include "storage/pool/volume_xml.hpp"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace vz::storage {

namespace {

constexpr std::string_view draftPrefix = ".vz-volume.";

std::string draftName() {
    auto guid = ploop::randomGuid();
    return cat(draftPrefix, std::string_view(guid).substr(1, 36));
}

Result<void> flushFolder(const std::string& path) {
    VZ_TRY(auto folder, file::open(path, O_RDONLY | O_DIRECTORY));
    if (::fsync(folder.get()) < 0)
        return failErrno(errno, "cannot flush ", path);
    return {};
}

/** The folder, locked; nothing if another one works on it or it is gone. */
UniqueFd lockDraft(const std::string& path) {
    auto folder = file::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
    if (!folder || ::flock(folder->get(), LOCK_EX | LOCK_NB) < 0)
        return {};
    struct stat held, named;
    bool same = ::fstat(folder->get(), &held) == 0 && ::lstat(path.c_str(), &named) == 0 &&
                held.st_ino == named.st_ino && held.st_dev == named.st_dev;
    return same ? *std::move(folder) : UniqueFd();
}

void removeAbandoned(const std::string& path) {
    auto lock = lockDraft(path);
    if (!lock)
        return;
    log::info("removing ", path, ", which was left by an interrupted operation on a volume");
    if (auto removed = file::removeTree(path); !removed)
        log::warning(removed.error().message());
}

/** renameat2() that never replaces, also where the file system does not know that. */
Result<void> renameNew(const std::string& from, const std::string& to) {
    if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_NOREPLACE) == 0)
        return {};
    if (errno == EINVAL && !file::exists(to) && ::rename(from.c_str(), to.c_str()) == 0)
        return {};
    if (errno == EEXIST || errno == EINVAL)
        return fail(ErrorCode::StorageVolExist, to, " exists already");
    return failErrno(errno, "cannot rename ", from, " to ", to);
}

bool isVolume(const std::string& path) {
    struct stat info;
    return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) &&
           file::exists(path + "/DiskDescriptor.xml");
}

} // namespace

Result<void> checkVolumeName(const std::string& name) {
    if (name.empty())
        return fail(ErrorCode::XmlError, "missing volume name element");
    if (name.find('/') != name.npos)
        return fail(ErrorCode::XmlError, "volume name '", name, "' cannot contain '/'");
    if (!isFileName(name) || name.starts_with(draftPrefix))
        return fail(
            ErrorCode::XmlError, "'", name,
            "' cannot be the name of a volume: it is that of a folder, without control characters, and "
            "does not begin with '",
            draftPrefix, "'");
    return {};
}

Result<std::vector<std::string>> scanFolder(const std::string& target) {
    VZ_TRY(auto entries, file::list(target));
    std::vector<std::string> names;
    for (auto& name : entries) {
        auto path = cat(target, "/", name);
        if (name.starts_with(draftPrefix)) {
            removeAbandoned(path);
            continue;
        }
        if (!isVolume(path))
            continue;
        if (!isFileName(name)) {
            log::warning("a volume in ", target, " is left out: its name cannot be told in XML");
            continue;
        }
        if (auto facts = readVolume(path); !facts)
            log::warning("the volume ", path, " cannot be read: ", facts.error().message());
        names.push_back(std::move(name));
    }
    return names;
}

Result<Draft> Draft::make(const std::string& target) {
    // Between the two steps another one's scan may remove it; then the next try has another name.
    constexpr int tries = 10;
    for (int i = 0; i < tries; ++i) {
        auto path = cat(target, "/", draftName());
        if (::mkdir(path.c_str(), 0700) < 0)
            return failErrno(errno, "cannot make a folder in ", target);
        if (auto lock = lockDraft(path))
            return Draft(target, path, std::move(lock));
    }
    return fail(ErrorCode::ResourceBusy, "a new folder in ", target, " is taken away again and again");
}

Draft::Draft(Draft&& other) noexcept
    : target_(std::move(other.target_)), path_(std::exchange(other.path_, {})),
      lock_(std::move(other.lock_)) {}

Draft::~Draft() {
    if (path_.empty())
        return;
    if (auto removed = file::removeTree(path_); !removed)
        log::warning("a folder of a volume that could not be made is left: ", removed.error().message());
}

Result<void> Draft::publish(const std::string& name) {
    VZ_CHECK(flushFolder(path_));
    VZ_CHECK(renameNew(path_, cat(target_, "/", name)));
    path_.clear();
    // It has its name, whether that is on the disk yet or not.
    if (auto flushed = flushFolder(target_); !flushed)
        log::warning("the new volume ", target_, "/", name,
                     " may be gone after a power cut: ", flushed.error().message());
    return {};
}

Result<void> removeVolumeFolder(const std::string& target, const std::string& name) {
    auto gone = cat(target, "/", draftName());
    auto path = cat(target, "/", name);
    // Locked before it has the name that scans remove.
    VZ_TRY(auto lock, file::open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0)
        return failErrno(errno, "cannot lock ", path);
    VZ_CHECK(renameNew(path, gone));
    // From here on there is no volume of that name; remains go with the next scan.
    if (auto removed = file::removeTree(gone); !removed)
        log::warning("remains of the deleted volume ", path, " are left: ", removed.error().message());
    if (auto flushed = flushFolder(target); !flushed)
        log::warning("the deleted volume ", path,
                     " may be back after a power cut: ", flushed.error().message());
    return {};
}

} // namespace vz::storage
