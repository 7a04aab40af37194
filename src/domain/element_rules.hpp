// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/xml.hpp"

/** Which elements of libvirt's domain XML a container may have; docs/domain-xml.md is the same list for
 * people. */
namespace vz::domain {

/**
 * Goes through a <domain> of a container: an element that is not on the list is ConfigUnsupported, named with
 * where it stands; an element directly under <domain> given twice is XmlError. Values are not looked at.
 */
Result<void> checkElements(xmlNode* domain);

/** Whether libvirt knows a device element of this name, supported for containers or not. */
bool isDeviceElement(std::string_view name);

} // namespace vz::domain
