// SPDX-License-Identifier: LGPL-2.1-or-later
#include "parser.hpp"

using namespace vz;
using namespace vz::test;
using domain::Config;
using domain::DeviceKind;
using domain::MetadataKind;

namespace {

const char* const rootFs = "<filesystem type='mount'><source dir='/srv/c1'/><target dir='/'/></filesystem>";
const char* const dataFs =
    "<filesystem type='mount'><source dir='/srv/data'/><target dir='/data'/></filesystem>";
const char* const net =
    "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/></interface>";
const char* const tun =
    "<hostdev mode='capabilities' type='misc'><source><char>/dev/net/tun</char></source></hostdev>";

Config live(const Config& config) {
    auto made =
        config.live(parser(), {.id = 42,
                               .consolePaths = {"/dev/pts/3"},
                               .interfaces = {{.name = "52:54:00:00:00:01", .link = {.hostName = "vnet0"}}}});
    REQUIRE(made);
    return *made;
}

} // namespace

TEST_CASE("a config gets another name and keeps all else") {
    auto before = config(container(rootFs));
    auto after = before.withName(parser(), "c2");
    REQUIRE(after);
    CHECK(after->definition().name == "c2");
    CHECK(after->definition().uuid == before.definition().uuid);
    CHECK(before.definition().name == "c1");
    CHECK_FALSE(before.withName(parser(), "a/b"));
    CHECK_FALSE(before.withName(parser(), ".hidden"));
}

TEST_CASE("end actions are set and judged") {
    auto before = config(container(rootFs));
    auto after = before.edited(parser(), {{"on_reboot", "destroy"}});
    REQUIRE(after);
    CHECK(after->definition().onReboot == ct::EndAction::Destroy);
    auto refused = before.edited(parser(), {{"on_crash", "coredump-restart"}});
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::ConfigUnsupported);
}

TEST_CASE("settings are made, changed and removed by their paths") {
    auto before = config(container(rootFs));
    auto after = before.edited(parser(), {{"memtune/hard_limit", "65536"},
                                          {"vcpu", "4"},
                                          {"vcpu@current", "2"},
                                          {"cputune/vcpupin[vcpu=1]@cpuset", "0"},
                                          {"blkiotune/device[path=/dev/vda]/read_iops_sec", "100"},
                                          {"vz:cpu/units", "2000"}});
    REQUIRE(after);
    const auto& definition = after->definition();
    CHECK(definition.hardLimitKiB == 65536);
    CHECK(definition.maxVcpus == 4);
    CHECK(definition.vcpus == 2);
    CHECK(definition.pins == std::map<unsigned, std::string>{{1, "0"}});
    REQUIRE(definition.blockDevices.size() == 1);
    CHECK(definition.blockDevices[0].path == "/dev/vda");
    CHECK(definition.blockDevices[0].readOps == 100);
    CHECK(definition.extension.cpuUnits == 2000);

    auto changed = after->edited(parser(), {{"blkiotune/device[path=/dev/vda]/write_bytes_sec", "4096"},
                                            {"cputune/vcpupin[vcpu=0]@cpuset", "1"},
                                            {"vz:cpu/limit", "50"}});
    REQUIRE(changed);
    REQUIRE(changed->definition().blockDevices.size() == 1);
    CHECK(changed->definition().blockDevices[0].readOps == 100);
    CHECK(changed->definition().pins.size() == 2);
    CHECK(changed->definition().extension.cpuUnits == 2000);
    CHECK(changed->definition().extension.cpuLimitPercent == 50);

    auto cleared = changed->edited(parser(), {{"memtune/hard_limit", {}},
                                              {"vcpu", "1"},
                                              {"vcpu@current", {}},
                                              {"cputune/vcpupin[vcpu=0]@cpuset", {}},
                                              {"cputune/vcpupin[vcpu=1]@cpuset", {}},
                                              {"blkiotune/device[path=/dev/vda]/write_bytes_sec", {}},
                                              {"blkiotune/device[path=/dev/vda]/read_iops_sec", {}},
                                              {"blkiotune/device[path=/dev/sda]/weight", {}},
                                              {"vz:cpu/limit", {}},
                                              {"vz:cpu/units", {}}});
    REQUIRE(cleared);
    CHECK(*cleared->toXml(parser(), 0) == *before.toXml(parser(), 0));
    CHECK_FALSE(before.edited(parser(), {{"vz:cpu/units", "7"}}));
}

