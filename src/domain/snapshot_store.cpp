// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/snapshot_store.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "base/xml.hpp"

#include <cerrno>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <unistd.h>

namespace vz::domain {

namespace {

constexpr std::string_view suffix = ".xml";

Result<Snapshot> loadOne(const abi::DomainXml& parser, const std::string& path, std::string_view name) {
    VZ_TRY(auto text, file::read(path));
    VZ_TRY(auto snapshot, parseSnapshot(parser, text));
    if (snapshot.name != name)
        return fail(ErrorCode::XmlError, "it holds the snapshot '", snapshot.name, "'");
    return snapshot;
}

} // namespace

std::string SnapshotStore::path(const std::string& name) const {
    return cat(folder_, "/", name, suffix);
}

Result<void> SnapshotStore::flush() const {
    VZ_TRY(auto folder, file::open(folder_, O_RDONLY | O_DIRECTORY));
    if (::fsync(folder.get()) < 0)
        return failErrno(errno, "cannot flush ", folder_);
    return {};
}

Result<SnapshotTree> SnapshotStore::load() const {
    if (!file::exists(folder_))
        return SnapshotTree();
    VZ_TRY(auto names, file::list(folder_));
    std::vector<Snapshot> found;
    for (std::string_view name : names) {
        if (!name.ends_with(suffix) || name.size() == suffix.size())
            continue;
        name.remove_suffix(suffix.size());
        auto one = loadOne(parser_, path(std::string(name)), name);
        if (one)
            found.push_back(*std::move(one));
        else
            log::error("leaving out the snapshot in ", folder_, "/", name, suffix, ": ",
                       one.error().message());
    }
    std::string current;
    if (file::exists(folder_ + "/current")) {
        VZ_TRY(current, file::read(folder_ + "/current"));
    }
    std::vector<std::string> orphans;
    auto tree = SnapshotTree::make(std::move(found), current, orphans);
    for (const auto& name : orphans)
        log::warning("the parent of the snapshot ", path(name), " is not there: it counts as one without");
    return tree;
}

Result<void> SnapshotStore::save(const Snapshot& snapshot) {
    VZ_TRY(auto text, formatSnapshot(parser_, snapshot, VIR_DOMAIN_XML_SECURE));
    VZ_CHECK(file::makeDirs(folder_, 0700));
    return file::writeAtomic(path(snapshot.name), text);
}

Result<void> SnapshotStore::remove(const std::string& name) {
    if (!file::exists(path(name)))
        return {};
    VZ_CHECK(file::remove(path(name)));
    return flush();
}

Result<void> SnapshotStore::setCurrent(const std::string& name) {
    if (name.empty() && !file::exists(folder_ + "/current"))
        return {};
    return file::writeAtomic(folder_ + "/current", name);
}

Result<void> SnapshotStore::removeAll() {
    return file::removeTree(folder_);
}

Result<std::optional<PendingWork>> SnapshotStore::pending() const {
    auto from = folder_ + "/pending";
    if (!file::exists(from))
        return std::optional<PendingWork>();
    VZ_TRY(auto text, file::read(from));
    VZ_TRY(auto doc, xml::parse(text));
    auto* root = xml::root(doc);
    PendingWork work;
    auto kind = xml::attribute(root, "kind");
    if (xml::name(root) != "pending" || (kind != "create" && kind != "revert"))
        return fail(ErrorCode::XmlError, from, " is not what it should be");
    work.kind = kind == "create" ? PendingWork::Kind::Create : PendingWork::Kind::Revert;
    work.metadata = xml::attribute(root, "metadata") != "no";
    work.guid = xml::attribute(root, "guid");
    work.keep = xml::attribute(root, "keep");
    work.name = xml::text(xml::child(root, "name"));
    work.document = xml::text(xml::child(root, "document"));
    for (auto* image : xml::children(root, "image"))
        work.images.push_back(xml::text(image));
    return std::optional(std::move(work));
}

Result<void> SnapshotStore::setPending(const PendingWork& work) {
    xml::Doc doc(xmlNewDoc(xml::chars("1.0")));
    auto* root = xmlNewDocNode(doc.get(), nullptr, xml::chars("pending"), nullptr);
    xmlDocSetRootElement(doc.get(), root);
    xml::setAttribute(root, "kind", work.kind == PendingWork::Kind::Create ? "create" : "revert");
    xml::setAttribute(root, "metadata", work.metadata ? "yes" : "no");
    xml::setAttribute(root, "guid", work.guid);
    if (!work.keep.empty())
        xml::setAttribute(root, "keep", work.keep);
    xml::setText(xml::addChild(root, "name"), work.name);
    for (const auto& image : work.images)
        xml::setText(xml::addChild(root, "image"), image);
    if (!work.document.empty())
        xml::setText(xml::addChild(root, "document"), work.document);
    VZ_CHECK(file::makeDirs(folder_, 0700));
    return file::writeAtomic(folder_ + "/pending", xml::format(doc.get()));
}

Result<void> SnapshotStore::clearPending() {
    auto from = folder_ + "/pending";
    if (!file::exists(from))
        return {};
    VZ_CHECK(file::remove(from));
    return flush();
}

} // namespace vz::domain
