// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/xml.hpp"
#include "domain/config.hpp"

#include <string>

/** The way of a client's domain XML to libvirt's parser and back. */
namespace vz::domain {

/** A client's XML made ready for libvirt's parser, and what was taken out. */
struct Prepared {
    std::string xml;       ///< type vz, without our element, defaults of a vz connection filled in
    std::string virtType;  ///< as it was given
    std::string extension; ///< printExtension(), or empty
    Extension settings;    ///< of the extension
};

/** Bytes of a domain XML that is parsed. What is kept stays this much smaller for live parts and comments. */
inline constexpr size_t domainXmlLimit = 1u << 20;
inline constexpr size_t domainXmlReserve = 64u << 10;

/** Parses a text of at most domainXmlLimit without a document type; @p what names it in messages. XmlError.
 */
Result<xml::Doc> parseLimited(const std::string& text, std::string_view what);

/** Parses the text and judges all that libvirt would not tell us about later. */
Result<Prepared> prepare(const std::string& xml, Config::ParseOptions options);

/** Puts type and extension back into libvirt's own text of a domain. */
Result<std::string> restore(std::string canonical, const std::string& virtType, const std::string& extension);

} // namespace vz::domain
