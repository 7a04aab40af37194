// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/format.hpp"
#include "storage/ploop/io.hpp"

#include <vector>

/** The format extension: a cluster of features behind the data, today dirty bitmaps of backup programs. */
namespace vz::ploop {

/** What an extension holds. Sectors are those of the file. */
struct Extension {
    bool unknownNecessary = false; ///< has a feature without which nobody may write to the file
    uint32_t bitmaps = 0;
    std::vector<uint64_t> clusters; ///< first sectors of all clusters it occupies, its own included
};

/** Reads the extension of a closed image. StorageProbeFailed if it is damaged. */
Result<Extension> readExtension(File& file, const Header& header);

/** Whether the extension of a closed image can be dropped, as writing to the image does: not if it is marked
 * as necessary and unknown to us. A damaged one can. */
Result<void> checkExtensionMayGo(File& file, const Header& header);

} // namespace vz::ploop
