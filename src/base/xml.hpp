// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <libxml/tree.h>

#include <memory>
#include <string>
#include <vector>

/** Thin ownership and lookup helpers over libxml2; element pointers stay libxml2's own. */
namespace vz::xml {

/** The same bytes as libxml2 wants them. */
inline const xmlChar* chars(const char* text) {
    return reinterpret_cast<const xmlChar*>(text);
}

struct FreeDoc {
    void operator()(xmlDoc* doc) const { xmlFreeDoc(doc); }
};
/** Owner of a document and of every node in it. */
using Doc = std::unique_ptr<xmlDoc, FreeDoc>;

/** What becomes of text that is only blanks: indentation, mostly. */
enum class Blanks { Drop, Keep };

/** Parses a text: no network, no external entities, no DTD loading. Errors are XmlError with line and reason.
 */
Result<Doc> parse(const std::string& text, Blanks blanks = Blanks::Drop);

/** The document as libvirt prints one: two blanks of indentation, no XML declaration. */
std::string format(xmlDoc* doc);
/** One element with all in it, as format() would print it on its own. */
std::string format(xmlDoc* doc, xmlNode* element);
/** The root element without a blank more or less than in the document, which was parsed with Blanks::Keep. */
std::string formatAsIs(xmlDoc* doc);

xmlNode* root(const Doc& doc);
/** First child element of that name in no namespace; null if there is none (or @p parent is null). */
xmlNode* child(xmlNode* parent, std::string_view name);
/** All child elements of that name; every element child if @p name is empty. */
std::vector<xmlNode*> children(xmlNode* parent, std::string_view name = {});
/** Descends by child(): path(root, {"os", "type"}). */
xmlNode* path(xmlNode* from, std::initializer_list<std::string_view> names);
std::string_view name(const xmlNode* element);
/** Value of an attribute in no namespace; empty if it is not there. */
std::string attribute(xmlNode* element, const char* name);
bool hasAttribute(xmlNode* element, const char* name);
void setAttribute(xmlNode* element, const char* name, const std::string& value);
/** All text in the element; empty for null. */
std::string text(xmlNode* element);
void setText(xmlNode* element, const std::string& value);
/** Appends a new child element and returns it. */
xmlNode* addChild(xmlNode* parent, const char* name);
/** Takes a node out of its document and frees it. */
void remove(xmlNode* node);
/** Whether a text is well-formed UTF-8; others cannot be in a document. */
bool isUtf8(const std::string& text);
/** A text made safe to stand between tags or in an attribute. */
std::string escape(std::string_view text);

} // namespace vz::xml
