// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../temporary_dir.hpp"
#include "documents.hpp"
#include "vm/ploop_disk.hpp"

#include <algorithm>

using namespace vz;
using namespace vz::test;

namespace {

void checkRefused(const std::string& xml, ErrorCode code, const std::vector<std::string>& words) {
    CAPTURE(xml);
    auto made = vm::domainToInner(xml, facts());
    REQUIRE(!made);
    CAPTURE(made.error().message());
    CHECK(int(made.error().code()) == int(code));
    for (const auto& word : words)
        CHECK(contains(made.error().message(), word));
}

std::string disk(const std::string& inside, const std::string& attributes = "type='file' device='disk'") {
    return cat("<disk ", attributes, ">", inside, "<target dev='vda'/></disk>");
}

const std::string someDisk = disk("<source file='/d'/>");

} // namespace

TEST_CASE("the root type goes into the mark and the inner one comes in its place") {
    for (std::string type : {"vz", "parallels"}) {
        auto made = inner(machine("", "", cat("type='", type, "'")));
        CHECK(made.type == type);
        CHECK(made.name == "m1");
        CHECK(made.uuid == someUuid);
        CHECK(contains(made.xml, "<domain type=\"qemu\"><metadata>" + mark(type) + "</metadata><name>"));
        CHECK(vm::markedType(made.xml) == type);
    }
    // KVM runs the host's own architecture only.
    auto byArch = facts();
    byArch.innerType = [](const std::string& arch) { return std::string(arch.empty() ? "kvm" : "qemu"); };
    CHECK(contains(inner(machine(""), byArch).xml, "<domain type=\"kvm\">"));
    auto foreign = machine("");
    foreign.insert(foreign.find(">hvm"), " arch='aarch64'");
    CHECK(contains(inner(foreign, byArch).xml, "<domain type=\"qemu\">"));
}

TEST_CASE("a mark is known by its namespace, whatever its name and prefix") {
    CHECK(vm::isMark(mark("vz")));
    CHECK(vm::isMark("<x:any xmlns:x='urn:libvirt-vz:vm:1.0'/>"));
    CHECK(vm::isMark("<vm xmlns='urn:libvirt-vz:vm:1.0' type='vz'/>"));
    CHECK_FALSE(vm::isMark("<vm type='vz'/>"));
    CHECK_FALSE(vm::isMark("<a xmlns='urn:other'><vm xmlns='urn:libvirt-vz:vm:1.0'/></a>"));
    CHECK_FALSE(vm::isMark("<vm xmlns="));
}

TEST_CASE("the mark joins the metadata that are there") {
    std::string other = "<a:b xmlns:a=\"urn:a\"><a:c>  x </a:c>\n</a:b>";
    auto made = inner(machine("<metadata>\n  " + other + "\n</metadata>"));
    CHECK(contains(made.xml, cat("<metadata>\n  ", other, "\n", mark("vz"), "</metadata>")));
    CHECK(contains(inner(machine("<metadata/>")).xml, cat("<metadata>", mark("vz"), "</metadata>")));
}

TEST_CASE("metadata behind <memory> come in front of it, where libvirt prints them") {
    auto made = inner(
        "<domain type='vz'><name>m</name><memory/><metadata>\n  <a:b xmlns:a='urn:a'/></metadata></domain>");
    CHECK(contains(made.xml, "<domain type=\"qemu\"><metadata>\n  <a:b xmlns:a=\"urn:a\"/>" + mark("vz") +
                                 "</metadata><name>m</name>"));
    CHECK(vm::markedType(made.xml) == "vz");
}

TEST_CASE("every mark that is there is replaced") {
    std::string prefixes = "<m:vm xmlns:m='urn:libvirt-vz:vm:1.0' type='parallels'/>"
                           "<vm xmlns='urn:libvirt-vz:vm:1.0'>text</vm>"
                           "<vz:other xmlns:vz='urn:libvirt-vz:vm:1.0'/>";
    auto made = inner(machine("<metadata>" + prefixes + mark("parallels") + "</metadata><metadata>" +
                              mark("parallels") + "</metadata>"));
    CHECK(made.type == "vz");
    CHECK(countOf(made.xml, "urn:libvirt-vz:vm:1.0") == 1);
    CHECK(contains(made.xml, "<metadata>" + mark("vz") + "</metadata><metadata/>"));

    auto declared = inner(machine("<metadata><vz:vm type='parallels'/></metadata>", "",
                                  "type='vz' xmlns:vz='urn:libvirt-vz:vm:1.0'"));
    CHECK(contains(declared.xml, "<metadata>" + mark("vz") + "</metadata>"));
}

