// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "domain/definition.hpp"
#include "domain/snapshot.hpp"

namespace vz::driver {

/**
 * Which images of a container a snapshot has, by what the client wants: each root and each other writable
 * file system or disk on a ploop image, unless it is named with snapshot='no'. ConfigUnsupported for names
 * that there are not, for a root or disk that cannot be part of one and is not left out, and if nothing is
 * left.
 */
Result<std::vector<domain::SnapshotDisk>> planSnapshot(const domain::Definition& definition,
                                                       const std::vector<domain::SnapshotDisk>& wanted);

/**
 * Whether a snapshot that a client describes is one of images that the container has by one of @p configs,
 * under the names that they have there, and each has the state. ConfigUnsupported if not, and
 * OperationFailed if only the state is missing.
 */
Result<void> checkImages(const domain::Snapshot& snapshot, const std::vector<const domain::Config*>& configs);

} // namespace vz::driver
