// SPDX-License-Identifier: LGPL-2.1-or-later
#include "documents.hpp"

using namespace vz;
using namespace vz::test;

namespace {

std::string repeat(std::string_view text, size_t count) {
    std::string out;
    for (size_t i = 0; i < count; ++i)
        out += text;
    return out;
}

/** Both directions end on it; on the way in with an error, if @p broken. */
void survive(const std::string& xml, bool broken) {
    CAPTURE(xml.substr(0, 200));
    auto made = vm::domainToInner(xml, facts());
    CHECK(bool(made) != broken);
    if (!made)
        CHECK(int(made.error().code()) == int(ErrorCode::XmlError));
    (void)vm::embeddedToInner(xml, facts());
    (void)vm::deviceToInner(xml, facts());
    (void)vm::osType(xml);
    (void)vm::markedType(xml);
    CHECK(vm::toOuter(xml).size() <= xml.size() + 32);
}

} // namespace

TEST_CASE("texts that are no XML are refused on the way in and pass on the way out") {
    for (std::string xml : {"",
                            " ",
                            "<",
                            "<>",
                            "</",
                            "</>",
                            "<!",
                            "<!-",
                            "<!-->",
                            "<![CDATA[",
                            "<?",
                            "<domain",
                            "<domain type",
                            "<domain type=",
                            "<domain type='",
                            "<domain type='kvm",
                            "<domain type='kvm'",
                            "<domain type='kvm'>",
                            "<domain type='vz'></domain",
                            "<domain type='vz' type='vz'/>",
                            "<domain type='vz'><a></domain></a>",
                            "<domain type='vz'/><domain type='vz'/>",
                            "<domain type='vz'>&no;</domain>",
                            "\xff\xfe<domain/>",
                            "<domain type='vz'>\x01</domain>",
                            "<a:domain type='vz'/>",
                            "<domain type='vz'><metadata>",
                            "<domain type='vz'><metadata><vz:vm xmlns:vz='urn:libvirt-vz:vm:1.0'",
                            "<domain type='vz'><metadata><vz:vm xmlns:vz='urn:libvirt-vz:vm:1.0'>",
                            "<domain type='vz'><metadata><!-- </metadata></domain>"})
        survive(xml, true);
    survive(std::string("<domain type='vz'>\0</domain>", 28), true);
}

TEST_CASE("every beginning of a dump is survived") {
    std::string dump =
        "<domain type='kvm' id='7' xmlns:a=\"urn:>\">\n  <metadata>\n    <!-- x --><![CDATA[y]]>\n    " +
        mark("vz") + "\n  </metadata>\n  <memory unit='KiB'>1</memory>\n</domain>\n";
    for (size_t length = 0; length < dump.size() - 1; ++length) {
        // In a buffer of just its size, so that a sanitizer sees a step over its end.
        std::vector<char> exact(dump.begin(), dump.begin() + static_cast<ssize_t>(length));
        (void)vm::markedType(std::string_view(exact.data(), exact.size()));
        survive(dump.substr(0, length), true);
        survive("<domainsnapshot>" + dump.substr(0, length), true);
    }
}

TEST_CASE("entities and document types are refused") {
    std::string laughs = "<!DOCTYPE d [<!ENTITY a '0123456789'>";
    for (char c = 'b'; c < 'm'; ++c)
        laughs += cat("<!ENTITY ", c, " '", repeat(cat("&", char(c - 1), ";"), 10), "'>");
    survive(laughs + "]><domain type='vz'><name>&l;</name></domain>", true);
    survive(
        "<!DOCTYPE d [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><domain type='vz'><name>&e;</name></domain>",
        true);
    survive("<!DOCTYPE domain><domain type='vz'/>", true);
}

TEST_CASE("deep and huge documents end in time") {
    survive(repeat("<a>", 100000), true);
    survive("<domain type='vz'>" + repeat("<a>", 5000) + repeat("</a>", 5000) + "</domain>", true);
    survive("<domain type='vz'>" + repeat("<metadata>", 200) + repeat("</metadata>", 200) + "</domain>",
            false);
    survive("<domain type='vz'>" + repeat("<memory/>", 100000) + "</domain>", false);
    survive("<domain type='vz'><metadata>" + repeat(mark("vz"), 20000) + "</metadata></domain>", false);
    survive("<domain type='vz'>" + repeat("<metadata>" + mark("vz") + "</metadata>", 20000) + "</domain>",
            false);
    survive("<domain type='vz'><description>" + std::string(4 << 20, 'x') + "</description></domain>", false);
    survive("<domain type='vz' " + std::string(1 << 20, 'a') + "='1'/>", true);
    survive("<domain type='vz'><metadata>" + std::string(1 << 20, ' ') + mark("vz") + "</metadata></domain>",
            false);
}

TEST_CASE("a disk of nothing is survived") {
    for (std::string disk :
         {"<disk/>", "<disk type=''/>", "<disk><source/></disk>", "<disk><driver/><driver/></disk>",
          "<disk><source file='/x'/><source file='/y'/></disk>", "<disk>text</disk>"})
        survive(machine("", disk), false);
    survive("<domain type='vz'><devices/><devices><disk/></devices></domain>", false);
}
