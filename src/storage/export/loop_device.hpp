// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/export/block_device.hpp"

namespace vz::exports {

/**
 * A loop device that is bound to a file (linux/loop.h; loop(4)). Its sequence() is the kernel's number of
 * what is on the device; 0 before Linux 5.15, where a device that was bound anew is not told from the old
 * one.
 */
class LoopDevice final : public BlockDevice {
public:
    struct Options {
        bool readOnly = false;
        Section part;              ///< of the file; length 0: all from the offset on
        uint32_t blockBytes = 512; ///< logical block size
        std::string device;        ///< its path; empty: any that is free
    };
    static constexpr std::string_view pathStart = "/dev/loop";

    LoopDevice(std::string path, uint64_t sequence) : BlockDevice(std::move(path), sequence) {}
    /**
     * Binds a free device to @p file, with direct I/O if the file can do that. The kernel keeps a reference
     * to the file. The device has the autoclear flag, and @p held keeps it: whatever happens to this process
     * before setAutoclear(false), no device stays that nobody knows of.
     */
    static Result<LoopDevice> attach(int file, const Options& options, UniqueFd& held);

    bool directIo() const { return directIo_; }
    /** The file has another size now, or another part of it is wanted (length as above). */
    Result<void> refresh(const Section& part) const;
    bool bound() const override;
    Result<void> setAutoclear(bool on) const override;
    Result<void> release() const override;

private:
    uint64_t readSequence() const;

    bool directIo_ = false;
};

} // namespace vz::exports
