// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/file.hpp"
#include "cli/ploop.hpp"
#include "storage/export/mounts.hpp"
#include "storage/ploop/copy.hpp"

#include <cinttypes>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>

namespace vz::cli {

using namespace ploop;

namespace {

Result<Guid> wantedGuid(const Arguments& arguments) {
    if (!arguments.has('u'))
        return fail(ErrorCode::InvalidArg, "the snapshot is missing (-u UUID)");
    return parseGuid(arguments.value('u'));
}

/** The file system on the device is still while the snapshot is made, if it is mounted where we see it. */
Result<Guid> snapshotRunning(const exports::Attachment& running, const std::optional<Guid>& guid) {
    exports::Texts request{"snapshot"};
    if (guid)
        request.push_back(*guid);
    UniqueFd folder;
    VZ_TRY(auto points, exports::mountPoints(running));
    if (!points.empty()) {
        VZ_TRY(folder, file::open(points.front(), O_RDONLY | O_DIRECTORY));
    }
    auto made = exports::call(running, request, {}, folder.get());
    // Where the other side has died over it.
    if (!made && folder && !exports::alive(running))
        (void)::ioctl(folder.get(), FITHAW, 0);
    if (!made)
        return std::move(made).takeError();
    return made->empty() ? Guid() : made->front();
}

/** Has work on the image done by who has it open, or does it on the image itself. */
Result<void> onVolume(const std::string& given, const exports::Texts& request, const Progress& progress,
                      const std::function<Result<void>(Volume&)>& work) {
    VZ_TRY(auto running, runningOf(given));
    if (running) {
        auto done = exports::call(*running, request, progress);
        if (done)
            return {};
        if (!exports::wasGone(done.error()))
            return std::move(done).takeError();
    }
    VZ_TRY(auto volume, openVolume(given));
    VZ_CHECK(work(*volume));
    return volume->close();
}

} // namespace

Outcome snapshotCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "u:Fd"));
    VZ_CHECK(arguments.expect(1, 1));
    std::optional<Guid> guid;
    if (arguments.has('u')) {
        VZ_TRY(guid, parseGuid(arguments.value('u')));
    }
    VZ_TRY(auto running, runningOf(arguments.rest()[0]));
    Guid made;
    if (running) {
        auto done = snapshotRunning(*running, guid);
        if (!done && !exports::wasGone(done.error()))
            return std::move(done).takeError();
        made = std::move(done).valueOr("");
    }
    if (made.empty()) {
        VZ_TRY(auto volume, openVolume(arguments.rest()[0]));
        VZ_TRY(made, volume->snapshot(guid));
        VZ_CHECK(volume->close());
    }
    std::printf("ploop snapshot %s has been successfully created\n", made.c_str());
    return exitOk;
}

Outcome snapshotDeleteCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "u:"));
    VZ_CHECK(arguments.expect(1, 1));
    VZ_TRY(auto guid, wantedGuid(arguments));
    auto progress = terminalProgress("merge");
    VZ_CHECK(onVolume(arguments.rest()[0], {"delete", guid}, progress,
                      [&](Volume& volume) { return volume.remove(guid, progress); }));
    std::printf("ploop snapshot %s has been successfully deleted\n", guid.c_str());
    return exitOk;
}

Outcome snapshotSwitchCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "u:"));
    VZ_CHECK(arguments.expect(1, 1));
    VZ_TRY(auto guid, wantedGuid(arguments));
    VZ_TRY(auto running, runningOf(arguments.rest()[0]));
    if (running)
        return fail(ErrorCode::InvalidArg, arguments.rest()[0], " is in use as ", running->device,
                    ": its content cannot be exchanged");
    VZ_TRY(auto volume, openVolume(arguments.rest()[0]));
    VZ_CHECK(volume->switchTo(guid));
    VZ_CHECK(volume->close());
    std::printf("ploop snapshot has been successfully switched\n");
    return exitOk;
}

Outcome snapshotMergeCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "u:A"));
    VZ_CHECK(arguments.expect(1, 1));
    Guid guid = topGuid;
    if (arguments.has('u')) {
        VZ_TRY(guid, parseGuid(arguments.value('u')));
    }
    auto progress = terminalProgress("merge");
    exports::Texts request{"merge"};
    if (!arguments.has('A'))
        request.push_back(guid);
    VZ_CHECK(onVolume(arguments.rest()[0], request, progress, [&](Volume& volume) -> Result<void> {
        if (!arguments.has('A'))
            return volume.merge(guid, progress);
        // All of the chain into its base; branches are in the way, and told about.
        while (volume.descriptor().shot(topGuid)->parent != noGuid)
            VZ_CHECK(volume.merge(topGuid, progress));
        return {};
    }));
    return exitOk;
}