TEST_CASE("a setting of a disk is found by the disk's target") {
    auto before = config(container(std::string(rootFs) +
                                   "<disk type='file'><source file='/a'/><target dev='vda'/></disk>"
                                   "<disk type='file'><source file='/b'/><target dev='vdb'/></disk>"));
    auto limited = before.edited(parser(), {{"devices/disk[target@dev=vdb]/iotune/total_bytes_sec", "5"},
                                            {"devices/disk[target@dev=vdb]/iotune/read_iops_sec", "6"},
                                            {"vz:io/prio", "0"}});
    REQUIRE(limited);
    CHECK(limited->definition().disks.at(0).throttle.totalBytes == 0);
    CHECK(limited->definition().disks.at(1).throttle.totalBytes == 5);
    CHECK(limited->definition().disks.at(1).throttle.readOps == 6);
    CHECK(limited->definition().extension.ioPriority == 0);
    auto free = limited->edited(parser(), {{"devices/disk[target@dev=vdb]/iotune/total_bytes_sec", {}},
                                           {"devices/disk[target@dev=vdb]/iotune/read_iops_sec", {}},
                                           {"vz:io/prio", {}}});
    REQUIRE(free);
    CHECK(text(*free) == text(before));
}

TEST_CASE("title and description are set, read and removed") {
    auto before = config(container(rootFs));
    CHECK(before.metadata(MetadataKind::Title, nullptr).error().code() == ErrorCode::NoDomainMetadata);
    auto after = before.withMetadata(parser(), MetadataKind::Title, "a <b> & c", nullptr, nullptr);
    REQUIRE(after);
    CHECK(*after->metadata(MetadataKind::Title, nullptr) == "a <b> & c");
    auto described = after->withMetadata(parser(), MetadataKind::Description, "one\ntwo", nullptr, nullptr);
    REQUIRE(described);
    CHECK(*described->metadata(MetadataKind::Description, nullptr) == "one\ntwo");
    auto gone = described->withMetadata(parser(), MetadataKind::Title, nullptr, nullptr, nullptr);
    REQUIRE(gone);
    CHECK_FALSE(gone->metadata(MetadataKind::Title, nullptr));
    auto refused = before.withMetadata(parser(), MetadataKind::Title, "two\nlines", nullptr, nullptr);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::InvalidArg);
}

TEST_CASE("metadata elements live in their namespaces") {
    auto before = config(container(rootFs));
    auto one =
        before.withMetadata(parser(), MetadataKind::Element, "<app><owner>me</owner></app>", "a", "urn:one");
    REQUIRE(one);
    CHECK(contains(text(*one), "<a:app xmlns:a=\"urn:one\">"));
    auto two = one->withMetadata(parser(), MetadataKind::Element, "<app/>", "b", "urn:two");
    REQUIRE(two);
    CHECK(*two->metadata(MetadataKind::Element, "urn:two") == "<app/>");
    CHECK(contains(*two->metadata(MetadataKind::Element, "urn:one"), "<owner>me</owner>"));
    auto replaced = two->withMetadata(parser(), MetadataKind::Element, "<other x='1'/>", "c", "urn:one");
    REQUIRE(replaced);
    CHECK(*replaced->metadata(MetadataKind::Element, "urn:one") == "<other x=\"1\"/>");
    auto removed = replaced->withMetadata(parser(), MetadataKind::Element, nullptr, nullptr, "urn:one");
    REQUIRE(removed);
    CHECK(removed->metadata(MetadataKind::Element, "urn:one").error().code() == ErrorCode::NoDomainMetadata);
    CHECK(removed->metadata(MetadataKind::Element, "urn:two"));
    CHECK(text(config(text(*removed))) == text(*removed));
}

TEST_CASE("metadata that declares its namespace itself is taken as it is") {
    auto before = config(container(rootFs));
    auto after = before.withMetadata(
        parser(), MetadataKind::Element,
        "<nova:instance xmlns:nova='urn:nova'><nova:name nova:x='1'>n</nova:name></nova:instance>",
        "instance", "urn:nova");
    REQUIRE(after);
    CHECK(contains(*after->metadata(MetadataKind::Element, "urn:nova"), "<name x=\"1\">n</name>"));
    CHECK(text(config(text(*after))) == text(*after));
}

TEST_CASE("bad metadata is refused") {
    auto before = config(container(rootFs));
    auto code = [&](const char* value, const char* key, const char* uri) {
        auto after = before.withMetadata(parser(), MetadataKind::Element, value, key, uri);
        REQUIRE_FALSE(after);
        return after.error().code();
    };
    CHECK(code("<a>", "k", "urn:u") == ErrorCode::XmlError);
    CHECK(code("<a/>", nullptr, "urn:u") == ErrorCode::InvalidArg);
    CHECK(code("<a/>", "no prefix", "urn:u") == ErrorCode::InvalidArg);
    CHECK(code("<a/>", "k", nullptr) == ErrorCode::InvalidArg);
    CHECK(code("<k:a xmlns:k='urn:x'/>", "k", "urn:u") == ErrorCode::InvalidArg);
}