TEST_CASE("a marked document of another host keeps its type and mark") {
    for (std::string type : {"kvm", "qemu"}) {
        auto made =
            inner(machine("<metadata>" + mark("parallels") + "</metadata>", "", cat("type='", type, "'")));
        CHECK(made.type == "parallels");
        CHECK(contains(made.xml, cat("<domain type=\"", type, "\">")));
        CHECK(contains(made.xml, mark("parallels")));
    }
}

TEST_CASE("other types are refused, with the right ones named") {
    constexpr auto unsupported = ErrorCode::ConfigUnsupported;
    for (std::string type : {"kvm", "qemu", "lxc", "xen", "VZ", "vz "})
        checkRefused(machine("", "", cat("type='", type, "'")), unsupported,
                     {cat("'", type, "'"), "'vz'", "'parallels'"});
    checkRefused(machine("<metadata>" + mark("evil") + "</metadata>", "", "type='kvm'"), unsupported,
                 {"'kvm'"});
    checkRefused(machine("<metadata><a>" + mark("vz") + "</a></metadata>", "", "type='kvm'"), unsupported,
                 {"'kvm'"});
    checkRefused(machine("<metadata>" + mark("vz") + "</metadata>", "", "type='lxc'"), unsupported,
                 {"'lxc'"});
    checkRefused("<domain><name>m</name></domain>", ErrorCode::XmlError, {"type"});
    checkRefused("<network type='vz'/>", ErrorCode::XmlError, {"<network>"});
    checkRefused("<domain xmlns='urn:a' type='vz'/>", ErrorCode::XmlError, {"domain"});
}

TEST_CASE("elements of containers are refused by name") {
    checkRefused(machine("<v:container xmlns:v='urn:libvirt-vz:domain:1.0'/>"), ErrorCode::ConfigUnsupported,
                 {"container", "virtual machine"});
}

TEST_CASE("UUIDs are made, normalized and checked") {
    auto with = [](const std::string& uuid) {
        return "<domain type='vz'><name>m</name>" + uuid + "<memory>1</memory></domain>";
    };
    for (std::string uuid : {"<uuid>3F7A2D344C534CD69A536D1B46A5A0E1</uuid>",
                             "<uuid> 3f7a2d34-4c53-4cd6-9a53-6d1b46a5a0e1\n</uuid>"})
        CHECK(inner(with(uuid)).uuid == someUuid);
    for (std::string uuid : {"", "<uuid/>", "<uuid></uuid>"}) {
        auto made = inner(with(uuid));
        CHECK(made.uuid.size() == 36);
        CHECK(contains(made.xml, "<uuid>" + made.uuid + "</uuid>"));
        CHECK(countOf(made.xml, "<uuid") == 1);
        CHECK(made.uuid != inner(with(uuid)).uuid);
    }
    for (std::string uuid : {"<uuid>xyz</uuid>", "<uuid>3f7a2d34</uuid>", "<uuid> </uuid>"})
        checkRefused(with(uuid), ErrorCode::XmlError, {"uuid"});
}

TEST_CASE("the id of a dump becomes the inner one") {
    CHECK(contains(inner(machine("", "", "type='vz' id='4194311'")).xml, "<domain type=\"qemu\" id=\"7\">"));
    for (std::string id : {"7", "-1", "", "x", "99999999999999999999"})
        CHECK(contains(inner(machine("", "", cat("type='vz' id='", id, "'"))).xml, cat("id=\"", id, "\"")));
    auto marked = machine("<metadata>" + mark("vz") + "</metadata>", "", "type='kvm' id='4194311'");
    CHECK(contains(inner(marked).xml, "id=\"4194311\""));
}

