// SPDX-License-Identifier: LGPL-2.1-or-later
// The documents in data/ are what the stock QEMU driver of libvirt 9.0.0 gave: capabilities-kvm.xml where
// QEMU can open /dev/kvm, capabilities-tcg.xml where it cannot, with the emulators for ARM installed.
#include "../schema.hpp"
#include "base/file.hpp"
#include "vm/capabilities.hpp"

using namespace vz;
using namespace vz::vm;
using test::complaints;
using test::replaced;

namespace {

const Accelerator works{true, "it ran"};
const Accelerator broken{false, "it did not run"};
const Accelerator forcedOn{true, "forced", true};
const Accelerator forcedOff{false, "forced", true};

std::string data(const char* name) {
    auto text = file::read(cat(VZ_VM_DATA "/", name));
    REQUIRE(text);
    return *text;
}

const char* const containers = R"(<capabilities>
  <host>
    <cpu>
      <arch>x86_64</arch>
    </cpu>
  </host>
  <guest>
    <os_type>exe</os_type>
    <arch name="x86_64">
      <wordsize>64</wordsize>
      <domain type="parallels"/>
      <domain type="vz"/>
    </arch>
  </guest>
</capabilities>
)";

/** The outer capabilities, and what tests look at in them. */
struct Outer {
    explicit Outer(const std::string& inner, const Accelerator& accelerator) {
        auto made = outerCapabilities(containers, inner, accelerator);
        REQUIRE(made);
        text = *made;
        auto parsed = xml::parse(text);
        REQUIRE(parsed);
        doc = *std::move(parsed);
    }

    /** "hvm x86_64" of each guest, in their order. */
    std::vector<std::string> guests() const {
        std::vector<std::string> found;
        for (auto* guest : xml::children(xml::root(doc), "guest"))
            found.push_back(cat(xml::text(xml::child(guest, "os_type")), " ",
                                xml::attribute(xml::child(guest, "arch"), "name")));
        return found;
    }

    xmlNode* arch(std::string_view name) const {
        for (auto* guest : xml::children(xml::root(doc), "guest")) {
            if (auto* found = xml::child(guest, "arch"); xml::attribute(found, "name") == name)
                return found;
        }
        FAIL("no guest of " << name);
        return nullptr;
    }

    /** <accelerator> of an architecture: what a client that knows it reads. */
    std::string accelerator(std::string_view archName, const char* attribute) const {
        for (auto* node : xml::children(arch(archName))) {
            if (xml::name(node) == "accelerator" && node->ns &&
                reinterpret_cast<const char*>(node->ns->href) == kCapabilitiesUri)
                return xml::attribute(node, attribute);
        }
        return "none";
    }

    std::string text;
    xml::Doc doc;
};

/** What the schema can judge: not our element and types, and none of the CPU features whose names it forbids
 * although the stock driver tells them. */
std::string forSchema(const std::string& text) {
    auto doc = xml::parse(test::withKnownTypes(replaced(text, "'sse4.", "'sse4_")));
    REQUIRE(doc);
    for (auto* guest : xml::children(xml::root(*doc), "guest")) {
        for (auto* part : xml::children(xml::child(guest, "arch"))) {
            if (xml::name(part) == "accelerator")
                xml::remove(part);
        }
    }
    return xml::format(doc->get());
}

std::vector<std::string> typesOf(xmlNode* arch) {
    std::vector<std::string> types;
    for (auto* domain : xml::children(arch, "domain"))
        types.push_back(xml::attribute(domain, "type"));
    return types;
}

} // namespace

TEST_CASE("machines stand before containers, and both types at each, vz last") {
    for (const auto& accelerator : {works, broken}) {
        Outer outer(data("capabilities-kvm.xml"), accelerator);
        CHECK(outer.guests() == std::vector<std::string>{"hvm i686", "hvm x86_64", "exe x86_64"});
        for (auto* guest : xml::children(xml::root(outer.doc), "guest"))
            CHECK(typesOf(xml::child(guest, "arch")) == std::vector<std::string>{"parallels", "vz"});
        auto* arch = outer.arch("x86_64");
        CHECK(xml::text(xml::child(arch, "emulator")) == "/usr/bin/qemu-system-x86_64");
        CHECK(xml::children(arch, "machine").size() == 60);
        CHECK(xml::attribute(xml::children(arch, "machine").at(1), "canonical") == "pc-i440fx-7.2");
        CHECK(outer.text.find("'kvm'") == std::string::npos);
    }
}

