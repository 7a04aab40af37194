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

} // namespace

Result<void> saveState(const std::string& runDir, const RuntimeState& state) {
    VZ_TRY(auto doc, xml::parse("<vzstate/>"));
    auto* root = xml::root(doc);
    xml::setAttribute(root, "version", "1");
    xml::setAttribute(root, "persistent", yesNo(state.persistent));
    xml::setAttribute(root, "paused", yesNo(state.paused));
    xml::setAttribute(root, "reason", std::to_string(state.reason));
    xml::setAttribute(root, "autodestroy", state.autodestroy ? "yes" : "no");
    xml::setAttribute(root, "boots", cat(state.boots));
    for (const auto& name : state.hostInterfaces)
        xml::setAttribute(xml::addChild(root, "interface"), "name", name);
    xml::setText(xml::addChild(root, "cgroup"), state.cgroup);
    // As text: it is kept byte for byte, whatever is in it.
    xml::setText(xml::addChild(root, "domain"), state.liveXml);
    return file::writeAtomic(statePath(runDir), xml::format(doc.get()));
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
    state.autodestroy = xml::attribute(root, "autodestroy") == "yes";
    state.boots = *boots;
    for (auto* interface : xml::children(root, "interface"))
        state.hostInterfaces.push_back(xml::attribute(interface, "name"));
    state.cgroup = xml::text(xml::child(root, "cgroup"));
    state.liveXml = xml::text(xml::child(root, "domain"));
    return state;
}

} // namespace vz::domain
