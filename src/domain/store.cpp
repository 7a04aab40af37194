// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/store.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "base/xml.hpp"
#include "domain/validate.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace vz::domain {

namespace {

constexpr std::string_view suffix = ".xml";

std::string configPath(const std::string& dir, const std::string& name) {
    return cat(dir, "/", name, suffix);
}

std::string autostartDir(const std::string& dir) {
    return dir + "/autostart";
}

std::string autostartPath(const std::string& dir, const std::string& name) {
    return cat(dir, "/autostart/", name, suffix);
}

bool linkExists(const std::string& path) {
    struct stat info {};
    return ::lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode);
}

/** A comment may not hold two dashes, and a name may. */
std::string header(const std::string& name) {
    bool safe = name.find("--") == std::string::npos && name.back() != '-';
    return cat(
        "<!--\n",
        "This file is kept by the vz driver of libvirtd, which overwrites changes made to it by hand.\n",
        "To change the domain, use:\n  virsh -c vz:///system edit ", safe ? name : "NAME",
        "\nor another client of libvirt.\n-->\n\n");
}

Result<void> syncDir(const std::string& path) {
    VZ_TRY(auto folder, file::open(path, O_RDONLY | O_DIRECTORY));
    if (::fsync(folder.get()) < 0)
        return failErrno(errno, "cannot flush ", path);
    return {};
}

Result<void> makeLink(const std::string& dir, const std::string& name) {
    VZ_CHECK(file::makeDirs(autostartDir(dir), 0700));
    auto link = autostartPath(dir, name);
    auto target = configPath(dir, name);
    if (::symlink(target.c_str(), link.c_str()) < 0 && errno != EEXIST)
        return failErrno(errno, "cannot make the autostart link ", link);
    return syncDir(autostartDir(dir));
}

Result<void> removeLink(const std::string& dir, const std::string& name) {
    if (!linkExists(autostartPath(dir, name)))
        return {};
    VZ_CHECK(file::remove(autostartPath(dir, name)));
    return syncDir(autostartDir(dir));
}

Result<void> moveFile(const std::string& dir, const std::string& from, const std::string& to) {
    if (::rename(configPath(dir, from).c_str(), configPath(dir, to).c_str()) < 0)
        return failErrno(errno, "cannot rename ", configPath(dir, from), " to ", configPath(dir, to));
    return syncDir(dir);
}

/** The domain's name in a config file's text. */
Result<std::string> nameInside(const std::string& text) {
    VZ_TRY(auto doc, xml::parse(text));
    auto* root = xml::root(doc);
    if (xml::name(root) != "domain")
        return fail(ErrorCode::XmlError, "it starts with <", xml::name(root), "> instead of <domain>");
    auto name = xml::text(xml::child(root, "name"));
    VZ_CHECK(checkName(name));
    return name;
}

/** One config file; finishes a rename that a crash left half done (see Store::rename). */
Result<Store::Entry> loadOne(const std::string& dir, const std::string& fileName) {
    VZ_TRY(auto text, file::read(configPath(dir, fileName)));
    VZ_TRY(auto name, nameInside(text));
    if (name != fileName) {
        if (file::exists(configPath(dir, name)))
            return fail(ErrorCode::XmlError, "it holds the domain '", name, "', which has a file of its own");
        VZ_CHECK(moveFile(dir, fileName, name));
        VZ_CHECK(removeLink(dir, fileName));
        log::info("finished renaming the domain '", fileName, "' to '", name, "'");
    }
    return Store::Entry{std::move(name), std::move(text)};
}

void dropStrayLinks(const std::string& dir) {
    auto names = file::list(autostartDir(dir));
    if (!names)
        return;
    for (const auto& fileName : *names) {
        auto path = cat(autostartDir(dir), "/", fileName);
        if (!linkExists(path) || ::access(path.c_str(), F_OK) == 0)
            continue;
        log::warning("removing the autostart link ", path, ", whose domain is gone");
        if (auto removed = file::remove(path); !removed)
            log::warning(removed.error().message());
    }
}

} // namespace

Result<void> Store::save(const std::string& name, const std::string& xml) {
    VZ_CHECK(checkName(name));
    VZ_CHECK(file::makeDirs(dir_, 0700));
    return file::writeAtomic(configPath(dir_, name), header(name) + xml);
}

Result<void> Store::remove(const std::string& name) {
    VZ_CHECK(checkName(name));
    VZ_CHECK(removeLink(dir_, name));
    if (!file::exists(configPath(dir_, name)))
        return {};
    VZ_CHECK(file::remove(configPath(dir_, name)));
    return syncDir(dir_);
}

// The new text goes into the old file first: from then on the name inside is the new one, and load() finishes
// the rename if the process ends before the next step. An autostart link of a name without a file counts
// for nothing, so the new one is made first and the old one removed last.
Result<void> Store::rename(const std::string& from, const std::string& to, const std::string& xml) {
    VZ_CHECK(checkName(from));
    VZ_CHECK(checkName(to));
    if (file::exists(configPath(dir_, to)))
        return fail(ErrorCode::OperationFailed, "cannot rename the domain '", from,
                    "': ", configPath(dir_, to), " is there already");
    VZ_TRY(auto old, file::read(configPath(dir_, from)));
    bool linked = autostart(from);
    if (linked)
        VZ_CHECK(makeLink(dir_, to));
    auto done = file::writeAtomic(configPath(dir_, from), header(to) + xml);
    if (done)
        done = moveFile(dir_, from, to);
    if (!done) {
        // Back to the old name; what fails here is logged, the first error is the one to report.
        if (file::exists(configPath(dir_, from))) {
            if (auto restored = file::writeAtomic(configPath(dir_, from), old); !restored)
                log::error("cannot restore the domain '", from, "': ", restored.error().message());
            if (linked)
                (void)removeLink(dir_, to);
        }
        return done;
    }
    return linked ? removeLink(dir_, from) : Result<void>();
}

Result<void> Store::setAutostart(const std::string& name, bool on) {
    VZ_CHECK(checkName(name));
    return on ? makeLink(dir_, name) : removeLink(dir_, name);
}

bool Store::autostart(const std::string& name) const {
    return linkExists(autostartPath(dir_, name));
}

Result<std::vector<Store::Entry>> Store::load() const {
    std::vector<Entry> entries;
    if (!file::exists(dir_))
        return entries;
    VZ_TRY(auto names, file::list(dir_));
    for (const auto& fileName : names) {
        if (!fileName.ends_with(suffix) || fileName.size() == suffix.size())
            continue;
        auto entry = loadOne(dir_, fileName.substr(0, fileName.size() - suffix.size()));
        if (entry)
            entries.push_back(*std::move(entry));
        else
            log::error("leaving out the domain in ", dir_, "/", fileName, ": ", entry.error().message());
    }
    dropStrayLinks(dir_);
    return entries;
}

} // namespace vz::domain
