// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/domain_xml.hpp"

#include "libvirt/private.hpp"

#include <catch2/catch.hpp>

#include <libvirt/virterror.h>

namespace abi = vz::abi;
using vz::ErrorCode;

namespace {

std::string domain(const std::string& inside, const std::string& devices = {}) {
    return "<domain type='vz'><name>ct</name><uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>"
           "<memory>131072</memory><os><type>exe</type><init>/sbin/init</init></os>" +
           inside + "<devices>" + devices + "</devices></domain>";
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

abi::Canonical parsed(const std::string& xml, bool validate = true, bool live = false) {
    auto parser = abi::DomainXml::create();
    REQUIRE(parser);
    auto canonical = (*parser)->canonical(xml, validate, live);
    INFO(xml << "\n" << (canonical ? "" : canonical.error().message()));
    REQUIRE(canonical);
    return *std::move(canonical);
}

/** Every part that a container's definition may have, with what must be found again in the canonical text. */
struct Kept {
    const char* inside;
    const char* devices;
    const char* found;
};

const Kept kept[] = {
    {"<metadata><a:note xmlns:a='urn:a'>text</a:note></metadata>", "",
     "<a:note xmlns:a=\"urn:a\">text</a:note>"},
    {"<title>A title</title><description>Some words</description>", "",
     "<description>Some words</description>"},
    {"<idmap><uid start='0' target='100000' count='65536'/><gid start='0' target='100000' "
     "count='65536'/></idmap>",
     "", "<uid start='0' target='100000' count='65536'/>"},
    {"<memtune><hard_limit unit='KiB'>262144</hard_limit><soft_limit>131072</soft_limit>"
     "<swap_hard_limit>524288</swap_hard_limit></memtune>",
     "", "<hard_limit unit='KiB'>262144</hard_limit>"},
    {"<vcpu "
     "cpuset='0-1'>2</vcpu><cputune><shares>2048</shares><period>100000</period><quota>50000</quota></"
     "cputune>",
     "", "<quota>50000</quota>"},
    {"<blkiotune><weight>800</weight></blkiotune>", "", "<weight>800</weight>"},
    {"<features><privnet/><capabilities policy='default'><mknod state='on'/></capabilities></features>", "",
     "<mknod state='on'/>"},
    {"<resource><partition>/machine</partition></resource>", "", "<partition>/machine</partition>"},
    {"<on_reboot>destroy</on_reboot>", "", "<on_reboot>destroy</on_reboot>"},
    {"", "<filesystem type='mount'><source dir='/srv/root'/><target dir='/'/></filesystem>",
     "<source dir='/srv/root'/>"},
    {"",
     "<filesystem type='file'><driver type='ploop' format='ploop'/><source file='/srv/root.hdd'/><target "
     "dir='/'/>"
     "</filesystem>",
     "<driver type='ploop' format='ploop'/>"},
    {"", "<filesystem type='template'><source name='debian-12'/><target dir='/'/></filesystem>",
     "<source name='debian-12'/>"},
    {"", "<filesystem type='ram'><source usage='1024' units='KiB'/><target dir='/tmp'/></filesystem>",
     "<source usage='1024' units='KiB'/>"},
    {"", "<filesystem type='block'><source dev='/dev/sdz'/><target dir='/data'/></filesystem>",
     "<source dev='/dev/sdz'/>"},
    {"", "<filesystem type='bind'><source dir='/a'/><target dir='/b'/><readonly/></filesystem>",
     "<readonly/>"},
    {"",
     "<filesystem type='mount'><source dir='/s'/><target dir='/'/><space_hard_limit "
     "unit='KiB'>2048</space_hard_limit>"
     "</filesystem>",
     "<space_hard_limit unit='bytes'>2097152</space_hard_limit>"},
    {"",
     "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/>"
     "<ip address='10.0.0.2' family='ipv4' prefix='24'/><route family='ipv4' address='0.0.0.0' "
     "gateway='10.0.0.1'/>"
     "<guest dev='eth7'/></interface>",
     "<ip address='10.0.0.2' family='ipv4' prefix='24'/>"},
    {"", "<interface type='network'><source network='default'/></interface>", "<source network='default'/>"},
    {"", "<interface type='ethernet'><guest dev='eth0'/></interface>", "<interface type='ethernet'>"},
    {"", "<console type='pty'><target type='lxc' port='0'/></console>", "<console type='pty'>"},
    {"", "<hostdev mode='capabilities' type='misc'><source><char>/dev/fuse</char></source></hostdev>",
     "<char>/dev/fuse</char>"},
};

} // namespace

TEST_CASE("every part of a container's definition survives libvirt's parser") {
    for (const auto& part : kept) {
        auto canonical = parsed(domain(part.inside, part.devices), true);
        INFO(canonical.xml);
        CHECK(contains(canonical.xml, part.found));
        CHECK(contains(canonical.xml, "<domain type='vz'>"));
        CHECK(contains(canonical.xml, "<init>/sbin/init</init>"));
        // What libvirt formats it also reads, to the same text.
        CHECK(parsed(canonical.xml).xml == canonical.xml);
    }
}

TEST_CASE("a filesystem from a storage volume is parsed, though libvirt 9.0.0's schema does not know it") {
    auto xml =
        domain("", "<filesystem type='volume'><source pool='p' volume='v'/><target dir='/'/></filesystem>");
    auto canonical = parsed(xml, false);
    CHECK(contains(canonical.xml, "<source pool='p' volume='v'/>"));
}

TEST_CASE("init arguments, environment and account are kept in order") {
    auto canonical = parsed("<domain type='vz'><name>ct</name><memory>131072</memory><os><type>exe</type>"
                            "<init>/bin/sh</init><initarg>-c</initarg><initarg>exec top</initarg>"
                            "<initenv name='TERM'>linux</initenv><initdir>/root</initdir>"
                            "<inituser>daemon</inituser><initgroup>daemon</initgroup></os></domain>");
    CHECK(canonical.xml.find("<initarg>-c</initarg>") < canonical.xml.find("<initarg>exec top</initarg>"));
    CHECK(contains(canonical.xml, "<initenv name='TERM'>linux</initenv>"));
    CHECK(contains(canonical.xml, "<initdir>/root</initdir>"));
    CHECK(contains(canonical.xml, "<inituser>daemon</inituser>"));
}

TEST_CASE("UUID and MAC addresses are made up where they lack") {
    auto canonical = parsed("<domain type='vz'><name>ct</name><memory>131072</memory><os><type>exe</type>"
                            "<init>/sbin/init</init></os><devices><interface type='bridge'>"
                            "<source bridge='br0'/></interface></devices></domain>");
    CHECK(contains(canonical.xml, "<uuid>"));
    CHECK(contains(canonical.xml, "<mac address='"));
}

TEST_CASE("the flag for the schema is what makes an unknown element an error") {
    auto parser = abi::DomainXml::create();
    REQUIRE(parser);
    auto xml = domain("<bogus/>");
    CHECK((*parser)->canonical(xml, false, false));
    auto refused = (*parser)->canonical(xml, true, false);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::XmlInvalidSchema);
    CHECK(contains(refused.error().message(), "bogus"));
    CHECK(virGetLastError() == nullptr);
}

