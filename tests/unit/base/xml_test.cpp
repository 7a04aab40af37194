// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/xml.hpp"

#include <catch2/catch.hpp>

using namespace vz;

TEST_CASE("elements, attributes and texts are found") {
    auto doc = xml::parse("<a x='1'><b>t</b><b y='&lt;'/><n:b xmlns:n='urn:n'/></a>");
    REQUIRE(doc);
    auto* root = xml::root(*doc);
    CHECK(xml::attribute(root, "x") == "1");
    CHECK(xml::children(root, "b").size() == 2);
    CHECK(xml::children(root).size() == 3);
    CHECK(xml::text(xml::child(root, "b")) == "t");
    CHECK(xml::attribute(xml::children(root, "b")[1], "y") == "<");
    CHECK(xml::path(root, {"b", "c"}) == nullptr);
}

TEST_CASE("bad XML is an error with its line") {
    auto doc = xml::parse("<a>\n<b></a>");
    REQUIRE_FALSE(doc);
    CHECK(doc.error().code() == ErrorCode::XmlError);
    CHECK(doc.error().message().find("line 2") != std::string::npos);
    CHECK_FALSE(xml::parse(""));
}

TEST_CASE("external entities are not read") {
    auto doc = xml::parse("<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>");
    if (doc)
        CHECK(xml::text(xml::root(*doc)).find("root") == std::string::npos);
}

TEST_CASE("texts are escaped") {
    CHECK(xml::escape("<a b='\"&'>") == "&lt;a b=&apos;&quot;&amp;&apos;&gt;");
}