TEST_CASE("the extension is set and read through the metadata API") {
    auto before = config(container(rootFs));
    const char* uri = "urn:libvirt-vz:domain:1.0";
    auto after =
        before.withMetadata(parser(), MetadataKind::Element,
                            "<container><features><fuse state='on'/></features></container>", "vz", uri);
    REQUIRE(after);
    CHECK(after->definition().extension.fuse == true);
    CHECK(contains(*after->metadata(MetadataKind::Element, uri), "<fuse state=\"on\"/>"));
    auto refused =
        before.withMetadata(parser(), MetadataKind::Element, "<container><abc/></container>", "vz", uri);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::XmlInvalidSchema);
    auto more = after->withMetadata(
        parser(), MetadataKind::Element,
        "<container><features><nesting state='on'/></features><ubc><numproc limit='9'/></ubc></container>",
        "x", uri);
    REQUIRE(more);
    CHECK(more->definition().extension.fuse == true);
    CHECK(more->definition().extension.nesting == true);
    CHECK(more->definition().extension.beancounters.at("numproc") == ct::Beancounter{9, 9});
    auto changed = more->withMetadata(parser(), MetadataKind::Element,
                                      "<container><ubc><numproc limit='10'/></ubc></container>", "vz", uri);
    REQUIRE(changed);
    CHECK(changed->definition().extension.beancounters.at("numproc").limit == 10);
    CHECK(changed->definition().extension.fuse == true);
    auto none = after->withMetadata(parser(), MetadataKind::Element, nullptr, nullptr, uri);
    REQUIRE(none);
    CHECK_FALSE(contains(text(*none), "vz:container"));
}

TEST_CASE("devices are added with an alias to a live config") {
    auto before = live(config(container(cat(rootFs, net))));
    Config::Device added{};
    auto after = before.withDevice(parser(), dataFs, true, &added);
    REQUIRE(after);
    CHECK(added.kind == DeviceKind::Filesystem);
    CHECK(added.index == 1);
    CHECK(added.alias == "fs1");
    CHECK(after->definition().filesystems.at(1).target == "/data");
    after = after->withDevice(parser(), tun, true, &added);
    REQUIRE(after);
    CHECK(added.alias == "hostdev0");
    after = after->withDevice(parser(), "<console type='pty'/>", true, &added);
    REQUIRE(after);
    CHECK(added.alias == "console1");
    after = after->withDevice(parser(), "<interface type='bridge'><source bridge='br1'/></interface>", true,
                              &added);
    REQUIRE(after);
    CHECK(added.alias == "net1");
    CHECK(after->definition().interfaces.at(1).mac.size() == 17);
    CHECK(text(config(text(*after), {.live = true})) == text(*after));
}

TEST_CASE("a config without devices can get one") {
    auto before =
        config("<domain type='vz'><name>n</name><memory>1024</memory><os><type>exe</type></os></domain>");
    Config::Device added{};
    auto after = before.withDevice(parser(), rootFs, false, &added);
    REQUIRE(after);
    CHECK(after->definition().root());
    CHECK(added.alias.empty());
}

TEST_CASE("a device that is there already or is none is refused") {
    auto before = config(container(cat(rootFs, dataFs, net, tun)));
    auto error = [&](const std::string& xml) {
        auto after = before.withDevice(parser(), xml, false, nullptr);
        REQUIRE_FALSE(after);
        return after.error();
    };
    CHECK(error(dataFs).code() == ErrorCode::OperationFailed);
    CHECK(contains(error(dataFs).message(), "/data"));
    CHECK(error("<filesystem type='mount'><source dir='/x'/><target dir='/data//'/></filesystem>").code() ==
          ErrorCode::OperationFailed);
    CHECK(error(net).code() == ErrorCode::OperationFailed);
    CHECK(error(tun).code() == ErrorCode::OperationFailed);
    CHECK(error("<name>x</name>").code() == ErrorCode::InvalidArg);
    CHECK(error("</devices><name/>").code() == ErrorCode::XmlError);
    CHECK(error("<sound model='ac97'/>").code() == ErrorCode::ConfigUnsupported);
    CHECK(error("<graphics type='vnc'/>").code() == ErrorCode::ConfigUnsupported);
}

