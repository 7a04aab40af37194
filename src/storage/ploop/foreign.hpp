// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/volume.hpp"

/** From and to the formats that qemu-img knows, by qemu-img. */
namespace vz::ploop {

/** Writes one state of an image as a new file of the format @p format (qcow2, raw, vmdk …). The image must be
 * idle. */
Result<void> exportImage(FileSystem& files, const std::string& descriptor, const Guid& guid,
                         const std::string& format, const std::string& target);

/** Makes a new image at @p delta with the content of @p source; its size comes from there. @p format may be
 * empty: found out by qemu-img, which is safe only for files that no guest could write to. */
Result<void> importImage(FileSystem& files, const std::string& source, const std::string& format,
                         const std::string& delta, Volume::CreateOptions options,
                         const Progress& progress = {});

} // namespace vz::ploop
