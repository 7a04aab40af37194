// SPDX-License-Identifier: LGPL-2.1-or-later
#include "parser.hpp"

using namespace vz;
using namespace vz::test;

namespace {

struct Row {
    const char* what;
    std::string xml;
    ErrorCode code;
    const char* word; ///< has to be in the message
};

constexpr auto unsupported = ErrorCode::ConfigUnsupported;
constexpr auto malformed = ErrorCode::XmlError;

void check(const std::vector<Row>& rows) {
    for (const auto& row : rows) {
        CAPTURE(row.what);
        auto parsed = parse(row.xml);
        if (parsed) {
            FAIL_CHECK("was accepted");
            continue;
        }
        CAPTURE(parsed.error().message());
        CHECK(int(parsed.error().code()) == int(row.code));
        CHECK(contains(parsed.error().message(), row.word));
    }
}

std::string fs(const std::string& attributes, const std::string& inside) {
    return container("<filesystem " + attributes + ">" + inside + "</filesystem>");
}

std::string nic(const std::string& inside, const std::string& type = "bridge") {
    return container("<interface type='" + type + "'><source bridge='br0'/>" + inside + "</interface>");
}

std::string extended(const std::string& inside) {
    return "<domain type='vz'><name>c</name><memory>1024</memory><os><type>exe</type></os>"
           "<vz:container xmlns:vz='urn:libvirt-vz:domain:1.0'>" +
           inside + "</vz:container></domain>";
}

std::string named(const std::string& name) {
    return "<domain type='vz'><name>" + name +
           "</name><memory>1024</memory><os><type>exe</type></os></domain>";
}

std::string repeat(const std::string& text, size_t count) {
    std::string out;
    for (size_t i = 0; i < count; i++)
        out += text;
    return out;
}

} // namespace

TEST_CASE("texts that are no domain XML are refused") {
    std::string laughs = "<!DOCTYPE d [<!ENTITY a '0123456789'>";
    for (char c = 'b'; c < 'm'; c++)
        laughs += cat("<!ENTITY ", c, " '", repeat(cat("&", char(c - 1), ";"), 10), "'>");
    check({
        {"empty", "", malformed, "parse"},
        {"not closed", "<domain type='vz'><name>c</name>", malformed, "line"},
        {"binary", std::string("\x01\x02\xff", 3), malformed, "parse"},
        {"zero byte", std::string("<domain type='vz'>\0</domain>", 28), malformed, "parse"},
        {"another root", "<network><name>n</name></network>", malformed, "<network>"},
        {"billion laughs", laughs + "]><domain type='vz'><name>&l;</name></domain>", malformed, ""},
        {"external entity",
         "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><domain type='vz'><name>&e;</name></domain>",
         malformed, "DOCTYPE"},
        {"too large", named("c") + repeat("<!-- comment -->", 1 << 17), malformed, "limit"},
        {"too large when formatted",
         container("", "", "<init>/i</init>" + repeat("<initarg>a</initarg>", 45000)), malformed, "limit"},
        {"too deep", repeat("<a>", 5000) + repeat("</a>", 5000), malformed, "depth"},
    });
}

TEST_CASE("wrong types and names are refused") {
    check({
        {"no type", "<domain><name>c</name></domain>", malformed, "type"},
        {"kvm", "<domain type='kvm'><name>c</name></domain>", unsupported, "'kvm'"},
        {"lxc", "<domain type='lxc'><name>c</name></domain>", unsupported, "parallels"},
        {"no name", "<domain type='vz'><memory>1</memory><os><type>exe</type></os></domain>", malformed,
         "name"},
        {"path in the name", named("../../etc/passwd"), malformed, "passwd"},
        {"slash in the name", named("a/b"), malformed, "a/b"},
        {"dots as name", named(".."), malformed, ".."},
        {"hidden name", named(".c"), malformed, ".c"},
        {"line end in the name", named("a&#10;b"), malformed, "control"},
        {"long name", named(std::string(201, 'n')), malformed, "200"},
        {"bad uuid",
         "<domain "
         "type='vz'><name>c</name><uuid>12-xy</uuid><memory>1</memory><os><type>exe</type></os></domain>",
         ErrorCode::InternalError, "uuid"},
        {"generation id", container("", "<genid/>"), unsupported, "<genid>"},
        {"unknown os type",
         "<domain type='vz'><name>c</name><memory>1</memory><os><type>uml2</type></os></domain>", unsupported,
         "uml2"},
        {"foreign namespace",
         container("", "<q:commandline xmlns:q='http://libvirt.org/schemas/domain/qemu/1.0'/>"), unsupported,
         "commandline"},
        {"lxc namespace", container("", "<l:namespace xmlns:l='http://libvirt.org/schemas/domain/lxc/1.0'/>"),
         unsupported, "domain/lxc"},
        {"memory twice", container("", "<memory>4</memory>"), malformed, "<memory>"},
        {"unknown element", container("", "<memroy>4</memroy>"), unsupported, "<memroy>"},
    });
}

