// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../temporary_dir.hpp"
#include "base/log.hpp"
#include "driver/settings.hpp"

#include <catch2/catch.hpp>

using namespace vz;
using driver::Settings;

namespace {

constexpr const char* sample = R"conf(# Settings of the vz driver of libvirtd.

supervisor = "/opt/vz/vz-supervisor"
cgroup_partition = '/guests/vz'   # single quotes do as well
id_range_first = 1000000
id_range_last = 2000000

config_dir="/srv/etc"
run_dir	=	"/srv/run"
lib_dir = "/srv/lib"
log_dir = "/srv/log # not a comment"
	start_timeout = 5
job_timeout = 6
shutdown_timeout = 7
autostart = 0
show_foreign_machines = 1
qemu_uri = ""
vm_accelerator = "tcg"
kvm_probe = "/opt/vz/vz-kvm-probe")conf";

} // namespace

TEST_CASE("every setting is read") {
    auto settings = Settings::parse(sample, "vz.conf");
    REQUIRE(settings);
    CHECK(settings->supervisor == "/opt/vz/vz-supervisor");
    CHECK(settings->cgroupPartition == "/guests/vz");
    CHECK(settings->idRangeFirst == 1000000);
    CHECK(settings->idRangeLast == 2000000);
    CHECK(settings->configDir == "/srv/etc");
    CHECK(settings->runDir == "/srv/run");
    CHECK(settings->libDir == "/srv/lib");
    CHECK(settings->logDir == "/srv/log # not a comment");
    CHECK(settings->startTimeoutSeconds == 5);
    CHECK(settings->jobTimeoutSeconds == 6);
    CHECK(settings->shutdownTimeoutSeconds == 7);
    CHECK_FALSE(settings->autostart);
    CHECK(settings->showForeignMachines);
    CHECK(settings->qemuUri.empty());
    CHECK(settings->vmAccelerator == vm::AcceleratorWish::Tcg);
    CHECK(settings->kvmProbe == "/opt/vz/vz-kvm-probe");
}

TEST_CASE("the shipped file names every setting with its default") {
    auto text = file::read(VZ_SHIPPED_SETTINGS);
    REQUIRE(text);
    std::string live;
    for (auto line : lines(*text)) {
        if (line.starts_with('#') && line.find(" = ") != std::string_view::npos)
            live += cat(line.substr(1), "\n");
    }
    static std::string warned;
    log::setSink([](log::Level level, const char* message) {
        if (level == log::Level::Warning)
            warned += message;
    });
    auto shipped = Settings::parse(live, "vz.conf");
    log::setSink(nullptr);
    REQUIRE(shipped);
    CHECK(warned == "");
    CHECK(*shipped == Settings());
    for (auto name : Settings::names()) {
        INFO(name);
        CHECK(cat("\n", live).find(cat("\n", name, " = ")) != std::string::npos);
    }
}

TEST_CASE("no file and no settings mean the defaults") {
    test::TemporaryDir dir;
    auto settings = Settings::load(dir / "vz.conf");
    REQUIRE(settings);
    CHECK(settings->supervisor == "/usr/lib/libvirt/vz-supervisor");
    CHECK(settings->idRangeFirst == 536870912);
    CHECK(settings->qemuUri == "qemu:///system");
    CHECK(settings->kvmProbe == "/usr/lib/libvirt/vz-kvm-probe");
    REQUIRE(file::writeAtomic(dir / "vz.conf", "# nothing\r\n\n   #\n"));
    CHECK(Settings::load(dir / "vz.conf")->autostart);
    CHECK_FALSE(Settings::load(dir.path()));
}

TEST_CASE("a setting that is not known is only a warning") {
    static std::string warned;
    log::setSink([](log::Level level, const char* message) {
        if (level == log::Level::Warning)
            warned += message;
    });
    auto settings = Settings::parse("later = [ \"a\", # one\n 'b',\n]\njob_timeout = 9\n", "vz.conf");
    log::setSink(nullptr);
    REQUIRE(settings);
    CHECK(settings->jobTimeoutSeconds == 9);
    CHECK(warned.find("line 1: there is no setting later") != std::string::npos);
}

TEST_CASE("what is wrong is refused with its line") {
    struct {
        const char *text, *named;
    } rows[] = {
        {"\nsupervisor \"/x\"", "line 2: expected '=' after supervisor"},
        {"= 1", "line 1: expected the name"},
        {"autostart = 1 1", "line 1: unexpected text after the value of autostart"},
        {"autostart = yes", "line 1: expected \"text\""},
        {"autostart =\n1", "line 1: expected \"text\""},
        {"autostart = 2", "line 1: autostart must be 0 or 1"},
        {"run_dir = \"/x\n\"", "line 1: the text has no closing \""},
        {"x = [ \"a\" \"b\" ]", "line 1: expected , or ]"},
        {"x = [ \"a\",\n", "line 2: expected \"text\" or ]"},
        {"x = [ 1 ]", "line 1: expected \"text\" or ]"},
        {"#\nrun_dir = \"run\"", "line 2: run_dir must be an absolute path"},
        {"run_dir = \"/a/../b\"", "must be an absolute path"},
        {"run_dir = \"/\"", "must be an absolute path"},
        {"run_dir = [\"/a\"]", "must be an absolute path"},
        {"cgroup_partition = \"/a//b\"", "must be an absolute path"},
        {"job_timeout = 0", "must be a number from 1 to 86400"},
        {"job_timeout = \"5\"", "must be a number"},
        {"job_timeout = -3", "must be a number"},
        {"job_timeout = 99999999999999999999", "expected \"text\""},
        {"id_range_first = 1000", "must be a number from 65536 to"},
        {"id_range_last = 4294967296", "must be a number from 65536 to 4294967295"},
        {"id_range_first = 100000\nid_range_last = 165535", "at least 65536 above"},
        {"id_range_last = 100000", "at least 65536 above"},
        {"vm_accelerator = \"hvf\"", "vm_accelerator must be \"auto\", \"kvm\" or \"tcg\""},
        {"vm_accelerator = 1", "vm_accelerator must be"},
        {"qemu_uri = 0", "qemu_uri must be the URI"},
        {"qemu_uri = \"qemu+ssh://host/system\"", "on this host"},
        {"qemu_uri = \"vz:///system\"", "of QEMU's driver"},
        {"kvm_probe = \"\"", "kvm_probe must be an absolute path"},
        {"autostart = 1\n\nautostart = 1", "line 3: autostart was set in line 1 already"},
    };
    for (const auto& row : rows) {
        INFO(row.text);
        auto settings = Settings::parse(row.text, "vz.conf");
        REQUIRE_FALSE(settings);
        CHECK(settings.error().code() == ErrorCode::ConfigUnsupported);
        INFO(settings.error().message());
        CHECK(settings.error().message().find(row.named) != std::string::npos);
        CHECK(settings.error().message().starts_with("vz.conf: "));
    }
}
