// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/features.hpp"

#include "libvirt/objects.hpp"
#include "libvirt/private.hpp"

#include <cstring>

namespace vz::abi {

namespace {

/**
 * Offset of the id in a domain object, or -1. There is no setter in the API and the structure is private, so
 * the place is looked for in two objects of known, different ids: the one spot that holds both.
 */
int findIdOffset(virConnectPtr conn) {
    constexpr int first = 0x5a17c3e1, second = 0x21d4b96f;
    // The object is: header (32), connection, name, id, 16 bytes of UUID; no byte behind it is read.
    constexpr int size = 64;
    const unsigned char uuid[VIR_UUID_BUFLEN] = {1};
    auto one = makeDomain(conn, "one", uuid, first);
    auto two = makeDomain(conn, "two", uuid, second);
    int found = -1, count = 0;
    if (one && two) {
        for (int offset = 0; offset < size - static_cast<int>(sizeof(int)); offset += sizeof(int)) {
            int a, b;
            std::memcpy(&a, reinterpret_cast<const char*>(*one) + offset, sizeof a);
            if (a != first)
                continue;
            std::memcpy(&b, reinterpret_cast<const char*>(*two) + offset, sizeof b);
            if (b == second) {
                found = offset;
                ++count;
            }
        }
    }
    if (one)
        ::virDomainFree(*one);
    if (two)
        ::virDomainFree(*two);
    return count == 1 ? found : -1;
}

} // namespace

std::optional<int> globalFeature(int feature) noexcept {
    int supported = 0;
    return priv::virDriverFeatureIsGlobal(feature, &supported) ? std::optional(supported) : std::nullopt;
}

void setDomainId(virDomainPtr domain, int id) noexcept {
    static const int offset = findIdOffset(::virDomainGetConnect(domain));
    if (offset >= 0)
        std::memcpy(reinterpret_cast<char*>(domain) + offset, &id, sizeof id);
}

} // namespace vz::abi