TEST_CASE("wrong numbers are refused") {
    auto idmap = [](const std::string& ranges) {
        return container("", "<idmap>" + ranges + "<gid start='0' target='1000' count='10'/></idmap>");
    };
    check({
        {"huge memory", container("", "<currentMemory>99999999999999999999999</currentMemory>"), malformed,
         "99999"},
        {"negative memory", container("", "<currentMemory>-1</currentMemory>"), malformed, "-1"},
        {"no memory", "<domain type='vz'><name>c</name><os><type>exe</type></os></domain>", malformed,
         "memory"},
        {"no CPU", container("", "<vcpu>0</vcpu>"), malformed, "<vcpu>"},
        {"millions of CPUs", container("", "<vcpu>4000000000</vcpu>"), malformed, "4000000000"},
        {"negative CPUs", container("", "<vcpu>-3</vcpu>"), malformed, "-3"},
        {"more CPUs than there are", container("", "<vcpu current='4'>2</vcpu>"), unsupported, "vCPU"},
        {"quota", container("", "<cputune><quota>5</quota></cputune>"), unsupported, "quota"},
        {"no ids", idmap("<uid start='0' target='1000' count='0'/>"), malformed, "count='0'"},
        {"root unmapped", idmap("<uid start='5' target='1000' count='10'/>"), unsupported, "root"},
        {"ranges overlap inside",
         idmap("<uid start='0' target='1000' count='10'/><uid start='9' target='5000' count='10'/>"),
         malformed, "overlap"},
        {"ranges overlap outside",
         idmap("<uid start='0' target='1000' count='10'/><uid start='10' target='1005' count='10'/>"),
         malformed, "overlap"},
        {"range too long", idmap("<uid start='0' target='4294967290' count='10'/>"), malformed, "4294967290"},
        {"only one map", container("", "<idmap><uid start='0' target='1000' count='10'/></idmap>"),
         unsupported, "gid"},
        {"negative id", idmap("<uid start='0' target='-5' count='10'/>"), malformed, "target"},
        {"empty ram", fs("type='ram'", "<source usage='0'/><target dir='/r'/>"), malformed, "usage"},
        {"prefix", nic("<ip address='10.0.0.1' prefix='33'/>"), malformed, "33"},
        {"address", nic("<ip address='10.0.0.300' prefix='24'/>"), malformed, "10.0.0.300"},
        {"mtu", nic("<mtu size='5'/>"), malformed, "mtu"},
    });
}

