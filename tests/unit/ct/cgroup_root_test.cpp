// SPDX-License-Identifier: LGPL-2.1-or-later
// Real groups on this host, all under a partition of the test's own that is gone at the end.
#include "base/file.hpp"
#include "ct/cgroup.hpp"
#include "ct/policy.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace vz;
using namespace vz::ct;

namespace {

/** A child that enters the folders given and then does as it is told; killed and reaped at the end. */
class Child {
public:
    template<typename Body>
    Child(const std::vector<std::string>& dirs, Body body) {
        int ready[2];
        REQUIRE(::pipe2(ready, O_CLOEXEC) == 0);
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            for (const auto& dir : dirs)
                if (!file::writeValue(dir + "/cgroup.procs", "0"))
                    ::_exit(99);
            (void)!::write(ready[1], "x", 1);
            ::_exit(body());
        }
        ::close(ready[1]);
        char byte;
        entered_ = ::read(ready[0], &byte, 1) == 1;
        ::close(ready[0]);
    }
    ~Child() {
        if (pid_ > 0) {
            ::kill(pid_, SIGKILL);
            (void)::waitpid(pid_, nullptr, 0);
        }
    }
    int wait() {
        int status = 0;
        (void)::waitpid(std::exchange(pid_, -1), &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    pid_t pid() const { return pid_; }
    bool entered() const { return entered_; }

private:
    pid_t pid_;
    bool entered_;
};

int sleepForever() {
    for (;;)
        ::pause();
}

class Fixture {
public:
    Fixture() {
        auto probed = CgroupHost::probe();
        REQUIRE(probed);
        host = *probed;
        host.systemd = false; // plain groups, also where systemd runs
    }
    ~Fixture() {
        for (const auto& saved : saved_)
            (void)Cgroup::removeLeftovers(host, saved);
        for (const auto& hierarchy : host.hierarchies)
            CHECK_FALSE(file::exists(hierarchy.mountPoint + partition));
    }
    std::unique_ptr<Cgroup> create(const std::string& name = "one") {
        auto made =
            Cgroup::create(host, {name, partition, "3b1a3a3e-0000-4000-8000-000000000001"}, ::getpid());
        if (!made)
            FAIL(made.error().message());
        saved_.push_back((*made)->save());
        return *std::move(made);
    }
    CgroupHost host;
    std::string partition = cat("/vztest-", ::getpid());

private:
    std::vector<std::string> saved_; // a failed test leaves nothing either
};

} // namespace

TEST_CASE_METHOD(Fixture, "groups are made fast, found again and removed with all below them") {
    auto start = std::chrono::steady_clock::now();
    auto group = create("odd name\n");
    auto took =
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
    WARN("create took " << took.count() << " us in " << host.hierarchies.size() << " hierarchies");
    CHECK(group->payloadDirs().size() == host.hierarchies.size());
    REQUIRE(group->delegate(100000, 100000));
    for (const auto& dir : group->payloadDirs())
        REQUIRE(file::makeDirs(dir + "/system.slice/a.service"));
    auto again = Cgroup::open(host, group->save());
    REQUIRE(again);
    CHECK((*again)->payloadDirs() == group->payloadDirs());
    start = std::chrono::steady_clock::now();
    REQUIRE((*again)->remove());
    took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
    WARN("remove took " << took.count() << " us");
    REQUIRE(group->remove());
}

TEST_CASE_METHOD(Fixture,
                 "processes are listed, frozen and thawed, and keep their groups from a second start") {
    auto group = create();
    Child child(group->payloadDirs(), sleepForever);
    REQUIRE(child.entered());
    CHECK(*group->processes() == std::vector<pid_t>{child.pid()});
    REQUIRE(group->freeze(true));
    CHECK(*group->frozen());
    REQUIRE(group->freeze(false));
    CHECK_FALSE(*group->frozen());

    auto second = Cgroup::create(host, {"one", partition, ""}, ::getpid());
    REQUIRE_FALSE(second);
    CHECK(second.error().code() == ErrorCode::ResourceBusy);
    CHECK(file::exists(group->payloadDirs().front()));

    CHECK(group->cpuTime());
    CHECK(group->memory());
    CHECK(group->block());
    REQUIRE(group->freeze(true));
    REQUIRE(Cgroup::removeLeftovers(host, group->save()));
    CHECK_FALSE(file::exists(group->payloadDirs().front()));
}

TEST_CASE_METHOD(Fixture, "leftovers without processes are cleared by the next start") {
    auto first = create();
    REQUIRE(file::makeDirs(first->payloadDirs().back() + "/init.scope"));
    auto second = create();
    CHECK_FALSE(file::exists(second->payloadDirs().back() + "/init.scope"));
    REQUIRE(second->remove());
}

TEST_CASE_METHOD(Fixture, "limits are set, changed in both directions, and hold") {
    auto group = create();
    constexpr uint64_t mib = 1 << 20;
    CgroupLimits limits;
    if (host.has("memory"))
        limits.memoryBytes = 64 * mib;
    if (host.has("cpu")) {
        limits.cpuQuotaUs = 50000;
        limits.cpuPeriodUs = 100000;
    }
    if (host.has("pids"))
        limits.pids = 3;
    if (host.has("cpuset"))
        limits.cpusetCpus = "0";
    auto applied = group->apply(limits);
    if (!applied)
        FAIL(applied.error().message());
    if (host.has("cpuset") && ::sysconf(_SC_NPROCESSORS_ONLN) > 1)
        for (const char* cpus : {"0", "0-1", "1", "0"})
            REQUIRE(group->apply({.cpusetCpus = cpus}));
    if (host.has("memory")) {
        REQUIRE(group->apply({.memoryBytes = 32 * mib, .memorySwapBytes = 48 * mib}));
        REQUIRE(group->apply({.memoryBytes = 96 * mib, .memorySwapBytes = 96 * mib}));
        REQUIRE(group->apply({.memoryBytes = 16 * mib, .memorySwapBytes = 16 * mib}));
    }
    if (host.has("pids")) {
        Child child(group->payloadDirs(), [] {
            int made = 0;
            while (made < 10 && ::fork() > 0)
                ++made;
            return made; // the refused fork ends the loop; children of it end at once with their own count
        });
        REQUIRE(child.entered());
        CHECK(child.wait() <= 3);
    }
    REQUIRE(group->remove());
}

TEST_CASE_METHOD(Fixture, "sockets are counted and refused, also through another handle") {
    auto group = create();
    auto start = std::chrono::steady_clock::now();
    REQUIRE(group->apply({.sockets = SocketLimits{.tcp = 1, .other = 2}}));
    auto took =
        std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - start);
    if (!group->counterFacts().hasSockets) {
        WARN("this host takes no BPF programs for sockets");
        REQUIRE(group->remove());
        return;
    }
    WARN("programs for sockets took " << took.count() << " us");
    auto opens = [&](int family, int type) {
        Child child(group->payloadDirs(), [=] {
            int count = 0;
            while (count < 9 && ::socket(family, type, 0) >= 0)
                ++count;
            return count < 9 && errno != ENOBUFS ? 99 : count;
        });
        REQUIRE(child.entered());
        return child.wait();
    };
    CHECK(opens(AF_INET, SOCK_STREAM) == 1);
    CHECK(opens(AF_INET6, SOCK_DGRAM) == 2);
    CHECK(opens(AF_UNIX, SOCK_STREAM) == 9);
    auto again = Cgroup::open(host, group->save());
    REQUIRE(again);
    REQUIRE((*again)->apply({.sockets = SocketLimits{.tcp = 4, .other = 0}}));
    CHECK(opens(AF_INET6, SOCK_STREAM) == 4);
    CHECK(opens(AF_INET, SOCK_DGRAM) == 0);
    auto facts = (*again)->counterFacts();
    CHECK(facts.tcpSockets.held == 0);
    CHECK(facts.tcpSockets.most == 4);
    CHECK(facts.tcpSockets.refused == 2);
    CHECK(facts.otherSockets.refused == 2);
    REQUIRE(group->remove());
}

