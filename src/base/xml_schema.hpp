// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/xml.hpp"

#include <optional>

namespace vz::xml {

/**
 * What is wrong with a document by the RELAX NG schema @p schema, in one sentence; nothing if it is as the
 * schema asks. InternalError if the schema, which is built in, cannot be used. Thread-safe.
 */
Result<std::optional<std::string>> problemBySchema(xmlDoc* doc, const char* schema);

} // namespace vz::xml
