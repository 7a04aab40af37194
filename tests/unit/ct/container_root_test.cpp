// SPDX-License-Identifier: LGPL-2.1-or-later
// Real containers made from busybox. Needs root and a static busybox.
#include "container_fixture.hpp"

#include "base/process.hpp"

#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include <csignal>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

using namespace vz;
using namespace vz::ct;
using namespace vz::test;

TEST_CASE("a container starts, prints on its console and log, and ends by itself") {
    Rig rig;
    LaunchSpec spec = rig.shell("echo pid $$ uid $(id -u) host $(hostname); echo tty $(tty); exit 0");
    spec.hostname = "inner";
    auto ct = rig.start(spec);
    REQUIRE(rig.waitStopped() == StopReason::Shutdown);
    std::string log = rig.log();
    CHECK(log.find("pid 1 uid 0 host inner") != log.npos);
    CHECK(log.find("tty /dev/console") != log.npos);
    CHECK(Container::lastEnd(spec.runDir) == StopReason::Shutdown);
    CHECK_FALSE(ct->signalInit(0));
}

TEST_CASE("a container also runs without a user namespace") {
    Rig rig;
    LaunchSpec spec = rig.shell("id -u; cat /proc/self/uid_map; exit 3");
    spec.uids.clear();
    spec.gids.clear();
    spec.root.idMapped = false;
    spec.onCrash = EndAction::Destroy;
    rig.start(spec);
    CHECK(rig.waitStopped() == StopReason::Crashed);
    CHECK(rig.log().find("4294967295") != std::string::npos);
}

TEST_CASE("what cannot be started says why and leaves nothing") {
    Rig rig;
    LaunchSpec spec = rig.shell("true");
    std::string expected;
    SECTION("init is missing") {
        spec.argv = {"/sbin/nothing"};
        expected = "cannot run init /sbin/nothing: No such file or directory";
    }
    SECTION("the source of a mount is missing") {
        spec.mounts.push_back({Mount::Kind::Bind, "/nonexistent/x", "/mnt"});
        expected = "cannot mount '/nonexistent/x' on '/mnt' of the container: No such file or directory";
    }
    SECTION("the root is missing") {
        spec.root.source = rig.dir() + "/none";
        expected = "No such file or directory";
    }
    SECTION("a cgroup is missing") {
        spec.payloadCgroups = {"/sys/fs/cgroup/vz-none"};
        expected = "/sys/fs/cgroup/vz-none";
    }
    SECTION("a device has an owner outside the ranges") {
        spec.devices.push_back({"/dev/x", 'c', 1, 3, 0666, 70000, 0});
        expected = "70000";
    }
    auto started = rig.tryStart(spec);
    REQUIRE_FALSE(started);
    INFO(started.error().message());
    CHECK(started.error().message().find(expected) != std::string::npos);
    CHECK_FALSE(Container::adopt(rig.reactor(), spec.runDir, {}));
}

TEST_CASE("the layout inside: devices, mounts, masks, cut rights") {
    Rig rig;
    LaunchSpec spec = rig.shell(
        "ls -l /dev; cat /proc/mounts; echo hi >/dev/null && echo null-works; cat /data/file; "
        "echo x >/ro/file || echo ro-refused; cat /proc/version; ls /proc/tty | wc -l; grep Cap "
        "/proc/1/status;"
        "mount -o remount,rw,bind /ro || echo remount-refused; umount /data || echo umount-refused;"
        "ip link show lo; mknod /dev/mine c 1 3 || echo mknod-refused; stat -c '%u %n' /data/file; exit 0");
    REQUIRE(file::makeDirs(rig.dir() + "/data"));
    REQUIRE(file::writeAtomic(rig.dir() + "/data/file", "content\n", 0644));
    spec.mounts.push_back({Mount::Kind::Bind, rig.dir() + "/data", "/data", "", false, true});
    spec.mounts.push_back({Mount::Kind::Bind, rig.dir() + "/data", "/ro", "", true, true});
    spec.mounts.push_back({Mount::Kind::Tmpfs, "", "/scratch/deep", "", false, false, 65536});
    spec.maskedPaths = {"/proc/version", "/proc/tty", "/proc/not-there"};
    spec.readOnlyPaths = {"/proc/sys"};
    spec.capabilities = (1ull << 21) | 1; // sys_admin, chown
    rig.start(spec);
    REQUIRE(rig.waitStopped() == StopReason::Shutdown);
    std::string log = rig.log();
    INFO(log);
    for (const char* expected :
         {"null-works", "content", "ro-refused", "remount-refused", "umount-refused",
          "CapBnd:\t0000000000200001", "mknod-refused", "LOOPBACK,UP", "0 /data/file", "/scratch/deep tmpfs"})
        CHECK(log.find(expected) != log.npos);
    CHECK(log.find("Linux version") == log.npos);
}

