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

TEST_CASE("beancounters that OpenVZ holds for unusable are refused") {
    Beancounters set{{"numtcpsock", {10, 10}}, {"tcpsndbuf", {65536, 65536 + 25599}}};
    auto refused = checkConsistent(set);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::ConfigUnsupported);
    CHECK(refused.error().message().find("25600 (2560 * numtcpsock)") != std::string::npos);
    CHECK_FALSE(checkConsistent({{"numothersock", {10, 10}}, {"othersockbuf", {65536, 65536}}}));
    CHECK_FALSE(
        checkConsistent({{"numproc", {100, 100}}, {"dcachesize", {0, 0}}, {"kmemsize", {2047999, 3000000}}}));
    // A warning only, and where RAM is limited not even that.
    CHECK(checkConsistent({{"numproc", {100, 100}}, {"numfile", {5, 5}}}));
    set["physpages"] = {0, 65536};
    CHECK(checkConsistent(set));
}

TEST_CASE("the sample configs of OpenVZ are accepted") {
    constexpr uint64_t none = Beancounter::unlimited;
    Beancounters basic{{"kmemsize", {14372700, 14790164}},
                       {"lockedpages", {2048, 2048}},
                       {"privvmpages", {65536, 69632}},
                       {"shmpages", {21504, 21504}},
                       {"numproc", {240, 240}},
                       {"physpages", {0, none}},
                       {"vmguarpages", {33792, none}},
                       {"oomguarpages", {26112, none}},
                       {"numtcpsock", {360, 360}},
                       {"numflock", {188, 206}},
                       {"numpty", {16, 16}},
                       {"numsiginfo", {256, 256}},
                       {"tcpsndbuf", {1720320, 2703360}},
                       {"tcprcvbuf", {1720320, 2703360}},
                       {"othersockbuf", {1126080, 2097152}},
                       {"dgramrcvbuf", {262144, 262144}},
                       {"numothersock", {360, 360}},
                       {"dcachesize", {3409920, 3624960}},
                       {"numfile", {9312, 9312}},
                       {"numiptent", {128, 128}}};
    CHECK(checkBeancounters(basic));
    CHECK(checkConsistent(basic));
    CHECK(counterFindings(basic).empty());
    auto older = basic;
    older["kmemsize"] = {11055923, 11377049};
    CHECK(checkConsistent(older));
    Beancounters light{{"numproc", {40, 40}},
                       {"numtcpsock", {40, 40}},
                       {"numothersock", {40, 40}},
                       {"vmguarpages", {1725, none}},
                       {"kmemsize", {1740800, 1847296}},
                       {"tcpsndbuf", {159744, 262144}},
                       {"tcprcvbuf", {159744, 262144}},
                       {"othersockbuf", {135168, 237568}},
                       {"dgramrcvbuf", {135168, 196608}},
                       {"oomguarpages", {1725, none}},
                       {"lockedpages", {4, 4}},
                       {"shmpages", {1152, 1152}},
                       {"privvmpages", {7680, 8448}},
                       {"numfile", {512, 512}},
                       {"numflock", {50, 60}},
                       {"numpty", {4, 4}},
                       {"numsiginfo", {256, 256}},
                       {"dcachesize", {196608, 202752}},
                       {"physpages", {0, none}},
                       {"numiptent", {16, 16}}};
    CHECK(checkBeancounters(light));
    CHECK(checkConsistent(light));
    Beancounters vswap;
    for (const auto& info : counters())
        vswap[info.name] = {};
    vswap["physpages"] = {0, 131072};
    vswap["swappages"] = {0, 262144};
    CHECK(checkBeancounters(vswap));
    CHECK(checkConsistent(vswap));
    Beancounters unlimited{{"numtcpsock", {1801439850948198, 1801439850948198}},
                           {"tcpsndbuf", {4611686018427387903, none}},
                           {"numothersock", {1801439850948198, 1801439850948198}},
                           {"othersockbuf", {4611686018427387903, none}}};
    CHECK(checkConsistent(unlimited));
}

TEST_CASE("what is guaranteed against the OOM killer is taken off each process") {
    auto score = [](uint64_t barrier) {
        return launchLimits({{"oomguarpages", {barrier, Beancounter::unlimited}}}).oomScoreAdj;
    };
    CHECK_FALSE(launchLimits({}).oomScoreAdj);
    CHECK_FALSE(score(0));
    CHECK_FALSE(score(Beancounter::unlimited));
    CHECK(score(Beancounter::unlimited - 1) == -999);
    auto some = score(65536);
    REQUIRE(some);
    CHECK((*some <= 0 && *some > -999));
}

TEST_CASE("each socket gets its part of the buffers") {
    auto limits = socketLimits({{"numtcpsock", {10, 10}},
                                {"tcpsndbuf", {1, 200000}},
                                {"numothersock", {20, 20}},
                                {"othersockbuf", {1, 200000}},
                                {"dgramrcvbuf", {20, 20}}});
    CHECK(limits.buffers == BufferLimits{20000, 0, 10000, 4608});
    CHECK(socketLimits({{"dgramrcvbuf", {20, 20}}}).buffers == BufferLimits());
}

TEST_CASE("sums of beancounters that are too large for 64 bits are still too large") {
    constexpr uint64_t most = Beancounter::unlimited - 1;
    CHECK(counterFindings({{"numproc", {most, most}}, {"numfile", {most, most}}}).size() == 1);
}
