// SPDX-License-Identifier: LGPL-2.1-or-later
#include "documents.hpp"

#include "vm/ids.hpp"

using namespace vz;
using namespace vz::test;

namespace {

/** A dump in the form that libvirt prints, with these lines before <memory>. */
std::string dump(const std::string& attributes, const std::string& lines) {
    return cat("<domain ", attributes, ">\n  <name>m1</name>\n", lines,
               "  <memory unit='KiB'>65536</memory>\n  <os>\n    <type arch='x86_64'>hvm</type>\n  "
               "</os>\n</domain>\n");
}

std::string metadata(const std::string& lines) {
    return "  <metadata>\n" + lines + "  </metadata>\n";
}

std::string markLine(const std::string& type) {
    return cat("    ", mark(type), "\n");
}

} // namespace

TEST_CASE("type, id and mark of a dump become the client's") {
    for (std::string type : {"vz", "parallels"}) {
        auto marked = metadata(markLine(type));
        CHECK(vm::toOuter(dump("type='kvm' id='7'", marked)) ==
              dump(cat("type='", type, "' id='4194311'"), ""));
        CHECK(vm::toOuter(dump("type='qemu'", marked)) == dump(cat("type='", type, "'"), ""));
        CHECK(vm::toOuter(dump("type='qemu' id='0' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'",
                               marked)) ==
              dump(cat("type='", type,
                       "' id='4194304' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'"),
                   ""));
        CHECK(vm::markedType(dump("type='kvm' id='7'", marked)) == type);
    }
}

TEST_CASE("a machine that was not made through us is of type vz") {
    for (std::string lines :
         {std::string(), std::string("  <metadata/>\n"), metadata("    <a:b xmlns:a=\"urn:a\"/>\n"),
          metadata("    <vz:vm xmlns:vz=\"urn:other\" type=\"parallels\"/>\n")}) {
        CHECK(vm::toOuter(dump("type='kvm' id='7'", lines)) == dump("type='vz' id='4194311'", lines));
        CHECK(vm::markedType(dump("type='kvm' id='7'", lines)).empty());
    }
}

TEST_CASE("a mark of a type that does not exist goes, and is none") {
    auto text = dump("type='kvm'", metadata(markLine("evil")));
    CHECK(vm::toOuter(text) == dump("type='vz'", ""));
    CHECK(vm::markedType(text).empty());
}

TEST_CASE("metadata of others stay as they are") {
    const std::string before =
        "    <a:b xmlns:a=\"urn:>a\" a:c='\"/>'>\n      <a:vm type=\"vz\"/>\n    </a:b>\n";
    const std::string after = "    <vz:d xmlns:vz=\"urn:d\"><![CDATA[</metadata>" + mark("vz") +
                              "]]><!-- </metadata> --><?vz </metadata>?><vz:e/></vz:d>\n";
    auto text = dump("type='kvm'", metadata(before + markLine("parallels") + after));
    CHECK(vm::toOuter(text) == dump("type='parallels'", metadata(before + after)));
    CHECK(vm::markedType(text) == "parallels");
}

TEST_CASE("only a mark at its place counts") {
    auto nested = metadata("    <a:b xmlns:a=\"urn:a\">\n      " + mark("parallels") + "\n    </a:b>\n");
    auto description = "  <description>&lt;metadata&gt;" + mark("parallels") + "</description>\n";
    auto prefixed = "  <x:metadata xmlns:x=\"urn:x\">" + mark("parallels") + "</x:metadata>\n";
    auto foreign = "  <metadata xmlns=\"urn:x\">" + mark("parallels") + "</metadata>\n";
    auto comment = "  <!-- <metadata>" + mark("parallels") + "</metadata> -->\n";
    for (const auto& lines : {nested, description, prefixed, foreign, comment}) {
        CAPTURE(lines);
        auto text = dump("type='kvm'", lines);
        CHECK(vm::toOuter(text) == dump("type='vz'", lines));
        CHECK(vm::markedType(text).empty());
    }
}

