// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <string>
#include <string_view>

namespace vz::ploop {

/** An identifier as DiskDescriptor.xml has it: "{8-4-4-4-12}" in lower case. */
using Guid = std::string;

/** Always that of the delta that is written to. */
inline const Guid topGuid = "{5fbaabe3-6958-40ff-92a7-860e329aab41}";
/** The parent of the base. */
inline const Guid noGuid = "{00000000-0000-0000-0000-000000000000}";

/** Reads one with or without braces, in any case; InvalidArg if it is none. */
Result<Guid> parseGuid(std::string_view text);
Guid randomGuid();

} // namespace vz::ploop