TEST_CASE("reboot and poweroff from inside follow the actions") {
    Rig rig;
    LaunchSpec spec =
        rig.shell("if [ -e /again ]; then poweroff -f; else touch /again; sleep 0; reboot -f; fi");
    auto ct = rig.start(spec);
    REQUIRE(rig.waitStopped() == StopReason::Shutdown);
    CHECK(rig.reboots() == 1);
    CHECK(ct->boots() == 2);
    CHECK(ct->init() == 0);
}

TEST_CASE("a reboot happens without a daemon and is found later") {
    Rig rig;
    LaunchSpec spec =
        rig.shell("[ -e /again ] || { touch /again; read line; reboot -f; }; echo second; read line");
    rig.start(spec);
    auto before = rig.container()->init();
    auto console = rig.container()->openConsole(0, false);
    REQUIRE(console);
    rig.dropContainer();
    REQUIRE(file::writeAll(console->get(), "\n"));
    REQUIRE(rig.waitLog("second"));
    auto ct = rig.adopt(spec.runDir);
    CHECK(ct->boots() == 2);
    CHECK(ct->init() != before);
    REQUIRE(ct->kill(std::chrono::seconds(5)));
    CHECK(rig.waitStopped() == StopReason::Destroyed);
}

TEST_CASE("a crash loop is slowed down, and reset and preserve work") {
    Rig rig;
    LaunchSpec spec = rig.shell("exit 1");
    spec.onCrash = EndAction::Restart;
    auto ct = rig.start(spec);
    ::usleep(600000);
    CHECK(rig.reboots() >= 1);
    CHECK(rig.reboots() <= 3);
    REQUIRE(ct->setEndActions(EndAction::Destroy, EndAction::Restart, EndAction::Preserve));
    REQUIRE(rig.waitPreserved());
    CHECK(ct->init() == 0);
    CHECK_FALSE(ct->signalInit(SIGTERM));
    REQUIRE(ct->reset());
    REQUIRE(ct->kill(std::chrono::seconds(5)));
    CHECK(rig.waitStopped() == StopReason::Destroyed);
}

TEST_CASE("an announced end is a stop whatever the status") {
    Rig rig;
    LaunchSpec spec = rig.shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
    auto ct = rig.start(spec);
    REQUIRE(rig.waitLog("ready"));
    REQUIRE(ct->expectEnd(false));
    REQUIRE(ct->signalInit(SIGTERM));
    CHECK(rig.waitStopped() == StopReason::Shutdown);
}

TEST_CASE("a hostile init dies with its supervisor, and nothing remains") {
    Rig rig;
    LaunchSpec spec =
        rig.shell("trap '' HUP INT QUIT TERM USR1 USR2; (trap '' TERM; setsid sleep 1000) & echo ready; "
                  "while :; do sleep 0.05; done");
    auto ct = rig.start(spec);
    REQUIRE(rig.waitLog("ready"));
    pid_t init = ct->init();
    REQUIRE(::kill(ct->supervisor(), SIGKILL) == 0);
    CHECK(rig.waitStopped() == StopReason::Crashed);
    CHECK_FALSE(file::exists(cat("/proc/", init, "/root/bin")));
    auto mounts = file::read("/proc/self/mountinfo");
    REQUIRE(mounts);
    CHECK(mounts->find(rig.dir()) == mounts->npos);
    CHECK_FALSE(Container::adopt(rig.reactor(), spec.runDir, {}));
}