namespace {

struct Row {
    std::string parent, current, guid, file;
};
struct Column {
    const char* name;
    const char* title;
    int width;
    std::string Row::*value;
};
constexpr Column columns[] = {
    {"parent_uuid", "PARENT_UUID", 38, &Row::parent},
    {"current", "C", 1, &Row::current},
    {"uuid", "UUID", 38, &Row::guid},
    {"fname", "FNAME", 32, &Row::file},
};

Result<std::vector<const Column*>> chosenColumns(const std::string& names) {
    std::vector<const Column*> chosen;
    if (names.empty()) {
        for (const auto& column : columns)
            chosen.push_back(&column);
        return chosen;
    }
    for (auto name : split(names, ',')) {
        const Column* found = nullptr;
        for (const auto& column : columns) {
            if (name == column.name)
                found = &column;
        }
        if (!found)
            return fail(ErrorCode::InvalidArg, "unknown field '", name, "'");
        chosen.push_back(found);
    }
    return chosen;
}

std::string realPath(const std::string& path) {
    char* real = ::realpath(path.c_str(), nullptr);
    std::string out = real ? real : path;
    std::free(real);
    return out;
}

/** In the order of the descriptor. With @p snapshotsOnly the top is left out and its parent is the current
 * one. */
std::vector<Row> rowsOf(Descriptor& model, const std::string& descriptor, bool snapshotsOnly) {
    std::vector<Row> rows;
    Guid current = snapshotsOnly ? model.shot(model.top)->parent : model.top;
    for (const auto& shot : model.shots) {
        if (shot.mark != Descriptor::Mark::None || (snapshotsOnly && shot.guid == model.top))
            continue;
        const auto& file = model.delta(shot.guid)->file;
        rows.push_back({shot.parent, shot.guid == current ? "*" : " ", shot.guid,
                        file.starts_with('/') ? file : cat(realPath(folderOf(descriptor)), "/", file)});
    }
    return rows;
}

} // namespace

Outcome snapshotListCommand(const Words& words) {
    VZ_TRY(auto arguments,
           Arguments::parse(words, "Ho:u:s", {{"id", 'u'}, {"uuid", 'u'}, {"snapshots", 's'}}));
    VZ_CHECK(arguments.expect(1, 1));
    VZ_TRY(auto chosen, chosenColumns(arguments.value('o')));
    auto descriptor = descriptorPath(hostFiles(), arguments.rest()[0]);
    VZ_TRY(auto model, Volume::read(hostFiles(), descriptor));
    auto rows = rowsOf(model, descriptor, arguments.has('s'));
    if (arguments.has('u')) {
        VZ_TRY(auto guid, parseGuid(arguments.value('u')));
        VZ_TRY(auto chain, model.chain(guid));
        std::erase_if(rows, [&](const Row& row) {
            return std::none_of(chain.begin(), chain.end(),
                                [&](const auto* delta) { return delta->guid == row.guid; });
        });
    }
    if (!arguments.has('H')) {
        for (const auto* column : chosen)
            std::printf("%-*s ", column->width, column->title);
        std::printf("\n");
    }
    for (const auto& row : rows) {
        for (const auto* column : chosen) {
            const auto& value = row.*column->value;
            if (column == chosen.back())
                std::printf("%s", value.c_str());
            else
                std::printf("%-*s ", column->width, value.c_str());
        }
        std::printf("\n");
    }
    return exitOk;
}

/** "OFFSET LENGTH" in bytes, a line each. */
Outcome snapshotDiffCommand(const Words& words) {
    VZ_TRY(auto arguments, Arguments::parse(words, "f:t:", {{"from", 'f'}, {"to", 't'}}));
    VZ_CHECK(arguments.expect(1, 1));
    VZ_TRY(auto from, parseGuid(arguments.value('f')));
    VZ_TRY(auto to, parseGuid(arguments.value('t', topGuid)));
    VZ_TRY(auto ranges,
           changedBetween(hostFiles(), descriptorPath(hostFiles(), arguments.rest()[0]), from, to));
    for (const auto& range : ranges)
        std::printf("%" PRIu64 " %" PRIu64 "\n", range.offset, range.length);
    return exitOk;
}

} // namespace vz::cli