TEST_CASE("the guest of containers stays as it is") {
    Outer outer(data("capabilities-kvm.xml"), works);
    auto own = xml::parse(containers);
    auto guest = xml::children(xml::root(outer.doc), "guest").back();
    CHECK(xml::format(outer.doc.get(), guest) ==
          xml::format(own->get(), xml::child(xml::root(*own), "guest")));
}

TEST_CASE("the host is that of QEMU's driver") {
    Outer outer(data("capabilities-kvm.xml"), works);
    auto inner = xml::parse(data("capabilities-kvm.xml"));
    auto hosts = xml::children(xml::root(outer.doc), "host");
    REQUIRE(hosts.size() == 1);
    CHECK(hosts.front() == xml::children(xml::root(outer.doc)).front());
    CHECK(xml::format(outer.doc.get(), hosts.front()) ==
          xml::format(inner->get(), xml::child(xml::root(*inner), "host")));
    CHECK(xml::text(xml::path(hosts.front(), {"cpu", "model"})) == "kvm64");
}

TEST_CASE("each architecture tells what runs it") {
    Outer kvm(data("capabilities-kvm.xml"), works);
    CHECK(kvm.accelerator("x86_64", "type") == "kvm");
    CHECK(kvm.accelerator("i686", "type") == "kvm");
    CHECK(kvm.accelerator("x86_64", "reason") == "it ran");

    Outer emulated(data("capabilities-kvm.xml"), broken);
    CHECK(emulated.accelerator("x86_64", "type") == "tcg");
    CHECK(emulated.accelerator("x86_64", "reason") == "it did not run");

    // QEMU may not open the device.
    Outer closed(data("capabilities-tcg.xml"), works);
    CHECK(closed.accelerator("x86_64", "type") == "tcg");
    CHECK(closed.accelerator("x86_64", "reason").find("the user that QEMU runs as") != std::string::npos);
    CHECK(closed.accelerator("aarch64", "type") == "tcg");
    CHECK(closed.accelerator("aarch64", "reason") ==
          "processors of architecture x86_64 do not run code of aarch64");
}

TEST_CASE("a reason with any text in it stays XML") {
    Outer outer(data("capabilities-kvm.xml"), {false, "a \"b\" <c> & 'd'"});
    CHECK(outer.accelerator("x86_64", "reason") == "a \"b\" <c> & 'd'");
}

TEST_CASE("guests of other architectures are emulated, whatever the settings force") {
    for (const auto& accelerator : {works, broken, forcedOff}) {
        Outer outer(data("capabilities-tcg.xml"), accelerator);
        CHECK(outer.guests() == std::vector<std::string>{"hvm armv6l", "hvm armv7l", "hvm aarch64",
                                                         "hvm i686", "hvm x86_64", "exe x86_64"});
        CHECK(outer.accelerator("armv7l", "type") == "tcg");
    }
    // KVM is forced and cannot be had: what needs it is left out.
    Outer outer(data("capabilities-tcg.xml"), forcedOn);
    CHECK(outer.guests() ==
          std::vector<std::string>{"hvm armv6l", "hvm armv7l", "hvm aarch64", "exe x86_64"});
}

TEST_CASE("a QEMU without emulation is listed with KVM only") {
    auto inner = replaced(data("capabilities-kvm.xml"), "<domain type='qemu'/>", "");
    CHECK(Outer(inner, works).guests().size() == 3);
    CHECK(Outer(inner, broken).guests() == std::vector<std::string>{"exe x86_64"});
}

TEST_CASE("what the used type has for itself goes to both of ours") {
    auto inner = replaced(data("capabilities-kvm.xml"), "<domain type='kvm'/>",
                          "<domain type='kvm'><emulator>/usr/bin/kvm</emulator>"
                          "<machine canonical='pc-1' maxCpus='8'>pc</machine></domain>");
    Outer kvm(inner, works);
    auto domains = xml::children(kvm.arch("x86_64"), "domain");
    REQUIRE(domains.size() == 2);
    for (auto* domain : domains) {
        CHECK(xml::text(xml::child(domain, "emulator")) == "/usr/bin/kvm");
        CHECK(xml::attribute(xml::child(domain, "machine"), "maxCpus") == "8");
    }
    CHECK(xml::text(xml::child(kvm.arch("x86_64"), "emulator")) == "/usr/bin/qemu-system-x86_64");
    Outer emulated(inner, broken);
    for (auto* domain : xml::children(emulated.arch("x86_64"), "domain"))
        CHECK(xml::children(domain).empty());
    CHECK(*innerTypeToAsk(inner, "/usr/bin/kvm", nullptr, works) == "kvm");
}

