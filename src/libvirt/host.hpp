// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <libvirt/libvirt.h>

#include <string>

/** Facts about the node from libvirt's own helpers (virHostCPU*, virHostMem*, virCapabilities*, virSysinfo*).
 *  Functions that fill public structures have the meaning and the errors of the public API of that name. */
namespace vz::abi {

Result<void> nodeInfo(virNodeInfoPtr info);
Result<int> cpuMap(unsigned char** map,
                   unsigned int* online); ///< as virNodeGetCPUMap: number of CPUs present
Result<void> cpuStats(int cpu, virNodeCPUStatsPtr params, int* count);
Result<void> memoryStats(int cell, virNodeMemoryStatsPtr params, int* count);
Result<int> cellsFreeMemory(unsigned long long* free, int startCell, int maxCells);
Result<unsigned long long> freeMemory();
Result<int> freePages(unsigned int pageCount, unsigned int* pages, int startCell, unsigned int cellCount,
                      unsigned long long* counts);
Result<int> allocPages(unsigned int pageCount, unsigned int* sizes, unsigned long long* counts, int startCell,
                       unsigned int cellCount, bool add);
Result<void> memoryParameters(virTypedParameterPtr params, int* count);
Result<void> setMemoryParameters(virTypedParameterPtr params, int count);
Result<std::string> sysinfoXml(); ///< as virConnectGetSysinfo
Result<std::string> hostname();

} // namespace vz::abi
