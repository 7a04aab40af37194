// SPDX-License-Identifier: LGPL-2.1-or-later
// A Debian root with systemd boots, reboots and powers off. VZ_DEBIAN_ROOT names the (unchanged) root to
// copy.
#include "container_fixture.hpp"

#include "base/process.hpp"

#include <catch2/catch.hpp>

#include <csignal>
#include <cstdio>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>

using namespace vz;
using namespace vz::ct;
using namespace vz::test;

namespace {

/** Runs a program inside and returns what it printed. */
std::string runInside(Container& container, const std::vector<std::string>& argv) {
    auto namespaces = container.namespaces();
    REQUIRE(namespaces);
    int pipe[2];
    REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
    pid_t child = ::fork();
    if (child == 0) {
        for (auto& fd : namespaces->fds)
            if (::setns(fd.get(), 0) < 0)
                ::_exit(125);
        if (::setgid(0) < 0 || ::setuid(0) < 0)
            ::_exit(124);
        pid_t inner = ::fork();
        if (inner == 0) {
            ::dup2(pipe[1], 1);
            ::dup2(pipe[1], 2);
            std::vector<char*> words;
            for (const auto& word : argv)
                words.push_back(const_cast<char*>(word.c_str()));
            words.push_back(nullptr);
            ::execv(words[0], words.data());
            ::_exit(126);
        }
        int status = 0;
        ::waitpid(inner, &status, 0);
        ::_exit(WEXITSTATUS(status));
    }
    ::close(pipe[1]);
    std::string output = readUntil(pipe[0], "\xff");
    ::close(pipe[0]);
    (void)process::wait(child);
    return output;
}

/** Waits until systemd says that all is started; its word for that. */
std::string stableState(Container& container) {
    std::string state;
    for (int i = 0; i < 300; ++i) {
        state = trim(runInside(container, {"/bin/systemctl", "is-system-running"}));
        if (state == "running" || state == "degraded")
            break;
        ::usleep(200000);
    }
    return state;
}

} // namespace

TEST_CASE("Debian's systemd reaches a stable state, reboots and powers off") {
    const char* debian = ::getenv("VZ_DEBIAN_ROOT");
    if (!debian) {
        WARN("skipped: VZ_DEBIAN_ROOT is not set");
        return;
    }
    HandMadeCgroups cgroups(100000);
    Rig rig;
    std::string root = rig.dir() + "/debian";
    auto copied = process::run({{"/bin/cp", "-a", debian, root}});
    REQUIRE(copied);
    REQUIRE(copied->status == 0);

    LaunchSpec spec = rig.shell("");
    spec.argv = {"/sbin/init"};
    spec.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "container=vz", "TERM=linux"};
    spec.root.source = root;
    spec.hostname = "deb";
    spec.cgroupView = "hybrid";
    for (auto [name, minor] : {std::pair("zero", 5u), {"full", 7u}, {"random", 8u}, {"urandom", 9u}})
        spec.devices.push_back({cat("/dev/", name), 'c', 1, minor});
    spec.capabilities = ~((1ull << 16) | (1ull << 17)); // without sys_module and sys_rawio, as by default
    cgroups.fill(spec);
    auto begin = std::chrono::steady_clock::now();
    auto ct = rig.start(spec);
    CHECK(stableState(*ct) == "running");
    WARN("systemd stable after "
         << std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() << " s; "
         << runInside(*ct, {"/bin/systemctl", "--failed", "--no-legend", "--plain"}));

    // What systemd does with mounts must not keep ours out.
    REQUIRE(ct->attachMount({Mount::Kind::Bind, rig.root(), "/mnt/added", "", true, true}));
    CHECK(runInside(*ct, {"/bin/ls", "/mnt/added/bin/busybox"}).find("/mnt/added/bin/busybox\n") == 0);
    REQUIRE(ct->attachMount({Mount::Kind::Bind, rig.root(), "/run/added", "", true, true}));
    CHECK(runInside(*ct, {"/bin/ls", "/run/added/bin/busybox"}).find("/run/added/bin/busybox\n") == 0);
    REQUIRE(ct->detachMount("/run/added"));
    REQUIRE(ct->detachMount("/mnt/added"));
    CHECK(runInside(*ct, {"/bin/ls", "/mnt/added/bin/busybox"}).find("/mnt/added/bin/busybox\n") != 0);

    REQUIRE(ct->signalInit(SIGRTMIN + 5));
    REQUIRE(rig.waitReboots(1));
    CHECK(stableState(*ct) == "running");
    REQUIRE(ct->signalInit(SIGRTMIN + 3));
    CHECK(rig.waitStopped(std::chrono::seconds(60)) == StopReason::Shutdown);
    CHECK(rig.log().find("Welcome to") != std::string::npos);
}