TEST_CASE("a document without a name is for the inner driver to refuse") {
    CHECK(inner("<domain type='vz'/>").name.empty());
}

TEST_CASE("nothing else of a domain changes") {
    const std::string text =
        "<domain xmlns:qemu=\"http://libvirt.org/schemas/domain/qemu/1.0\" type=\"vz\">\n"
        "  <!-- a comment -->\n  <name>m\xc3\xbc</name>\n  "
        "<uuid>3f7a2d34-4c53-4cd6-9a53-6d1b46a5a0e1</uuid>\n"
        "  <title>a &lt;b&gt; &amp;  c</title>\n  <description> </description>\n"
        "  <metadata>\n    <a:b xmlns:a=\"urn:a\"><![CDATA[</metadata>]]><a:c/> <a:c/></a:b>\n  </metadata>\n"
        "  <devices><disk type=\"block\"><source dev=\"/dev/x\"/></disk></devices>\n"
        "  <qemu:commandline>\n    <qemu:arg value=\"-snapshot\"/>\n  </qemu:commandline>\n</domain>\n";
    auto made = inner(text);
    auto mark = test::mark("vz");
    auto at = made.xml.find(mark);
    REQUIRE(at != std::string::npos);
    std::string rest = made.xml;
    rest.erase(at, mark.size());
    rest.replace(rest.find("\"qemu\""), 6, "\"vz\"");
    CHECK(rest == text);
}

TEST_CASE("a text in another encoding arrives as UTF-8") {
    auto made =
        inner("<?xml version='1.0' encoding='ISO-8859-1'?><domain type='vz'><name>\xfc</name></domain>");
    CHECK(made.name == "\xc3\xbc");
    CHECK(contains(made.xml, "<name>\xc3\xbc</name>"));
}

TEST_CASE("disk files without a format get the one they have") {
    std::vector<std::string> asked;
    vm::InwardFacts use{[](const std::string&) { return std::string("qemu"); },
                        [&asked](const std::string& source) {
                            asked.push_back(source);
                            return std::string("qcow2");
                        }};
    for (const auto& given :
         {someDisk, disk("<source file='/d'/>", ""), disk("<source file='/d'/>", "type='file'"),
          disk("<driver name='qemu' cache='none'/><source file='/d'/>"),
          disk("<driver name='qemu' type=''/><source file='/d'/>")}) {
        CAPTURE(given);
        asked.clear();
        auto made = inner(machine("", given), use);
        CHECK(asked == std::vector<std::string>{"/d"});
        CHECK(contains(made.xml, "name=\"qemu\""));
        CHECK(countOf(made.xml, "type=\"qcow2\"") == 1);
        CHECK(countOf(made.xml, "<driver") == 1);
    }
}

TEST_CASE("other disks are left alone") {
    for (const auto& given :
         {disk("<driver type='raw'/><source file='/d'/>"),
          disk("<source file='/d'/>", "type='file' device='cdrom'"),
          disk("<source file='/d'/>", "type='file' device='floppy'"),
          disk("<source file='/d'/>", "type='file' device='lun'"), disk("<source dev='/d'/>", "type='block'"),
          disk("<source protocol='nbd'/>", "type='network'"),
          disk("<source pool='p' volume='v'/>", "type='volume'"), disk("<source dir='/d'/>", "type='dir'"),
          disk(""), disk("<source/>"), disk("<source file=''/>"), disk("<source file='relative'/>"),
          disk("<source file='/d'><slices><slice type='storage' offset='1' size='2'/></slices></source>")}) {
        CAPTURE(given);
        auto device = vm::deviceToInner(given, facts("x"));
        REQUIRE(device);
        CHECK(*device == given);
    }
}

TEST_CASE("a disk whose file is new is qcow2, one whose file is there is what it is") {
    TemporaryDir folder;
    auto given = [](const std::string& path) { return disk("<source file='" + path + "'/>"); };
    auto device = vm::deviceToInner(given(folder / "none"), {{}, {}});
    REQUIRE(device);
    CHECK(contains(*device, "<driver name=\"qemu\" type=\"qcow2\"/>"));
    REQUIRE(file::writeAtomic(folder / "raw", std::string(4096, '\0')));
    device = vm::deviceToInner(given(folder / "raw"), facts(""));
    REQUIRE(device);
    CHECK(contains(*device, "<driver name=\"qemu\" type=\"raw\"/>"));
}

