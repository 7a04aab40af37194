// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "domain/snapshot_tree.hpp"

namespace vz::domain {

/** Work on the images of a domain that is under way: what the next daemon has to finish or undo. */
struct PendingWork {
    enum class Kind : uint8_t { Create, Revert } kind = Kind::Create;
    bool metadata = true;            ///< Create: the snapshot is to be remembered
    std::vector<std::string> images; ///< descriptors
    std::string guid;                ///< the state to make, or to go back to
    std::string keep;                ///< Revert: GUID under which the present state is kept meanwhile
    std::string name;                ///< of the snapshot
    std::string document;            ///< Create: its whole XML
};

/**
 * The snapshots of one domain on the disk, LIB/snapshot/UUID/:
 *     NAME.xml   a <domainsnapshot> document each
 *     current    the name of the current one
 *     pending    PendingWork, while there is some
 * The folder is named after the UUID, so that it follows a rename of the domain. Every change is atomic. Not
 * thread-safe.
 */
class SnapshotStore {
public:
    SnapshotStore(const abi::DomainXml& parser, std::string folder)
        : parser_(parser), folder_(std::move(folder)) {}

    /** What cannot be read is logged and left alone. */
    Result<SnapshotTree> load() const;
    Result<void> save(const Snapshot& snapshot);
    /** A missing one is fine. */
    Result<void> remove(const std::string& name);
    Result<void> setCurrent(const std::string& name); ///< empty: none
    Result<void> removeAll();

    Result<std::optional<PendingWork>> pending() const;
    Result<void> setPending(const PendingWork& work);
    Result<void> clearPending();

private:
    std::string path(const std::string& name) const;
    Result<void> flush() const;

    const abi::DomainXml& parser_;
    std::string folder_;
};

} // namespace vz::domain