TEST_CASE("what containers cannot do is refused by name") {
    check({
        {"CD-ROM drive",
         container("<disk type='file' device='cdrom'><source file='/x'/><target dev='hdc'/></disk>"),
         unsupported, "device='cdrom'"},
        {"disk of the network",
         container("<disk type='network'><source protocol='nbd'/><target dev='vda'/></disk>"), unsupported,
         "type='network'"},
        {"limits of a disk for a moment",
         container("<disk type='file'><source file='/x'/><target dev='vda'/><iotune>"
                   "<total_bytes_sec>1</total_bytes_sec><total_bytes_sec_max>2</total_bytes_sec_max>"
                   "</iotune></disk>"),
         unsupported, "<total_bytes_sec_max>"},
        {"backing file",
         container("<disk type='file'><source file='/x'/><backingStore type='file'><format type='raw'/>"
                   "<source file='/y'/></backingStore><target dev='vda'/></disk>"),
         unsupported, "<backingStore>"},
        {"sound", container("<sound model='ac97'/>"), unsupported, "<sound>"},
        {"watchdog", container("<watchdog model='i6300esb'/>"), unsupported, "<watchdog>"},
        {"tpm", container("<tpm model='tpm-tis'/>"), unsupported, "<tpm>"},
        {"channel", container("<channel type='unix'/>"), unsupported, "<channel>"},
        {"misspelled device", container("<filesytem type='mount'/>"), unsupported, "<filesytem>"},
        {"console to a file", container("<console type='file'><source path='/x'/></console>"), unsupported,
         "'file'"},
        {"console target", container("<console type='pty'><target type='virtio'/></console>"), unsupported,
         "virtio"},
        {"usb controller", container("<controller type='usb' model='ehci'/>"), unsupported, "<controller>"},
        {"serial controller", container("<controller type='virtio-serial'/>"), unsupported, "virtio-serial"},
        {"usb device",
         container("<hostdev mode='subsystem' type='usb'><source><vendor id='0x1'/><product "
                   "id='0x2'/></source></hostdev>"),
         unsupported, "subsystem"},
        {"VEPA port",
         nic("<virtualport type='802.1Qbg'><parameters managerid='1' typeid='2' "
             "typeidversion='3' instanceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/>"
             "</virtualport>"),
         unsupported, "openvswitch"},
        {"script of a bridge", nic("<script path='/bin/x'/>"), unsupported, "script"},
        {"relative script", nic("<script path='x'/>", "ethernet"), malformed, "absolute"},
        {"mode of a macvlan", container("<interface type='direct'><source dev='eth0' mode='x'/></interface>"),
         malformed, "mode"},
        {"mapped filesystem", fs("type='mount' accessmode='mapped'", "<source dir='/a'/><target dir='/b'/>"),
         unsupported, "mapped"},
        {"space limit",
         fs("type='mount'", "<source dir='/a'/><target dir='/b'/><space_hard_limit>1</space_hard_limit>"),
         unsupported, "space_hard_limit"},
        {"virtiofs", fs("type='mount'", "<driver type='virtiofs'/><source dir='/a'/><target dir='/b'/>"),
         unsupported, "virtiofs"},
        {"kernel", container("", "", "<kernel>/vmlinuz</kernel>"), unsupported, "<kernel>"},
        {"NUMA policy", container("", "<numatune><memory mode='interleave' nodeset='0'/></numatune>"),
         unsupported, "interleave"},
        {"NUMA cells", container("", "<numatune><memnode cellid='0' mode='strict' nodeset='0'/></numatune>"),
         unsupported, "memnode"},
        {"emulator time", container("", "<cputune><emulator_quota>5000</emulator_quota></cputune>"),
         unsupported, "<emulator_quota>"},
        {"swap below RAM",
         container("",
                   "<memtune><hard_limit>2048</hard_limit><swap_hard_limit>1024</swap_hard_limit></memtune>"),
         ErrorCode::InvalidArg, "<swap_hard_limit>"},
        {"hugepages", container("", "<memoryBacking><hugepages/></memoryBacking>"), unsupported,
         "<memoryBacking>"},
        {"clock", container("", "<clock offset='variable' adjustment='5'/>"), unsupported, "variable"},
        {"core dumps", container("", "<on_crash>coredump-destroy</on_crash>"), unsupported,
         "coredump-destroy"},
        {"renaming", container("", "<on_reboot>rename-restart</on_reboot>"), unsupported, "rename-restart"},
        {"shared network", container("", "<features><privnet state='off'/></features>"), unsupported,
         "privnet"},
        {"hyperv", container("", "<features><hyperv/></features>"), unsupported, "<hyperv>"},
        {"suspend", container("", "<pm><suspend-to-mem enabled='yes'/></pm>"), unsupported, "suspend-to-mem"},
        {"selinux", container("", "<seclabel type='dynamic' model='selinux'/>"), unsupported, "selinux"},
    });
}

