// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/unique_fd.hpp"
#include "storage/export/registry.hpp"

#include <memory>

/** File systems on attached images. */
namespace vz::exports {

/** Where the image is mounted in this process's mount namespace; the newest mount first. */
Result<std::vector<std::string>> mountPoints(const Attachment& attachment);
/** The attached image that is mounted at @p folder, if there is one. */
Result<std::optional<Attachment>> mountedAt(const std::string& folder);

struct MountOptions {
    std::string folder;
    std::string type;    ///< empty: what is found on the device
    std::string options; ///< as for mount(8)
};
Result<void> mountImage(const Attachment& attachment, const MountOptions& options);
/** All mounts of it; ResourceBusy if one is in use. */
Result<void> unmountImage(const Attachment& attachment);

/** "ext4" (for all of that family), "xfs", or nothing known. */
Result<std::string> fileSystemOn(const std::string& device);

/** The file system of an image in a mount that has no place and goes with this object, or with the process.
 */
class TemporaryMount {
public:
    static Result<std::unique_ptr<TemporaryMount>> make(const Attachment& attachment);
    /** A name for it in this process. */
    std::string folder() const { return cat("/proc/self/fd/", mount_.get()); }

private:
    explicit TemporaryMount(UniqueFd mount) : mount_(std::move(mount)) {}
    UniqueFd mount_;
};

} // namespace vz::exports
