// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "domain/config.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

/** A container's snapshots as <domainsnapshot> documents (docs/snapshots.md). */
namespace vz::domain {

/** What becomes of a disk or file system of the container in a snapshot. */
enum class SnapshotMode : uint8_t {
    Default,  ///< not said; only in requests
    No,       ///< its content is no part of the snapshot
    Internal, ///< its image keeps this state
};

struct SnapshotDisk {
    std::string name; ///< target folder of a file system, target device of a disk
    SnapshotMode mode = SnapshotMode::Default;
    std::string image; ///< descriptor of the image; empty unless Internal
};

/** The states that a snapshot without memory can be of. */
enum class SnapshotState : uint8_t {
    Shutoff, ///< the container did not run
    Disks,   ///< it ran: "disk-snapshot"
};

/** The metadata of one snapshot. */
struct Snapshot {
    std::string name;
    std::string description;
    std::string parent; ///< empty: none
    SnapshotState state = SnapshotState::Shutoff;
    int64_t created = 0; ///< seconds since 1970
    std::vector<SnapshotDisk> disks;
    std::string guid;               ///< of the state in each image; empty if there is no image in it
    std::optional<Config> domain;   ///< as it was; missing in documents of very old libvirt only
    std::optional<Config> inactive; ///< the persistent config, if that was another one

    /** Descriptors of the images that have the state. */
    std::vector<std::string> images() const;
    /** The config that the container has after a revert; null if none is known. */
    const Config* config() const { return inactive ? &*inactive : domain ? &*domain : nullptr; }
};

/** What a client asks for when a snapshot is to be made. */
struct SnapshotRequest {
    std::string name; ///< empty: one is chosen
    std::string description;
    enum class Memory : uint8_t { Default, No, Wanted } memory = Memory::Default;
    std::vector<SnapshotDisk> disks;
};

/**
 * Reads a client's document for a new snapshot. XmlError or XmlDetail if it makes no sense, ConfigUnsupported
 * for what ploop images do not have (external files, manual snapshots).
 */
Result<SnapshotRequest> parseSnapshotRequest(const std::string& xml);

/** Reads a whole document: a stored one, or one that is to be redefined. XmlError if a part is missing. */
Result<Snapshot> parseSnapshot(const abi::DomainXml& parser, const std::string& xml);

/** @p flags: VIR_DOMAIN_SNAPSHOT_XML_SECURE adds the secrets of the domain. */
Result<std::string> formatSnapshot(const abi::DomainXml& parser, const Snapshot& snapshot,
                                   unsigned int flags);

/** XmlInvalidSchema if the document is not one of libvirt's; our own additions are allowed. */
Result<void> validateSnapshot(const abi::DomainXml& parser, const std::string& xml);

/** XmlDetail if a snapshot cannot have this name. */
Result<void> checkSnapshotName(const std::string& name);

} // namespace vz::domain
