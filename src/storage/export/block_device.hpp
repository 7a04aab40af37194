// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/text.hpp"
#include "base/unique_fd.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

/** Block devices of the kernel that show an image, and their partitions (linux/blkpg.h). */
namespace vz::exports {

/** A part of a disk, in bytes. */
struct Section {
    uint64_t offset = 0, length = 0;
    bool operator==(const Section&) const = default;
};

/**
 * A device that shows an image, of any kind. The object is only the handle: the kernel keeps the device bound
 * until release(), or, with the autoclear flag, until nobody has it open any more.
 */
class BlockDevice {
public:
    virtual ~BlockDevice() = default;
    /** The device of that path if it is still bound as it was when it had this sequence(); else null. */
    static std::unique_ptr<BlockDevice> find(const std::string& path, uint64_t sequence);

    const std::string& path() const { return path_; }
    /** Where a partition is to be found. */
    std::string partitionPath(unsigned number = 1) const { return cat(path_, "p", number); }
    /** What tells this binding of the device from all others; 0 if the kernel has nothing like it. */
    uint64_t sequence() const { return sequence_; }

    /** Whether it is still bound to what it was made for. */
    virtual bool bound() const = 0;
    /** From now on the last user takes the binding with it; or not. */
    virtual Result<void> setAutoclear(bool on) const = 0;
    /** Undoes the binding; if somebody still has the device open, as soon as that ends. */
    virtual Result<void> release() const = 0;
    /** Whether somebody has it, or its partition, mounted or otherwise claimed. */
    Result<bool> claimed() const;

    /**
     * Makes the partition of that number, whatever the table on the device says and whether the kernel can
     * read it. One that it has found already is kept if it begins there; else it goes first, for which
     * @p wait is left to programs that have it open for a moment (udev).
     */
    Result<void> setPartition(const Section& section, std::chrono::milliseconds wait,
                              unsigned number = 1) const;
    /** Forgets what the kernel has cached of the whole device (not of the partition). */
    Result<void> dropCache() const;

protected:
    BlockDevice(std::string path, uint64_t sequence) : path_(std::move(path)), sequence_(sequence) {}
    BlockDevice(const BlockDevice&) = default;
    BlockDevice& operator=(const BlockDevice&) = default;
    /** The file of that name in sysfs (Documentation/ABI/stable/sysfs-block). */
    std::string attribute(const char* name) const;
    /** Opened for reading, and sure to be bound(). */
    Result<UniqueFd> open() const;
    /** The number behind @p start of a device's path; InvalidArg if it is no such device. */
    static Result<unsigned> numberOf(const std::string& path, std::string_view start);
    void setSequence(uint64_t sequence) { sequence_ = sequence; }

private:
    std::optional<uint64_t> partitionBegin(unsigned number) const;
    Result<void> removePartition(unsigned number, std::chrono::milliseconds wait) const;
    Result<void> partition(int operation, unsigned number, const Section& section, const char* what) const;

    std::string path_;
    uint64_t sequence_;
};

} // namespace vz::exports
