// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "domain/snapshot.hpp"

#include <map>
#include <memory>
#include <string>
#include <vector>

namespace vz::domain {

using SnapshotRef = std::shared_ptr<const Snapshot>;

/**
 * All snapshots of one domain, and which of them its present content descends from. A value: who wants to
 * change it works on a copy. Never has a parent that is not there, nor a circle.
 */
class SnapshotTree {
public:
    bool empty() const { return all_.empty(); }
    size_t size() const { return all_.size(); }
    /** Null if there is none of that name. */
    SnapshotRef find(const std::string& name) const;
    /** NoSnapshot if there is none of that name. */
    Result<SnapshotRef> get(const std::string& name) const;
    /** Name of the current one; empty if there is none. */
    const std::string& current() const { return current_; }
    /** A name that is not there (any more) means none. */
    void setCurrent(const std::string& name);

    /** Children of one, or the roots for an empty name; oldest first. */
    std::vector<SnapshotRef> childrenOf(const std::string& name) const;
    /** All below it, each before its own children. */
    std::vector<SnapshotRef> descendantsOf(const std::string& name) const;

    /**
     * Names for the listing calls of libvirt's API, parents always before their children: below @p from, or
     * of the whole domain if that is empty. @p flags: VIR_DOMAIN_SNAPSHOT_LIST_*.
     */
    std::vector<std::string> list(const std::string& from, unsigned int flags) const;

    /** Whether a document may take the place of the one of its name, or become a new one: InvalidArg as from
     * libvirt's own drivers. @p flags: VIR_DOMAIN_SNAPSHOT_CREATE_*. */
    Result<void> checkRedefinition(const Snapshot& changed, const std::string& uuid,
                                   unsigned int flags) const;

    /** Adds one or replaces the one of its name. Its parent has to be there. */
    void put(Snapshot snapshot);
    /** Its children become those of its parent, and if it was the current one, so is its parent then. The
     * snapshots that changed by that. */
    std::vector<SnapshotRef> remove(const std::string& name);

    /** From what was found on the disk: a parent that is missing, or leads in a circle, counts as none. The
     * names of the snapshots of which that is true are put into @p orphans. */
    static SnapshotTree make(std::vector<Snapshot> found, const std::string& current,
                             std::vector<std::string>& orphans);

private:
    bool descends(const std::string& name, const std::string& from) const;

    std::map<std::string, SnapshotRef> all_;
    std::string current_;
};

} // namespace vz::domain
