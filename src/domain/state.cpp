// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/file.hpp"
#include "base/xml.hpp"
#include "domain/store.hpp"

namespace vz::domain {

namespace {

std::string statePath(const std::string& runDir) {
    return runDir + "/state.xml";
}

const char* yesNo(bool value) {
    return value ? "yes" : "no";
}

void addRanges(xmlNode* root, const char* name, const std::vector<ct::IdRange>& ranges) {
    for (const auto& range : ranges) {
        auto* element = xml::addChild(root, name);
        xml::setAttribute(element, "inside", cat(range.inside));
        xml::setAttribute(element, "host", cat(range.host));
        xml::setAttribute(element, "count", cat(range.count));
    }
}

Result<std::vector<ct::IdRange>> readRanges(xmlNode* root, const char* name) {
    std::vector<ct::IdRange> ranges;
    for (auto* element : xml::children(root, name)) {
        auto inside = parseNumber<uint32_t>(xml::attribute(element, "inside"));
        auto host = parseNumber<uint32_t>(xml::attribute(element, "host"));
        auto count = parseNumber<uint32_t>(xml::attribute(element, "count"));
        if (!inside || !host || !count)
            return fail(ErrorCode::XmlError, "the state file has a <", name, "> that is no range of ids");
        ranges.push_back({*inside, *host, *count});
    }
    return ranges;
}

/** The texts of a disk by the names of their attributes. */
constexpr std::pair<const char*, std::string UsedDisk::*> diskTexts[] = {
    {"name", &UsedDisk::name},           {"path", &UsedDisk::path},
    {"image", &UsedDisk::image},         {"device", &UsedDisk::device},
    {"partition", &UsedDisk::partition}, {"place", &UsedDisk::place},
    {"type", &UsedDisk::fsType},         {"statistics", &UsedDisk::statistics}};

void addDisk(xmlNode* root, const UsedDisk& disk) {
    auto* element = xml::addChild(root, "disk");
    for (auto [name, text] : diskTexts)
        xml::setAttribute(element, name, disk.*text);
    xml::setAttribute(element, "mounted", yesNo(disk.mounted));
    xml::setAttribute(element, "readonly", yesNo(disk.readOnly));
}

UsedDisk readDisk(xmlNode* element) {
    UsedDisk disk;
    for (auto [name, text] : diskTexts)
        disk.*text = xml::attribute(element, name);
    disk.mounted = xml::attribute(element, "mounted") == "yes";
    disk.readOnly = xml::attribute(element, "readonly") == "yes";
    return disk;
}

/** The texts of an interface by the names of their attributes. */
constexpr std::pair<const char*, std::string UsedInterface::*> interfaceTexts[] = {
    {"name", &UsedInterface::name},
    {"network", &UsedInterface::network},
    {"port", &UsedInterface::portId},
    {"switch", &UsedInterface::switchBridge},
    {"downscript", &UsedInterface::downScript}};
constexpr std::pair<const char*, bool UsedInterface::*> interfaceMarks[] = {
    {"filtered", &UsedInterface::filtered},
    {"shaped", &UsedInterface::shaped},
    {"routed", &UsedInterface::routed}};
constexpr std::pair<const char*, std::string ct::CreatedInterface::*> linkTexts[] = {
    {"host", &ct::CreatedInterface::hostName},
    {"guest", &ct::CreatedInterface::guestName},
    {"mac", &ct::CreatedInterface::mac}};
constexpr std::pair<const char*, ct::LinkKind> linkKinds[] = {
    {"veth", ct::LinkKind::Veth}, {"macvlan", ct::LinkKind::Macvlan}, {"moved", ct::LinkKind::Moved}};

void addInterface(xmlNode* root, const UsedInterface& used) {
    auto* element = xml::addChild(root, "interface");
    for (auto [name, text] : interfaceTexts)
        xml::setAttribute(element, name, used.*text);
    for (auto [name, mark] : interfaceMarks)
        xml::setAttribute(element, name, yesNo(used.*mark));
    for (auto [name, text] : linkTexts)
        xml::setAttribute(element, name, used.link.*text);
    for (auto [name, kind] : linkKinds) {
        if (kind == used.link.kind)
            xml::setAttribute(element, "kind", name);
    }
    xml::setAttribute(element, "index", cat(used.link.guestIndex));
    xml::setAttribute(element, "mtu", cat(used.link.mtu));
}

UsedInterface readInterface(xmlNode* element) {
    UsedInterface used;
    for (auto [name, text] : interfaceTexts)
        used.*text = xml::attribute(element, name);
    for (auto [name, mark] : interfaceMarks)
        used.*mark = xml::attribute(element, name) == "yes";
    for (auto [name, text] : linkTexts)
        used.link.*text = xml::attribute(element, name);
    for (auto [name, kind] : linkKinds) {
        if (xml::attribute(element, "kind") == name)
            used.link.kind = kind;
    }
    used.link.guestIndex = parseNumber<int>(xml::attribute(element, "index")).value_or(0);
    used.link.mtu = parseNumber<unsigned>(xml::attribute(element, "mtu")).value_or(0);
    return used;
}

} // namespace

Result<void> saveState(const std::string& runDir, const RuntimeState& state) {
    VZ_TRY(auto doc, xml::parse("<vzstate/>"));
    auto* root = xml::root(doc);
    xml::setAttribute(root, "version", "1");
    xml::setAttribute(root, "persistent", yesNo(state.persistent));
    xml::setAttribute(root, "paused", yesNo(state.paused));
    xml::setAttribute(root, "reason", std::to_string(state.reason));
    xml::setAttribute(root, "starting", state.starting ? "yes" : "no");
    xml::setAttribute(root, "autodestroy", state.autodestroy ? "yes" : "no");
    xml::setAttribute(root, "boots", cat(state.boots));
    xml::setAttribute(root, "cpus", state.cpus);
    addRanges(root, "uid", state.uidMap);
    addRanges(root, "gid", state.gidMap);
    for (const auto& used : state.interfaces)
        addInterface(root, used);
    for (const auto& disk : state.disks)
        addDisk(root, disk);
    xml::setText(xml::addChild(root, "cgroup"), state.cgroup);
    // As text: it is kept byte for byte, whatever is in it.
    xml::setText(xml::addChild(root, "domain"), state.liveXml);
    if (!state.tuning.empty())
        xml::setText(xml::addChild(root, "tuning"), state.tuning);
    return file::writeVolatile(statePath(runDir), xml::format(doc.get()));
}

Result<RuntimeState> loadState(const std::string& runDir) {
    auto path = statePath(runDir);
    VZ_TRY(auto text, file::read(path));
    auto doc = xml::parse(text);
    if (!doc)
        return std::move(doc).takeError().within(path);
    auto* root = xml::root(*doc);
    auto reason = parseNumber<int>(xml::attribute(root, "reason"));
    auto boots = parseNumber<unsigned>(xml::attribute(root, "boots"));
    if (xml::name(root) != "vzstate" || xml::attribute(root, "version") != "1" || !reason || !boots)
        return fail(ErrorCode::XmlError, path, " is no state file of this version of the driver");
    RuntimeState state;
    state.persistent = xml::attribute(root, "persistent") == "yes";
    state.paused = xml::attribute(root, "paused") == "yes";
    state.reason = *reason;
    state.starting = xml::attribute(root, "starting") == "yes";
    state.autodestroy = xml::attribute(root, "autodestroy") == "yes";
    state.boots = *boots;
    state.cpus = xml::attribute(root, "cpus");
    VZ_TRY(state.uidMap, readRanges(root, "uid"));
    VZ_TRY(state.gidMap, readRanges(root, "gid"));
    for (auto* interface : xml::children(root, "interface"))
        state.interfaces.push_back(readInterface(interface));
    for (auto* disk : xml::children(root, "disk"))
        state.disks.push_back(readDisk(disk));
    state.cgroup = xml::text(xml::child(root, "cgroup"));
    state.liveXml = xml::text(xml::child(root, "domain"));
    state.tuning = xml::text(xml::child(root, "tuning"));
    return state;
}

} // namespace vz::domain
