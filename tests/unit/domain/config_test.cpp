// SPDX-License-Identifier: LGPL-2.1-or-later
#include "parser.hpp"

using namespace vz;
using namespace vz::test;
using domain::Config;

namespace {

std::string example(const std::string& name) {
    auto text = file::read(cat(VZ_EXAMPLES, "/", name));
    REQUIRE(text);
    return *text;
}

} // namespace

TEST_CASE("every example parses and its dump is a fixed point") {
    auto names = file::list(VZ_EXAMPLES);
    REQUIRE(names);
    size_t count = 0;
    for (const auto& name : *names) {
        if (!name.ends_with(".xml"))
            continue;
        CAPTURE(name);
        count++;
        auto first = text(config(example(name)));
        auto second = text(config(first));
        CHECK(first == second);
        auto published = config(example(name)).toXml(parser(), 0);
        REQUIRE(published);
        CHECK(text(config(*published)).size() <= first.size());
    }
    CHECK(count >= 9);
}

TEST_CASE("examples that are not in a client's own form pass libvirt's schema") {
    for (const char* name : {"busybox.xml", "debian.xml", "bridge.xml", "idmap.xml", "mounts.xml",
                             "application.xml", "nova.xml", "virt-install.xml", "machine.xml"}) {
        CAPTURE(name);
        auto parsed = parse(example(name), {.validate = true});
        if (!parsed)
            FAIL_CHECK(parsed.error().message());
    }
}

TEST_CASE("a live config of every container example is a fixed point too") {
    for (const char* name : {"busybox.xml", "bridge.xml", "mounts.xml", "application.xml", "nova.xml"}) {
        CAPTURE(name);
        Config::LiveFacts facts;
        facts.id = 4711;
        facts.consolePaths = {"/dev/pts/5", "/dev/pts/6"};
        auto defined = config(example(name));
        for (const auto& interface : defined.definition().interfaces)
            facts.interfaces.push_back(
                {.name = interface.mac, .link = {.hostName = "vnet7", .guestName = "eth0"}});
        facts.uidMap = facts.gidMap = {{0, 300000, 65536}};
        facts.securityModel = "apparmor";
        facts.securityLabel = "libvirt-3f7a2d34";
        auto live = defined.live(parser(), facts);
        if (!live)
            FAIL(live.error().message());
        auto first = text(*live);
        CHECK(first == text(config(first, {.live = true})));
        CHECK(contains(first, "id='4711'"));
        CHECK(contains(first, "<console type='pty' tty='/dev/pts/5'>"));
        CHECK(contains(first, "<alias name='console0'/>"));
        CHECK(contains(first, "<alias name='fs0'/>"));
        // An automatic range would become a fixed one if a client defined it from there.
        CHECK_FALSE(contains(first, "<idmap>"));
        CHECK(contains(first, "<label>libvirt-3f7a2d34</label>"));
        CHECK_FALSE(contains(first, "<graphics"));
        CHECK_FALSE(contains(first, "<video"));
        const auto& definition = live->definition();
        CHECK(definition.consoles.at(0).ptyPath == "/dev/pts/5");
        for (const auto& interface : definition.interfaces)
            CHECK(interface.alias == "net0");
        if (!definition.interfaces.empty())
            CHECK(definition.interfaces[0].targetDev == "vnet7");

        facts = {};
        facts.id = 4712;
        facts.consolePaths = {"/dev/pts/9"};
        auto again = live->withFacts(parser(), facts);
        REQUIRE(again);
        CHECK(contains(text(*again), "id='4712'"));
        CHECK(again->definition().consoles.at(0).ptyPath == "/dev/pts/9");
    }
}

TEST_CASE("a live dump that a client defines loses its live parts") {
    auto original = config(example("bridge.xml"));
    Config::LiveFacts facts;
    facts.id = 10;
    facts.consolePaths = {"/dev/pts/5"};
    facts.interfaces = {{.name = original.definition().interfaces.at(0).mac,
                         .link = {.hostName = "vnet7", .guestName = "eth0"}}};
    facts.securityModel = "apparmor";
    facts.securityLabel = "libvirt-x";
    auto live = original.live(parser(), facts);
    REQUIRE(live);
    auto again = text(config(text(*live)));
    CHECK_FALSE(contains(again, "pts"));
    CHECK_FALSE(contains(again, "alias"));
    CHECK_FALSE(contains(again, "actual"));
    CHECK_FALSE(contains(again, "<label>"));
}

TEST_CASE("the extension is kept in one form and read") {
    auto parsed =
        config("<domain type='vz'><e:container xmlns:e=\"urn:libvirt-vz:domain:1.0\"><!-- c -->"
               "<e:features><e:seccomp state=\"off\"/><e:user-namespace state='on'/></e:features>"
               "</e:container><name>c</name><memory>262144</memory><os><type>exe</type></os></domain>");
    auto xml = text(parsed);
    CHECK(contains(xml, "\n  <vz:container xmlns:vz='urn:libvirt-vz:domain:1.0'>\n    <vz:features>\n"
                        "      <vz:seccomp state='off'/>\n      <vz:user-namespace state='on'/>\n"
                        "    </vz:features>\n  </vz:container>\n</domain>"));
    const auto& extension = parsed.definition().extension;
    CHECK(extension.seccomp == false);
    CHECK(extension.userNamespace == true);
    CHECK_FALSE(extension.nesting);
}

