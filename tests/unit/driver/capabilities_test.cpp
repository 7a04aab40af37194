// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/xml.hpp"
#include "driver/capabilities.hpp"
#include "fake_host.hpp"

#include <libxml/relaxng.h>

#include <cstdarg>
#include <cstdio>
#include <memory>

using namespace vz;
using namespace vz::driver;

namespace {

void collect(void* opaque, const char* format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    *static_cast<std::string*>(opaque) += line;
}

/** What libvirt's own schema has against a document; empty if nothing. */
std::string complaints(const char* schemaName, const std::string& document) {
    std::string said;
    std::string path = cat("/usr/share/libvirt/schemas/", schemaName);
    std::unique_ptr<xmlRelaxNGParserCtxt, void (*)(xmlRelaxNGParserCtxt*)> parser(
        xmlRelaxNGNewParserCtxt(path.c_str()), xmlRelaxNGFreeParserCtxt);
    xmlRelaxNGSetParserErrors(parser.get(), collect, collect, &said);
    std::unique_ptr<xmlRelaxNG, void (*)(xmlRelaxNG*)> schema(xmlRelaxNGParse(parser.get()), xmlRelaxNGFree);
    if (!schema)
        return cat("no schema: ", said);
    std::unique_ptr<xmlRelaxNGValidCtxt, void (*)(xmlRelaxNGValidCtxt*)> checker(
        xmlRelaxNGNewValidCtxt(schema.get()), xmlRelaxNGFreeValidCtxt);
    xmlRelaxNGSetValidErrors(checker.get(), collect, collect, &said);
    auto doc = xml::parse(document);
    REQUIRE(doc);
    int answer = xmlRelaxNGValidateDoc(checker.get(), doc->get());
    return answer == 0 ? std::string() : cat("not valid: ", said);
}

/** capability.rng knows neither "vz" nor "parallels" as a domain type. */
std::string withKnownTypes(std::string document) {
    for (std::string_view ours : {"domain type=\"vz\"", "domain type=\"parallels\""}) {
        for (size_t at; (at = document.find(ours)) != std::string::npos;)
            document.replace(at, ours.size(), "domain type=\"lxc\"");
    }
    return document;
}

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
    some.virtualMachines = false;
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

TEST_CASE("guests are hvm and exe with type parallels first and vz last") {
    auto doc = xml::parse(capabilitiesXml(facts()));
    auto guests = xml::children(xml::root(*doc), "guest");
    REQUIRE(guests.size() == 2);
    CHECK(xml::text(xml::child(guests[0], "os_type")) == "hvm");
    CHECK(xml::text(xml::child(guests[1], "os_type")) == "exe");
    for (auto* guest : guests) {
        auto* arch = xml::child(guest, "arch");
        CHECK(xml::attribute(arch, "name") == "x86_64");
        auto types = xml::children(arch, "domain");
        REQUIRE(types.size() == 2);
        CHECK(xml::attribute(types.front(), "type") == "parallels");
        CHECK(xml::attribute(types.back(), "type") == "vz");
    }
    auto containersOnly = facts();
    containersOnly.virtualMachines = false;
    doc = xml::parse(capabilitiesXml(containersOnly));
    CHECK(xml::children(xml::root(*doc), "guest").size() == 1);
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

TEST_CASE("domain capabilities are valid for libvirt's schema") {
    auto some = facts();
    for (bool machines : {true, false}) {
        some.virtualMachines = machines;
        auto document = domainCapabilitiesXml(nullptr, nullptr, nullptr, nullptr, some);
        REQUIRE(document);
        CHECK(complaints("domaincaps.rng", *document) == "");
        auto doc = xml::parse(*document);
        for (const char* device : {"disk", "video"})
            CHECK(xml::attribute(xml::path(xml::root(*doc), {"devices", device}), "supported") ==
                  (machines ? "yes" : "no"));
    }
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
