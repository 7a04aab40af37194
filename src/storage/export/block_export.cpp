// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/block_export.hpp"

#include "base/file.hpp"
#include "storage/export/loop_device.hpp"
#include "storage/export/loop_watch.hpp"
#include "storage/export/nbd_device_export.hpp"
#include "storage/export/nbd_server.hpp"

namespace vz::exports {

namespace {

/** The part of the only file that is the disk, if there is one. */
Result<std::optional<Section>> linearPart(ploop::Image& image) {
    if (image.levels() != 1)
        return std::optional<Section>();
    if (image.top().plain())
        return std::optional(Section{0, image.bytes()});
    ploop::Pass pass(image.gate());
    // Part by part: most images show at once that they are not of this kind.
    constexpr uint64_t part = 1ull << 30;
    uint64_t begin = uint64_t(image.top().header().firstBlock) * ploop::sectorSize;
    for (uint64_t at = 0; at < image.bytes(); at += part) {
        VZ_TRY(auto extents, image.map(pass, {at, std::min(part, image.bytes() - at)}));
        if (extents.size() != 1 || !extents[0].level || extents[0].fileOffset != begin + at)
            return std::optional<Section>();
    }
    return std::optional(Section{begin, image.bytes()});
}

class LoopExport final : public BlockExport {
public:
    LoopExport(ploop::Image& image, Section part) : BlockExport(image), part_(part) {}

    Result<void> start(LoopDevice::Options options) {
        // What is written does not pass through the library.
        if (!options.readOnly)
            VZ_CHECK(image_.beginWriting());
        options.part = part_;
        VZ_TRY(watch_, LoopWatch::create());
        // Whatever becomes of us: as long as there is the device, nobody else writes to the file.
        VZ_TRY(device_, LoopDevice::attach(image_.top().file().lockDescriptor(), options, held_));
        return {};
    }

    const BlockDevice* device() const override { return device_ ? &*device_ : nullptr; }
    Mechanism mechanism() const override { return Mechanism::Loop; }

    Result<void> resized() override {
        if (!image_.top().plain())
            return fail(ErrorCode::OperationUnsupported,
                        "an image on a plain loop device cannot be resized while it is in use");
        part_.length = image_.bytes();
        return device_->refresh(part_);
    }

    void onGone(std::function<void()> gone) override { watch_->start(*device_, std::move(gone)); }

private:
    Section part_;
    std::optional<LoopDevice> device_;
    std::unique_ptr<LoopWatch> watch_;
};

class FuseExport final : public BlockExport {
public:
    explicit FuseExport(ploop::Image& image) : BlockExport(image) {}
    /** ~FuseFile waits for the loop device, which goes by itself as long as it was not settle()d. */
    ~FuseExport() override { held_.reset(); }

    Result<void> start(const LoopDevice::Options& options, FuseFile::Engine engine) {
        VZ_TRY(file_, FuseFile::create(image_, {options.readOnly, engine}));
        VZ_TRY(auto fd, file_->open());
        // Older kernels (6.1) give a loop device the size that the inode has, which is 0 until it was asked
        // for.
        VZ_CHECK(file_->refreshSize());
        VZ_TRY(device_, LoopDevice::attach(fd.get(), options, held_));
        // Linux 6.1 takes the size that the file had before it was asked for its attributes: 0.
        return resized();
    }

    const BlockDevice* device() const override { return device_ ? &*device_ : nullptr; }
    Mechanism mechanism() const override { return Mechanism::Fuse; }

    Result<void> resized() override {
        VZ_CHECK(file_->refreshSize());
        return device_->refresh({});
    }

    void onGone(std::function<void()> gone) override { file_->disk().onIdle(std::move(gone)); }

private:
    std::unique_ptr<FuseFile> file_;
    std::optional<LoopDevice> device_;
};

class NbdExport final : public BlockExport {
public:
    explicit NbdExport(ploop::Image& image) : BlockExport(image) {}
    Result<void> start(const Options& options) {
        VZ_CHECK(file::makeDirs(ploop::folderOf(options.device), 0711));
        VZ_TRY(server_,
               NbdServer::start(image_, {options.readOnly, options.device, options.owner, options.name}));
        return {};
    }

    const BlockDevice* device() const override { return nullptr; }
    Mechanism mechanism() const override { return Mechanism::Nbd; }
    std::string path() const override { return server_->socket(); }
    /** Clients learn of a size when they connect. */
    Result<void> resized() override { return {}; }
    Result<bool> claimed() const override { return server_->connected(); }
    Result<void> release() override {
        server_->leave();
        return {};
    }
    void onGone(std::function<void()> gone) override { server_->onGone(std::move(gone)); }

private:
    std::unique_ptr<NbdServer> server_;
};

} // namespace

Result<void> BlockExport::settle() {
    if (device())
        VZ_CHECK(device()->setAutoclear(false));
    held_.reset();
    return {};
}

const char* nameOf(Mechanism mechanism) {
    switch (mechanism) {
    case Mechanism::Loop:
        return "loop";
    case Mechanism::Fuse:
        return "fuse";
    case Mechanism::Nbd:
        return "nbd";
    case Mechanism::NbdDevice:
        return "nbd-device";
    case Mechanism::Best:
        break;
    }
    return "best";
}

std::optional<Mechanism> mechanismNamed(std::string_view name) {
    for (auto mechanism :
         {Mechanism::Best, Mechanism::Loop, Mechanism::Fuse, Mechanism::Nbd, Mechanism::NbdDevice}) {
        if (name == nameOf(mechanism))
            return mechanism;
    }
    return {};
}

Result<std::unique_ptr<BlockExport>> BlockExport::start(ploop::Image& image, const Options& options) {
    if (options.mechanism == Mechanism::Nbd) {
        auto made = std::make_unique<NbdExport>(image);
        VZ_CHECK(made->start(options));
        return std::unique_ptr<BlockExport>(std::move(made));
    }
    if (options.mechanism == Mechanism::NbdDevice)
        return startNbdDevice(image, options);
    LoopDevice::Options loop;
    loop.readOnly = options.readOnly;
    loop.device = options.device;
    std::optional<Section> linear;
    if (options.mechanism != Mechanism::Fuse) {
        VZ_TRY(linear, linearPart(image));
    }
    if (!linear && options.mechanism == Mechanism::Loop)
        return fail(ErrorCode::OperationUnsupported, image.top().path(),
                    " does not hold the disk in one piece, as a plain loop device needs it");
    if (linear) {
        auto made = std::make_unique<LoopExport>(image, *linear);
        VZ_CHECK(made->start(loop));
        return std::unique_ptr<BlockExport>(std::move(made));
    }
    auto made = std::make_unique<FuseExport>(image);
    VZ_CHECK(made->start(loop, options.engine));
    return std::unique_ptr<BlockExport>(std::move(made));
}

} // namespace vz::exports
