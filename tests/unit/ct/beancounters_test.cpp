// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/beancounters.hpp"

#include <catch2/catch.hpp>

using namespace vz;
using namespace vz::ct;

TEST_CASE("beancounters that fit together give no findings") {
    CHECK(counterFindings({}).empty());
    CHECK(counterFindings({{"numproc", {100, 100}}, {"numfile", {1600, 1600}}}).empty());
    // What has no limit is not compared, whatever the others are.
    CHECK(counterFindings({{"numproc", {100, 100}}, {"numfile", {}}, {"kmemsize", {1, 2}}}).empty());
    CHECK(counterFindings({{"numtcpsock", {10, 10}}, {"tcpsndbuf", {65536, 65536 + 25600}}}).empty());
}

TEST_CASE("beancounters that do not fit together are told with figures") {
    auto findings = counterFindings({{"numproc", {100, 100}}, {"numfile", {1599, 1599}}});
    REQUIRE(findings.size() == 1);
    CHECK(findings[0] == "the barrier of numfile is 1599 and should be at least 1600 (16 * numproc): else "
                         "processes fail before numproc is reached");
    findings = counterFindings({{"numtcpsock", {10, 10}}, {"tcpsndbuf", {65536, 65537}}});
    REQUIRE(findings.size() == 1);
    CHECK(findings[0].starts_with("the gap between barrier and limit of tcpsndbuf is 1 and"));
    CHECK(counterFindings({{"tcprcvbuf", {5, 9}}}).size() == 1);
    findings =
        counterFindings({{"numproc", {2, 2}}, {"dcachesize", {1000, 1000}}, {"kmemsize", {41959, 50000}}});
    CHECK(findings.size() == 1);
    CHECK(counterFindings({{"numproc", {2, 2}}, {"dcachesize", {1000, 1000}}, {"kmemsize", {41960, 50000}}})
              .empty());
}

TEST_CASE("sums of beancounters that are too large for 64 bits are still too large") {
    constexpr uint64_t most = Beancounter::unlimited - 1;
    CHECK(counterFindings({{"numproc", {most, most}}, {"numfile", {most, most}}}).size() == 1);
}