TEST_CASE("consoles: exclusive streams, force, input, host pty, several") {
    Rig rig;
    LaunchSpec spec =
        rig.shell("echo $container_ttys; echo second >/dev/tty1; read line; echo got $line; read line");
    spec.consoles.push_back({});
    auto ct = rig.start(spec);
    REQUIRE(rig.waitLog("pts/1"));
    auto first = ct->openConsole(0, false);
    REQUIRE(first);
    auto refused = ct->openConsole(0, false);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::ResourceBusy);
    auto second = ct->openConsole(0, true);
    REQUIRE(second);
    char byte;
    CHECK(::read(first->get(), &byte, 1) == 0);
    REQUIRE(file::writeAll(second->get(), "word\n"));
    CHECK(readUntil(second->get(), "got word").find("got word") != std::string::npos);
    auto pty = file::open(ct->consolePath(0), O_RDWR | O_NOCTTY);
    REQUIRE(pty);
    CHECK(readUntil(pty->get(), "got word").find("pts/1") != std::string::npos); // from the beginning
    auto other = file::open(ct->consolePath(1), O_RDWR | O_NOCTTY);
    REQUIRE(other);
    CHECK(readUntil(other->get(), "second").find("second") != std::string::npos);
    REQUIRE(file::writeAll(pty->get(), "\n"));
    CHECK(rig.waitStopped() == StopReason::Shutdown);
}

TEST_CASE("a container that prints without end waits for nobody, and its log is bounded") {
    Rig rig;
    LaunchSpec spec = rig.shell("dd if=/dev/zero bs=4096 count=1500 2>/dev/null; echo done; exit 0");
    spec.devices.push_back({"/dev/zero", 'c', 1, 5});
    rig.start(spec);
    CHECK(rig.waitStopped() == StopReason::Shutdown);
    CHECK(rig.log().find("done") != std::string::npos);
    CHECK(rig.log().size() <= 2u << 20);
    CHECK(file::exists(spec.consoles[0].logFile + ".0"));
}

TEST_CASE("mounts and devices come and go while the container runs, and stay over a reboot") {
    Rig rig;
    LaunchSpec spec =
        rig.shell("mount -t tmpfs none /tmp; echo up; while read cmd; do eval \"$cmd\"; echo end-$?; done");
    REQUIRE(file::makeDirs(rig.dir() + "/data"));
    REQUIRE(file::writeAtomic(rig.dir() + "/data/file", "content\n", 0644));
    auto ct = rig.start(spec);
    REQUIRE(rig.waitLog("up"));
    Mount mount{Mount::Kind::Bind, rig.dir() + "/data", "/data", "", false, true};
    Mount covered{Mount::Kind::Bind, rig.dir() + "/data", "/tmp/sub/data", "", true, true};
    REQUIRE(ct->attachMount(mount));
    REQUIRE(ct->attachMount(covered));
    REQUIRE(ct->attachDevice({"/dev/sub/zero", 'c', 1, 5}));
    auto elsewhere = ct->attachDevice({"/srv/full", 'c', 1, 7});
    if (!elsewhere)
        FAIL(elsewhere.error().message());
    CHECK(rig.command("cat /data/file").find("content") != std::string::npos);
    CHECK(rig.command("cat /tmp/sub/data/file").find("content") != std::string::npos);
    CHECK(rig.command("head -c 5 /dev/sub/zero | wc -c").find("5") != std::string::npos);
    CHECK(rig.command("echo x >/srv/full").find("No space left") != std::string::npos);

    CHECK_FALSE(ct->attachMount({Mount::Kind::Bind, "/nonexistent", "/x"}));
    rig.command("cd /data");
    auto busy = ct->detachMount("/data");
    REQUIRE_FALSE(busy);
    CHECK(busy.error().code() == ErrorCode::ResourceBusy);
    rig.command("cd /");

    REQUIRE(ct->reset());
    REQUIRE(rig.waitReboots(1));
    REQUIRE(rig.waitLog("up"));
    CHECK(rig.command("cat /data/file").find("content") != std::string::npos);
    CHECK(rig.command("head -c 5 /dev/sub/zero | wc -c").find("5") != std::string::npos);
    REQUIRE(ct->detachMount("/data"));
    REQUIRE(ct->detachMount("/tmp/sub/data"));
    REQUIRE(ct->detachDevice("/dev/sub/zero"));
    REQUIRE(ct->detachDevice("/srv/full"));
    CHECK(rig.command("cat /data/file").find("No such file") != std::string::npos);
    CHECK(rig.command("cat /dev/sub/zero").find("No such file") != std::string::npos);
    auto missing = ct->detachMount("/data");
    REQUIRE_FALSE(missing);
    CHECK(missing.error().code() == ErrorCode::DeviceMissing);
    REQUIRE(ct->kill(std::chrono::seconds(5)));
}