TEST_CASE_METHOD(Fixture, "only allowed devices open, also after a live change") {
    auto group = create();
    auto applied = group->apply({.devices = defaultDeviceRules()});
    if (!applied)
        FAIL(applied.error().message());
    auto opens = [&](const char* path) {
        Child child(group->payloadDirs(), [path] { return ::open(path, O_RDONLY) >= 0 ? 0 : errno; });
        REQUIRE(child.entered());
        return child.wait();
    };
    CHECK(opens("/dev/null") == 0);
    CHECK(opens("/dev/kmsg") == EPERM);
    DeviceRule kmsg{'c', 1, 11, "rw"};
    std::vector<std::string> below; // where an init like systemd has moved to
    for (const auto& dir : group->payloadDirs())
        below.push_back(dir + (dir.find("cpuset") == std::string::npos ? "/init.scope" : ""));
    for (const auto& dir : below)
        REQUIRE(file::makeDirs(dir));
    auto opensBelow = [&] {
        Child child(below, [] { return ::open("/dev/kmsg", O_RDONLY) >= 0 ? 0 : errno; });
        REQUIRE(child.entered());
        return child.wait();
    };
    CHECK(opensBelow() == EPERM);
    REQUIRE(group->allowDevice(kmsg));
    CHECK(opens("/dev/kmsg") == 0);
    CHECK(opensBelow() == 0);
    auto again = Cgroup::open(host, group->save());
    REQUIRE(again);
    REQUIRE((*again)->denyDevice(kmsg));
    CHECK(opens("/dev/kmsg") == EPERM);
    CHECK(opensBelow() == EPERM);
    CHECK(opens("/dev/null") == 0);
    REQUIRE(group->apply({.devices = {kmsg}})); // a complete list replaces the one before
    CHECK(opens("/dev/kmsg") == 0);
    CHECK(opens("/dev/null") == EPERM);
    REQUIRE(group->remove());
}
