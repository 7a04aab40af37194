// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/image.hpp"

/** The partition table of a container's disk: a GPT with one partition, as OpenVZ makes it (UEFI 2.10,
 * chapter 5). */
namespace vz::ploop {

/** A partition of a disk, in bytes, and its number in the table. */
struct Partition {
    uint64_t offset, length;
    unsigned number = 1;
};

/** Writes a table with one partition that begins at the second cluster and ends before the last one. */
Result<Partition> writeTable(Image& image);

/** The first partition of a valid table, or nothing if the disk has no such table. */
Result<std::optional<Partition>> readTable(Image& image);

/**
 * After the disk has grown: moves the second copy of the table to the new end and the end of the last
 * partition with it. At any moment one of the copies is valid. The last partition as it is now; nothing, also
 * done, if the disk has no table, or no partition.
 */
Result<std::optional<Partition>> growTable(Image& image);

/**
 * Before the disk is made smaller, to @p bytes: writes both copies of the table for a disk of that size, the
 * last partition ending where it would on such a disk. The part of the disk that is partition 1 then; nothing
 * if there is no table. InvalidArg if a partition would have to go.
 */
Result<std::optional<Partition>> shrinkTable(Image& image, uint64_t bytes);
/** What shrinkTable() would return, without doing anything. */
Result<std::optional<Partition>> shrunkPartition(Image& image, uint64_t bytes);

} // namespace vz::ploop