TEST_CASE("mounts also reach a container that cut its tree off, and one with the host's network") {
    Rig rig;
    LaunchSpec spec =
        rig.shell("mount --make-rprivate / ; echo up; while read cmd; do eval \"$cmd\"; echo end-$?; done");
    spec.privateNetwork = GENERATE(true, false);
    REQUIRE(file::makeDirs(rig.dir() + "/data/first"));
    spec.mounts.push_back({Mount::Kind::Bind, rig.dir() + "/data", "/boot", "", true, true});
    auto ct = rig.start(spec);
    REQUIRE(rig.waitLog("up"));
    CHECK(rig.command("ls /sys/class/net /boot").find("first") != std::string::npos);
    REQUIRE(ct->attachMount({Mount::Kind::Bind, rig.dir() + "/data", "/data", "", false, true}));
    CHECK(rig.command("ls /data").find("first") != std::string::npos);
    REQUIRE(ct->detachMount("/data"));
    CHECK(rig.command("ls /data").find("first") == std::string::npos);
    REQUIRE(ct->attachMount({Mount::Kind::Tmpfs, "", "/scratch", "", false, false, 65536}));
    CHECK(rig.command("touch /scratch/x && grep scratch /proc/mounts").find("tmpfs") != std::string::npos);
    REQUIRE(ct->reset());
    REQUIRE(rig.waitReboots(1));
    REQUIRE(rig.waitLog("up"));
    CHECK(rig.command("ls /scratch; grep scratch /proc/mounts").find("tmpfs") != std::string::npos);
    auto locked =
        ct->detachMount("/scratch"); // it was there before this boot, and nothing reaches it any more
    REQUIRE_FALSE(locked);
    CHECK(locked.error().message().find("made its mounts private") != std::string::npos);
    REQUIRE(ct->kill(std::chrono::seconds(5)));
}

TEST_CASE("a link of the guest does not lead a mount or a device to the host") {
    Rig rig;
    REQUIRE(file::makeDirs(rig.dir() + "/outside"));
    LaunchSpec spec =
        rig.shell(cat("ln -s ", rig.dir(), "/outside /link; ln -s / /dev/out; echo up; read line"));
    auto ct = rig.start(spec);
    REQUIRE(rig.waitLog("up"));
    (void)ct->attachMount({Mount::Kind::Tmpfs, "", "/link/made"});
    (void)ct->attachDevice({"/dev/out/made", 'c', 1, 3});
    (void)ct->attachDevice({"/link/made2", 'c', 1, 3});
    auto left = file::list(rig.dir() + "/outside");
    REQUIRE(left);
    CHECK(left->empty());
    CHECK_FALSE(file::exists("/made"));
    REQUIRE(ct->kill(std::chrono::seconds(5)));
}

