// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../temporary_dir.hpp"
#include "ct/guest_facts.hpp"
#include "ct/id_map.hpp"
#include "ct/id_ranges.hpp"

#include <catch2/catch.hpp>

#include <csignal>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

using namespace vz;
using namespace vz::ct;

namespace {

const std::vector<IdRange> map{{0, 0x70000000, 65536}};

/** A process whose root is @p dir seen through an id-mapped mount, in a user namespace of the same map. */
class MappedGuest {
public:
    explicit MappedGuest(const std::string& dir) {
        auto ns = makeUserNamespace(map, map);
        REQUIRE(ns);
        int ready[2];
        REQUIRE(::pipe2(ready, O_CLOEXEC) == 0);
        pid_ = ::fork();
        if (pid_ == 0)
            run(dir, ns->get(), ready[1]);
        ::close(ready[1]);
        char byte;
        bool good = ::read(ready[0], &byte, 1) == 1;
        ::close(ready[0]);
        REQUIRE(good);
    }
    ~MappedGuest() {
        ::kill(pid_, SIGKILL);
        (void)::waitpid(pid_, nullptr, 0);
    }
    pid_t pid() const { return pid_; }

private:
    [[noreturn]] static void run(const std::string& dir, int ns, int ready) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::unshare(CLONE_NEWNS) < 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0)
            ::_exit(1);
        auto tree = cloneIdMapped(dir, ns);
        if (!tree ||
            ::syscall(SYS_move_mount, tree->get(), "", AT_FDCWD, dir.c_str(), MOVE_MOUNT_F_EMPTY_PATH) < 0)
            ::_exit(2);
        if (::chroot(dir.c_str()) < 0 || ::chdir("/") < 0 || ::setns(ns, CLONE_NEWUSER) < 0)
            ::_exit(3);
        ::prctl(PR_SET_PDEATHSIG, SIGKILL); // the change of namespace has cleared it
        (void)!::write(ready, "x", 1);
        for (;;)
            ::pause();
    }
    pid_t pid_;
};

} // namespace

TEST_CASE("file systems are asked whether they can map owners") {
    test::TemporaryDir dir;
    auto plain = canIdMap(dir.path()), proc = canIdMap("/proc");
    REQUIRE(plain);
    REQUIRE(proc);
    CHECK_FALSE(*proc);
    CHECK_FALSE(canIdMap(dir / "missing"));
}

TEST_CASE("a password is set through an id-mapped root, owner and mode kept") {
    test::TemporaryDir dir;
    if (!canIdMap(dir.path()).valueOr(false)) {
        WARN("skipped: the file system of " << dir.path() << " cannot be id-mapped");
        return;
    }
    auto shadow = dir / "etc/shadow";
    REQUIRE(file::makeDirs(dir / "etc"));
    REQUIRE(file::writeAtomic(shadow, "root:*:19000:0:99999:7:::\nann:!:19000:0:99999:7:::\n", 0640));
    REQUIRE(::chown(shadow.c_str(), 0, 42) == 0);
    MappedGuest guest(dir.path());
    auto set = setPassword(guest.pid(), "ann", "secret", false);
    if (!set)
        FAIL(set.error().message());
    auto text = file::read(shadow);
    REQUIRE(text);
    CHECK(text->starts_with("root:*:19000:"));
    CHECK(text->find("\nann:$6$") != std::string::npos);
    struct stat info;
    REQUIRE(::stat(shadow.c_str(), &info) == 0);
    CHECK(info.st_uid == 0); // the plain ids on disk
    CHECK(info.st_gid == 42);
    CHECK((info.st_mode & 07777) == 0640);
    CHECK(file::list(dir / "etc")->size() == 2); // with .pwd.lock
    REQUIRE(setPassword(guest.pid(), "root", "$6$x$y", true));
    CHECK(file::read(shadow)->starts_with("root:$6$x$y:"));
    CHECK(setPassword(guest.pid(), "bob", "x", false).error().code() == ErrorCode::InvalidArg);
}
