// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/export/fuse_file.hpp"
#include "storage/export/loop_device.hpp"

#include <chrono>

namespace vz::exports {

/** How an image becomes a block device. */
enum class Mechanism {
    Best,
    Loop, ///< a loop device right on the image's file: for one whose content lies there in one piece
    Fuse, ///< a loop device on a FuseFile: for all
};
const char* nameOf(Mechanism mechanism);
std::optional<Mechanism> mechanismNamed(std::string_view name);

/**
 * An open image as a block device. The device is the kernel's: it goes when nobody has it open (autoclear),
 * by detach(), or stays as one that fails all requests if this process dies.
 */
class BlockExport {
public:
    struct Options {
        bool readOnly = false;
        Mechanism mechanism = Mechanism::Best;
        FuseFile::Engine engine = FuseFile::Engine::Best;
        std::string device; ///< to use; empty: any that is free
    };

    /** @p image has to live longer. OperationUnsupported if the mechanism asked for does not fit the image.
     */
    static Result<std::unique_ptr<BlockExport>> start(ploop::Image& image, const Options& options);
    virtual ~BlockExport() = default;

    const LoopDevice& device() const { return *device_; }
    virtual Mechanism mechanism() const = 0;
    /** Whether the image's maintenance (snapshots, merges, compacting) may go on under it. */
    bool live() const { return mechanism() == Mechanism::Fuse; }
    /** The image has grown: the device does. */
    virtual Result<void> resized() = 0;
    /** Calls @p gone, on some thread, once the kernel has let go of the image. */
    virtual void onGone(std::function<void()> gone) = 0;

protected:
    explicit BlockExport(ploop::Image& image) : image_(image) {}

    ploop::Image& image_;
    std::optional<LoopDevice> device_;
};

} // namespace vz::exports