TEST_CASE("the callbacks of a start see the network namespace and a held init") {
    Rig rig;
    LaunchSpec spec = rig.shell("echo ran; read line");
    bool network = false, held = false;
    rig.options.network = [&](int netns) {
        network = netns >= 0 && ::fcntl(netns, F_GETFD) >= 0;
        return Result<void>();
    };
    rig.options.beforeInit = [&](pid_t init) {
        held = file::isDirectory(cat("/proc/", init)) && rig.log().empty();
        return Result<void>();
    };
    auto ct = rig.start(spec);
    CHECK(network);
    CHECK(held);
    REQUIRE(rig.waitLog("ran"));
    REQUIRE(ct->kill(std::chrono::seconds(5)));
    rig.waitStopped();

    rig.options.network = [](int) -> Result<void> { return fail(ErrorCode::OperationFailed, "no network"); };
    auto failed = rig.tryStart(spec);
    REQUIRE_FALSE(failed);
    CHECK(failed.error().message() == "no network");

    rig.options.network = {};
    spec.argv = {"/none"};
    auto late = rig.tryStart(spec);
    REQUIRE(late);
    CHECK(rig.waitStopped() == StopReason::Crashed);
}

TEST_CASE("a start can be frozen just before init is executed") {
    if (!file::exists("/sys/fs/cgroup/freezer/cgroup.procs")) {
        WARN("skipped: no cgroup v1 freezer");
        return;
    }
    HandMadeCgroups cgroups(100000);
    Rig rig;
    LaunchSpec spec = rig.shell("echo ran; read line");
    cgroups.fill(spec);
    std::string state = cat("/sys/fs/cgroup/freezer/vztest-", ::getpid(), "/payload/freezer.state");
    rig.options.beforeInit = [&](pid_t) { return file::writeValue(state, "FROZEN"); };
    auto ct = rig.start(spec);
    // The kernel says FREEZING until the last task has noticed.
    auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (trim(file::read(state).valueOr("")) != "FROZEN" && std::chrono::steady_clock::now() < end)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    CHECK(trim(file::read(state).valueOr("")) == "FROZEN");
    CHECK(rig.log().empty());
    CHECK(ct->init() > 0);
    REQUIRE(ct->openConsole(0, false));
    REQUIRE(file::writeValue(state, "THAWED"));
    CHECK(rig.waitLog("ran"));
    REQUIRE(ct->kill(std::chrono::seconds(5)));
}

TEST_CASE("others can enter the namespaces") {
    Rig rig;
    LaunchSpec spec = rig.shell("read line");
    spec.hostname = "entered";
    auto ct = rig.start(spec);
    auto namespaces = ct->namespaces();
    REQUIRE(namespaces);
    REQUIRE(namespaces->fds.size() == 7);
    REQUIRE(ct->networkNamespace());
    pid_t child = ::fork();
    if (child == 0) {
        for (auto& fd : namespaces->fds)
            if (::setns(fd.get(), 0) < 0)
                ::_exit(1);
        char name[64];
        ::gethostname(name, sizeof name);
        ::_exit(std::string_view(name) == "entered" && file::exists("/bin/busybox") ? 0 : 2);
    }
    auto status = process::wait(child);
    REQUIRE(status);
    CHECK(*status == 0);
    REQUIRE(ct->kill(std::chrono::seconds(5)));
}

TEST_CASE("garbage and strangers on the control socket do no harm") {
    Rig rig;
    LaunchSpec spec = rig.shell("read line");
    auto ct = rig.start(spec);
    struct stat info {};
    REQUIRE(::stat((spec.runDir + "/control.sock").c_str(), &info) == 0);
    CHECK((info.st_mode & 0777) == 0600);
    for (std::string bytes :
         {std::string("x"), std::string(200000, 'y'), std::string("kill=1:1"),
          std::string("attach-mount=1:1\nmount=3:abc\n"), std::string("open-console=1:1\nindex=2:99\n"),
          std::string("\0\0\0", 3), std::string("attach-device=1:1\n"), std::string("detach-mount=1:2\n")}) {
        UniqueFd socket = rig.connectRaw(spec.runDir);
        REQUIRE(socket);
        ::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    }
    CHECK(ct->signalInit(0));
    auto second = rig.adopt(spec.runDir);
    CHECK(second->signalInit(0));
    REQUIRE(ct->kill(std::chrono::seconds(5)));
    CHECK(rig.waitStopped() == StopReason::Destroyed);
}