TEST_CASE("other spellings of the mark are found too") {
    for (std::string spelling : {"    <vm xmlns=\"urn:libvirt-vz:vm:1.0\" type=\"parallels\"/>\n",
                                 "    <x:vm type='parallels' xmlns:x='urn:libvirt-vz:vm:1.0'></x:vm>\n",
                                 "    <vz:vm\n  type = 'parallels'\n xmlns:vz = 'urn:libvirt-vz:vm:1.0' />\n",
                                 "    <vz:vm xmlns:vz=\"urn:libvirt-vz:vm:1.0\" type=\"parallels\">\n      "
                                 "<vz:vm>a</vz:vm>\n    </vz:vm>\n"}) {
        CAPTURE(spelling);
        auto text = dump("type='kvm'", metadata(spelling));
        CHECK(vm::toOuter(text) == dump("type='parallels'", ""));
        CHECK(vm::markedType(text) == "parallels");
    }
    // So it looks where the namespace was declared on the domain of the document that libvirt read.
    auto moved = "  <metadata xmlns:vz=\"urn:libvirt-vz:vm:1.0\">\n    <vz:vm type=\"vz\"/>\n  </metadata>\n";
    CHECK(vm::toOuter(dump("type='kvm'", moved)) == dump("type='vz'", ""));
    CHECK(vm::markedType(dump("type='kvm'", moved)) == "vz");
}

TEST_CASE("a mark that shares its line is cut out of it") {
    auto text =
        dump("type='kvm'", "  <metadata>text" + mark("vz") + " more<a:b xmlns:a=\"urn:a\"/></metadata>\n");
    CHECK(vm::toOuter(text) ==
          dump("type='vz'", "  <metadata>text more<a:b xmlns:a=\"urn:a\"/></metadata>\n"));
    CHECK(vm::toOuter("<domain type='kvm'><metadata>" + mark("parallels") +
                      "</metadata><memory/></domain>") == "<domain type='parallels'><memory/></domain>");
}

TEST_CASE("domains inside dumped snapshots and checkpoints become the client's") {
    auto inside = [](const std::string& root, const std::string& type, const std::string& id,
                     const std::string& otherType, bool marked) {
        auto metadata = [&](const std::string& name) {
            return marked ? cat("    <metadata>\n      ", mark(name), "\n    </metadata>\n") : std::string();
        };
        return cat("<", root,
                   ">\n  <name>s</name>\n  <parent>\n    <name>domain</name>\n  </parent>\n  <disks>\n"
                   "    <disk name='vda' type='file'/>\n  </disks>\n  <domain type='",
                   type, "' id='", id,
                   "'>\n"
                   "    <name>m</name>\n",
                   metadata("parallels"),
                   "    <memory unit='KiB'>1</memory>\n    <devices>\n"
                   "      <hostdev type='pci'/>\n    </devices>\n  </domain>\n  <inactiveDomain type='",
                   otherType, "'>\n", metadata("vz"),
                   "    <memory unit='KiB'>1</memory>\n  </inactiveDomain>\n  <cookie/>\n</", root, ">\n");
    };
    for (std::string root : {"domainsnapshot", "domaincheckpoint"})
        CHECK(vm::toOuter(inside(root, "kvm", "1", "qemu", true)) ==
              inside(root, "parallels", "4194305", "vz", false));
    std::string old = "<domainsnapshot>\n  <domain>\n    <uuid>u</uuid>\n  </domain>\n</domainsnapshot>\n";
    CHECK(vm::toOuter(old) == old);
}

TEST_CASE("other documents pass unchanged") {
    for (std::string text :
         {"", "text", "<domainCapabilities>\n  <domain>kvm</domain>\n</domainCapabilities>\n",
          "<domstatus state='running'>\n  <domain type='kvm' id='1'/>\n</domstatus>\n", "<domainbackup/>",
          "<network type='kvm' id='4'/>", "<domains><domain type='kvm'/></domains>", "<domain/>",
          "<!DOCTYPE domain><domain type='kvm'/>"}) {
        CHECK(vm::toOuter(text) == text);
        CHECK(vm::markedType(text).empty());
    }
}

TEST_CASE("ids that are none of libvirt's are left alone") {
    for (std::string id : {"", "-1", "x", "2147483647", "99999999999999999999", " 7"}) {
        auto text = dump(cat("type='kvm' id='", id, "'"), "");
        CHECK(vm::toOuter(text) == dump(cat("type='vz' id='", id, "'"), ""));
    }
    CHECK(vm::innerId(vm::outerId(7)) == 7);
}