TEST_CASE("a guest that wrote a header into its raw disk gains nothing") {
    TemporaryDir folder;
    std::string header("QFI\xfb\0\0\0\x03\0\0\0\0\0\0\x02\0", 16);
    REQUIRE(file::writeAtomic(folder / "disk", header + std::string(1008, '\0')));
    auto given = disk("<source file='" + folder / "disk" + "'/>");
    // The machine exists: its disk stays what it was.
    auto device = vm::deviceToInner(given, facts("raw"));
    REQUIRE(device);
    CHECK(contains(*device, "type=\"raw\""));
    // The file comes to a new machine: its header names another file, and is not believed.
    device = vm::deviceToInner(given, facts(""));
    REQUIRE(!device);
    CHECK(int(device.error().code()) == int(ErrorCode::ConfigUnsupported));
    CHECK(contains(device.error().message(), folder / "disk"));
    // A chain that is in the XML is the client's word, not the guest's.
    device = vm::deviceToInner(disk("<source file='" + folder / "disk" + "'/><backingStore/>"), facts(""));
    REQUIRE(device);
    CHECK(contains(*device, "type=\"qcow2\""));
}

namespace {

vm::InwardFacts ploopFacts() {
    auto known = facts("");
    known.ploop.sockets = "/run/s";
    known.ploop.isVolume = [](const std::string& pool, const std::string&) { return pool == "images"; };
    known.machineUuid = "MACHINE";
    return known;
}

/** As libvirt prints what it was given: with single quotes, and empty elements as such. */
std::string printed(std::string text) {
    std::replace(text.begin(), text.end(), '"', '\'');
    return text;
}

} // namespace

TEST_CASE("a disk that is a ploop image is one at a socket inside, and comes out as it was defined") {
    struct Case {
        std::string type, driver, source, name, inner;
    };
    const Case cases[] = {
        {"file", " type='ploop'", "file='/vz/a&amp;b &lt;/d.hdd'", "file:ploop:/vz/a&amp;b &lt;/d.hdd", ""},
        {"file", " type='parallels' cache='none'", "file='/vz/d/root.hds'", "file:parallels:/vz/d/root.hds",
         " cache='none'"},
        {"volume", " type='ploop'", "pool='any' volume='v 1'", "volume:ploop:any/v 1", ""},
    };
    for (const auto& one : cases) {
        CAPTURE(one.name);
        auto outside =
            machine("", cat("<disk type='", one.type, "' device='disk'><driver name='qemu'", one.driver,
                            "/><source ", one.source, " index='2'/><target dev='vda'/></disk>"));
        auto made = vm::domainToInner(outside, ploopFacts());
        REQUIRE(made);
        auto inside = printed(made->xml);
        CHECK(contains(inside, cat("<disk type='network' device='disk'><driver name='qemu' type='raw'",
                                   one.inner, "/><source index='2' protocol='nbd' name='vz-ploop:", one.name,
                                   "' tls='no'><host transport='unix' socket='/run/s/", someUuid,
                                   "-vda'/></source>")));
        auto disks = vm::ploopDisks(made->xml);
        REQUIRE(disks.size() == 1);
        CHECK(disks[0].target == "vda");
        CHECK(disks[0].socket == cat("/run/s/", someUuid, "-vda"));
        auto back = vm::toOuter(inside);
        CHECK(contains(
            back, outside.substr(outside.find("<disk"), outside.find("</disk>") - outside.find("<disk"))));
        // A second round changes nothing.
        auto again = vm::domainToInner(back, ploopFacts());
        REQUIRE(again);
        CHECK(printed(again->xml) == inside);
    }
}