TEST_CASE("bad paths and values of devices are refused") {
    check({
        {"relative source", fs("type='mount'", "<source dir='a'/><target dir='/b'/>"), malformed, "'a'"},
        {"relative target", fs("type='mount'", "<source dir='/a'/><target dir='b'/>"), malformed, "'b'"},
        {"climbing target", fs("type='mount'", "<source dir='/a'/><target dir='/b/../..'/>"), malformed,
         ".."},
        {"two roots",
         container("<filesystem type='mount'><source dir='/a'/><target dir='/'/></filesystem>"
                   "<filesystem type='mount'><source dir='/b'/><target dir='//'/></filesystem>"),
         malformed, "twice"},
        {"no source", fs("type='mount'", "<target dir='/b'/>"), ErrorCode(19), "source"},
        {"same MAC twice",
         container("<interface type='ethernet'><mac address='52:54:00:00:00:01'/></interface>"
                   "<interface type='ethernet'><mac address='52:54:00:00:00:01'/></interface>"),
         malformed, "52:54:00:00:00:01"},
        {"bad MAC", nic("<mac address='zz'/>"), malformed, "zz"},
        {"long interface name", nic("<guest dev='abcdefghijklmnopq'/>"), malformed, "abcdefghijklmnopq"},
        {"path as interface name", nic("<target dev='../x'/>"), malformed, "../x"},
        {"relative device",
         container("<hostdev mode='capabilities' type='misc'><source><char>tun</char></source></hostdev>"),
         malformed, "tun"},
        {"climbing device",
         container(
             "<hostdev mode='capabilities' type='misc'><source><char>/dev/../x</char></source></hostdev>"),
         malformed, ".."},
        {"relative log", container("<console type='pty'><log file='x'/></console>"), malformed, "'x'"},
        {"relative init", container("", "", "<init>sh</init>"), unsupported, "sh"},
        {"elements in an environment name",
         container("", "", "<init>/i</init><initenv name=\"A'>&lt;x/>\">1</initenv>"), malformed, "initenv"},
        {"elements in the user", container("", "", "<init>/i</init><inituser>&lt;/inituser></inituser>"),
         malformed, "inituser"},
        {"elements in an alias", container("<console type='pty'><alias name='a&apos;/>'/></console>"),
         malformed, "alias"},
        {"climbing partition", container("", "<resource><partition>/a/../b</partition></resource>"),
         malformed, ".."},
    });
}

TEST_CASE("a bad extension is refused naming element and value") {
    constexpr auto schema = ErrorCode::XmlInvalidSchema;
    check({
        {"unknown group", extended("<vz:abc/>"), schema, "abc"},
        {"unknown counter", extended("<vz:ubc><vz:numfoo limit='3'/></vz:ubc>"), schema, "numfoo"},
        {"limit below barrier", extended("<vz:ubc><vz:kmemsize barrier='3' limit='2'/></vz:ubc>"),
         ErrorCode::InvalidArg, "kmemsize"},
        {"unknown feature", extended("<vz:features><vz:flying state='on'/></vz:features>"), schema, "flying"},
        {"unknown value", extended("<vz:features><vz:fuse state='maybe'/></vz:features>"), schema, "maybe"},
        {"no value", extended("<vz:features><vz:fuse/></vz:features>"), schema, "fuse"},
        {"no namespace", extended("<features/>"), schema, "features"},
        {"text", extended("hello"), schema, ""},
        {"twice a feature",
         extended("<vz:features><vz:fuse state='on'/><vz:fuse state='off'/></vz:features>"), schema, "fuse"},
        {"twice", container("", "<c xmlns='urn:libvirt-vz:domain:1.0'/>"), unsupported, "<c>"},
        {"for a machine",
         "<domain type='vz'><name>c</name><memory>1024</memory><os><type>hvm</type></os>"
         "<container xmlns='urn:libvirt-vz:domain:1.0'/></domain>",
         unsupported, "machine"},
    });
}

TEST_CASE("values that libvirt would print as elements stay values") {
    auto parsed = config(
        container("", "", "<init>/i</init><initenv name='A'>&lt;/initenv>&lt;x/>&#13;&amp;amp;</initenv>"));
    CHECK(parsed.definition().initEnv.at(0) == "A=</initenv><x/>\r&amp;");
    auto once = text(parsed);
    CHECK(text(config(once)) == once);
}

TEST_CASE("habits of clients are accepted") {
    for (const char* devices :
         {"<graphics type='vnc' port='-1'/>", "<video><model type='vga'/></video><graphics type='vnc'/>",
          "<controller type='usb' index='0' model='none'/>", "<memballoon model='none'/>",
          "<interface type='network'><source network='default'/><model type='virtio'/><mtu "
          "size='1450'/></interface>",
          "<controller type='usb' index='0' model='none'/><hostdev mode='capabilities' "
          "type='storage'><source>"
          "<block>/dev/sdz</block></source></hostdev>"}) {
        CAPTURE(devices);
        auto parsed = parse(container(devices, "<clock offset='utc'/><on_lockfailure>ignore</on_lockfailure>",
                                      "<boot dev='hd'/>"));
        if (!parsed)
            FAIL_CHECK(parsed.error().message());
    }
}
