// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/xml.hpp"
#include "storage/ploop/format.hpp"
#include "storage/ploop/guid.hpp"
#include "storage/ploop/io.hpp"

#include <vector>

namespace vz::ploop {

/**
 * DiskDescriptor.xml: the files of an image and the tree of its snapshots. Elements that are not known here
 * stay as they are. The format is that of ploop 9.0 and of QEMU's docs/interop/prl-xml.txt.
 */
class Descriptor {
public:
    enum class Mode { Expanded, Preallocated, Raw };
    enum class Mark {
        None,
        Temporary, ///< being merged, or for a backup: goes away as soon as that is possible
        Foreign,   ///< a stage of a merge of the reference tool that was cut off
    };

    struct Delta {
        Guid guid;
        bool plain = false;
        std::string file; ///< as in the XML: absolute, or relative to the descriptor's folder
        xmlNode* node = nullptr;
    };
    struct Shot {
        Guid guid, parent;
        Mark mark = Mark::None;
        xmlNode* node = nullptr;
    };

    uint64_t sectors = 0;
    uint32_t clusterSectors = defaultClusterSectors;
    Mode mode = Mode::Expanded;
    bool encrypted = false; ///< has a key: its content is not readable here
    Guid top = topGuid;
    std::vector<Delta> deltas;
    std::vector<Shot> shots;

    /** A new one without deltas. */
    static Result<Descriptor> make(uint64_t sectors, uint32_t clusterSectors, Mode mode);
    /** XmlError or XmlDetail if it cannot be used. Bounded in time and memory for any text. */
    static Result<Descriptor> parse(const std::string& text);
    std::string format();

    Delta* delta(const Guid& guid);
    Shot* shot(const Guid& guid);
    std::vector<Shot*> childrenOf(const Guid& guid);
    /** From the base to @p guid. NoSnapshot if it is unknown, XmlDetail if there is no way to a base. */
    Result<std::vector<const Delta*>> chain(const Guid& guid) const;
    void add(Delta delta, Shot shot);
    void remove(const Guid& guid);

private:
    void formatParameters(xmlNode* root);
    void formatStorage(xmlNode* root);
    void formatSnapshots(xmlNode* root);
    Result<void> readParameters(xmlNode* root);
    Result<void> readStorage(xmlNode* root);
    Result<void> readSnapshots(xmlNode* root);
    Result<void> validate();

    xml::Doc doc_;
};

/** Finds the descriptor that a person means: a folder with one in it, the descriptor itself, or a delta
 * beside one. */
std::string descriptorPath(FileSystem& files, const std::string& given);

} // namespace vz::ploop
