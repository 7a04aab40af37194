// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/log.hpp"

#include <atomic>
#include <cstdio>

namespace vz::log {

static void toStandardError(Level level, const char* message) {
    if (level >= Level::Info)
        std::fprintf(stderr, "%s\n", message);
}

static std::atomic<Sink> currentSink = toStandardError;

void setSink(Sink sink) {
    currentSink = sink ? sink : toStandardError;
}

void write(Level level, const std::string& message) {
    currentSink.load()(level, message.c_str());
}

} // namespace vz::log
