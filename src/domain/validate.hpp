// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/xml.hpp"
#include "domain/definition.hpp"

/** What define refuses, apart from unknown elements (element_rules.hpp). */
namespace vz::domain {

/** What is well-formed, but not possible for containers. */
template<typename... Parts>
Error unsupported(const Parts&... parts) {
    return fail(ErrorCode::ConfigUnsupported, parts...);
}

/**
 * Whether a name can be a domain's: it becomes a file name. At most 200 bytes, no '/', no leading '.', no
 * control characters; else XmlError.
 */
Result<void> checkName(const std::string& name);

/**
 * Counts that libvirt 9.0.0 would allocate memory for before it judges them, which ends the whole daemon when
 * they are absurd. For all kinds of guests.
 */
Result<void> checkCounts(xmlNode* domain);

/**
 * Attributes and values of a container as the client wrote them that libvirt's parser accepts and drops, or
 * prints so that they cannot be read back.
 */
Result<void> checkRaw(xmlNode* domain);

/** Values of a container in libvirt's canonical XML; @p definition is read from it. */
Result<void> checkValues(xmlNode* domain, const Definition& definition);

} // namespace vz::domain
