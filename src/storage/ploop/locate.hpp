// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/descriptor.hpp"

namespace vz::ploop {

/** What a path that a person gives for a disk leads to. */
struct Located {
    enum class Kind {
        Image,  ///< one with a descriptor
        Delta,  ///< a ploop file without one
        Raw,    ///< a file that is the bytes of the disk, as far as its beginning tells
        Device, ///< a block device
        Other,  ///< a file in the format of another program
    };
    Kind kind = Kind::Raw;
    std::string path;   ///< of the descriptor, the file or the device; no links in it
    std::string format; ///< Other: its name, as qemu-img's
};

/**
 * Looks at @p path: a folder with a DiskDescriptor.xml, that file, a file that it names, or any other file or
 * block device. Errors: those of the system; StorageProbeFailed for a folder that is no image.
 */
Result<Located> locate(FileSystem& files, const std::string& path);

} // namespace vz::ploop
