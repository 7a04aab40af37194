// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/xml.hpp"
#include "domain/definition.hpp"

namespace vz::domain {

/** The device part of checkRaw() and checkValues(); @p devices may be null. */
Result<void> checkRawDevices(xmlNode* devices);
Result<void> checkDevices(xmlNode* devices, const Definition& definition);

/** A target in the form it is compared in: no repeated and no trailing slashes. */
std::string plainPath(const std::string& path);

} // namespace vz::domain
