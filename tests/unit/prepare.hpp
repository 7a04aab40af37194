// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

namespace vz::test {

/**
 * What a test program does before its tests, if it has such a function. Returns why they cannot run here, or
 * null: they can. They are skipped then, not failed.
 */
const char* prepare() __attribute__((weak));

} // namespace vz::test
