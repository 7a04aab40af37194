// SPDX-License-Identifier: LGPL-2.1-or-later

// Loads, but is not the driver.

extern "C" __attribute__((visibility("default"))) int somethingElse() {
    return 0;
}
