// SPDX-License-Identifier: LGPL-2.1-or-later
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include <cstdio>
#include <unistd.h>

/** For tests that need root: without it they are skipped, not failed. */
int main(int argc, char** argv) {
    if (::geteuid() != 0) {
        std::puts("skipped: needs root");
        return 77;
    }
    if (::access("/bin/busybox", X_OK) != 0) {
        std::puts("skipped: needs a static /bin/busybox (package busybox-static)");
        return 77;
    }
    return Catch::Session().run(argc, argv);
}
