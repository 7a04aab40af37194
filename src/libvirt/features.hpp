// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <libvirt/libvirt.h>

#include <optional>

namespace vz::abi {

/** Whether libvirt as a whole has an internal feature (virDriverFeature): what connectSupportsFeature answers
 * for features that do not depend on the driver, 1 or 0. Nothing for one that does. */
std::optional<int> globalFeature(int feature) noexcept;

/**
 * Brings a client's handle up to date after its domain was started or stopped, as stock drivers do: the
 * answer of virDomainCreateWithFlags carries it to the client. Does nothing if the place of the id in the
 * object could not be found out (see the .cpp); the client then has to look the domain up again. Any thread.
 */
void setDomainId(virDomainPtr domain, int id) noexcept;

/** What virDomainGetUUID and virDomainGetID tell; id -1 if inactive. */
struct DomainKey {
    unsigned char uuid[VIR_UUID_BUFLEN];
    int id;
};
/**
 * The same without what those functions do for the debug log, logged or not: they write the UUID as text each
 * time, which takes longer than finding a domain. @p domain must be a valid one. Any thread.
 */
DomainKey domainKey(virDomainPtr domain) noexcept;

} // namespace vz::abi
