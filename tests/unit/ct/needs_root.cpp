// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../prepare.hpp"

#include <unistd.h>

const char* vz::test::prepare() {
    if (::geteuid() != 0)
        return "needs root";
    return ::access("/bin/busybox", X_OK) == 0 ? nullptr
                                               : "needs a static /bin/busybox (package busybox-static)";
}
