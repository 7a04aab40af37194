// SPDX-License-Identifier: LGPL-2.1-or-later
// vz-ploopd as programs start it by exports::attach(). Needs root.
#include "../temporary_dir.hpp"
#include "base/file.hpp"
#include "storage/export/client.hpp"
#include "storage/ploop/volume.hpp"

#include <catch2/catch.hpp>

#include <cstdlib>
#include <sys/stat.h>

using namespace vz;
using namespace vz::exports;
using ploop::Volume;

namespace {

struct Fixture {
    test::TemporaryDir dir;
    AttachOptions options;

    Fixture() {
        ::setenv("VZ_PLOOP_RUNDIR", (dir / "run").c_str(), 1);
        Volume::CreateOptions create;
        create.sectors = 64 * 64;
        create.clusterSectors = 64;
        REQUIRE(Volume::create(ploop::hostFiles(), dir / "root.hds", create));
        options.descriptor = dir / "DiskDescriptor.xml";
    }
    ~Fixture() { ::unsetenv("VZ_PLOOP_RUNDIR"); }
};

/** A control group of its own, removed at the end. */
struct Group {
    std::string folder =
        cat(file::exists("/sys/fs/cgroup/pids/cgroup.procs") ? "/sys/fs/cgroup/pids" : "/sys/fs/cgroup",
            "/vz-attach-test-", ::getpid());
    Group() { REQUIRE(::mkdir(folder.c_str(), 0755) == 0); }
    ~Group() { CHECK(::rmdir(folder.c_str()) == 0); }
};

} // namespace

TEST_CASE_METHOD(Fixture, "vz-ploopd runs in the control groups that its caller names") {
    Group group;
    options.cgroups = {group.folder};
    auto attachment = attach(options);
    REQUIRE(attachment);
    auto members = file::read(group.folder + "/cgroup.procs");
    REQUIRE(members);
    CHECK(trim(*members) == cat(attachment->pid));
    REQUIRE(detach(*attachment));
    // The image is closed; the process may still be on its way out, and the group is to be empty.
    for (members = file::read(group.folder + "/cgroup.procs"); members && !members->empty();)
        members = file::read(group.folder + "/cgroup.procs");
}

TEST_CASE_METHOD(Fixture, "vz-ploopd does not start where it cannot join a control group") {
    options.cgroups = {dir / "no-group"};
    auto attachment = attach(options);
    REQUIRE_FALSE(attachment);
    CHECK(attachment.error().message().find("no-group") != std::string::npos);
    auto left = readStates();
    REQUIRE(left);
    CHECK(left->empty());
}
