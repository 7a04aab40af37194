// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/xml.hpp"
#include "domain/definition.hpp"

/** The extension element <vz:container> of the domain XML. */
namespace vz::domain {

/** The namespace of all our elements. */
inline constexpr const char* extensionNamespace = "urn:libvirt-vz:domain:1.0";

/** xml-schemas/vz-container.rng, built in. */
extern const char* const containerSchema;

bool isOurs(const xmlNode* element);

/**
 * Checks @p element (a <container> of our namespace) against the schema: XmlInvalidSchema naming the element
 * and its attributes. Thread-safe.
 */
Result<void> checkExtension(xmlNode* element);

/** The settings of a checked element. */
Extension readExtension(xmlNode* element);

/** <guarantee> of a <memory> that was checked; nothing if it is not there. */
std::optional<MemoryGuarantee> readGuarantee(xmlNode* memory);

/**
 * The element as it is printed in domain XML: always the prefix vz, single quotes, two blanks of indentation
 * and one level deep, no comments. The same element gives the same text whatever prefix the client chose.
 */
std::string printExtension(xmlNode* element);

} // namespace vz::domain
