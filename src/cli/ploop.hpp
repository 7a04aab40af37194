// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "cli/arguments.hpp"
#include "storage/export/client.hpp"
#include "storage/ploop/volume.hpp"

/** The parts of the ploop program: one function per subcommand, and what they share. */
namespace vz::cli {

/** How a subcommand ended if it did not fail: the exit status. */
using Outcome = Result<int>;
using Words = std::vector<std::string>;

/** Exit statuses that callers of the reference tool know. */
enum Exit : int {
    exitOk = 0,
    exitCreate = 1,
    exitOpen = 4,
    exitMemory = 5,
    exitBadFormat = 11,
    exitSystem = 12,
    exitExists = 17,
    exitMount = 21,
    exitUmount = 22,
    exitLock = 23,
    exitResizeFs = 26,
    exitAbort = 29,
    exitInUse = 37,
    exitParameter = 38,
    exitDescriptor = 39,
    exitNoMount = 40,
    exitFsck = 41,
    exitNoSnapshot = 43,
    exitUmountBusy = 46,
};
int exitStatusOf(const Error& error);

/** Prints "NN%" on the terminal, if standard error is one and the work takes a while. Clears it at the end.
 */
ploop::Progress terminalProgress(const std::string& what);

/** How long a subcommand waits for an image that is in use. */
constexpr std::chrono::seconds lockWait{10};

/** Opens the image that @p given means, for changing it. */
Result<std::unique_ptr<ploop::Volume>> openVolume(const std::string& given);
Result<ploop::Descriptor::Mode> parseMode(const std::string& text);
Result<ploop::Version> parseVersion(const std::string& text);

/** The attachment of the image that @p given means, if it is a device at present: its vz-ploopd has it open
 * then. */
Result<std::optional<exports::Attachment>> runningOf(const std::string& given);

/** Tells of a failure on standard error; @p status. */
int failWith(int status, const Error& error);

/** Makes an image at least @p sectors large, with what is on it; or smaller. */
Outcome resizeTo(const std::string& given, uint64_t sectors);

Outcome mountCommand(const Words& words);
Outcome umountCommand(const Words& words);
Outcome listCommand(const Words& words);
Outcome balloonCommand(const Words& words);

Outcome initCommand(const Words& words);
Outcome resizeCommand(const Words& words);
Outcome growCommand(const Words& words);
Outcome infoCommand(const Words& words);
Outcome statCommand(const Words& words);
Outcome checkCommand(const Words& words);
Outcome importCommand(const Words& words);
Outcome convertCommand(const Words& words);
Outcome copyCommand(const Words& words);
Outcome restoreCommand(const Words& words);
Outcome replaceCommand(const Words& words);
Outcome snapshotCommand(const Words& words);
Outcome snapshotDeleteCommand(const Words& words);
Outcome snapshotSwitchCommand(const Words& words);
Outcome snapshotMergeCommand(const Words& words);
Outcome snapshotListCommand(const Words& words);
Outcome snapshotDiffCommand(const Words& words);

} // namespace vz::cli
