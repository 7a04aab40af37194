// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/pool/permissions.hpp"

#include <string>

namespace vz::storage {

extern const char* const poolSchema;   ///< xml-schemas/vz-pool.rng
extern const char* const volumeSchema; ///< xml-schemas/vz-volume.rng

/** Room of the file system that a pool is on, in bytes. */
struct Space {
    uint64_t capacity = 0, allocation = 0, available = 0;
};

/** <pool type='ploop'>: a folder whose folders are images. */
struct PoolConfig {
    std::string name;
    std::string uuid; ///< 8-4-4-4-12, lower case
    std::string target;
    Permissions permissions; ///< for building the folder

    /**
     * Errors: XmlError for what is no such pool, with what libvirt and this driver do not know;
     * XmlInvalidSchema instead if @p validate and it is not as the schema asks. An empty UUID is left to the
     * caller.
     */
    static Result<PoolConfig> parse(const std::string& text, bool validate);
    /** As libvirt prints a pool. parse() of it gives the same. */
    std::string format(const Space& space) const;

    bool operator==(const PoolConfig&) const = default;
};

/** Whether a text is the XML of a pool of our type; what cannot be read is not. */
bool isPloopPool(const std::string& text);
/** Name and UUID that a pool's XML of any type asks for, as far as it says them. */
struct PoolNames {
    std::string name, uuid;
};
PoolNames namesIn(const std::string& text);

/** A path as libvirt takes it: without double slashes and one at the end. */
std::string plainPath(const std::string& path);
/** A UUID with or without dashes, in any case, as 8-4-4-4-12 in lower case; empty if it is none. */
std::string normalUuid(std::string_view text);

} // namespace vz::storage
