// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/file.hpp"
#include "vm/xml.hpp"

#include <catch2/catch.hpp>

namespace vz::test {

constexpr const char* someUuid = "3f7a2d34-4c53-4cd6-9a53-6d1b46a5a0e1";

/** A machine's XML, as a client writes it. */
inline std::string machine(const std::string& top, const std::string& devices = "",
                           const std::string& attributes = "type='vz'") {
    return cat("<domain ", attributes, "><name>m1</name><uuid>", someUuid, "</uuid>", top,
               "<memory>65536</memory><os><type>hvm</type></os><devices>", devices, "</devices></domain>");
}

inline std::string mark(const std::string& type) {
    return cat("<vz:vm xmlns:vz=\"urn:libvirt-vz:vm:1.0\" type=\"", type, "\"/>");
}

/** This host has no KVM, and disks whose format is not given are raw already. */
inline vm::InwardFacts facts(const std::string& known = "raw") {
    return {[](const std::string&) { return std::string("qemu"); },
            [known](const std::string&) { return known; }};
}

/** The inner document of one that has to be good. */
inline vm::InnerDomain inner(const std::string& xml, const vm::InwardFacts& use = facts()) {
    auto made = vm::domainToInner(xml, use);
    if (!made)
        FAIL(made.error().message() << "\n" << xml);
    return *made;
}

inline bool contains(std::string_view text, std::string_view part) {
    return text.find(part) != text.npos;
}

inline size_t countOf(std::string_view text, std::string_view part) {
    size_t count = 0;
    for (auto at = text.find(part); at != text.npos; at = text.find(part, at + part.size()))
        ++count;
    return count;
}

/** Whole documents that are checked in: name and text. */
inline std::vector<std::pair<std::string, std::string>> documents(const std::string& folder) {
    std::vector<std::pair<std::string, std::string>> found;
    auto names = file::list(folder);
    REQUIRE(names);
    for (const auto& name : *names) {
        auto text = file::read(cat(folder, "/", name));
        REQUIRE(text);
        found.emplace_back(name, *text);
    }
    REQUIRE(!found.empty());
    return found;
}

} // namespace vz::test
