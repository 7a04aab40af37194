// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/export/block_device.hpp"
#include "storage/export/fuse_file.hpp"
#include "storage/export/wire.hpp"

#include <chrono>

namespace vz::exports {

/** How an image becomes usable for others. */
enum class Mechanism {
    Best,
    Loop,      ///< a loop device right on the image's file: for one whose content lies there in one piece
    Fuse,      ///< a loop device on a FuseFile: for all
    Nbd,       ///< no device, but a socket for a client that speaks NBD itself (QEMU)
    NbdDevice, ///< a device of the kernel's nbd driver: for all, where there is one
};
const char* nameOf(Mechanism mechanism);
std::optional<Mechanism> mechanismNamed(std::string_view name);

/**
 * An open image as a block device. The device is the kernel's: it goes when nobody has it open (autoclear),
 * by detach(), or stays as one that fails all requests if this process dies. Or a socket instead of a device.
 */
class BlockExport {
public:
    struct Options {
        bool readOnly = false;
        Mechanism mechanism = Mechanism::Best;
        FuseFile::Engine engine = FuseFile::Engine::Best;
        std::string device; ///< to use; empty: any that is free; for Nbd the path of the socket
        SocketOwner owner;  ///< for Nbd
        std::string name;   ///< for Nbd: the export's; empty: any is taken for it
    };

    /** @p image has to live longer. OperationUnsupported if the mechanism asked for does not fit the image.
     */
    static Result<std::unique_ptr<BlockExport>> start(ploop::Image& image, const Options& options);
    virtual ~BlockExport() = default;

    /** Null for a socket. */
    virtual const BlockDevice* device() const = 0;
    /** Its path, or the socket's. */
    virtual std::string path() const { return device()->path(); }
    virtual Mechanism mechanism() const = 0;
    /** Whether the image's maintenance (snapshots, merges, compacting) may go on under it. */
    bool live() const { return mechanism() != Mechanism::Loop; }
    /** The image has grown: the device does. */
    virtual Result<void> resized() = 0;
    /** Whether somebody uses it. */
    virtual Result<bool> claimed() const { return device()->claimed(); }
    /** Takes it away; if somebody has it open, as soon as that ends. */
    virtual Result<void> release() { return device()->release(); }
    /** Calls @p gone, on some thread, once the kernel, or the last client, has let go of the image. */
    virtual void onGone(std::function<void()> gone) = 0;
    /** Until this is called the end of this process is the end of the device. */
    Result<void> settle();
    /** Or: from now on it ends with its last user, to begin with this descriptor. */
    UniqueFd takeHolder() { return std::move(held_); }

protected:
    explicit BlockExport(ploop::Image& image) : image_(image) {}

    ploop::Image& image_;
    UniqueFd held_; ///< see LoopDevice::attach()
};

} // namespace vz::exports
