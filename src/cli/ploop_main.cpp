// SPDX-License-Identifier: LGPL-2.1-or-later
// ploop: makes, changes and checks ploop images. Command lines, output and exit statuses are those of the
// tool of the same name that libvirt's storage driver, OpenStack Nova and scripts call.
#include "cli/ploop.hpp"

#include <cstdio>
#include <exception>

namespace {

using namespace vz;
using namespace vz::cli;

struct Subcommand {
    const char* name;
    Outcome (*run)(const Words& words);
    const char* usage;
};

constexpr Subcommand subcommands[] = {
    {"init", initCommand,
     "-s SIZE [-f FORMAT] [-v VERSION] [-t FSTYPE|none] [-b CLUSTER] [-B BLOCK] [-L LABEL] [-n] "
     "[-S] [-P] DELTA"},
    {"mount", mountCommand,
     "[-r] [-F] [-m FOLDER] [-t FSTYPE] [-o OPTIONS] [-u UUID] [-d DEVICE] [--export loop|fuse|nbd-device] "
     "DESCRIPTOR"},
    {"umount", umountCommand, "-m FOLDER | -d DEVICE | DESCRIPTOR"},
    {"list", listCommand, "[-f]"},
    {"balloon", balloonCommand, "show [-f] DESCRIPTOR; discard [--automount] [--defrag] DESCRIPTOR"},
    {"resize", resizeCommand, "-s SIZE DESCRIPTOR"},
    {"grow", growCommand, "-s SIZE [-f raw] DELTA|DESCRIPTOR"},
    {"snapshot", snapshotCommand, "[-u UUID] DESCRIPTOR"},
    {"snapshot-delete", snapshotDeleteCommand, "-u UUID DESCRIPTOR"},
    {"snapshot-switch", snapshotSwitchCommand, "-u UUID DESCRIPTOR"},
    {"snapshot-merge", snapshotMergeCommand, "[-u UUID | -A] DESCRIPTOR"},
    {"snapshot-list", snapshotListCommand, "[-H] [-o FIELD[,FIELD...]] [-u UUID] [-s] DESCRIPTOR"},
    {"snapshot-diff", snapshotDiffCommand, "-f UUID [-t UUID] DESCRIPTOR"},
    {"info", infoCommand, "[-s] [-d] DESCRIPTOR"},
    {"stat", statCommand, "DESCRIPTOR"},
    {"check", checkCommand, "[-f] [-F] [-r] [-s] [-D] DELTA|DESCRIPTOR"},
    {"fsck", checkCommand, "[-f] [-F] [-r] [-s] [-D] DELTA|DESCRIPTOR"},
    {"convert", convertCommand,
     "-f FORMAT | -v VERSION DESCRIPTOR; -O FORMAT -o FILE [-u UUID] DESCRIPTOR; -i FILE [-I FORMAT] DELTA"},
    {"import", importCommand, "FOLDER|ARCHIVE DESCRIPTOR"},
    {"copy", copyCommand, "-s DESCRIPTOR -d FILE [-t FORMAT] [-u UUID]"},
    {"restore-descriptor", restoreCommand, "[-f FORMAT] [-b CLUSTER] FOLDER DELTA"},
    {"replace", replaceCommand, "-u UUID | -l LEVEL | -o FILE -i FILE [-k] DESCRIPTOR"},
};

int usage() {
    std::fprintf(stderr, "Usage: ploop [-v[LEVEL]] COMMAND ...\n");
    for (const auto& command : subcommands)
        std::fprintf(stderr, "       ploop %s %s\n", command.name, command.usage);
    return exitParameter;
}

int run(Words words) {
    // How much to tell: there is only one level here.
    while (!words.empty() && words[0].starts_with("-v"))
        words.erase(words.begin());
    if (words.empty())
        return usage();
    for (const auto& command : subcommands) {
        if (words[0] != command.name)
            continue;
        auto outcome = command.run({words.begin() + 1, words.end()});
        if (outcome)
            return *outcome;
        std::fprintf(stderr, "ploop %s: %s\n", command.name, outcome.error().message().c_str());
        return exitStatusOf(outcome.error());
    }
    std::fprintf(stderr, "ploop: unknown command %s\n", words[0].c_str());
    return usage();
}

} // namespace

int main(int argc, char** argv) {
    try {
        int status = run({argv + 1, argv + argc});
        return std::fflush(stdout) == 0 ? status : static_cast<int>(exitSystem);
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "ploop: %s\n", failure.what());
        return exitMemory;
    }
}
