// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/host.hpp"

#include "libvirt/driver_table.hpp"
#include "libvirt/private.hpp"

#include <algorithm>
#include <cstdlib>
#include <memory>

namespace vz::abi {

namespace {

struct Free {
    void operator()(char* text) const { std::free(text); }
};
using Text = std::unique_ptr<char, Free>;

Result<void> done(int answer, const char* what) {
    if (answer < 0)
        return lastError(what);
    return {};
}

/** Number of the last NUMA node; a host without NUMA has node 0 only. */
int lastCell() {
    int last = priv::virNumaGetMaxNode();
    if (last < 0)
        virResetLastError();
    return std::max(last, 0);
}

} // namespace

Result<void> nodeInfo(virNodeInfoPtr info) {
    return done(priv::virCapabilitiesGetNodeInfo(info), "libvirt could not read the facts of the node");
}

Result<int> cpuMap(unsigned char** map, unsigned int* online) {
    int count = priv::virHostCPUGetMap(map, online, 0);
    if (count < 0)
        return lastError("libvirt could not read the map of CPUs");
    return count;
}

Result<void> cpuStats(int cpu, virNodeCPUStatsPtr params, int* count) {
    return done(priv::virHostCPUGetStats(cpu, params, count, 0), "libvirt could not read CPU times");
}

Result<void> memoryStats(int cell, virNodeMemoryStatsPtr params, int* count) {
    return done(priv::virHostMemGetStats(cell, params, count, 0), "libvirt could not read memory statistics");
}

Result<int> cellsFreeMemory(unsigned long long* free, int startCell, int maxCells) {
    int count = priv::virHostMemGetCellsFree(free, startCell, maxCells);
    if (count < 0)
        return lastError("libvirt could not read the free memory of NUMA cells");
    return count;
}

Result<unsigned long long> freeMemory() {
    unsigned long long free = 0;
    VZ_CHECK(done(priv::virHostMemGetInfo(nullptr, &free), "libvirt could not read the free memory"));
    return free;
}

Result<int> freePages(unsigned int pageCount, unsigned int* pages, int startCell, unsigned int cellCount,
                      unsigned long long* counts) {
    int count = priv::virHostMemGetFreePages(pageCount, pages, startCell, cellCount, lastCell(), counts);
    if (count < 0)
        return lastError("libvirt could not count free pages");
    return count;
}

Result<int> allocPages(unsigned int pageCount, unsigned int* sizes, unsigned long long* counts, int startCell,
                       unsigned int cellCount, bool add) {
    int count = priv::virHostMemAllocPages(pageCount, sizes, counts, startCell, cellCount, lastCell(), add);
    if (count < 0)
        return lastError("libvirt could not allocate pages");
    return count;
}

Result<void> memoryParameters(virTypedParameterPtr params, int* count) {
    return done(priv::virHostMemGetParameters(params, count, 0), "libvirt could not read memory parameters");
}

Result<void> setMemoryParameters(virTypedParameterPtr params, int count) {
    return done(priv::virHostMemSetParameters(params, count, 0), "libvirt could not set memory parameters");
}

Result<std::string> sysinfoXml() {
    std::unique_ptr<void, void (*)(void*)> info(priv::virSysinfoRead(), priv::virSysinfoDefFree);
    if (!info)
        return lastError("this host gives no system information (SMBIOS)");
    priv::Buffer buffer{};
    int answer = priv::virSysinfoFormat(&buffer, info.get());
    Text text(priv::virBufferContentAndReset(&buffer));
    VZ_CHECK(done(answer, "libvirt could not format the system information"));
    return std::string(text ? text.get() : "");
}

Result<std::string> hostname() {
    Text name(priv::virGetHostname());
    if (!name)
        return lastError("libvirt could not read the host name");
    return std::string(name.get());
}

} // namespace vz::abi
