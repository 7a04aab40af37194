// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/xml.hpp"

#include <libxml/parser.h>

namespace vz::xml {

namespace {

std::string take(xmlChar* text) {
    if (!text)
        return {};
    std::string out(reinterpret_cast<const char*>(text));
    xmlFree(text);
    return out;
}

struct FreeBuffer {
    void operator()(xmlBuffer* buffer) const { xmlBufferFree(buffer); }
};
using Buffer = std::unique_ptr<xmlBuffer, FreeBuffer>;

std::string content(const Buffer& buffer) {
    return reinterpret_cast<const char*>(xmlBufferContent(buffer.get()));
}

std::string print(xmlDoc* doc, xmlNode* element, bool indent) {
    Buffer buffer(xmlBufferCreate());
    xmlNodeDump(buffer.get(), doc, element, 0, indent ? 1 : 0);
    return content(buffer) + "\n";
}

struct FreeParser {
    void operator()(xmlParserCtxt* context) const { xmlFreeParserCtxt(context); }
};

bool is(const xmlNode* node, std::string_view wanted) {
    return node->type == XML_ELEMENT_NODE && !node->ns && name(node) == wanted;
}

} // namespace

Result<Doc> parse(const std::string& text, Blanks blanks) {
    std::unique_ptr<xmlParserCtxt, FreeParser> context(xmlNewParserCtxt());
    if (!context)
        return fail(ErrorCode::NoMemory, "no memory for an XML parser");
    int options = XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING;
    if (blanks == Blanks::Drop)
        options |= XML_PARSE_NOBLANKS;
    Doc doc(xmlCtxtReadMemory(context.get(), text.data(), static_cast<int>(text.size()), nullptr, nullptr,
                              options));
    if (doc && xmlDocGetRootElement(doc.get()))
        return doc;
    const xmlError* error = xmlCtxtGetLastError(context.get());
    return fail(ErrorCode::XmlError, "the XML cannot be parsed: line ", error ? error->line : 0, ": ",
                trim(error && error->message ? error->message : "empty document"));
}

std::string format(xmlDoc* doc) {
    return format(doc, xmlDocGetRootElement(doc));
}

std::string format(xmlDoc* doc, xmlNode* element) {
    return print(doc, element, true);
}

std::string formatAsIs(xmlDoc* doc) {
    return print(doc, xmlDocGetRootElement(doc), false);
}

xmlNode* root(const Doc& doc) {
    return xmlDocGetRootElement(doc.get());
}

xmlNode* child(xmlNode* parent, std::string_view wanted) {
    for (auto* node = parent ? parent->children : nullptr; node; node = node->next) {
        if (is(node, wanted))
            return node;
    }
    return nullptr;
}

std::vector<xmlNode*> children(xmlNode* parent, std::string_view wanted) {
    std::vector<xmlNode*> found;
    for (auto* node = parent ? parent->children : nullptr; node; node = node->next) {
        if (wanted.empty() ? node->type == XML_ELEMENT_NODE : is(node, wanted))
            found.push_back(node);
    }
    return found;
}

xmlNode* path(xmlNode* from, std::initializer_list<std::string_view> names) {
    for (auto step : names)
        from = child(from, step);
    return from;
}

std::string_view name(const xmlNode* element) {
    return reinterpret_cast<const char*>(element->name);
}

std::string attribute(xmlNode* element, const char* wanted) {
    return element ? take(xmlGetNoNsProp(element, chars(wanted))) : std::string();
}

bool hasAttribute(xmlNode* element, const char* wanted) {
    return element && xmlHasNsProp(element, chars(wanted), nullptr);
}

void setAttribute(xmlNode* element, const char* wanted, const std::string& value) {
    xmlSetProp(element, chars(wanted), chars(value.c_str()));
}

std::string text(xmlNode* element) {
    return element ? take(xmlNodeGetContent(element)) : std::string();
}

void setText(xmlNode* element, const std::string& value) {
    xmlNodeSetContent(element, nullptr);
    xmlNodeAddContent(element, chars(value.c_str()));
}

xmlNode* addChild(xmlNode* parent, const char* wanted) {
    return xmlNewChild(parent, nullptr, chars(wanted), nullptr);
}

void remove(xmlNode* node) {
    xmlUnlinkNode(node);
    xmlFreeNode(node);
}

bool isUtf8(const std::string& text) {
    return xmlCheckUTF8(chars(text.c_str()));
}

std::string escape(std::string_view text) {
    return escapeXml(text);
}

} // namespace vz::xml