TEST_CASE("a volume of a pool of images needs no format, and other volumes stay") {
    auto volume = [](const std::string& pool) {
        return cat("<disk type='volume' device='disk'><driver name='qemu'/><source pool='", pool,
                   "' volume='v'/><target dev='vdb'/><readonly/></disk>");
    };
    auto made = vm::deviceToInner(volume("images"), ploopFacts());
    REQUIRE(made);
    CHECK(contains(printed(*made), "name='vz-ploop:volume:-:images/v' tls='no'><host transport='unix' "
                                   "socket='/run/s/MACHINE-vdb'/>"));
    auto disks = vm::ploopDisks(*made);
    REQUIRE(disks.size() == 1);
    CHECK(disks[0].pool == "images");
    CHECK(disks[0].volume == "v");
    CHECK(disks[0].readOnly);
    CHECK(contains(vm::toOuter(printed(*made)), volume("images")));
    auto other = vm::deviceToInner(volume("dir"), ploopFacts());
    REQUIRE(other);
    CHECK(*other == volume("dir"));
    CHECK(vm::ploopDisks(*other).empty());
}

TEST_CASE("the socket of an image is never the client's to choose") {
    auto given = [](const std::string& name, const std::string& hosts, const std::string& target = "vda") {
        return cat("<disk type='network' device='disk'><driver name='qemu' type='raw'/><source "
                   "protocol='nbd' name='",
                   name, "'>", hosts, "</source><target dev='", target, "'/></disk>");
    };
    const std::string stolen = "<host transport='unix' socket='/etc/shadow'/>";
    for (const auto& hosts : {stolen, std::string(), std::string("<host name='other' port='1'/>")}) {
        CAPTURE(hosts);
        auto made = vm::domainToInner(machine("", given("vz-ploop:file:ploop:/a", hosts)), ploopFacts());
        REQUIRE(made);
        auto disks = vm::ploopDisks(made->xml);
        REQUIRE(disks.size() == 1);
        CHECK(disks[0].socket == cat("/run/s/", someUuid, "-vda"));
        CHECK(disks[0].name == "vz-ploop:file:ploop:/a");
        CHECK_FALSE(contains(made->xml, "other"));
        auto device = vm::deviceToInner(given("vz-ploop:volume:-:p/v", hosts), ploopFacts());
        REQUIRE(device);
        CHECK(vm::ploopDisks(*device)[0].socket == "/run/s/MACHINE-vda");
    }
    for (const auto& wrong :
         {given("vz-ploop:file:ploop:a", stolen), given("vz-ploop:file", stolen),
          given("vz-ploop:volume:-:p", stolen), given("vz-ploop:file:ploop:/a", stolen + stolen),
          given("vz-ploop:file:ploop:/a", stolen, "../vda")}) {
        CAPTURE(wrong);
        CHECK_FALSE(vm::deviceToInner(wrong, ploopFacts()));
    }
}

TEST_CASE("a folder that is an image needs no format, a single file of one does") {
    TemporaryDir folder;
    REQUIRE(file::writeAtomic(folder / "DiskDescriptor.xml", "<Parallels_disk_image/>"));
    auto device = vm::deviceToInner(disk("<source file='" + folder.path() + "'/>"), ploopFacts());
    REQUIRE(device);
    CHECK(contains(*device, cat("vz-ploop:file:ploop:", folder.path())));
    REQUIRE(file::writeAtomic(folder / "root.hds", "WithouFreSpacExt" + std::string(1008, '\0')));
    device = vm::deviceToInner(disk("<source file='" + folder / "root.hds" + "'/>"), ploopFacts());
    REQUIRE(!device);
    CHECK(contains(device.error().message(), folder / "root.hds"));
}

