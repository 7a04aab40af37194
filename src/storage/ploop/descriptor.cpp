// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/descriptor.hpp"

#include <algorithm>

namespace vz::ploop {

namespace {

constexpr size_t mostDeltas = 4096; ///< the chain has a limit of its own; this one is for branches
constexpr size_t mostText = 1u << 20;
constexpr const char* fileName = "DiskDescriptor.xml";

template<typename... Parts>
Error bad(const Parts&... parts) {
    return fail(ErrorCode::XmlDetail, parts...);
}

Result<uint64_t> readNumber(xmlNode* parent, const char* name) {
    auto* node = xml::child(parent, name);
    if (!node)
        return bad("<", name, "> is missing");
    std::string text = xml::text(node);
    auto digits = trim(text);
    bool hex = digits.starts_with("0x") || digits.starts_with("0X");
    auto number = parseNumber<uint64_t>(hex ? digits.substr(2) : digits, hex ? 16 : 10);
    if (!number)
        return bad("<", name, "> is no number: '", digits, "'");
    return *number;
}

Result<Guid> readGuid(xmlNode* parent, const char* name) {
    auto* node = xml::child(parent, name);
    if (!node)
        return bad("<", name, "> is missing");
    auto guid = parseGuid(trim(xml::text(node)));
    if (!guid)
        return bad("<", name, ">: ", guid.error().message());
    return guid;
}

xmlNode* element(xmlNode* parent, const char* name) {
    auto* node = xml::child(parent, name);
    return node ? node : xml::addChild(parent, name);
}

void put(xmlNode* parent, const char* name, const std::string& value) {
    auto* node = element(parent, name);
    if (xml::text(node) != value)
        xml::setText(node, value);
}

void putNumber(xmlNode* parent, const char* name, uint64_t value) {
    auto* node = xml::child(parent, name);
    // A number that is right stays as it was written, for example with 0x.
    if (auto now = readNumber(parent, name); !node || !now || *now != value)
        put(parent, name, cat(value));
}

void drop(xmlNode* parent, const char* name) {
    if (auto* node = xml::child(parent, name))
        xml::remove(node);
}

} // namespace

Result<Descriptor> Descriptor::make(uint64_t sectors, uint32_t clusterSectors, Mode mode) {
    Descriptor made;
    VZ_TRY(made.doc_, xml::parse("<Parallels_disk_image Version=\"1.0\"/>"));
    made.sectors = sectors;
    made.clusterSectors = clusterSectors;
    made.mode = mode;
    return made;
}

Result<Descriptor> Descriptor::parse(const std::string& text) {
    if (text.size() > mostText)
        return bad("a disk descriptor of ", text.size(), " bytes is too long");
    Descriptor read;
    VZ_TRY(read.doc_, xml::parse(text));
    auto* root = xml::root(read.doc_);
    VZ_CHECK(read.readParameters(xml::child(root, "Disk_Parameters")));
    VZ_CHECK(read.readStorage(xml::child(root, "StorageData")));
    VZ_CHECK(read.readSnapshots(xml::child(root, "Snapshots")));
    VZ_CHECK(read.validate());
    return read;
}

Result<void> Descriptor::readParameters(xmlNode* parameters) {
    if (!parameters)
        return bad("<Disk_Parameters> is missing");
    VZ_TRY(sectors, readNumber(parameters, "Disk_size"));
    if (auto* padding = xml::child(parameters, "Padding"); padding && trim(xml::text(padding)) == "1")
        return bad("images with padding are not supported");
    encrypted = xml::path(parameters, {"Encryption", "KeyId"}) != nullptr;
    return {};
}

Result<void> Descriptor::readStorage(xmlNode* data) {
    if (xml::child(data, "Volume"))
        return bad("images that continue in another folder are not supported");
    auto storages = xml::children(data, "Storage");
    if (storages.size() != 1)
        return bad("a disk of ", storages.size(), " parts is not supported");
    VZ_TRY(uint64_t block, readNumber(storages[0], "Blocksize"));
    if (auto usable = checkClusterSize(block); !usable)
        return bad("<Blocksize>: ", usable.error().message());
    clusterSectors = static_cast<uint32_t>(block);
    if (auto* all = xml::child(storages[0], "Preallocated"); all && trim(xml::text(all)) == "1")
        mode = Mode::Preallocated;
    for (auto* node : xml::children(storages[0], "Image")) {
        Delta delta;
        delta.node = node;
        VZ_TRY(delta.guid, readGuid(node, "GUID"));
        std::string type(trim(xml::text(xml::child(node, "Type"))));
        if (type != "Compressed" && type != "Plain")
            return bad("a file of the type '", type, "' is not supported");
        delta.plain = type == "Plain";
        delta.file = trim(xml::text(xml::child(node, "File")));
        if (delta.file.empty())
            return bad("<File> is missing or empty");
        deltas.push_back(std::move(delta));
        if (deltas.size() > mostDeltas)
            return bad("more than ", mostDeltas, " files are not supported");
    }
    if (deltas.empty())
        return bad("there is no <Image>");
    return {};
}

Result<void> Descriptor::readSnapshots(xmlNode* snapshots) {
    top.clear();
    if (xml::child(snapshots, "TopGUID")) {
        VZ_TRY(top, readGuid(snapshots, "TopGUID"));
    }
    for (auto* node : xml::children(snapshots, "Shot")) {
        Shot shot;
        shot.node = node;
        VZ_TRY(shot.guid, readGuid(node, "GUID"));
        VZ_TRY(shot.parent, readGuid(node, "ParentGUID"));
        if (xml::child(node, "TemporaryZero") || xml::child(node, "TemporaryZeroSwap"))
            shot.mark = Mark::Foreign;
        else if (xml::child(node, "Temporary"))
            shot.mark = Mark::Temporary;
        shots.push_back(std::move(shot));
        if (shots.size() > mostDeltas)
            return bad("more than ", mostDeltas, " snapshots are not supported");
    }
    return {};
}

Result<void> Descriptor::validate() {
    // As old tools left it for an image that never had a snapshot.
    if (shots.size() + 1 == deltas.size())
        shots.push_back({topGuid, noGuid});
    if (top.empty())
        top = topGuid;
    auto twice = [](auto list) {
        std::sort(list.begin(), list.end(), [](const auto& a, const auto& b) { return a.guid < b.guid; });
        return std::adjacent_find(list.begin(), list.end(), [](const auto& a, const auto& b) {
                   return a.guid == b.guid;
               }) != list.end();
    };
    if (shots.size() != deltas.size() || twice(shots) || twice(deltas))
        return bad("<Image> and <Shot> elements do not match");
    for (const auto& delta : deltas) {
        if (!shot(delta.guid))
            return bad("there is no <Shot> for the image ", delta.guid);
        // The reference tool writes Plain for all files of an image whose base is one.
        if (delta.plain && shot(delta.guid)->parent == noGuid)
            mode = mode == Mode::Preallocated ? mode : Mode::Raw;
    }
    if (!shot(top))
        return bad("the top ", top, " is not among the snapshots");
    if (shot(top)->mark == Mark::Temporary)
        return bad("the top is marked as temporary");
    if (top != topGuid) {
        if (shot(topGuid))
            return bad("the top is ", top, ", but there is a snapshot with the GUID of a top");
        std::string old = std::exchange(top, topGuid);
        delta(old)->guid = topGuid;
        for (auto& each : shots) {
            each.parent = each.parent == old ? topGuid : each.parent;
            each.guid = each.guid == old ? topGuid : each.guid;
        }
    }
    VZ_CHECK(chain(top));
    return {};
}

Descriptor::Delta* Descriptor::delta(const Guid& guid) {
    auto found =
        std::find_if(deltas.begin(), deltas.end(), [&](const Delta& delta) { return delta.guid == guid; });
    return found == deltas.end() ? nullptr : &*found;
}

Descriptor::Shot* Descriptor::shot(const Guid& guid) {
    auto found =
        std::find_if(shots.begin(), shots.end(), [&](const Shot& shot) { return shot.guid == guid; });
    return found == shots.end() ? nullptr : &*found;
}

std::vector<Descriptor::Shot*> Descriptor::childrenOf(const Guid& guid) {
    std::vector<Shot*> found;
    for (auto& shot : shots) {
        if (shot.parent == guid)
            found.push_back(&shot);
    }
    return found;
}

Result<std::vector<const Descriptor::Delta*>> Descriptor::chain(const Guid& guid) const {
    std::vector<const Delta*> found;
    Guid at = guid;
    auto& self = const_cast<Descriptor&>(*this);
    while (at != noGuid) {
        auto* shot = self.shot(at);
        auto* delta = self.delta(at);
        if (!shot || !delta) {
            if (found.empty())
                return fail(ErrorCode::NoSnapshot, "there is no snapshot ", guid);
            return bad("the snapshot ", found.back()->guid, " has the unknown parent ", at);
        }
        if (found.size() == mostLevels)
            return bad("the snapshots above ", guid, " are a circle or more than ", mostLevels);
        found.push_back(delta);
        at = shot->parent;
    }
    std::reverse(found.begin(), found.end());
    return found;
}

void Descriptor::add(Delta delta, Shot shot) {
    deltas.push_back(std::move(delta));
    shots.push_back(std::move(shot));
}

void Descriptor::remove(const Guid& guid) {
    auto forget = [&](auto& list) {
        for (auto& item : list) {
            if (item.guid == guid && item.node)
                xml::remove(item.node);
        }
        std::erase_if(list, [&](const auto& item) { return item.guid == guid; });
    };
    forget(deltas);
    forget(shots);
}

void Descriptor::formatParameters(xmlNode* root) {
    auto* parameters = element(root, "Disk_Parameters");
    auto chs = chsOf(sectors);
    putNumber(parameters, "Disk_size", sectors);
    putNumber(parameters, "Cylinders", chs.cylinders);
    putNumber(parameters, "Heads", chs.heads);
    putNumber(parameters, "Sectors", chs.sectors);
    putNumber(parameters, "Padding", 0);
}

void Descriptor::formatStorage(xmlNode* root) {
    auto* storage = element(element(root, "StorageData"), "Storage");
    putNumber(storage, "Start", 0);
    putNumber(storage, "End", sectors);
    putNumber(storage, "Blocksize", clusterSectors);
    if (mode == Mode::Preallocated)
        putNumber(storage, "Preallocated", 1);
    else
        drop(storage, "Preallocated");
    for (auto& delta : deltas) {
        if (!delta.node)
            delta.node = xml::addChild(storage, "Image");
        put(delta.node, "GUID", delta.guid);
        bool base = shot(delta.guid) && shot(delta.guid)->parent == noGuid;
        put(delta.node, "Type", base && delta.plain ? "Plain" : "Compressed");
        put(delta.node, "File", delta.file);
    }
}

void Descriptor::formatSnapshots(xmlNode* root) {
    auto* snapshots = element(root, "Snapshots");
    put(snapshots, "TopGUID", top);
    for (auto& shot : shots) {
        if (!shot.node)
            shot.node = xml::addChild(snapshots, "Shot");
        put(shot.node, "GUID", shot.guid);
        put(shot.node, "ParentGUID", shot.parent);
        if (shot.mark == Mark::Temporary)
            element(shot.node, "Temporary");
        if (shot.mark == Mark::None)
            drop(shot.node, "Temporary");
    }
}

std::string Descriptor::format() {
    auto* root = xml::root(doc_);
    formatParameters(root);
    formatStorage(root);
    formatSnapshots(root);
    return "<?xml version=\"1.0\"?>\n" + xml::format(doc_.get());
}

std::string descriptorPath(FileSystem& files, const std::string& given) {
    if (nameOf(given).ends_with(".xml"))
        return given;
    std::string inside = cat(given, "/", fileName);
    if (files.exists(inside))
        return inside;
    std::string beside = cat(folderOf(given), "/", fileName);
    return files.exists(beside) && files.exists(given) && !files.isFolder(given) ? beside : inside;
}

} // namespace vz::ploop
