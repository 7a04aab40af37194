// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/text.hpp"

namespace vz::log {

enum class Level { Debug, Info, Warning, Error };

/** Where messages go. Set once at start (standard error until then); called from any thread. */
using Sink = void (*)(Level level, const char* message);
void setSink(Sink sink);

void write(Level level, const std::string& message);

template<typename... Parts>
void debug(const Parts&... parts) {
    write(Level::Debug, cat(parts...));
}
template<typename... Parts>
void info(const Parts&... parts) {
    write(Level::Info, cat(parts...));
}
template<typename... Parts>
void warning(const Parts&... parts) {
    write(Level::Warning, cat(parts...));
}
template<typename... Parts>
void error(const Parts&... parts) {
    write(Level::Error, cat(parts...));
}

} // namespace vz::log