TEST_CASE("outer capabilities are valid for libvirt's schema") {
    for (const char* name : {"capabilities-kvm.xml", "capabilities-tcg.xml"}) {
        auto inner = data(name);
        // So that what is checked is what we do.
        REQUIRE(complaints("capability.rng", replaced(inner, "'sse4.", "'sse4_")) == "");
        auto outer = outerCapabilities(containers, inner, works);
        REQUIRE(outer);
        CHECK(complaints("capability.rng", forSchema(replaced(*outer, "\"sse4.", "\"sse4_"))) == "");
    }
}

TEST_CASE("an engine is KVM only where it is offered and works") {
    struct {
        const char *document, *arch;
        const Accelerator& accelerator;
        bool kvm;
    } rows[] = {
        {"capabilities-kvm.xml", "", works, true},
        {"capabilities-kvm.xml", "x86_64", works, true},
        {"capabilities-kvm.xml", "i686", works, true},
        {"capabilities-kvm.xml", "", broken, false},
        {"capabilities-kvm.xml", "aarch64", works, false},
        {"capabilities-kvm.xml", "", forcedOff, false},
        {"capabilities-tcg.xml", "", works, false},
        {"capabilities-tcg.xml", "", forcedOn, true},
        {"capabilities-tcg.xml", "i686", forcedOn, true},
        {"capabilities-tcg.xml", "aarch64", forcedOn, false},
    };
    for (const auto& row : rows) {
        INFO(row.document << " " << row.arch << " " << row.accelerator.reason);
        auto engine = engineFor(data(row.document), row.arch, row.accelerator);
        REQUIRE(engine);
        CHECK(engine->kvm == row.kvm);
        CHECK_FALSE(engine->reason.empty());
        CHECK(std::string(engine->innerType()) == (row.kvm ? "kvm" : "qemu"));
    }
}

TEST_CASE("domain capabilities are asked for with the type that is used") {
    auto kvm = data("capabilities-kvm.xml"), arm = data("capabilities-tcg.xml");
    CHECK(*innerTypeToAsk(kvm, nullptr, nullptr, works) == "kvm");
    CHECK(*innerTypeToAsk(kvm, nullptr, nullptr, broken) == "qemu");
    CHECK(*innerTypeToAsk(kvm, nullptr, "x86_64", works) == "kvm");
    CHECK(*innerTypeToAsk(kvm, nullptr, "sparc", works) == "qemu");
    CHECK(*innerTypeToAsk(kvm, "/usr/bin/qemu-system-i386", nullptr, works) == "kvm");
    CHECK(*innerTypeToAsk(arm, "/usr/bin/qemu-system-aarch64", nullptr, works) == "qemu");
    CHECK(*innerTypeToAsk(kvm, "/opt/qemu-system-x86_64", "x86_64", works) == "kvm");
    // Only QEMU's driver can tell what that program is.
    CHECK(*innerTypeToAsk(kvm, "/opt/qemu", nullptr, works) == "");
    CHECK(*innerTypeToAsk(kvm, "/opt/qemu", nullptr, broken) == "qemu");
}

TEST_CASE("domain capabilities keep all but the type") {
    for (const char* name : {"domain-kvm.xml", "domain-aarch64.xml"}) {
        auto inner = data(name);
        auto outer = outerDomainCapabilities(inner, "parallels");
        REQUIRE(outer);
        CHECK(outer->find("<domain>parallels</domain>") != std::string::npos);
        auto back =
            outerDomainCapabilities(*outer, xml::text(xml::path(xml::root(*xml::parse(inner)), {"domain"})));
        CHECK(*back == xml::format(xml::parse(inner)->get()));
        CHECK(complaints("domaincaps.rng", *outer) == complaints("domaincaps.rng", inner));
    }
}

TEST_CASE("what is no such document is an error") {
    auto kvm = data("capabilities-kvm.xml");
    for (const char* text : {"", "<capabilities>", "<domain/>"}) {
        INFO(text);
        CHECK(outerCapabilities(containers, text, works).error().code() == ErrorCode::XmlError);
        CHECK(outerCapabilities(text, kvm, works).error().code() == ErrorCode::XmlError);
        CHECK(engineFor(text, "", works).error().code() == ErrorCode::XmlError);
        CHECK(innerTypeToAsk(text, nullptr, nullptr, works).error().code() == ErrorCode::XmlError);
        CHECK(outerDomainCapabilities(text, "vz").error().code() == ErrorCode::XmlError);
    }
    CHECK_FALSE(outerDomainCapabilities("<domainCapabilities/>", "vz"));
    // Bare ones have no machines, which is no error.
    auto bare = outerCapabilities(containers, "<capabilities/>", works);
    REQUIRE(bare);
    CHECK(*bare == xml::format(xml::parse(containers)->get()));
}
