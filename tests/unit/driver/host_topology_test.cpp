// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/host_topology.hpp"
#include "fake_host.hpp"

#include <unistd.h>

using namespace vz;
using driver::readHostTopology;

TEST_CASE("cells have their memory, pages, distances and CPUs") {
    test::FakeHost host;
    test::twoSockets(host);
    auto topology = readHostTopology(host.sys(), host.proc());
    REQUIRE(topology);
    REQUIRE(topology->cells.size() == 3);

    const auto& cell = topology->cells[1];
    CHECK(cell.id == 1);
    CHECK(cell.memoryKiB == 2000000);
    auto pageKiB = static_cast<unsigned>(::sysconf(_SC_PAGESIZE) / 1024);
    REQUIRE(cell.pages.size() == 2);
    CHECK(cell.pages[0].sizeKiB == pageKiB);
    CHECK(cell.pages[0].count == (2000000 - 3 * 2048) / pageKiB);
    CHECK(cell.pages[1].sizeKiB == 2048);
    CHECK(cell.pages[1].count == 3);
    REQUIRE(cell.distances.size() == 3);
    CHECK(cell.distances[2].cell == 4);
    CHECK(cell.distances[2].value == 28);
    REQUIRE(cell.cpus.size() == 4);
    CHECK(cell.cpus[2].id == 6);
    CHECK(cell.cpus[2].socket == 1);
    CHECK(cell.cpus[2].core == 0);
    CHECK(cell.cpus[2].siblings == "2,6");
    CHECK(topology->cells[2].cpus.empty());

    CHECK(topology->cpuCount() == 8);
    auto counts = topology->cpuCounts();
    CHECK(counts.sockets == 1);
    CHECK(counts.dies == 1);
    CHECK(counts.cores == 2);
    CHECK(counts.threads == 2);
}

TEST_CASE("a host with a CPU off is told as cores of one socket") {
    test::FakeHost host;
    test::twoSockets(host);
    host.put("sys/devices/system/node/node1/cpulist", "2-3,6");
    auto counts = readHostTopology(host.sys(), host.proc())->cpuCounts();
    CHECK(counts.sockets == 1);
    CHECK(counts.cores == 7);
    CHECK(counts.threads == 1);
}

TEST_CASE("a kernel without NUMA gives one cell with everything") {
    test::FakeHost host;
    host.put("proc/meminfo", "MemTotal:        4548824 kB\nMemFree:         1 kB");
    host.put("sys/devices/system/cpu/online", "0-1");
    host.put("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "0");
    host.put("sys/devices/system/cpu/cpu0/topology/physical_package_id", "-1");
    auto topology = readHostTopology(host.sys(), host.proc());
    REQUIRE(topology);
    REQUIRE(topology->cells.size() == 1);
    const auto& cell = topology->cells[0];
    CHECK(cell.memoryKiB == 4548824);
    CHECK(cell.distances.empty());
    CHECK(cell.pages.size() == 2);
    REQUIRE(cell.cpus.size() == 2);
    CHECK(cell.cpus[0].socket == 0);
    CHECK(cell.cpus[1].siblings == "1");
}

TEST_CASE("what cannot be read is named") {
    test::FakeHost host;
    auto nothing = readHostTopology(host.sys(), host.proc());
    REQUIRE_FALSE(nothing);
    CHECK(nothing.error().message().find(host.proc() + "/meminfo") != std::string::npos);

    test::twoSockets(host);
    host.put("sys/devices/system/node/node4/meminfo", "Node 4 MemTotal: many");
    auto broken = readHostTopology(host.sys(), host.proc());
    REQUIRE_FALSE(broken);
    CHECK(broken.error().message().find("node4/meminfo") != std::string::npos);
}

TEST_CASE("this host can be read") {
    auto topology = readHostTopology();
    REQUIRE(topology);
    CHECK(topology->cpuCount() == static_cast<unsigned>(::sysconf(_SC_NPROCESSORS_ONLN)));
}
