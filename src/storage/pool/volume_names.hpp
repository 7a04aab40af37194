// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/unique_fd.hpp"

#include <string>
#include <vector>

/** Which names in a pool's folder are volumes, and the folders in which they are made and removed. */
namespace vz::storage {

/** XmlError for a name that no volume can have. */
Result<void> checkVolumeName(const std::string& name);

/**
 * The names of the volumes in a pool's folder, sorted. What looks like a volume and cannot be read is in the
 * list too, with a line in the log: it can be looked at and deleted. Folders that were left half made, or
 * half removed, by a process that is gone, are removed.
 */
Result<std::vector<std::string>> scanFolder(const std::string& target);

/**
 * A folder in which a volume is made, under a name that scanFolder() does not show. It is removed if it is
 * not published, by the next scan if this process dies.
 */
class Draft {
public:
    static Result<Draft> make(const std::string& target);
    Draft(Draft&& other) noexcept;
    Draft& operator=(Draft&&) = delete;
    ~Draft();

    const std::string& path() const { return path_; }
    /** Gives it its name, in one step, and flushes that. StorageVolExist if something has it. */
    Result<void> publish(const std::string& name);

private:
    Draft(std::string target, std::string path, UniqueFd lock)
        : target_(std::move(target)), path_(std::move(path)), lock_(std::move(lock)) {}

    std::string target_, path_;
    UniqueFd lock_; ///< shows others that it is being worked on
};

/** Takes the name away in one step, then removes the folder. */
Result<void> removeVolumeFolder(const std::string& target, const std::string& name);

} // namespace vz::storage
