// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/file.hpp"
#include "domain/config.hpp"

#include <catch2/catch.hpp>

namespace vz::test {

/** libvirt's parser, one for the test program. */
inline const abi::DomainXml& parser() {
    static auto made = abi::DomainXml::create();
    REQUIRE(made);
    return **made;
}

inline Result<domain::Config> parse(const std::string& xml, domain::Config::ParseOptions options = {}) {
    return domain::Config::parse(parser(), xml, options);
}

/** A config that has to be good. */
inline domain::Config config(const std::string& xml, domain::Config::ParseOptions options = {}) {
    auto parsed = parse(xml, options);
    if (!parsed)
        FAIL(parsed.error().message() << "\n" << xml);
    return *parsed;
}

/** The text of a config with secrets. */
inline std::string text(const domain::Config& config) {
    auto xml = config.toXml(parser(), 1);
    REQUIRE(xml);
    return *xml;
}

/** A container's XML around the given parts. */
inline std::string container(const std::string& devices, const std::string& top = "",
                             const std::string& os = "") {
    return "<domain type='vz'><name>c1</name><uuid>3f7a2d34-4c53-4cd6-9a53-6d1b46a5a0e1</uuid>"
           "<memory>262144</memory>" +
           top + "<os><type>exe</type>" + os + "</os><devices>" + devices + "</devices></domain>";
}

inline bool contains(const std::string& text, std::string_view part) {
    return text.find(part) != std::string::npos;
}

} // namespace vz::test
