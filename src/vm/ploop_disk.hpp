// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "base/xml.hpp"
#include "libvirt/disk_names.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

/**
 * Disks of virtual machines that are ploop images. QEMU reads them by NBD from a socket that a vz-ploopd
 * serves while the machine runs. QEMU's driver has them as
 *
 *     <disk type='network'><driver name='qemu' type='raw'/>
 *       <source protocol='nbd' name='vz-ploop:file:ploop:/vz/disk' tls='no'>
 *         <host transport='unix' socket='/run/libvirt/vz-disks/UUID-vda'/></source>
 *
 * where the name, which is that of our server's export, keeps what the client defined:
 * <disk type='file'><driver type='ploop'/><source file='/vz/disk'/>, or "volume:FORMAT:POOL/VOLUME" for a
 * volume, with FORMAT '-' if the client gave none.
 */
namespace vz::vm {

/** What makes a disk one of these. */
using abi::kPloopName;

struct PloopDisk {
    std::string target;
    std::string socket;
    std::string name; ///< of the source
    bool readOnly = false;
    std::string file;         ///< as the client gave it; or
    std::string pool, volume; ///< of the storage driver
};

/** Those of a domain or disk document of QEMU's driver. */
std::vector<PloopDisk> ploopDisks(const std::string& innerXml);

/** For the way in: where the sockets of a machine's disks are, and which volumes are ploop images. */
struct PloopFacts {
    std::string sockets; ///< the folder; empty: such disks are refused
    /** Whether a volume is in a pool of ploop images; may be empty. */
    std::function<Result<bool>(const std::string& pool, const std::string& volume)> isVolume;
};

/** Where the disk of a machine is served; of all machines, in @p folder. */
std::string ploopSocket(const std::string& folder, const std::string& machineUuid, const std::string& target);

/** Whether a <disk> has the form of above. */
bool isInnerPloop(xmlNode* disk);
/**
 * For one that comes so (of a machine from another host, or from a client): makes its socket the one that
 * such a machine's has here. XmlError if it is none that ploopToInner() makes.
 */
Result<void> renewInnerPloop(xmlNode* disk, const std::string& machineUuid, const PloopFacts& facts);

/** The format that a client gives such disks: "ploop" or "parallels". */
bool isPloopFormat(std::string_view format);

/**
 * Makes a client's <disk> with a ploop image one for QEMU's driver. @p format is "ploop", "parallels" or, for
 * a volume, empty. ConfigUnsupported for what such a disk cannot have.
 */
Result<void> ploopToInner(xmlNode* disk, const std::string& format, const std::string& machineUuid,
                          const PloopFacts& facts);

} // namespace vz::vm