TEST_CASE("devices are found as clients name them") {
    auto c = live(config(container(cat(rootFs, dataFs, net, tun))));
    auto found = c.findDevice(parser(), dataFs);
    REQUIRE(found);
    CHECK(found->index == 1);
    CHECK(found->alias == "fs1");
    CHECK(c.findDevice(parser(), "<interface type='bridge'><source bridge='br0'/></interface>")->alias ==
          "net0");
    CHECK(c.findDevice(parser(), "<interface type='network'><mac address='52:54:00:00:00:01'/>"
                                 "<source network='n'/></interface>")
              ->alias == "net0");
    CHECK(c.findDevice(parser(), tun)->kind == DeviceKind::HostDevice);
    CHECK(c.findDevice(parser(), "<console type='pty'><target port='0'/></console>")->alias == "console0");
    CHECK(c.findDeviceByAlias("hostdev0")->kind == DeviceKind::HostDevice);
    CHECK(c.findDeviceByAlias("none").error().code() == ErrorCode::DeviceMissing);
    auto missing = c.findDevice(parser(), "<interface type='bridge'><mac address='52:54:00:00:00:99'/>"
                                          "<source bridge='br0'/></interface>");
    REQUIRE_FALSE(missing);
    CHECK(missing.error().code() == ErrorCode::DeviceMissing);

    auto two = config(container("<interface type='bridge'><source bridge='b'/></interface>"
                                "<interface type='bridge'><source bridge='b'/></interface>"));
    auto several = two.findDevice(parser(), "<interface type='bridge'><source bridge='b'/></interface>");
    REQUIRE_FALSE(several);
    CHECK(several.error().code() == ErrorCode::OperationFailed);
}

TEST_CASE("devices are taken out again") {
    auto before = config(container(cat(rootFs, dataFs, net, tun)));
    auto found = before.findDevice(parser(), dataFs);
    REQUIRE(found);
    auto after = before.withoutDevice(parser(), *found);
    REQUIRE(after);
    CHECK(after->definition().filesystems.size() == 1);
    CHECK(after->definition().interfaces.size() == 1);
    auto gone = after->withoutDevice(parser(), *found);
    REQUIRE_FALSE(gone);
    CHECK(gone.error().code() == ErrorCode::DeviceMissing);
}

TEST_CASE("an updated interface keeps the port of its network, in whichever form a client sends it") {
    auto start = live(config(container(
        cat(rootFs, "<interface type='network'><mac address='52:54:00:00:00:01'/><source network='lan'/>"
                    "</interface>"))));
    const std::string id = "0e1e9ba5-9d3c-4b1a-8a4e-3f8f2b0c7a11";
    auto before = start.withPort(
        parser(), 0, {id, "<actual type='bridge'><source bridge='br7'/><vlan><tag id='5'/></vlan></actual>"});
    REQUIRE(before);
    auto check = [&](const Config& config) {
        const auto& interface = config.definition().interfaces.at(0);
        CHECK(interface.type == "network");
        CHECK(interface.plug == "bridge");
        CHECK(interface.network == "lan");
        CHECK(interface.bridge == "br7");
        CHECK(interface.portId == id);
        REQUIRE(interface.vlan);
        CHECK(interface.vlan->tags.at(0).id == 5);
    };
    check(*before);
    auto found = before->findDeviceByAlias("net0");
    REQUIRE(found);
    auto shown = text(*before);
    auto from = shown.find("<interface");
    auto asShown = shown.substr(from, shown.find("</interface>") + 12 - from);
    INFO(asShown);
    CHECK(contains(asShown, "type='bridge'")); // as libvirt shows it
    for (const std::string& xml : {asShown, std::string("<interface type='network'><source network='lan'/>"
                                                        "<link state='down'/></interface>")}) {
        auto after = before->withUpdatedDevice(parser(), *found, xml);
        if (!after)
            FAIL(after.error().message());
        check(*after);
    }
    auto other = before->withUpdatedDevice(parser(), *found,
                                           "<interface type='network'><source network='wan'/></interface>");
    REQUIRE(other);
    CHECK(other->definition().interfaces.at(0).plug == "network");
    CHECK(other->definition().interfaces.at(0).portId.empty());
}

TEST_CASE("an updated interface keeps what the new XML does not say") {
    auto before = live(config(container(cat(rootFs, net))));
    auto found = before.findDeviceByAlias("net0");
    REQUIRE(found);
    auto after = before.withUpdatedDevice(
        parser(), *found, "<interface type='bridge'><source bridge='br0'/><link state='down'/></interface>");
    REQUIRE(after);
    const auto& interface = after->definition().interfaces.at(0);
    CHECK_FALSE(interface.linkUp);
    CHECK(interface.alias == "net0");
    CHECK(interface.mac == "52:54:00:00:00:01");
    CHECK(interface.targetDev == "vnet0");
    auto console = after->findDeviceByAlias("console0");
    REQUIRE(console);
    auto same = after->withUpdatedDevice(parser(), *console, "<console type='pty'/>");
    REQUIRE(same);
    CHECK(same->definition().consoles.at(0).ptyPath == "/dev/pts/3");
    CHECK_FALSE(after->withUpdatedDevice(parser(), *console, net));
}
