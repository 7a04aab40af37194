// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/view.hpp"

#include "base/text.hpp"

#include <catch2/catch.hpp>

using namespace vz;
using namespace vz::ct;

TEST_CASE("meminfo has the figures that programs look for") {
    view::Figures figures;
    figures.memoryLimit = 512 << 20;
    figures.memoryUsed = 128 << 20;
    figures.activeFile = 32 << 20;
    figures.swapLimit = 64 << 20;
    figures.swapUsed = 16 << 20;
    auto text = view::meminfo(figures);
    CHECK(field(text, "MemTotal") == "524288 kB");
    CHECK(field(text, "MemFree") == "393216 kB");
    CHECK(field(text, "MemAvailable") == "425984 kB");
    CHECK(field(text, "SwapFree") == "49152 kB");
    CHECK(view::swaps(figures).find("virtual\t\t65536\t\t16384") != std::string::npos);
    figures.swapLimit = figures.swapUsed = 0;
    CHECK(lines(view::swaps(figures)).size() == 1);
}

TEST_CASE("CPUs are numbered from 0") {
    view::Figures figures;
    figures.cpus = {1, 3};
    std::string host;
    for (int cpu = 0; cpu < 4; ++cpu)
        host += cat("processor\t: ", cpu, "\nmodel\t: m", cpu, "\n\n");
    CHECK(view::cpuinfo(figures, host) == "processor\t: 0\nmodel\t: m1\n\nprocessor\t: 1\nmodel\t: m3\n\n");
    CHECK(view::cpuinfo(figures, host + "Hardware\t: x\n").ends_with("Hardware\t: x\n"));
    CHECK(view::cpuinfo(figures, "").empty());
    CHECK(view::onlineCpus(figures) == "0-1\n");
    figures.cpus = {7};
    CHECK(view::onlineCpus(figures) == "0\n");
}

TEST_CASE("what a container's CPUs did not do since its start they were idle") {
    constexpr uint64_t second = 1000000000;
    view::Figures figures;
    figures.cpus = {0, 1};
    figures.use = {{2 * second, second}, {0, 0}};
    figures.uptimeNs = 10 * second;
    CHECK(view::uptime(figures) == "10.00 17.00\n");
    auto text = view::stat(figures, "btime 1000\n");
    CHECK(lines(text)[0] == "cpu  200 0 100 1700 0 0 0 0 0 0");
    CHECK(lines(text)[1] == "cpu0 200 0 100 700 0 0 0 0 0 0");
    CHECK(lines(text)[2] == "cpu1 0 0 0 1000 0 0 0 0 0 0");
}

TEST_CASE("load averages are of the CPU time between two looks") {
    constexpr uint64_t second = 1000000000;
    view::LoadAverage load;
    load.update(0, second);
    // Two CPUs, all the time for an hour.
    load.update(7200 * second, 3601 * second);
    CHECK(load.text(1, 5) == "2.00 2.00 1.96 1/5 0\n");
    // Nothing for a minute: what is left is 1/e, 1/e^0.2 ...
    load.update(7200 * second, 3661 * second);
    CHECK(load.text(1, 5) == "0.74 1.64 1.84 1/5 0\n");
    load.update(7200 * second, 3661 * second);
    CHECK(load.text(1, 5) == "0.74 1.64 1.84 1/5 0\n");
}

TEST_CASE("user_beancounters has 24 rows in OpenVZ's columns") {
    std::vector<CounterStatus> status;
    for (const auto& info : counters())
        status.push_back({.info = &info, .held = 3, .maxHeld = 4, .set = {5, 6}, .failures = 7});
    auto text = view::beancounters(101, status);
    auto rows = lines(text);
    REQUIRE(rows.size() == 26);
    CHECK(rows[0] == "Version: 2.5");
    CHECK(rows[1] == "       uid  resource                     held              maxheld              barrier"
                     "                limit              failcnt");
    CHECK(rows[2] == "       101: kmemsize                        3                    4                    5"
                     "                    6                    7");
    CHECK(rows[3].starts_with("            lockedpages  "));
    CHECK(rows[6].starts_with("            dummy        "));
    CHECK(rows[6].ends_with(" 9223372036854775807                    0"));
    CHECK(rows[25].starts_with("            numiptent    "));
    for (const auto& row : rows)
        CHECK(row.find("swappages") == std::string_view::npos);
}

TEST_CASE("a container has a number") {
    CHECK(view::numberOf("101", "ffffffff-0000-0000-0000-000000000000") == 101);
    auto made = view::numberOf("web", "ffffffff-0000-0000-0000-000000000000");
    CHECK((made > 0 && made <= 999999999));
    CHECK(view::numberOf("web", "00000000-0000-0000-0000-000000000000") > 0);
}
