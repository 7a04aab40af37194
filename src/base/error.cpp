// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/error.hpp"

#include <cstring>

namespace vz {

std::string errnoText(int systemError) {
    char buffer[128];
    return ::strerror_r(systemError, buffer, sizeof buffer); // GNU variant: returns the text
}

} // namespace vz
