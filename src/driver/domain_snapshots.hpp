// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "domain/snapshot_store.hpp"

#include <mutex>

namespace vz::driver {

/**
 * What is known of one domain's snapshots, in memory and on the disk. Queries may come at any time; changes
 * are made by whoever holds a job of the domain that excludes others.
 */
class DomainSnapshots {
public:
    /** Reads what is there. */
    DomainSnapshots(const abi::DomainXml& parser, std::string folder);

    /** All of them as they are now. */
    domain::SnapshotTree tree() const;

    /** Adds one or replaces the one of its name. */
    Result<void> put(const domain::Snapshot& snapshot);
    /** Empty: none. */
    Result<void> setCurrent(const std::string& name);
    /** Takes one out of the tree; its children go to its parent. */
    Result<void> remove(const std::string& name);
    /** Of a domain that goes: nothing is left, also not on the disk. */
    Result<void> forgetAll();

    /** Work on images that a daemon has begun and not ended. */
    Result<std::optional<domain::PendingWork>> pending() const { return store_.pending(); }
    Result<void> begin(const domain::PendingWork& work) { return store_.setPending(work); }
    Result<void> end() { return store_.clearPending(); }

private:
    domain::SnapshotStore store_;
    mutable std::mutex mutex_; ///< of all below
    domain::SnapshotTree tree_;
};

} // namespace vz::driver
