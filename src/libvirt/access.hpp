// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <span>
#include <string_view>

/**
 * Which permissions libvirt's own drivers ask for before each call, generated from access.tsv. A test derives
 * them again from the checks inside the installed libvirt.so.
 */
namespace vz::abi {

/** What a permission is on: checkConnectAccess(), checkDomainAccess(), checkPoolAccess(),
 * checkVolumeAccess(). */
enum class AccessObject { Connect, Domain, Pool, Volume };

/** One permission that a slot needs; all rules of a slot that apply must be granted. */
struct AccessRule {
    AccessObject object;
    const char* permission; ///< libvirt's name of it: "read_secure"
    unsigned flag;          ///< 0: always; else only when the call has any of these flags
    bool unless;            ///< turned round: only when the call has none of these flags

    /** @p flags: the call's flags argument (0 if it has none); for domainInterfaceAddresses its source. */
    constexpr bool applies(unsigned flags) const { return flag == 0 || ((flags & flag) != 0) != unless; }
};

/** The rules of a slot of the hypervisor or the storage table; empty if it needs none, as for an unknown
 * slot. */
std::span<const AccessRule> accessRules(std::string_view slot);

/** What a client must hold to see one domain in the answer of a listing slot or in its events; may be empty.
 */
std::span<const AccessRule> accessFilters(std::string_view slot);

} // namespace vz::abi
