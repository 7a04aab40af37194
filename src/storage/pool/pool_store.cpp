// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/pool/pool_store.hpp"

#include "base/file.hpp"
#include "base/log.hpp"

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace vz::storage {

namespace {

constexpr std::string_view suffix = ".xml";

Result<void> flushFolder(const std::string& path) {
    VZ_TRY(auto folder, file::open(path, O_RDONLY | O_DIRECTORY));
    if (::fsync(folder.get()) < 0)
        return failErrno(errno, "cannot flush ", path);
    return {};
}

/** A comment may not hold two dashes, and a name may. */
std::string header(const std::string& name) {
    bool safe = name.find("--") == std::string::npos && name.back() != '-';
    return cat("<!--\nThis file is kept by the vz driver of libvirtd, which overwrites changes made to it by "
               "hand.\nTo change the pool, use:\n  virsh -c vz:///system pool-edit ",
               safe ? name : "NAME", "\nor another client of libvirt.\n-->\n\n");
}

} // namespace

Result<void> PoolStore::prepare() const {
    VZ_CHECK(file::makeDirs(config_ + "/autostart", 0700));
    return file::makeDirs(run_, 0700);
}

std::string PoolStore::definitionPath(const std::string& name) const {
    return cat(config_, "/", name, suffix);
}

std::string PoolStore::linkPath(const std::string& name) const {
    return cat(config_, "/autostart/", name, suffix);
}

Result<std::vector<PoolStore::Entry>> PoolStore::load(const std::string& folder) {
    std::vector<Entry> entries;
    VZ_TRY(auto names, file::list(folder));
    for (const auto& name : names) {
        if (!name.ends_with(suffix) || name.size() == suffix.size())
            continue;
        auto text = file::read(cat(folder, "/", name), 1u << 20);
        if (text)
            entries.push_back({name.substr(0, name.size() - suffix.size()), *std::move(text)});
        else
            log::error("a pool is left out: ", text.error().message());
    }
    return entries;
}

Result<void> PoolStore::saveDefinition(const std::string& name, const std::string& xml) const {
    return file::writeAtomic(definitionPath(name), header(name) + xml);
}

Result<void> PoolStore::removeDefinition(const std::string& name) const {
    VZ_CHECK(setAutostart(name, false));
    VZ_CHECK(file::remove(definitionPath(name)));
    return flushFolder(config_);
}

Result<void> PoolStore::saveActive(const std::string& name, const std::string& xml) const {
    return file::writeVolatile(cat(run_, "/", name, suffix), xml);
}

Result<void> PoolStore::removeActive(const std::string& name) const {
    return file::remove(cat(run_, "/", name, suffix));
}

bool PoolStore::autostart(const std::string& name) const {
    struct stat info;
    return ::lstat(linkPath(name).c_str(), &info) == 0 && S_ISLNK(info.st_mode);
}

Result<void> PoolStore::setAutostart(const std::string& name, bool on) const {
    if (autostart(name) == on)
        return {};
    if (on && ::symlink(definitionPath(name).c_str(), linkPath(name).c_str()) < 0)
        return failErrno(errno, "cannot make the autostart link ", linkPath(name));
    if (!on)
        VZ_CHECK(file::remove(linkPath(name)));
    return flushFolder(config_ + "/autostart");
}

Result<bool> PoolStore::firstSinceBoot() const {
    // The run folder is emptied by a boot, not by a restart of the daemon.
    auto mark = run_ + "/autostarted";
    if (file::exists(mark))
        return false;
    VZ_CHECK(file::writeVolatile(mark, ""));
    return true;
}

} // namespace vz::storage
