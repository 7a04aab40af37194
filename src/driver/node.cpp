// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/guest_facts.hpp"
#include "driver/methods.hpp"
#include "libvirt/host.hpp"

#include <cstdio>

namespace vz::driver {

Result<void> nodeGetInfo(const ConnectCall&, virNodeInfoPtr info) {
    return abi::nodeInfo(info);
}

Result<int> nodeGetCpuMap(const ConnectCall&, unsigned char** map, unsigned int* online, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virNodeGetCPUMap"));
    return abi::cpuMap(map, online);
}

Result<void> nodeGetCpuStats(const ConnectCall&, int cpu, virNodeCPUStatsPtr params, int* count,
                             unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virNodeGetCPUStats"));
    return abi::cpuStats(cpu, params, count);
}

Result<void> nodeGetMemoryStats(const ConnectCall&, int cell, virNodeMemoryStatsPtr params, int* count,
                                unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virNodeGetMemoryStats"));
    return abi::memoryStats(cell, params, count);
}

Result<int> nodeGetCellsFreeMemory(const ConnectCall&, unsigned long long* free, int startCell,
                                   int maxCells) {
    return abi::cellsFreeMemory(free, startCell, maxCells);
}

Result<unsigned long long> nodeGetFreeMemory(const ConnectCall&) {
    return abi::freeMemory();
}

Result<int> nodeGetFreePages(const ConnectCall&, unsigned int npages, unsigned int* pages, int startCell,
                             unsigned int cellCount, unsigned long long* counts, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virNodeGetFreePages"));
    return abi::freePages(npages, pages, startCell, cellCount, counts);
}

Result<int> nodeAllocPages(const ConnectCall&, unsigned int npages, unsigned int* sizes,
                           unsigned long long* counts, int startCell, unsigned int cellCount,
                           unsigned int flags) {
    VZ_CHECK(allowFlags(flags, VIR_NODE_ALLOC_PAGES_SET, "virNodeAllocPages"));
    bool add = !(flags & VIR_NODE_ALLOC_PAGES_SET);
    return abi::allocPages(npages, sizes, counts, startCell, cellCount, add);
}

Result<void> nodeGetMemoryParameters(const ConnectCall&, virTypedParameterPtr params, int* count,
                                     unsigned int flags) {
    VZ_CHECK(allowFlags(flags, VIR_TYPED_PARAM_STRING_OKAY, "virNodeGetMemoryParameters"));
    return abi::memoryParameters(params, count);
}

Result<void> nodeSetMemoryParameters(const ConnectCall&, virTypedParameterPtr params, int count,
                                     unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virNodeSetMemoryParameters"));
    return abi::setMemoryParameters(params, count);
}

Result<void> nodeGetSecurityModel(const ConnectCall&, virSecurityModelPtr model) {
    *model = {};
    std::snprintf(model->model, sizeof model->model, "%s", ct::apparmorEnabled() ? "apparmor" : "none");
    std::snprintf(model->doi, sizeof model->doi, "0");
    return {};
}

} // namespace vz::driver
