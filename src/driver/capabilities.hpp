// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "ct/beancounters.hpp"
#include "driver/host_topology.hpp"

#include <string>
#include <vector>

namespace vz::driver {

/** What both capability documents of containers are written from. Plain data. Virtual machines are added by
 * machine_capabilities.hpp. */
struct CapabilitiesFacts {
    std::string hostUuid;      ///< left out if empty
    std::string arch;          ///< libvirt's name of the host's architecture: "x86_64"
    std::string emulator;      ///< absolute path of vz-supervisor, the <path> of domain capabilities
    std::string securityModel; ///< "apparmor", or empty if no model is in force
    bool iommu = false;
    bool liveMigration = false; ///< between hosts, over tcp
    HostTopology topology;
    std::vector<ct::CounterStatus> counters; ///< left out if empty
};

/** What probeCapabilities() is told by those who know; the roots are parameters for tests. */
struct CapabilitiesProbe {
    std::string hostUuid;
    std::string emulator;
    std::string securityModel;
    std::string sysRoot = "/sys";
    std::string procRoot = "/proc";
};

/** Reads the rest from the running host. Errors as readHostTopology(). */
Result<CapabilitiesFacts> probeCapabilities(const CapabilitiesProbe& probe);

/**
 * The document of virConnectGetCapabilities for a host with containers alone, as libvirt's capability.rng has
 * it except that this schema knows none of our two domain types. There is no <cpu><model>: naming one would
 * need libvirt's CPU tables, and OpenStack asks for a baseline CPU as soon as there is one. How beancounters
 * are held is in an element of our namespace, in the guest's <arch>.
 */
std::string capabilitiesXml(const CapabilitiesFacts& facts);

/** The largest number of VCPUs a guest may be given: the CPUs online. */
unsigned maxVcpus(const CapabilitiesFacts& facts);

/** The domain type that @p asked means in a request for domain capabilities: 'vz' for null. InvalidArg if it
 * is none of ours. */
Result<std::string> domainType(const char* asked);

/**
 * The document of virConnectGetDomainCapabilities about containers, valid by domaincaps.rng. The first four
 * are what the client asked for, null for our choice: our emulator, the host's architecture, machine "pc",
 * type "vz" (the type asked for is the one told). Errors: InvalidArg for a domain type, architecture or
 * machine that we never have, ConfigUnsupported for an emulator that is not ours.
 */
Result<std::string> domainCapabilitiesXml(const char* emulator, const char* arch, const char* machine,
                                          const char* virtType, const CapabilitiesFacts& facts);

} // namespace vz::driver
