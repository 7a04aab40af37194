// SPDX-License-Identifier: LGPL-2.1-or-later
#include "documents.hpp"

#include "libvirt/domain_xml.hpp"

#include <algorithm>

using namespace vz;
using namespace vz::test;

namespace {

/** libvirt's own text of a document. */
std::string canonical(const std::string& xml) {
    static auto parser = abi::DomainXml::create();
    REQUIRE(parser);
    auto made = (*parser)->canonical(xml, false, false);
    if (!made)
        FAIL(made.error().message() << "\n" << xml);
    return made->xml;
}

bool isDomain(const std::string& xml) {
    return !contains(xml, "<domainsnapshot") && !contains(xml, "<domaincheckpoint");
}

/** A text in which the kind of quotes and the line ends behind it say nothing. */
std::string unquoted(std::string text) {
    std::replace(text.begin(), text.end(), '\'', '"');
    return std::string(trim(text));
}

/** Nothing of the inside is in a client's text. */
void checkClean(const std::string& outer) {
    CHECK(vm::markedType(outer).empty());
    CHECK(!contains(outer, mark("vz")));
    CHECK(!contains(outer, mark("parallels")));
    CHECK(!contains(outer, "<metadata>\n  </metadata>"));
    for (std::string name : {"domain", "inactiveDomain"}) {
        for (std::string type : {"kvm", "qemu"}) {
            for (char quote : {'\'', '"'})
                CHECK(!contains(outer, cat("<", name, " type=", quote, type, quote)));
        }
    }
}

/** In, through libvirt, and out: from the first time on, it is the same text for ever. */
void checkFixedPoint(const std::string& xml) {
    auto first = inner(xml);
    auto printed = canonical(first.xml);
    CHECK(vm::markedType(printed) == first.type);
    auto outer = vm::toOuter(printed);
    checkClean(outer);
    auto again = inner(outer);
    CHECK(again.type == first.type);
    CHECK(again.name == first.name);
    CHECK(again.uuid == first.uuid);
    CHECK(canonical(again.xml) == printed);
    CHECK(vm::toOuter(canonical(again.xml)) == outer);
}

} // namespace

TEST_CASE("examples of machines are the same after a round trip") {
    size_t machines = 0;
    for (const auto& [name, text] : documents(VZ_EXAMPLES)) {
        CAPTURE(name);
        if (vm::osType(text) != "hvm")
            continue;
        ++machines;
        checkFixedPoint(text);
    }
    CHECK(machines > 0);
}

TEST_CASE("whole documents are the same after a round trip through libvirt") {
    for (auto [name, text] : documents(VZ_DOCUMENTS)) {
        CAPTURE(name);
        if (!isDomain(text))
            continue;
        if (!vm::markedType(text).empty())
            text = vm::toOuter(text);
        checkFixedPoint(text);
    }
}

TEST_CASE("documents with domains inside are the same after a round trip") {
    size_t count = 0;
    for (const auto& [name, text] : documents(VZ_DOCUMENTS)) {
        if (isDomain(text))
            continue;
        CAPTURE(name);
        ++count;
        auto outer = vm::toOuter(text);
        CHECK(outer != text);
        checkClean(outer);
        auto again = vm::embeddedToInner(outer, facts());
        REQUIRE(again);
        CHECK(unquoted(vm::toOuter(*again)) == unquoted(outer));
        CHECK(countOf(*again, vm::kMarkUri) == countOf(text, vm::kMarkUri));
    }
    CHECK(count >= 3);
}

TEST_CASE("metadata of all kinds are the same after a round trip") {
    for (std::string metadata :
         {"", "<metadata/>", "<metadata>  </metadata>", "<metadata>text</metadata>",
          "<metadata><a:b xmlns:a='urn:a'/></metadata>",
          "<metadata>text<a:b xmlns:a='urn:a'/>text</metadata>",
          "<metadata>\n<a:b xmlns:a='urn:a'>\n <a:c/>\n</a:b>\n</metadata>",
          "<metadata><b xmlns='urn:a'>x<c/>y</b><!-- c --><d xmlns='urn:d'><![CDATA[<]]></d></metadata>",
          "<metadata><none/><vz:vm xmlns:vz='urn:mine' type='parallels'/></metadata>",
          "<metadata xmlns:a='urn:a'><a:b/></metadata>", "<metadata xmlns:vz='urn:mine'><vz:vm/></metadata>",
          "<metadata/><metadata><a:b xmlns:a='urn:a'/></metadata>"}) {
        CAPTURE(metadata);
        checkFixedPoint(machine(metadata));
        checkFixedPoint(machine(metadata, "", "type='parallels' xmlns:a='urn:elsewhere'"));
    }
}

TEST_CASE("a mark in a client's document is void") {
    auto text = machine("<metadata xmlns:vz='urn:libvirt-vz:vm:1.0'><vz:vm type='parallels'/></metadata>");
    auto outer = vm::toOuter(canonical(inner(text).xml));
    checkClean(outer);
    CHECK(outer == vm::toOuter(canonical(inner(machine("")).xml)));
    checkFixedPoint(outer);
}
