// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/features.hpp"

#include "libvirt/objects.hpp"
#include "libvirt/private.hpp"

#include <cstring>

namespace vz::abi {

namespace {

/**
 * Offset of the id in a domain object, or -1. There is no setter in the API and the structure is private, so
 * the place is looked for in two objects of known, different ids: the one spot that holds both. The UUID must
 * follow it.
 */
int findIdOffset(virConnectPtr conn) {
    constexpr int first = 0x5a17c3e1, second = 0x21d4b96f;
    // The object is: header (32), connection, name, id, 16 bytes of UUID; no byte behind it is read.
    constexpr int size = 64;
    const unsigned char uuid[VIR_UUID_BUFLEN] = {1,  2,  3,   5,   8,   13, 21,  34,
                                                 55, 89, 144, 233, 121, 98, 219, 61};
    auto one = makeDomain(conn, "one", uuid, first);
    auto two = makeDomain(conn, "two", uuid, second);
    int found = -1, count = 0;
    if (one && two) {
        for (int offset = 0; offset <= size - static_cast<int>(sizeof(int) + sizeof uuid);
             offset += sizeof(int)) {
            int a, b;
            std::memcpy(&a, reinterpret_cast<const char*>(*one) + offset, sizeof a);
            if (a != first)
                continue;
            std::memcpy(&b, reinterpret_cast<const char*>(*two) + offset, sizeof b);
            const char* behind = reinterpret_cast<const char*>(*one) + offset + sizeof a;
            if (b == second && std::memcmp(behind, uuid, sizeof uuid) == 0) {
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

int idOffset(virDomainPtr domain) {
    static const int offset = findIdOffset(::virDomainGetConnect(domain));
    return offset;
}

} // namespace

std::optional<int> globalFeature(int feature) noexcept {
    int supported = 0;
    return priv::virDriverFeatureIsGlobal(feature, &supported) ? std::optional(supported) : std::nullopt;
}

void setDomainId(virDomainPtr domain, int id) noexcept {
    if (int offset = idOffset(domain); offset >= 0)
        std::memcpy(reinterpret_cast<char*>(domain) + offset, &id, sizeof id);
}

DomainKey domainKey(virDomainPtr domain) noexcept {
    DomainKey key{};
    if (int offset = idOffset(domain); offset >= 0) {
        const char* at = reinterpret_cast<const char*>(domain) + offset;
        std::memcpy(&key.id, at, sizeof key.id);
        std::memcpy(key.uuid, at + sizeof key.id, sizeof key.uuid);
    } else {
        (void)::virDomainGetUUID(domain, key.uuid);
        key.id = static_cast<int>(::virDomainGetID(domain));
    }
    return key;
}

} // namespace vz::abi
