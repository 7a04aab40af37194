// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/host.hpp"

#include "base/file.hpp"
#include "base/text.hpp"

#include <catch2/catch.hpp>

#include <libvirt/virterror.h>

#include <unistd.h>

#include <map>
#include <set>

namespace abi = vz::abi;

TEST_CASE("node info agrees with the kernel") {
    virNodeInfo info{};
    REQUIRE(abi::nodeInfo(&info));
    CHECK(info.memory > 64 * 1024); // KiB; what the kernel has is not constant on a machine with a balloon
    CHECK(info.cpus == static_cast<unsigned>(sysconf(_SC_NPROCESSORS_ONLN)));
    CHECK(info.nodes * info.sockets * info.cores * info.threads >= info.cpus);
    CHECK(std::string(info.model).size() > 0);
}

TEST_CASE("CPU map and CPU times") {
    unsigned char* map = nullptr;
    unsigned online = 0;
    auto present = abi::cpuMap(&map, &online);
    REQUIRE(present);
    CHECK(*present == sysconf(_SC_NPROCESSORS_CONF));
    CHECK(online == static_cast<unsigned>(sysconf(_SC_NPROCESSORS_ONLN)));
    CHECK((map[0] & 1) == 1);
    free(map);

    int count = 0;
    REQUIRE(abi::cpuStats(VIR_NODE_CPU_STATS_ALL_CPUS, nullptr, &count));
    REQUIRE(count == 4);
    std::vector<virNodeCPUStats> stats(static_cast<size_t>(count));
    REQUIRE(abi::cpuStats(VIR_NODE_CPU_STATS_ALL_CPUS, stats.data(), &count));
    std::set<std::string> names;
    for (const auto& stat : stats)
        names.insert(stat.field);
    CHECK(names == std::set<std::string>{"idle", "iowait", "kernel", "user"});
    auto refused = abi::cpuStats(100000, stats.data(), &count);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == vz::ErrorCode::InvalidArg);
}

TEST_CASE("memory statistics, free memory and free pages") {
    int count = 0;
    REQUIRE(abi::memoryStats(VIR_NODE_MEMORY_STATS_ALL_CELLS, nullptr, &count));
    std::vector<virNodeMemoryStats> stats(static_cast<size_t>(count));
    REQUIRE(abi::memoryStats(VIR_NODE_MEMORY_STATS_ALL_CELLS, stats.data(), &count));
    std::map<std::string, unsigned long long> values;
    for (const auto& stat : stats)
        values[stat.field] = stat.value;
    CHECK(values.at("total") > values.at("free"));

    auto free = abi::freeMemory();
    REQUIRE(free);
    CHECK(*free / 1024 < values.at("total"));

    unsigned long long cells[4] = {};
    auto filled = abi::cellsFreeMemory(cells, 0, 4);
    REQUIRE(filled);
    CHECK(*filled >= 1);
    CHECK(cells[0] > 0);

    unsigned pages[] = {static_cast<unsigned>(sysconf(_SC_PAGESIZE) / 1024)};
    unsigned long long counts[1] = {};
    auto counted = abi::freePages(1, pages, 0, 1, counts);
    REQUIRE(counted);
    CHECK(*counted == 1);
    CHECK(counts[0] > 0);
    CHECK_FALSE(abi::freePages(1, pages, 1000, 1, counts));
}

TEST_CASE("a page size that the node does not have is an error, not an allocation") {
    unsigned sizes[] = {3};
    unsigned long long counts[] = {1};
    CHECK_FALSE(abi::allocPages(1, sizes, counts, 0, 1, true));
}

TEST_CASE("memory parameters (KSM) where the kernel has them") {
    int count = 0;
    REQUIRE(abi::memoryParameters(nullptr, &count));
    CHECK(count > 0);
    std::vector<virTypedParameter> params(static_cast<size_t>(count));
    auto read = abi::memoryParameters(params.data(), &count);
    if (vz::file::exists("/sys/kernel/mm/ksm/run")) {
        REQUIRE(read);
        CHECK(count > 0);
        virTypedParamsClear(params.data(), count);
    }
    virTypedParameter unknown{};
    std::string("nosuch").copy(unknown.field, sizeof unknown.field - 1);
    unknown.type = VIR_TYPED_PARAM_UINT;
    auto refused = abi::setMemoryParameters(&unknown, 1);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == vz::ErrorCode::ArgumentUnsupported);
}

TEST_CASE("system information is XML or a told reason") {
    auto info = abi::sysinfoXml();
    if (info)
        CHECK(info->find("<sysinfo type='smbios'>") != std::string::npos);
    else
        CHECK_FALSE(info.error().message().empty());
    CHECK(virGetLastError() == nullptr);
}

TEST_CASE("the host has a name") {
    auto name = abi::hostname();
    REQUIRE(name);
    CHECK_FALSE(name->empty());
}
