// SPDX-License-Identifier: LGPL-2.1-or-later
// prl_disk_tool: the calls of it that are made for ploop images; each is one of ploop's.
#include "cli/ploop.hpp"

#include <cstdio>
#include <exception>

namespace {

using namespace vz;
using namespace vz::cli;

constexpr int exitOwn = 255; ///< of an error in the command line

int usage() {
    std::fprintf(
        stderr,
        "Usage: prl_disk_tool resize --size SIZE[K|M|G|T] [--resize_partition] [--force] --hdd FOLDER\n"
        "       prl_disk_tool compact --hdd FOLDER\n"
        "       prl_disk_tool merge --hdd FOLDER\n");
    return exitOwn;
}

/** Unlike ploop's, sizes are in MiB without a suffix, and only upper case suffixes are known. In sectors. */
Result<uint64_t> parseMegabytes(const std::string& text) {
    std::string_view digits = text;
    char unit = 'M';
    if (!digits.empty() && digits.back() >= 'A') {
        unit = digits.back();
        digits.remove_suffix(1);
    }
    auto number = parseNumber<uint64_t>(digits);
    if (!number || *number == 0 || std::string_view("KMGT").find(unit) == std::string_view::npos)
        return fail(ErrorCode::InvalidArg, "'", text, "' is no size");
    if (unit != 'K')
        return parseSize(cat(*number, unit));
    return parseSize(cat(*number / 1024, 'M')); // whole MiB only, as the reference does it
}

int run(const Words& words) {
    auto arguments = Arguments::parse(words, "s:h:pfnve",
                                      {{"size", 's'},
                                       {"hdd", 'h'},
                                       {"resize_partition", 'p'},
                                       {"force", 'f'},
                                       {"dry-run", 'n'},
                                       {"verbose", 'v'},
                                       {"external", 'e'}});
    if (!arguments || arguments->rest().size() != 1 || !arguments->has('h')) {
        if (!arguments)
            std::fprintf(stderr, "prl_disk_tool: %s\n", arguments.error().message().c_str());
        return usage();
    }
    const std::string& operation = arguments->rest()[0];
    std::string descriptor = ploop::descriptorPath(ploop::hostFiles(), arguments->value('h'));
    auto work = [&]() -> Outcome {
        if (arguments->has('n') && operation != "resize")
            return exitOk;
        if (operation == "merge")
            return snapshotMergeCommand({"-A", descriptor});
        if (operation == "compact")
            return balloonCommand({"discard", "--automount", "--defrag", descriptor});
        VZ_TRY(uint64_t sectors, parseMegabytes(arguments->value('s')));
        return arguments->has('n') ? Outcome(exitOk) : resizeTo(descriptor, sectors);
    };
    if (operation != "merge" && operation != "compact" && (operation != "resize" || !arguments->has('s')))
        return usage();
    auto outcome = work();
    if (outcome)
        return *outcome;
    std::fprintf(stderr, "prl_disk_tool: %s\n", outcome.error().message().c_str());
    return exitStatusOf(outcome.error());
}

} // namespace

int main(int argc, char** argv) {
    try {
        return run({argv + 1, argv + argc});
    } catch (const std::exception& failure) {
        std::fprintf(stderr, "prl_disk_tool: %s\n", failure.what());
        return exitMemory;
    }
}
