// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../temporary_dir.hpp"
#include "ct/cgroup_internal.hpp"

#include <catch2/catch.hpp>

using namespace vz;
using namespace vz::ct;

TEST_CASE("host layouts are read from mountinfo") {
    constexpr auto v1 =
        "22 27 0:21 / /proc rw,relatime - proc proc rw\n"
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
        "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
    auto old = CgroupHost::probe(v1, true);
    REQUIRE(old);
    CHECK(old->layout == CgroupHost::Layout::V1);
    CHECK(old->systemd);
    CHECK(old->hierarchies.size() == 3);
    CHECK(old->has("cpuacct"));
    CHECK(old->has("name=systemd"));
    CHECK_FALSE(old->has("pids"));

    auto hybrid = CgroupHost::probe(
        cat(v1, "41 31 0:38 / /sys/fs/cgroup/no\\040such rw,relatime - cgroup2 cgroup2 rw\n"), false);
    REQUIRE(hybrid);
    CHECK(hybrid->layout == CgroupHost::Layout::Hybrid);
    CHECK(hybrid->hierarchies.back().mountPoint == "/sys/fs/cgroup/no such");
    CHECK(hybrid->hierarchies.back().v2);

    test::TemporaryDir dir;
    REQUIRE(file::writeAtomic(dir / "cgroup.controllers", "cpu io memory pids\n"));
    auto unified =
        CgroupHost::probe(cat("41 31 0:38 / ", dir.path(), " rw - cgroup2 cgroup2 rw,nsdelegate\n"), true);
    REQUIRE(unified);
    CHECK(unified->layout == CgroupHost::Layout::V2);
    CHECK(unified->has("memory"));

    auto none = CgroupHost::probe("22 27 0:21 / /proc rw,relatime - proc proc rw\n", false);
    REQUIRE_FALSE(none);
    CHECK(none.error().code() == ErrorCode::ConfigUnsupported);
}

TEST_CASE("names and partitions become unit names") {
    CHECK(cgroups::sliceOf("/machine") == "machine.slice");
    CHECK(cgroups::sliceOf("/machine/x") == "machine-x.slice");
    CHECK(cgroups::escapeName("vz-web01.example") == "vz-web01.example");
    auto odd = cgroups::escapeName("vz-a b\n");
    CHECK(odd.find_first_of(" \n/") == std::string::npos);
    CHECK(cgroups::escapeName("vz-a_b") != cgroups::escapeName("vz-a b"));
}

TEST_CASE("device rules survive their text form") {
    for (const DeviceRule& rule :
         {DeviceRule{'c', 1, 3, "rwm"}, DeviceRule{'b', -1, -1, "m"}, DeviceRule{'c', 136, -1, "rw"}}) {
        auto text = cgroups::formatRule(rule);
        auto back = cgroups::parseRule(text);
        REQUIRE(back);
        CHECK(cgroups::formatRule(*back) == text);
    }
    CHECK_FALSE(cgroups::parseRule("nonsense"));
}

namespace {

/** A folder that looks like a cgroup2 group with the files of the memory, cpu and pids controllers. */
class FakeGroup {
public:
    FakeGroup() {
        REQUIRE(file::makeDirs(dir_ / "unit/ct/payload"));
        for (const auto& [name, value] : std::initializer_list<std::pair<const char*, const char*>>{
                 {"memory.max", "max\n"},
                 {"memory.high", "max\n"},
                 {"memory.current", "4096\n"},
                 {"memory.swap.max", "max\n"},
                 {"memory.swap.current", "0\n"},
                 {"cpu.weight", "100\n"},
                 {"cpu.max", "max 100000\n"},
                 {"pids.max", "max\n"},
                 {"cpu.stat", "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\nnr_periods 0\n"},
                 {"memory.stat", "anon 100\nfile 8192\npgfault 10\npgmajfault 3\n"},
                 {"io.stat", "8:0 rbytes=100 wbytes=200 rios=3 wios=4 dbytes=0 dios=0\n"
                             "8:16 rbytes=1 wbytes=2 rios=1 wios=1 dbytes=0 dios=0\n"}})
            REQUIRE(file::writeAtomic(path(name), value));
        places_ = {{true, true, {"memory", "cpu", "pids", "io"}, dir_.path(), "/unit"}};
    }
    std::string path(std::string_view name) const { return cat(dir_.path(), "/unit/ct/", name); }
    std::string value(std::string_view name) const {
        auto text = file::read(path(name)).valueOr("?");
        return std::string(trim(text.substr(0, text.find('\n'))));
    }
    const std::vector<cgroups::Place>& places() const { return places_; }

private:
    test::TemporaryDir dir_;
    std::vector<cgroups::Place> places_;
};

} // namespace

TEST_CASE("cgroup2 statistics are read from their files") {
    FakeGroup group;
    auto cpu = cgroups::cpuTime(group.places());
    REQUIRE(cpu);
    CHECK(cpu->totalNs == 1500000);
    CHECK(cpu->userNs == 1000000);
    CHECK(cpu->systemNs == 500000);
    auto memory = cgroups::memoryUse(group.places());
    REQUIRE(memory);
    CHECK(memory->used == 4096);
    CHECK(memory->cache == 8192);
    CHECK(memory->majorFaults == 3);
    auto block = cgroups::blockUse(group.places());
    REQUIRE(block);
    CHECK(block->readBytes == 101);
    CHECK(block->writeBytes == 202);
    CHECK(block->readOps == 4);
    CHECK(block->writeOps == 5);
}

TEST_CASE("a limit whose controller is missing is refused by name") {
    FakeGroup group;
    auto missing = cgroups::applyLimits(group.places(), {.cpusetCpus = "0"});
    REQUIRE_FALSE(missing);
    CHECK(missing.error().code() == ErrorCode::ConfigUnsupported);
}
