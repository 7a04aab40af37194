// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/xml.hpp"

#include <sys/types.h>

#include <optional>
#include <string>

/** <permissions> of pools and volumes. */
namespace vz::storage {

/** Who owns a file and may do what with it; what is not there stays as it is. */
struct Permissions {
    std::optional<mode_t> mode;
    std::optional<uid_t> owner;
    std::optional<gid_t> group;
    std::string label; ///< kept, and otherwise without effect

    bool empty() const { return !mode && !owner && !group && label.empty(); }
    bool operator==(const Permissions&) const = default;
};

/** Reads the element, which passed the schema; null: nothing. */
Result<Permissions> readPermissions(xmlNode* element);
/** As libvirt prints it, @p indent blanks deep; empty if nothing is there. */
std::string formatPermissions(const Permissions& permissions, size_t indent);

/** A number with the unit of libvirt's attribute @p unit in front ("KiB", "KB", "G", ...; none: bytes), in
 * bytes. XmlError or Overflow. */
Result<uint64_t> scaled(const std::string& number, const std::string& unit);
/** The same of an element; XmlError naming it. */
Result<uint64_t> readSize(xmlNode* element);

/** What an element holds, without blanks around. */
std::string trimmedText(xmlNode* element);

/** Whether a text can be a file's name and stand in XML: UTF-8, no slash, no control character, not "." or
 * "..". */
bool isFileName(const std::string& name);

} // namespace vz::storage
