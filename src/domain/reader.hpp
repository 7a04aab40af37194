// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/xml.hpp"
#include "domain/definition.hpp"

namespace vz::domain {

/**
 * The typed model of a domain from libvirt's canonical XML, without the extension. Numbers that do not fit
 * are XmlError naming the element; nothing else is judged here.
 */
Result<Definition> readDefinition(xmlNode* domain, std::string virtType);

} // namespace vz::domain
