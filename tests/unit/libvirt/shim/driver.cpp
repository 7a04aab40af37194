// SPDX-License-Identifier: LGPL-2.1-or-later

// Stands for the real driver: says that it was asked to register.

#include <cstdio>

extern "C" __attribute__((visibility("default"))) int vzDriverRegister() {
    printf("registered\n");
    return VZ_ANSWER;
}
