// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/descriptor.hpp"
#include "storage/ploop/image.hpp"

namespace vz::ploop {

/**
 * An image as a person sees it: a folder with DiskDescriptor.xml and the deltas it names. All that changes
 * the set of deltas is here; each change takes effect with the rename of a new descriptor over the old one,
 * and docs/ploop.md has the order of the steps around it.
 *
 * While a Volume is open for writing, it holds the writer's lock of the top delta: one process at a time. The
 * exporter of a running guest keeps it open; snapshot(), remove(), merge(), resize() and compact() work while
 * the image() is in use by other threads, switchTo() does not. A Volume itself is used by one thread at a
 * time.
 */
class Volume {
public:
    struct CreateOptions {
        uint64_t sectors = 0;
        uint32_t clusterSectors = defaultClusterSectors;
        Version version = Version::V2;
        Descriptor::Mode mode = Descriptor::Mode::Expanded;
        bool sparse = false; ///< for raw images: take no space yet
    };
    struct Options {
        Access access = Access::ReadOnly;
        bool direct = false;
        bool recover = false;              ///< accept a top delta that was not closed
        std::chrono::milliseconds wait{0}; ///< for the lock
    };

    /** Makes the file @p delta and a descriptor beside it. StorageVolExist if one is there already. */
    static Result<void> create(FileSystem& files, const std::string& delta, const CreateOptions& options);
    /** Opens the image of a descriptor; ResourceBusy if another process has it. */
    static Result<std::unique_ptr<Volume>> open(FileSystem& files, const std::string& descriptor,
                                                const Options& options);
    /** Reads a descriptor, without any lock. */
    static Result<Descriptor> read(FileSystem& files, const std::string& descriptor);
    /** Opens one state of an image, also while it is written to elsewhere, for reading. */
    static Result<std::unique_ptr<Image>> openSnapshot(FileSystem& files, const std::string& descriptor,
                                                       const Guid& guid, bool direct = false);

    Image& image() { return *image_; }
    Descriptor& descriptor() { return model_; }
    const std::string& path() const { return path_; }
    /** The path of a delta's file. */
    std::string fileOf(const Descriptor::Delta& delta) const;

    /** Freezes the present state under @p guid (or a random one) and goes on in a new delta. */
    Result<Guid> snapshot(std::optional<Guid> guid = {});
    /** Throws away what was written since the last snapshot and goes on from the state @p guid. */
    Result<void> switchTo(Guid guid);
    /**
     * Removes a snapshot; the states after it keep their content. One with several children stays, marked as
     * temporary, until one child is left. Removing the top goes back to its parent.
     */
    Result<void> remove(Guid guid, const Progress& progress = {});
    /** Merges the delta @p guid into its parent, which must have no other child. */
    Result<void> merge(Guid guid, const Progress& progress = {});
    /** Finishes removals that had to wait or were cut off. */
    Result<void> finishPending(const Progress& progress = {});
    /** The new size of the disk; smaller only without snapshots, and then what lies beyond is lost. */
    Result<void> resize(uint64_t bytes);
    Result<void> compact(const Progress& progress = {}) { return image_->compact(progress); }
    Result<void> close() { return image_->close(); }

    /** Files beside the descriptor that look like deltas of it but are not named in it: left by a power cut.
     */
    Result<std::vector<std::string>> orphans();

    /** Writes a descriptor over the old one and flushes it. With @p lasting, a failure after it took effect
     * is told there, and is no error. */
    static Result<void> store(FileSystem& files, const std::string& path, Descriptor& model,
                              bool* lasting = nullptr);

private:
    Volume(FileSystem& files, std::string path, const Options& options)
        : files_(files), path_(std::move(path)), options_(options) {}

    Result<void> load();
    Result<void> openImage();
    Result<void> heal();
    Result<Descriptor> copy();
    Result<void> commit(Descriptor model);
    Result<void> certain() const;
    Result<std::string> makeDelta(uint64_t sectors, const Delta& like, const std::string& owner);
    Result<void> removeFile(const std::string& file);
    Result<void> removeLeaf(Guid guid);
    Result<void> removeTop();
    Result<void> markTemporary(Guid guid);
    Result<void> mergeInto(Guid parent, Guid child, const Progress& progress);
    std::optional<size_t> levelOf(const Guid& guid);

    FileSystem& files_;
    std::string path_;
    Options options_;
    std::string text_; ///< the descriptor as it is on the disk
    Descriptor model_;
    std::unique_ptr<Image> image_;
    bool uncertain_ = false;
};

/** The chain of files of a state, base first. */
Result<std::vector<Image::Link>> chainOf(const std::string& descriptor, const Descriptor& model,
                                         const Guid& guid);

} // namespace vz::ploop
