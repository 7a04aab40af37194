// SPDX-License-Identifier: LGPL-2.1-or-later
// The one main of all unit tests: Catch2 takes long to compile.
#define CATCH_CONFIG_RUNNER
#include "prepare.hpp"

#include <catch2/catch.hpp>

#include <cstdio>

int main(int argc, char** argv) {
    const char* reason = vz::test::prepare ? vz::test::prepare() : nullptr;
    if (reason) {
        std::printf("skipped: %s\n", reason);
        return 77;
    }
    return Catch::Session().run(argc, argv);
}
