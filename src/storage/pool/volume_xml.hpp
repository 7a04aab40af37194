// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/volume.hpp"
#include "storage/pool/permissions.hpp"

#include <ctime>
#include <string>

namespace vz::storage {

/** What a client's <volume> asks for. */
struct VolumeRequest {
    std::string name;
    uint64_t capacity = 0;              ///< bytes; 0: the source's, which only a copy has
    std::optional<uint64_t> allocation; ///< bytes
    bool raw = false;                   ///< <format type='raw'/>
    bool hasFormat = false;
    uint32_t clusterSectors = 0; ///< 0: not said
    Permissions permissions;
    std::string fileSystem; ///< ext4, xfs, none; empty: not said

    /**
     * @p validate: VIR_STORAGE_VOL_CREATE_VALIDATE, as in PoolConfig::parse(). @p copy: of another volume,
     * whose XML clients send with a new name. ConfigUnsupported for what volumes of libvirt can have and
     * ours cannot.
     */
    static Result<VolumeRequest> parse(const std::string& text, bool copy, bool validate);

    /** How the image is made: expanded, preallocated or raw (docs/storage.md tells which when). */
    ploop::Descriptor::Mode mode(bool preallocate) const;
    /** Whether a raw image takes no space yet. */
    bool sparse(bool preallocate) const;
};

/** A volume as it is on the disk. */
struct VolumeFacts {
    std::string name, path;
    uint64_t capacity = 0;   ///< of the disk, bytes
    uint64_t allocation = 0; ///< space that its files take
    uint64_t physical = 0;   ///< length of its files
    uint32_t clusterSectors = 0;
    ploop::Descriptor::Mode mode = ploop::Descriptor::Mode::Expanded;
    bool snapshots = false;
    Permissions permissions;
    timespec accessed{}, modified{}, changed{};

    std::string format() const;
};

/** Looks at the image in the folder @p path; takes no lock. Errors: NoStorageVolume if there is no image,
 * those of the descriptor. */
Result<VolumeFacts> readVolume(const std::string& path);

} // namespace vz::storage
