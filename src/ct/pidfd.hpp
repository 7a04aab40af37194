// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

// glibc 2.36 forgets to say in this header that its functions are C.
extern "C" {
#include <sys/pidfd.h>
}
