// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../schema.hpp"
#include "driver/capabilities.hpp"
#include "fake_host.hpp"

using namespace vz;
using namespace vz::driver;
using test::complaints;
using test::withKnownTypes;

namespace {

CapabilitiesFacts facts() {
    test::FakeHost host;
    test::twoSockets(host);
    auto probed = probeCapabilities({.hostUuid = "c7a5fdbd-edaf-9455-926a-d65c16db1809",
                                     .emulator = "/usr/lib/libvirt/vz-supervisor",
                                     .securityModel = "apparmor",
                                     .sysRoot = host.sys(),
                                     .procRoot = host.proc()});
    REQUIRE(probed);
    probed->arch = "x86_64";
    return *probed;
}

} // namespace

TEST_CASE("capabilities are valid for libvirt's schema") {
    auto some = facts();
    CHECK(complaints("capability.rng", withKnownTypes(capabilitiesXml(some))) == "");
    some.liveMigration = true;
    some.iommu = true;
    some.hostUuid.clear();
    some.securityModel.clear();
    CHECK(complaints("capability.rng", withKnownTypes(capabilitiesXml(some))) == "");
}

TEST_CASE("capabilities of this host are valid for libvirt's schema") {
    auto here = probeCapabilities({.emulator = "/usr/lib/libvirt/vz-supervisor"});
    REQUIRE(here);
    CHECK(complaints("capability.rng", withKnownTypes(capabilitiesXml(*here))) == "");
}

TEST_CASE("the guest is exe with type parallels first and vz last") {
    auto doc = xml::parse(capabilitiesXml(facts()));
    auto guests = xml::children(xml::root(*doc), "guest");
    REQUIRE(guests.size() == 1);
    CHECK(xml::text(xml::child(guests[0], "os_type")) == "exe");
    auto* arch = xml::child(guests[0], "arch");
    CHECK(xml::attribute(arch, "name") == "x86_64");
    auto types = xml::children(arch, "domain");
    REQUIRE(types.size() == 2);
    CHECK(xml::attribute(types.front(), "type") == "parallels");
    CHECK(xml::attribute(types.back(), "type") == "vz");
}

TEST_CASE("the host part has what clients read") {
    auto doc = xml::parse(capabilitiesXml(facts()));
    auto* host = xml::child(xml::root(*doc), "host");
    CHECK(xml::text(xml::path(host, {"cpu", "arch"})) == "x86_64");
    CHECK_FALSE(xml::path(host, {"cpu", "model"}));
    CHECK(xml::attribute(xml::path(host, {"cpu", "topology"}), "threads") == "2");
    CHECK(xml::text(xml::path(host, {"secmodel", "model"})) == "apparmor");
    CHECK(xml::attribute(xml::path(host, {"topology", "cells"}), "num") == "3");
    auto* cpu = xml::path(host, {"topology", "cells", "cell", "cpus", "cpu"});
    CHECK(xml::attribute(cpu, "siblings") == "0,4");
}

TEST_CASE("capabilities tell how beancounters are held") {
    auto some = facts();
    CHECK(capabilitiesXml(some).find("beancounters") == std::string::npos);
    some.counters.push_back(
        {.info = ct::counterNamed("numproc"), .state = ct::CounterState::Enforced, .mechanism = "pids.max"});
    some.counters.push_back({.info = ct::counterNamed("numsiginfo")});
    auto doc = xml::parse(capabilitiesXml(some));
    auto* all = xml::children(xml::path(xml::root(*doc), {"guest", "arch"})).back();
    CHECK(xml::name(all) == "beancounters");
    REQUIRE(all->ns);
    CHECK(std::string_view(reinterpret_cast<const char*>(all->ns->href)) ==
          "urn:libvirt-vz:capabilities:1.0");
    auto counters = xml::children(all);
    REQUIRE(counters.size() == 2);
    CHECK(xml::attribute(counters[0], "state") == "enforced");
    CHECK(xml::attribute(counters[0], "unit") == "items");
    CHECK(xml::text(counters[0]) == "pids.max");
    CHECK(xml::attribute(counters[1], "state") == "unavailable");
    CHECK(xml::attribute(counters[1], "changed") == "start");
}

TEST_CASE("domain capabilities are valid for libvirt's schema") {
    auto document = domainCapabilitiesXml(nullptr, nullptr, nullptr, nullptr, facts());
    REQUIRE(document);
    CHECK(complaints("domaincaps.rng", *document) == "");
    auto doc = xml::parse(*document);
    for (const char* device : {"disk", "video"})
        CHECK(xml::attribute(xml::path(xml::root(*doc), {"devices", device}), "supported") == "no");
    CHECK(xml::attribute(xml::path(xml::root(*doc), {"devices", "filesystem"}), "supported") == "yes");
}

TEST_CASE("domain capabilities answer what Nova asks") {
    auto document =
        domainCapabilitiesXml("/usr/lib/libvirt/vz-supervisor", "x86_64", "pc", "parallels", facts());
    REQUIRE(document);
    auto doc = xml::parse(*document);
    auto* root = xml::root(*doc);
    CHECK(xml::text(xml::child(root, "domain")) == "parallels");
    CHECK(xml::text(xml::child(root, "machine")) == "pc");
    CHECK(xml::text(xml::child(root, "arch")) == "x86_64");
    CHECK(xml::attribute(xml::child(root, "vcpu"), "max") == "8");
    CHECK(xml::attribute(xml::child(root, "os"), "supported") == "yes");
}

TEST_CASE("domain capabilities of what we never have are refused by name") {
    struct {
        const char *emulator, *arch, *machine, *type;
        ErrorCode code;
        const char* named;
    } rows[] = {
        {nullptr, nullptr, nullptr, "kvm", ErrorCode::InvalidArg, "'kvm'"},
        {nullptr, nullptr, nullptr, "", ErrorCode::InvalidArg, "type ''"},
        {nullptr, "aarch64", nullptr, "vz", ErrorCode::InvalidArg, "'aarch64'"},
        {nullptr, "x86_64", "q35", "vz", ErrorCode::InvalidArg, "'q35'"},
        {"/usr/bin/qemu-system-x86_64", nullptr, nullptr, nullptr, ErrorCode::ConfigUnsupported,
         "qemu-system"},
    };
    for (const auto& row : rows) {
        auto answer = domainCapabilitiesXml(row.emulator, row.arch, row.machine, row.type, facts());
        REQUIRE_FALSE(answer);
        CHECK(answer.error().code() == row.code);
        CHECK(answer.error().message().find(row.named) != std::string::npos);
    }
}