TEST_CASE("the rights of init: ids, filter, limits") {
    Rig rig;
    LaunchSpec spec =
        rig.shell("id -u; id -g; ulimit -n; cat /proc/self/oom_score_adj; grep -E 'Cap|NoNew|Seccomp:' "
                  "/proc/self/status; mkdir /tmp/x; pwd; exit 0");
    REQUIRE(::symlink("busybox", (rig.root() + "/bin/mkdir").c_str()) == 0);
    spec.initUid = 1000;
    spec.initGid = 1001;
    spec.workingDir = "/srv";
    spec.limits = {{RLIMIT_NOFILE, 77, 99}};
    spec.oomScoreAdj = 500;
    const sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mkdir, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EXDEV),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    spec.seccomp.assign(reinterpret_cast<const char*>(filter), sizeof filter);
    rig.start(spec);
    REQUIRE(rig.waitStopped() == StopReason::Shutdown);
    std::string log = rig.log();
    INFO(log);
    CHECK(log.find("1000\r\n1001\r\n77\r\n500\r\n") == 0);
    for (const char* expected : {"CapPrm:\t0000000000000000", "CapEff:\t0000000000000000", "NoNewPrivs:\t0",
                                 "Seccomp:\t2", "ross-device link", "/srv"})
        CHECK(log.find(expected) != log.npos);
}

TEST_CASE("a read-only root, and one on a block device") {
    Rig rig;
    LaunchSpec spec = rig.shell(
        "touch /etc/x || echo refused; mount -o remount,rw / || echo kept; mount -t tmpfs n /tmp && "
        "touch /tmp/x && echo tmp; exit 0");
    spec.root.readOnly = true;
    spec.mounts.push_back({Mount::Kind::Tmpfs, "", "/new", "", false, false, 65536});
    rig.start(spec);
    REQUIRE(rig.waitStopped() == StopReason::Shutdown);
    for (const char* expected : {"refused", "kept", "tmp"})
        CHECK(rig.log().find(expected) != std::string::npos);

    // Not a block device: the error names it.
    spec.root = {Mount::Kind::Block, "/dev/null", "/"};
    auto refused = rig.tryStart(spec);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().message().find("/dev/null") != std::string::npos);
}

TEST_CASE("a root on a block device, its file system found out and id-mapped") {
    Rig rig;
    if (!file::exists("/dev/loop-control") || !file::exists("/usr/sbin/mkfs.ext4")) {
        WARN("skipped: no loop devices or no mkfs.ext4");
        return;
    }
    for (const char* name : {"/dev", "/proc", "/sys"}) // none can be made in a read-only file system
        REQUIRE(file::makeDirs(rig.root() + name));
    std::string image = rig.dir() + "/image";
    REQUIRE(file::writeAtomic(image, ""));
    REQUIRE(::truncate(image.c_str(), 16 << 20) == 0);
    auto made = process::run({{"/usr/sbin/mkfs.ext4", "-q", "-d", rig.root(), image}});
    REQUIRE(made);
    REQUIRE(made->status == 0);
    auto loop = process::run({{"/usr/sbin/losetup", "-f", "--show", image}});
    REQUIRE(loop);
    std::string device(trim(loop->output));
    LaunchSpec spec = rig.shell("stat -c '%u' /bin/busybox; touch /made && echo written; exit 0");
    spec.root = {Mount::Kind::Block, device, "/", "", GENERATE(false, true), true};
    auto started = rig.tryStart(spec);
    if (started)
        CHECK(rig.waitStopped() == StopReason::Shutdown);
    (void)process::run({{"/usr/sbin/losetup", "-d", device}});
    INFO(rig.log());
    if (!started)
        FAIL(started.error().message());
    CHECK(rig.log().find("0\r\n") == 0);
    CHECK((rig.log().find("written") == std::string::npos) == spec.root.readOnly);
}

