// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/pool/volume_xml.hpp"

/** How volumes come into being. All of it happens in a Draft: there is the whole volume, or nothing. */
namespace vz::storage {

/** What a copy is made of: an image's folder, or a file or block device of another format. */
struct CopySource {
    std::string path;
    std::string format;    ///< of qemu-img: "raw", "qcow2", ...; empty: @c path is an image's folder
    uint64_t capacity = 0; ///< bytes, if known
};

/** Makes the volume @p request in the folder @p target, with an empty file system. StorageVolExist if the
 * name is taken. */
Result<void> makeVolume(const std::string& target, const VolumeRequest& request, bool preallocate);

/**
 * The same with the content of @p source in its present state; ResourceBusy if that is written to. Where the
 * file system can, the files share their data (@p reflinkOnly: else OperationUnsupported).
 */
Result<void> copyVolume(const std::string& target, const VolumeRequest& request, const CopySource& source,
                        bool preallocate, bool reflinkOnly);

} // namespace vz::storage