TEST_CASE("what a disk that is a ploop image cannot have is refused by name") {
    const std::string driver = "<driver name='qemu' type='ploop'/>", source = "<source file='/d'/>";
    const std::pair<std::string, std::string> cases[] = {
        {disk(driver + source, "type='file' device='cdrom'"), "cdrom"},
        {disk(driver + "<source file='/d'><slices/></source>"), "slices"},
        {disk(driver + "<source file='/d' startupPolicy='optional'/>"), "startupPolicy"},
        {disk(driver + source + "<shareable/>"), "shareable"},
        {disk(driver + source + "<backingStore type='file'><format type='raw'/></backingStore>"),
         "backingStore"},
        {disk("<driver name='phy' type='ploop'/>" + source), "qemu"},
        {disk(driver + "<source dev='/dev/x'/>", "type='block'"), "ploop"},
        {disk(driver, "type='network'"), "ploop"},
    };
    for (const auto& [xml, word] : cases) {
        CAPTURE(xml);
        auto made = vm::domainToInner(machine("", xml), ploopFacts());
        REQUIRE(!made);
        CHECK(int(made.error().code()) == int(ErrorCode::ConfigUnsupported));
        CHECK(contains(made.error().message(), word));
        CHECK(contains(made.error().message(), "vda"));
    }
    CHECK(!vm::domainToInner(machine("", disk(driver + "<source file='relative'/>")), ploopFacts()));
}

TEST_CASE("devices that are no disks come back as they are") {
    for (std::string given :
         {"<interface type='network'>  <source network='n'/></interface>", "<!-- x --><hostdev/>",
          "<disks><disk/></disks>", "<x:disk xmlns:x='urn:x'/>"}) {
        auto device = vm::deviceToInner(given, facts());
        REQUIRE(device);
        CHECK(*device == given);
    }
    CHECK(!vm::deviceToInner("<disk>", facts()));
}

TEST_CASE("domains inside snapshots and checkpoints are translated") {
    auto domain = machine("", someDisk), inactive = machine("", "", "type='parallels'");
    inactive.replace(1, 6, "inactiveDomain");
    inactive.replace(inactive.rfind("domain"), 6, "inactiveDomain");
    for (std::string root : {"domainsnapshot", "domaincheckpoint"}) {
        auto made = vm::embeddedToInner(cat("<", root, "><name>s</name>", domain, inactive, "</", root, ">"),
                                        facts());
        REQUIRE(made);
        CHECK(contains(*made, "<domain type=\"qemu\"><metadata>" + mark("vz")));
        CHECK(contains(*made, "<inactiveDomain type=\"qemu\"><metadata>" + mark("parallels")));
        CHECK(contains(*made, "<driver name=\"qemu\" type=\"raw\"/>"));
    }
}

TEST_CASE("documents without a whole domain inside stay byte for byte") {
    for (std::string given :
         {"<domainsnapshot>\n  <name>s</name><disks><disk name='vda'/></disks></domainsnapshot>",
          "<domainsnapshot><domain><uuid>3f7a2d34-4c53-4cd6-9a53-6d1b46a5a0e1</uuid></domain></"
          "domainsnapshot>",
          "<domaincheckpoint><parent><domain type='lxc'/></parent></domaincheckpoint>",
          "<domainbackup mode='push'/>"}) {
        auto made = vm::embeddedToInner(given, facts());
        REQUIRE(made);
        CHECK(*made == given);
    }
}

TEST_CASE("a domain inside that is not ours is refused") {
    auto made = vm::embeddedToInner("<domainsnapshot>" + machine("", "", "type='kvm'") + "</domainsnapshot>",
                                    facts());
    REQUIRE(!made);
    CHECK(int(made.error().code()) == int(ErrorCode::ConfigUnsupported));
    CHECK(!vm::embeddedToInner("<domainsnapshot>", facts()));
}

TEST_CASE("the kind of guest is read from any document") {
    CHECK(vm::osType(machine("")) == "hvm");
    CHECK(vm::osType("<domain type='vz'><os><type> exe </type></os></domain>") == "exe");
    for (std::string none :
         {"", "x", "<domain>", "<domain/>", "<domain><os/></domain>", "<a><b><os/></b></a>"})
        CHECK(vm::osType(none).empty());
}

TEST_CASE("events name a disk that is a ploop image as the client does") {
    CHECK(std::string_view(abi::outerDiskName("vz-ploop:file:ploop:/a:b")) == "/a:b");
    CHECK(std::string_view(abi::outerDiskName("vz-ploop:volume:-:pool/volume")) == "pool/volume");
    for (const char* other : {"", "/a", "vz-ploop:", "vz-ploop:file", "x vz-ploop:file:ploop:/a"})
        CHECK(abi::outerDiskName(other) == other);
    CHECK(abi::outerDiskName(nullptr) == nullptr);
}