TEST_CASE("kill -9 of the supervisor or of the daemon in the midst of a start leaves nothing") {
    Rig rig;
    LaunchSpec spec = rig.shell("read line");
    for (unsigned round = 0; round < 40; ++round) {
        spec.runDir = cat(rig.dir(), "/kill", round);
        REQUIRE(file::makeDirs(spec.runDir, 0700));
        pid_t child = ::fork();
        if (child == 0) { // the daemon of this round
            auto reactor = Reactor::create();
            auto started = Container::start(**reactor, spec, rig.options, {});
            ::pause();
            ::_exit(0);
        }
        ::usleep(round * 200);
        REQUIRE(::kill(child, SIGKILL) == 0);
        (void)process::wait(child);
        // Either it was started before, and goes on, or nothing of it is left soon.
        for (int i = 0; i < 500; ++i) {
            auto found = Container::adopt(rig.reactor(), spec.runDir, {});
            if (found) {
                REQUIRE(((*found)->kill(std::chrono::seconds(5)) ||
                         !Container::adopt(rig.reactor(), spec.runDir, {})));
                break;
            }
            if (found.error().message().find("refused") != std::string::npos)
                break;
            ::usleep(1000);
        }
    }
    for (unsigned round = 0; round < 40; ++round) {
        spec.runDir = cat(rig.dir(), "/supervisor", round);
        REQUIRE(file::makeDirs(spec.runDir, 0700));
        rig.options.prepare = [round](pid_t launcher, LaunchSpec&) {
            if (::fork() == 0) {
                ::usleep(round * 150);
                // The supervisor is a child of the launcher as long as that is there.
                auto children = file::read(cat("/proc/", launcher, "/task/", launcher, "/children"));
                ::kill(launcher, SIGKILL);
                if (children)
                    for (auto pid : split(trim(*children), ' '))
                        ::kill(parseNumber<pid_t>(pid).value_or(launcher), SIGKILL);
                ::_exit(0);
            }
            return Result<void>();
        };
        auto started = rig.tryStart(spec);
        while (::waitpid(-1, nullptr, WNOHANG) > 0) {
        }
        if (started) {
            REQUIRE(rig.container()->kill(std::chrono::seconds(5)));
            rig.waitStopped();
        }
    }
    auto mounts = file::read("/proc/self/mountinfo");
    REQUIRE(mounts);
    CHECK(mounts->find(rig.dir()) == mounts->npos);
}

TEST_CASE("a supervisor is small and quick") {
    bool groups = GENERATE(false, true);
    std::optional<HandMadeCgroups> cgroups;
    if (groups)
        cgroups.emplace(100000);
    Rig rig;
    LaunchSpec spec = rig.shell("read line");
    if (groups)
        cgroups->fill(spec);
    auto ct = rig.start(spec);
    auto memory = file::read(cat("/proc/", ct->supervisor(), "/smaps_rollup"));
    REQUIRE(memory);
    auto pss = parseNumber<unsigned>(split(field(*memory, "Pss"), ' ')[0]);
    REQUIRE(pss);
    WARN("Pss " << *pss << " kB");
    CHECK(*pss <= 1536);
    REQUIRE(ct->kill(std::chrono::seconds(5)));
    rig.waitStopped();

    using Clock = std::chrono::steady_clock;
    std::vector<double> starts, kills;
    for (int i = 0; i < 15; ++i) {
        auto a = Clock::now();
        auto one = rig.start(spec);
        auto b = Clock::now();
        REQUIRE(one->kill(std::chrono::seconds(5)));
        auto c = Clock::now();
        starts.push_back(std::chrono::duration<double, std::milli>(b - a).count());
        kills.push_back(std::chrono::duration<double, std::milli>(c - b).count());
        rig.waitStopped();
    }
    std::sort(starts.begin(), starts.end());
    std::sort(kills.begin(), kills.end());
    double load = 0;
    ::getloadavg(&load, 1);
    WARN("start " << starts[7] << " ms, least " << starts[0] << "; kill " << kills[7] << " ms, least "
                  << kills[0] << " (medians of 15, load " << load << ")");
}