TEST_CASE("both types are dumped as they were defined") {
    auto nova = config(example("nova.xml"));
    CHECK(nova.definition().virtType == "parallels");
    CHECK(text(nova).starts_with("<domain type='parallels'>"));
    CHECK(text(config(example("debian.xml"))).starts_with("<domain type='vz'>"));
}

TEST_CASE("the definition holds what the examples say") {
    const auto mapped = config(example("idmap.xml"));
    const auto& d = mapped.definition();
    CHECK(d.guestType == domain::GuestType::Container);
    CHECK(d.arch == "x86_64");
    CHECK(d.maxMemoryKiB == 262144);
    CHECK(d.hardLimitKiB == 307200);
    CHECK(d.softLimitKiB == 204800);
    CHECK(d.swapHardLimitKiB == 409600);
    CHECK(d.cpuShares == 512);
    CHECK(d.vcpuTime.periodUs == 100000);
    CHECK(d.vcpuTime.quotaUs == 150000);
    CHECK(d.maxVcpus == 2);
    CHECK(d.vcpuCpuset == "0-1");
    CHECK(d.partition == "/machine");
    REQUIRE(d.uidMap.size() == 1);
    CHECK(d.uidMap[0].host == 200000);
    CHECK(d.gidMap.at(0).count == 65536);
    CHECK(d.capabilitiesPolicy == "default");
    CHECK(d.capabilities == std::vector<std::pair<std::string, bool>>{{"mknod", true}, {"sys_time", false}});
    CHECK(d.extension.nesting == true);

    const auto app = config(example("application.xml"));
    CHECK(app.definition().init == "/usr/sbin/httpd");
    CHECK(app.definition().initArgs == std::vector<std::string>{"-f", "-h", "/srv/www"});
    CHECK(app.definition().initEnv == std::vector<std::string>{"LANG=C.UTF-8", "GREETING=a <b> & \"c\""});
    CHECK(app.definition().initUser == "www-data");
    CHECK(app.definition().onReboot == ct::EndAction::Destroy);
    CHECK(app.definition().onCrash == ct::EndAction::Restart);
    CHECK(app.definition().root()->readOnly);
    CHECK(app.definition().privateNetwork);
}

TEST_CASE("the definition holds the devices of the examples") {
    const auto mounts = config(example("mounts.xml"));
    const auto& d = mounts.definition();
    REQUIRE(d.filesystems.size() == 5);
    CHECK(d.filesystems[1].readOnly);
    CHECK(d.filesystems[2].type == domain::Filesystem::Type::Bind);
    CHECK(d.filesystems[3].ramBytes == 64u << 20);
    CHECK(d.filesystems[4].source == "/dev/vg0/data");
    REQUIRE(d.consoles.size() == 2);
    CHECK(d.consoles[0].logAppend);
    REQUIRE(d.hostDevices.size() == 2);
    CHECK(d.hostDevices[0].path == "/dev/net/tun");
    CHECK(d.hostDevices[1].type == domain::HostDevice::Type::Block);

    const auto bridged = config(example("bridge.xml"));
    const auto& net = bridged.definition().interfaces.at(0);
    CHECK(net.bridge == "br0");
    CHECK(net.targetDev == "ctbridged0");
    CHECK(net.guestDev == "eth0");
    CHECK(net.mtu == 1400);
    REQUIRE(net.addresses.size() == 2);
    CHECK(net.addresses[1].address == "2001:db8::10");
    CHECK(net.addresses[1].prefix == 64);
    CHECK(net.routes.at(0).gateway == "192.0.2.1");

    const auto nova = config(example("nova.xml"));
    CHECK(nova.definition().root()->driverFormat == "ploop");
    const auto volume = config(
        container("<filesystem type='volume'><source pool='p' volume='v'/><target dir='/'/></filesystem>"));
    CHECK(volume.definition().root()->source == "p/v");
}

TEST_CASE("a missing init becomes /sbin/init and a missing MAC is made") {
    auto parsed = config(container("<interface type='ethernet'/>"));
    CHECK(parsed.definition().init == "/sbin/init");
    CHECK(parsed.definition().interfaces.at(0).mac.size() == 17);
    CHECK(parsed.definition().uuid == "3f7a2d34-4c53-4cd6-9a53-6d1b46a5a0e1");
}

TEST_CASE("secrets are only shown when asked for") {
    auto parsed = config(container("<graphics type='vnc' port='-1' passwd='geheim'/>"));
    CHECK(contains(text(parsed), "geheim"));
    auto open = parsed.toXml(parser(), 0);
    REQUIRE(open);
    CHECK_FALSE(contains(*open, "geheim"));
}
