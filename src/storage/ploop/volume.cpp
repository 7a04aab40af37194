// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/volume.hpp"

#include "base/rollback.hpp"
#include "storage/ploop/convert.hpp"

#include <algorithm>

namespace vz::ploop {

namespace {

constexpr size_t mostText = 1u << 20;

Result<std::string> readText(FileSystem& files, const std::string& path) {
    VZ_TRY(auto file, files.open(path, Access::ReadOnly));
    VZ_TRY(uint64_t size, file->size());
    if (size > mostText)
        return fail(ErrorCode::XmlDetail, path, " is too long for a disk descriptor");
    std::string text(size, '\0');
    VZ_CHECK(file->read(0, text.data(), text.size()));
    return text;
}

std::string pathOf(const std::string& descriptor, const std::string& file) {
    return file.starts_with('/') ? file : cat(folderOf(descriptor), "/", file);
}

/** The name of a delta without the GUID that ours and others have at their end. */
std::string stemOf(const std::string& file) {
    auto brace = file.rfind(".{");
    return brace != std::string::npos && file.ends_with('}') ? file.substr(0, brace) : file;
}

} // namespace

Result<std::vector<Image::Link>> chainOf(const std::string& descriptor, const Descriptor& model,
                                         const Guid& guid) {
    VZ_TRY(auto chain, model.chain(guid));
    std::vector<Image::Link> links;
    for (const auto* delta : chain) {
        // A descriptor of somebody else's must not lead to this host's files.
        if (folderOf(pathOf(descriptor, delta->file)) != folderOf(descriptor))
            return fail(ErrorCode::OperationUnsupported, descriptor, ": ", delta->file,
                        " is not in the folder of its disk descriptor");
        links.push_back({pathOf(descriptor, delta->file), delta->plain && links.empty()});
    }
    return links;
}

std::string Volume::fileOf(const Descriptor::Delta& delta) const {
    return pathOf(path_, delta.file);
}

Result<Descriptor> Volume::read(FileSystem& files, const std::string& descriptor) {
    VZ_TRY(auto text, readText(files, descriptor));
    auto model = Descriptor::parse(text);
    if (!model)
        return std::move(model).takeError().within(descriptor);
    return model;
}

Result<void> Volume::store(FileSystem& files, const std::string& path, Descriptor& model, bool* lasting) {
    std::string temporary = path + ".tmp";
    VZ_CHECK(files.remove(temporary));
    Rollback back;
    VZ_TRY(auto file, files.create(temporary, 0644));
    back.add([&] { (void)files.remove(temporary); });
    std::string text = model.format();
    VZ_CHECK(file->write(0, text.data(), text.size()));
    VZ_CHECK(file->flush());
    files.copyOwner(path, temporary);
    VZ_CHECK(files.rename(temporary, path));
    back.dismiss();
    auto flushed = files.flushFolder(folderOf(path));
    if (!lasting)
        return flushed;
    *lasting = static_cast<bool>(flushed);
    return {};
}

Result<void> Volume::create(FileSystem& files, const std::string& delta, const CreateOptions& options) {
    std::string descriptor = folderOf(delta) + "/DiskDescriptor.xml";
    if (files.exists(descriptor))
        return fail(ErrorCode::StorageVolExist, descriptor, " exists already");
    VZ_CHECK(checkClusterSize(options.clusterSectors));
    // The reference tools merge other ones wrongly.
    if (options.version == Version::V1 && options.clusterSectors != defaultClusterSectors)
        return fail(ErrorCode::InvalidArg, "version 1 images are made with clusters of ",
                    defaultClusterSectors, " sectors only");
    bool raw = options.mode == Descriptor::Mode::Raw;
    uint64_t sectors = options.sectors;
    Rollback back;
    if (raw) {
        if (sectors == 0 || sectors > INT64_MAX / sectorSize)
            return fail(ErrorCode::InvalidArg, "a raw disk of ", sectors, " sectors is not possible");
        sectors += (options.clusterSectors - sectors % options.clusterSectors) % options.clusterSectors;
        VZ_TRY(auto file, files.create(delta));
        back.add([&] { (void)files.remove(delta); });
        VZ_CHECK(file->resize(sectors * sectorSize));
        if (!options.sparse)
            VZ_CHECK(file->reserve({0, sectors * sectorSize}));
        VZ_CHECK(file->flush());
    } else {
        VZ_TRY(Header header, makeHeader(sectors, options.clusterSectors, options.version));
        sectors = header.sectors;
        bool full = options.mode == Descriptor::Mode::Preallocated;
        VZ_CHECK(full ? Delta::createPreallocated(files, delta, header)
                      : Delta::create(files, delta, header));
        back.add([&] { (void)files.remove(delta); });
    }
    VZ_TRY(auto model, Descriptor::make(sectors, options.clusterSectors, options.mode));
    model.add({topGuid, raw, nameOf(delta)}, {topGuid, noGuid});
    VZ_CHECK(store(files, descriptor, model));
    back.dismiss();
    return {};
}

Result<std::unique_ptr<Image>> Volume::openSnapshot(FileSystem& files, const std::string& descriptor,
                                                    const Guid& guid, bool direct) {
    VZ_TRY(auto model, read(files, descriptor));
    if (model.encrypted)
        return fail(ErrorCode::OperationUnsupported, descriptor, ": encrypted images are not supported");
    VZ_TRY(auto chain, chainOf(descriptor, model, guid));
    Image::Options options;
    options.direct = direct;
    options.plainDisk.clusterSectors = model.clusterSectors;
    return Image::open(files, chain, options);
}

Result<std::unique_ptr<Volume>> Volume::open(FileSystem& files, const std::string& descriptor,
                                             const Options& options) {
    std::unique_ptr<Volume> volume(new Volume(files, descriptor, options));
    constexpr int tries = 10;
    for (int i = 0; i < tries; ++i) {
        VZ_CHECK(volume->load());
        auto opened = volume->openImage();
        // What was read before the lock may have been history by then.
        VZ_TRY(auto now, readText(files, descriptor));
        if (now != volume->text_)
            continue;
        VZ_CHECK(std::move(opened));
        if (options.access == Access::ReadWrite)
            VZ_CHECK(volume->heal());
        return volume;
    }
    return fail(ErrorCode::ResourceBusy, descriptor, " is being changed by another process all the time");
}

Result<void> Volume::load() {
    VZ_TRY(text_, readText(files_, path_));
    auto model = Descriptor::parse(text_);
    if (!model)
        return std::move(model).takeError().within(path_);
    model_ = *std::move(model);
    if (model_.encrypted)
        return fail(ErrorCode::OperationUnsupported, path_, ": encrypted images are not supported");
    return {};
}

Result<void> Volume::openImage() {
    image_.reset();
    VZ_TRY(auto chain, chainOf(path_, model_, model_.top));
    Image::Options options;
    options.access = options_.access;
    options.direct = options_.direct;
    options.recover = options_.recover;
    options.wait = options_.wait;
    options.plainDisk.clusterSectors = model_.clusterSectors;
    VZ_TRY(image_, Image::open(files_, chain, options));
    if (image_->clusterBytes() != model_.clusterSectors * sectorSize)
        return fail(ErrorCode::StorageProbeFailed, path_, " says clusters of ", model_.clusterSectors,
                    " sectors, the files have ", image_->clusterBytes() / sectorSize);
    return {};
}

/** Puts right what a power cut or another tool left, as far as nothing can be lost by it. */
Result<void> Volume::heal() {
    for (const auto& shot : model_.shots) {
        if (shot.mark == Descriptor::Mark::Foreign)
            return fail(ErrorCode::OperationUnsupported, path_, ": the snapshot ", shot.guid,
                        " is in the middle of a merge that only the tool that began it can finish");
    }
    VZ_CHECK(files_.remove(path_ + ".tmp"));
    if (modeChangeUnfinished(model_)) {
        VZ_CHECK(finishModeChange(files_, path_, model_));
        text_ = model_.format();
    }
    uint64_t sectors = image_->bytes() / sectorSize;
    if (model_.sectors == sectors)
        return {};
    VZ_TRY(auto model, copy());
    model.sectors = sectors;
    return commit(std::move(model));
}

/** A model to change: if anything fails, it is dropped, and what is on the disk counts. */
Result<Descriptor> Volume::copy() {
    return Descriptor::parse(text_);
}

Result<void> Volume::commit(Descriptor model) {
    bool lasting = true;
    VZ_CHECK(store(files_, path_, model, &lasting));
    // The new state counts from the rename on, whatever comes now.
    text_ = model.format();
    model_ = std::move(model);
    uncertain_ = uncertain_ || !lasting;
    if (uncertain_)
        image_->doubt();
    return {};
}

/** A power cut could bring back the descriptor before the last one: nothing it needs may go, and no flush is
 * one. */
Result<void> Volume::certain() const {
    if (!uncertain_)
        return {};
    return fail(ErrorCode::OperationFailed, path_,
                " was changed, but the folder could not be flushed; open it again");
}

Result<std::string> Volume::makeDelta(uint64_t sectors, const Delta& like, const std::string& owner) {
    std::string file = cat(stemOf(model_.deltas.front().file), ".", randomGuid());
    // Only what never changes is read from the old top: others may be writing to it.
    auto version = like.plain() ? Version::V2 : like.header().version;
    VZ_TRY(Header header, makeHeader(sectors, like.header().clusterSectors, version));
    header.sectors = sectors; // a plain base may end inside of a cluster
    std::string path = pathOf(path_, file);
    VZ_CHECK(Delta::create(files_, path, header));
    files_.copyOwner(owner, path);
    if (auto flushed = files_.flushFolder(folderOf(path)); !flushed) {
        (void)files_.remove(path);
        return std::move(flushed).takeError();
    }
    return file;
}

Result<Guid> Volume::snapshot(std::optional<Guid> wanted) {
    Guid guid = wanted.value_or(randomGuid());
    if (guid == noGuid || guid == topGuid || model_.shot(guid))
        return fail(ErrorCode::InvalidArg, "the UUID ", guid, " is in use or reserved");
    if (image_->levels() >= mostLevels)
        return fail(ErrorCode::OperationInvalid, path_, " has the greatest possible number of snapshots, ",
                    mostLevels - 1);
    VZ_TRY(auto model, copy());
    auto* old = model.delta(model.top);
    VZ_TRY(auto file, makeDelta(image_->bytes() / sectorSize, image_->top(), fileOf(*old)));
    old->guid = guid;
    model.shot(model.top)->guid = guid;
    model.sectors = image_->bytes() / sectorSize;
    model.add({model.top, false, file}, {model.top, guid});
    auto pushed = image_->push(files_, pathOf(path_, file), [&] { return commit(std::move(model)); });
    if (!pushed) {
        (void)files_.remove(pathOf(path_, file));
        return std::move(pushed).takeError();
    }
    VZ_CHECK(certain());
    return guid;
}

Result<void> Volume::switchTo(Guid guid) {
    auto* shot = model_.shot(guid);
    if (!shot)
        return fail(ErrorCode::NoSnapshot, "there is no snapshot ", guid);
    if (guid == model_.top || shot->mark != Descriptor::Mark::None)
        return fail(ErrorCode::InvalidArg, "the snapshot ", guid, " is not one to go back to");
    VZ_TRY(auto links, chainOf(path_, model_, guid));
    Image::Options reading;
    reading.plainDisk.clusterSectors = model_.clusterSectors;
    VZ_TRY(auto state, Image::open(files_, links, reading));
    VZ_CHECK(image_->close());

    VZ_TRY(auto model, copy());
    std::string old = fileOf(*model.delta(model.top));
    VZ_TRY(auto file, makeDelta(state->bytes() / sectorSize, state->top(), old));
    model.remove(model.top);
    model.add({model.top, false, file}, {model.top, guid});
    model.sectors = state->bytes() / sectorSize;
    if (auto committed = commit(std::move(model)); !committed) {
        (void)files_.remove(pathOf(path_, file));
        return committed;
    }
    VZ_CHECK(removeFile(old));
    return openImage();
}

Result<void> Volume::removeFile(const std::string& file) {
    VZ_CHECK(certain());
    VZ_CHECK(files_.remove(file));
    return files_.flushFolder(folderOf(file));
}

Result<void> Volume::remove(Guid guid, const Progress& progress) {
    auto* shot = model_.shot(guid);
    if (!shot)
        return fail(ErrorCode::NoSnapshot, "there is no snapshot ", guid);
    auto children = model_.childrenOf(guid);
    if (guid == model_.top) {
        VZ_CHECK(removeTop());
    } else if (children.empty()) {
        VZ_CHECK(removeLeaf(guid));
    } else if (children.size() == 1) {
        VZ_CHECK(mergeInto(guid, Guid(children.front()->guid), progress));
    } else {
        VZ_CHECK(markTemporary(guid));
    }
    return finishPending(progress);
}

Result<void> Volume::finishPending(const Progress& progress) {
    for (bool again = true; std::exchange(again, false);) {
        for (const auto& shot : model_.shots) {
            auto children = model_.childrenOf(shot.guid);
            if (shot.mark != Descriptor::Mark::Temporary || children.size() > 1)
                continue;
            Guid guid = shot.guid;
            if (children.empty()) {
                VZ_CHECK(removeLeaf(guid));
            } else {
                VZ_CHECK(mergeInto(guid, Guid(children.front()->guid), progress));
            }
            again = true; // the list has changed
            break;
        }
    }
    return {};
}

Result<void> Volume::markTemporary(Guid guid) {
    if (model_.shot(guid)->mark == Descriptor::Mark::Temporary)
        return {};
    VZ_TRY(auto model, copy());
    model.shot(guid)->mark = Descriptor::Mark::Temporary;
    VZ_CHECK(commit(std::move(model)));
    return certain();
}

Result<void> Volume::removeLeaf(Guid guid) {
    if (model_.shot(guid)->parent == noGuid)
        return fail(ErrorCode::InvalidArg, "the base ", guid, " cannot be removed");
    std::string file = fileOf(*model_.delta(guid));
    // Held until the file is gone: nobody reads it.
    VZ_TRY(auto locked, files_.open(file, Access::ReadOnly));
    VZ_CHECK(locked->lock(Lock::Writer, options_.wait));
    VZ_TRY(auto model, copy());
    model.remove(guid);
    VZ_CHECK(commit(std::move(model)));
    return removeFile(file);
}

Result<void> Volume::removeTop() {
    Guid parent = model_.shot(model_.top)->parent;
    if (parent == noGuid)
        return fail(ErrorCode::InvalidArg, "the only state of an image cannot be removed");
    // Its parent becomes the top and is written to, so nothing else may rest on it.
    if (model_.childrenOf(parent).size() > 1)
        return fail(ErrorCode::OperationInvalid, "the top cannot be removed, as its parent ", parent,
                    " has other children; switch to a snapshot instead");
    if (model_.shot(parent)->mark != Descriptor::Mark::None)
        return fail(ErrorCode::OperationInvalid, "the top cannot be removed, as its parent ", parent,
                    " is being removed");
    VZ_CHECK(image_->close());
    VZ_TRY(auto model, copy());
    std::string old = fileOf(*model.delta(model.top));
    model.remove(model.top);
    model.delta(parent)->guid = model.top;
    model.shot(parent)->guid = model.top;
    model.sectors =
        image_->levels() > 1 ? image_->level(image_->levels() - 2).header().sectors : model.sectors;
    VZ_CHECK(commit(std::move(model)));
    VZ_CHECK(removeFile(old));
    return openImage();
}

std::optional<size_t> Volume::levelOf(const Guid& guid) {
    auto chain = model_.chain(model_.top);
    for (size_t i = 0; chain && i < chain->size(); ++i) {
        if ((*chain)[i]->guid == guid)
            return i;
    }
    return std::nullopt;
}

Result<void> Volume::merge(Guid guid, const Progress& progress) {
    auto* shot = model_.shot(guid);
    if (!shot)
        return fail(ErrorCode::NoSnapshot, "there is no snapshot ", guid);
    if (shot->parent == noGuid)
        return fail(ErrorCode::InvalidArg, "the base ", guid, " has nothing below it");
    if (model_.childrenOf(shot->parent).size() != 1)
        return fail(ErrorCode::OperationInvalid, "the snapshot ", shot->parent,
                    " has other children, so nothing can be merged into it");
    VZ_CHECK(mergeInto(Guid(shot->parent), guid, progress));
    return finishPending(progress);
}

/** The result is the parent's file with the child's GUID, so that the base keeps its name through all merges.
 */
Result<void> Volume::mergeInto(Guid parent, Guid child, const Progress& progress) {
    VZ_CHECK(markTemporary(parent));
    std::string upperFile = fileOf(*model_.delta(child));
    VZ_TRY(auto model, copy());
    auto* merged = model.delta(child);
    merged->file = model.delta(parent)->file;
    merged->plain = model.delta(parent)->plain;
    model.shot(child)->parent = model.shot(parent)->parent;
    model.remove(parent);
    auto change = [&] { return commit(std::move(model)); };
    if (auto level = levelOf(child)) {
        VZ_CHECK(image_->merge(files_, *level, progress, change));
    } else {
        // On another branch: an image of its own.
        VZ_TRY(auto links, chainOf(path_, model_, child));
        Image::Options options;
        options.access = Access::ReadWrite;
        options.recover = true;
        options.direct = options_.direct;
        options.wait = options_.wait;
        options.plainDisk.clusterSectors = model_.clusterSectors;
        VZ_TRY(auto branch, Image::open(files_, links, options));
        VZ_CHECK(branch->merge(files_, branch->levels() - 1, progress, change));
        VZ_CHECK(branch->close());
    }
    return removeFile(upperFile);
}

Result<void> Volume::resize(uint64_t bytes) {
    VZ_CHECK(image_->resize(bytes));
    VZ_TRY(auto model, copy());
    model.sectors = bytes / sectorSize;
    VZ_CHECK(commit(std::move(model)));
    return certain();
}

Result<std::vector<std::string>> Volume::orphans() {
    VZ_TRY(auto names, files_.list(folderOf(path_)));
    std::string stem = nameOf(stemOf(model_.deltas.front().file)) + ".{";
    std::vector<std::string> found;
    for (const auto& name : names) {
        std::string path = cat(folderOf(path_), "/", name);
        bool known = std::any_of(model_.deltas.begin(), model_.deltas.end(),
                                 [&](const auto& delta) { return nameOf(fileOf(delta)) == name; });
        if (!known && name.starts_with(stem) && name.ends_with('}'))
            found.push_back(path);
    }
    return found;
}

} // namespace vz::ploop
