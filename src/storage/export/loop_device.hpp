// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

/** Loop devices and their partitions (linux/loop.h, linux/blkpg.h; loop(4)). */
namespace vz::exports {

/** A part of a disk, in bytes. */
struct Section {
    uint64_t offset = 0, length = 0;
    bool operator==(const Section&) const = default;
};

/**
 * A loop device that is bound to a file. The object is only the handle: the kernel keeps the binding until
 * release(), or, with the autoclear flag, until nobody has the device open any more.
 */
class LoopDevice {
public:
    struct Options {
        bool readOnly = false;
        Section part;              ///< of the file; length 0: all from the offset on
        uint32_t blockBytes = 512; ///< logical block size
        std::string device;        ///< its path; empty: any that is free
    };

    /**
     * Binds a free device to @p file, with direct I/O if the file can do that. The kernel keeps a reference
     * to the file. The device has the autoclear flag, and @p held keeps it: whatever happens to this process
     * before setAutoclear(false), no device stays that nobody knows of.
     */
    static Result<LoopDevice> attach(int file, const Options& options, UniqueFd& held);
    /** The device of that path if it is still bound by the attach() that had this sequence(). */
    static std::optional<LoopDevice> find(const std::string& path, uint64_t sequence);

    const std::string& path() const { return path_; }
    /** Where the first partition is to be found. */
    std::string partitionPath() const { return path_ + "p1"; }
    bool directIo() const { return directIo_; }
    /** The kernel's number of what is on the device: each binding has one of its own. 0 before Linux 5.15,
     * where a device that was bound anew is not told from the old one. */
    uint64_t sequence() const { return sequence_; }

    /** The file has another size now, or another part of it is wanted (length as above). */
    Result<void> refresh(const Section& part) const;
    /** From now on the last user takes the binding with it; or not. */
    Result<void> setAutoclear(bool on) const;
    /** Whether somebody has it, or its partition, mounted or otherwise claimed. */
    Result<bool> claimed() const;
    /** Undoes the binding; if somebody still has the device open, as soon as that ends. */
    Result<void> release() const;
    /** Whether it is still bound by the attach() it comes from. */
    bool bound() const;

    /**
     * Makes partition 1, whatever the table on the device says and whether the kernel can read it. One that
     * it has found already is kept if it begins there; else it goes first, for which @p wait is left to
     * programs that have it open for a moment (udev).
     */
    Result<void> setPartition(const Section& section, std::chrono::milliseconds wait) const;
    /** Forgets what the kernel has cached of the whole device (not of the partition). */
    Result<void> dropCache() const;

private:
    explicit LoopDevice(std::string path) : path_(std::move(path)) {}
    std::string attribute(const char* name) const;
    uint64_t readSequence() const;
    static Result<int> numberOf(const std::string& path);
    Result<UniqueFd> open() const;
    std::optional<uint64_t> partitionBegin() const;
    Result<void> removePartition(std::chrono::milliseconds wait) const;
    Result<void> partition(int operation, const Section& section, const char* what) const;

    std::string path_;
    uint64_t sequence_ = 0;
    bool directIo_ = false;
};

} // namespace vz::exports