TEST_CASE("no other flag bit of the parser validates against the schema") {
    void* option = abi::priv::virDomainXMLOptionNew(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
    auto xml = domain("<bogus/>");
    for (unsigned bit = 0; bit < 16; ++bit) {
        INFO("bit " << bit);
        void* def = abi::priv::virDomainDefParseString(xml.c_str(), option, nullptr, 1u << bit);
        CHECK((def == nullptr) == (1u << bit == abi::priv::kParseValidateSchema));
        abi::priv::virDomainDefFree(def);
    }
    virResetLastError();
    abi::priv::virObjectUnref(option);
}

TEST_CASE("the flag of the snapshot parser, and no other bit, makes an unknown element an error") {
    void* option = abi::priv::virDomainXMLOptionNew(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
    auto parses = [&](const char* inner, unsigned flags) {
        // With the bits of a driver's own files it has all that those have to have.
        auto xml =
            vz::cat("<domainsnapshot><name>n</name><state>shutoff</state><creationTime>1</creationTime>",
                    inner, "<active>0</active></domainsnapshot>");
        bool current = false;
        void* def = abi::priv::virDomainSnapshotDefParseString(xml.c_str(), option, nullptr, &current, flags);
        abi::priv::virObjectUnref(def);
        return def != nullptr;
    };
    for (unsigned bit = 0; bit < 16; ++bit) {
        INFO("bit " << bit);
        CHECK(parses("", 1u << bit));
        CHECK(parses("<bogus/>", 1u << bit) == (1u << bit != abi::priv::kParseSnapshotValidateSchema));
    }
    virResetLastError();
    abi::priv::virObjectUnref(option);
}

TEST_CASE("the flag for inactive definitions, and no other bit, drops live parts while parsing") {
    void* option = abi::priv::virDomainXMLOptionNew(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
    auto xml =
        domain("", "<interface type='bridge'><source bridge='br0'/><target dev='vnet3'/><alias name='net0'/>"
                   "</interface>");
    // Without an id libvirt takes the domain for inactive while formatting, whatever the flags say.
    xml.insert(xml.find(" type='vz'"), " id='7'");
    for (unsigned bit = 0; bit < 16; ++bit) {
        INFO("bit " << bit);
        void* def = abi::priv::virDomainDefParseString(xml.c_str(), option, nullptr, 1u << bit);
        REQUIRE(def);
        char* text = abi::priv::virDomainDefFormat(def, option, 0);
        REQUIRE(text);
        CHECK(contains(text, "net0") == (1u << bit != abi::priv::kParseInactive));
        CHECK(contains(text, "vnet3") == (1u << bit != abi::priv::kParseInactive));
        std::free(text);
        abi::priv::virDomainDefFree(def);
    }
    abi::priv::virObjectUnref(option);
}

TEST_CASE("what a network made of an interface is kept with its flags, and with no other bits") {
    void* option = abi::priv::virDomainXMLOptionNew(nullptr, nullptr, nullptr, nullptr, nullptr, nullptr);
    auto xml = domain("", "<interface type='network'><source network='n'/>"
                          "<actual type='direct'><source dev='up0' mode='bridge'/></actual></interface>");
    xml.insert(xml.find(" type='vz'"), " id='7'");
    auto format = [&](void* def, unsigned flags) {
        abi::priv::Buffer buffer{};
        int done = abi::priv::virDomainDefFormatInternal(def, option, &buffer, flags);
        std::unique_ptr<char, decltype(&std::free)> text(abi::priv::virBufferContentAndReset(&buffer),
                                                         std::free);
        return std::string(done == 0 && text ? text.get() : "");
    };
    for (unsigned bit = 0; bit < 16; ++bit) {
        if (1u << bit == abi::priv::kParseValidateSchema)
            continue; // <actual> is in no client's document
        INFO("bit " << bit);
        bool parses = 1u << bit == abi::priv::kParseActualNet,
             formats = 1u << bit == abi::priv::kFormatActualNet;
        void* def = abi::priv::virDomainDefParseString(xml.c_str(), option, nullptr, 1u << bit);
        REQUIRE(def);
        CHECK(contains(format(def, 0), "up0") == parses);
        CHECK(contains(format(def, abi::priv::kFormatActualNet), "<actual type='direct'") == parses);
        abi::priv::virDomainDefFree(def);
        def = abi::priv::virDomainDefParseString(xml.c_str(), option, nullptr, abi::priv::kParseActualNet);
        CHECK(contains(format(def, 1u << bit), "<actual") == formats);
        abi::priv::virDomainDefFree(def);
    }
    virResetLastError();
    abi::priv::virObjectUnref(option);
}

TEST_CASE("live parts are kept when live and dropped when not") {
    auto xml = domain("<seclabel type='none' model='none'/>",
                      "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/>"
                      "<target dev='vnet3'/><alias name='net0'/></interface>"
                      "<console type='pty' tty='/dev/pts/4'><source path='/dev/pts/4'/>"
                      "<target type='lxc' port='0'/><alias name='console0'/></console>");
    xml.insert(xml.find(" type='vz'"), " id='4711'");

    auto live = parsed(xml, false, true).xml;
    INFO(live);
    CHECK(contains(live, "id='4711'"));
    CHECK(contains(live, "<alias name='net0'/>"));
    CHECK(contains(live, "<alias name='console0'/>"));
    CHECK(contains(live, "<target dev='vnet3'/>"));
    CHECK(contains(live, "<console type='pty' tty='/dev/pts/4'>"));
    CHECK(contains(live, "<source path='/dev/pts/4'/>"));

    auto inactive = parsed(xml, false, false).xml;
    INFO(inactive);
    CHECK_FALSE(contains(inactive, "4711"));
    CHECK_FALSE(contains(inactive, "net0"));
    CHECK_FALSE(contains(inactive, "vnet3"));
    CHECK_FALSE(contains(inactive, "/dev/pts/4"));
}

TEST_CASE("formatPublic leaves secrets out") {
    auto canonical = parsed(domain(
        "",
        "<graphics type='vnc' port='-1' autoport='yes' passwd='secret'/><video><model type='vga'/></video>"));
    CHECK(contains(canonical.xml, "secret"));
    auto parser = abi::DomainXml::create();
    REQUIRE(parser);
    auto text = (*parser)->formatPublic(*canonical.def, false, false);
    REQUIRE(text);
    CHECK(contains(*text, "vnc"));
    CHECK_FALSE(contains(*text, "secret"));
}

TEST_CASE("libvirt's own errors come back with code and message") {
    auto parser = abi::DomainXml::create();
    REQUIRE(parser);
    struct {
        std::string xml;
        ErrorCode code;
    } const cases[] = {
        {"<domain", ErrorCode::XmlDetail},
        {"<network/>", ErrorCode::XmlError},
        {"<domain type='vz'><memory>1</memory><os><type>exe</type></os></domain>",
         static_cast<ErrorCode>(VIR_ERR_NO_NAME)},
        {"<domain type='nosuch'><name>a</name></domain>", ErrorCode::ConfigUnsupported},
    };
    for (const auto& bad : cases) {
        auto refused = (*parser)->canonical(bad.xml, false, false);
        REQUIRE_FALSE(refused);
        INFO(bad.xml << ": " << refused.error().message());
        CHECK(refused.error().code() == bad.code);
        CHECK_FALSE(refused.error().message().empty());
        CHECK(virGetLastError() == nullptr);
    }
}
