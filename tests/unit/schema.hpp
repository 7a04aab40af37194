// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/xml.hpp"

#include <libxml/relaxng.h>

#include <catch2/catch.hpp>

#include <cstdarg>
#include <cstdio>
#include <memory>

namespace vz::test {

inline void collectComplaint(void* opaque, const char* format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    *static_cast<std::string*>(opaque) += line;
}

/** What libvirt's own schema has against a document; empty if nothing. */
inline std::string complaints(const char* schemaName, const std::string& document) {
    std::string said;
    std::string path = cat("/usr/share/libvirt/schemas/", schemaName);
    std::unique_ptr<xmlRelaxNGParserCtxt, void (*)(xmlRelaxNGParserCtxt*)> parser(
        xmlRelaxNGNewParserCtxt(path.c_str()), xmlRelaxNGFreeParserCtxt);
    xmlRelaxNGSetParserErrors(parser.get(), collectComplaint, collectComplaint, &said);
    std::unique_ptr<xmlRelaxNG, void (*)(xmlRelaxNG*)> schema(xmlRelaxNGParse(parser.get()), xmlRelaxNGFree);
    if (!schema)
        return cat("no schema: ", said);
    std::unique_ptr<xmlRelaxNGValidCtxt, void (*)(xmlRelaxNGValidCtxt*)> checker(
        xmlRelaxNGNewValidCtxt(schema.get()), xmlRelaxNGFreeValidCtxt);
    xmlRelaxNGSetValidErrors(checker.get(), collectComplaint, collectComplaint, &said);
    auto doc = xml::parse(document);
    REQUIRE(doc);
    int answer = xmlRelaxNGValidateDoc(checker.get(), doc->get());
    return answer == 0 ? std::string() : cat("not valid: ", said);
}

/** @p text with each @p old replaced. */
inline std::string replaced(std::string text, std::string_view old, std::string_view with) {
    for (size_t at = 0; (at = text.find(old, at)) != std::string::npos; at += with.size())
        text.replace(at, old.size(), with);
    return text;
}

/** capability.rng knows neither "vz" nor "parallels" as a domain type. */
inline std::string withKnownTypes(std::string document) {
    document = replaced(std::move(document), "domain type=\"vz\"", "domain type=\"lxc\"");
    return replaced(std::move(document), "domain type=\"parallels\"", "domain type=\"lxc\"");
}

} // namespace vz::test
