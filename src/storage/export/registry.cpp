// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/registry.hpp"

#include "base/file.hpp"
#include "storage/export/wire.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>

namespace vz::exports {

namespace {

constexpr std::string_view stateEnding = ".state";
constexpr size_t fixedFields = 8;

std::optional<Attachment> parse(const std::string& id, const Texts& texts) {
    auto mechanism = texts.size() > fixedFields ? mechanismNamed(texts[6]) : std::nullopt;
    if (!mechanism)
        return {};
    Attachment found;
    found.id = id;
    found.descriptor = texts[0];
    found.guid = texts[1];
    found.device = texts[2];
    found.partition = texts[3];
    found.pid = parseNumber<pid_t>(texts[4]).value_or(0);
    found.readOnly = texts[5] == "ro";
    found.mechanism = *mechanism;
    found.sequence = parseNumber<uint64_t>(texts[7]).value_or(0);
    found.files.assign(texts.begin() + fixedFields, texts.end());
    return found;
}

} // namespace

std::string runFolder() {
    const char* given = std::getenv("VZ_PLOOP_RUNDIR");
    return given && *given == '/' ? given : "/run/vz-ploop";
}

std::string newId() {
    auto guid = ploop::randomGuid();
    std::erase_if(guid, [](char c) { return c == '{' || c == '}' || c == '-'; });
    return guid.substr(0, 16);
}

std::string Attachment::statePath() const {
    return cat(runFolder(), "/", id, stateEnding);
}

std::string Attachment::socketPath() const {
    return cat(runFolder(), "/", id, ".sock");
}

Result<void> writeState(const Attachment& it) {
    Texts texts{it.descriptor,        it.guid,         it.device,
                it.partition,         cat(it.pid),     it.readOnly ? "ro" : "rw",
                nameOf(it.mechanism), cat(it.sequence)};
    texts.insert(texts.end(), it.files.begin(), it.files.end());
    return file::writeVolatile(it.statePath(), encodeTexts(texts));
}

void removeState(const Attachment& attachment) {
    (void)file::remove(attachment.socketPath());
    (void)file::remove(attachment.statePath());
}

Result<std::vector<Attachment>> readStates() {
    std::vector<Attachment> found;
    if (!file::exists(runFolder()))
        return found;
    auto names = file::list(runFolder());
    if (!names && names.error().systemError() == EACCES)
        return found; // not ours: devices are root's
    if (!names)
        return std::move(names).takeError();
    for (const auto& name : *names) {
        if (!name.ends_with(stateEnding))
            continue;
        auto text = file::read(cat(runFolder(), "/", name));
        if (!text && text.error().systemError() == ENOENT)
            continue; // gone meanwhile
        if (!text)
            return std::move(text).takeError();
        if (auto one = parse(name.substr(0, name.size() - stateEnding.size()), decodeTexts(*text)))
            found.push_back(*std::move(one));
    }
    return found;
}

} // namespace vz::exports
