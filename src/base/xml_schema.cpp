// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/xml_schema.hpp"

#include <libxml/relaxng.h>

#include <cstring>
#include <mutex>

namespace vz::xml {

namespace {

struct FreeSchema {
    void operator()(xmlRelaxNG* schema) const { xmlRelaxNGFree(schema); }
};
struct FreeSchemaParser {
    void operator()(xmlRelaxNGParserCtxt* context) const { xmlRelaxNGFreeParserCtxt(context); }
};
struct FreeValidator {
    void operator()(xmlRelaxNGValidCtxt* context) const { xmlRelaxNGFreeValidCtxt(context); }
};

std::string_view view(const xmlChar* text) {
    return text ? reinterpret_cast<const char*>(text) : "";
}

/** The opening tag of an element, for messages. */
std::string tag(xmlNode* element) {
    std::string out = cat("<", name(element));
    for (auto* at = element->properties; at; at = at->next) {
        auto value = attribute(element, reinterpret_cast<const char*>(at->name));
        out += cat(" ", view(at->name), "='", value, "'");
    }
    return out + ">";
}

/** Keeps the first complaint; those after it only repeat it for the elements around. */
void noteFirst(void* context, xmlError* error) {
    auto* first = static_cast<std::string*>(context);
    if (first->empty() && error->message)
        *first = trim(error->message);
}

/** The first element below @p parent that libxml2's message names: it does not tell the value at fault. */
xmlNode* named(xmlNode* parent, std::string_view message) {
    for (auto* element : children(parent)) {
        if (message.find(cat(" ", name(element), " ")) != message.npos)
            return element;
        if (auto* inner = named(element, message))
            return inner;
    }
    return nullptr;
}

void ignoreMessage(void*, const char*, ...) {}

bool isValid(xmlRelaxNGValidCtxt* validator, const Doc& doc) {
    return xmlRelaxNGValidateDoc(validator, doc.get()) == 0;
}

/** Finding the culprit takes a validation for each element: in larger documents that takes too long. */
constexpr size_t mostElements = 200;

/** How many elements there are below @p parent, as far as @p most. */
size_t countElements(xmlNode* parent, size_t most) {
    size_t count = 0;
    for (auto* element : children(parent)) {
        if (count >= most)
            break;
        count += 1 + countElements(element, most - count - 1);
    }
    return count;
}

/**
 * The innermost element without which the document would be valid, and what is wrong with it. libxml2's own
 * messages rarely tell, where elements may come in any order.
 */
std::string tooMuch(xmlRelaxNGValidCtxt* validator, const Doc& doc, xmlNode* parent) {
    for (auto* element : children(parent)) {
        auto description = cat(tag(element), " in <", name(parent), ">");
        if (auto inner = tooMuch(validator, doc, element); !inner.empty())
            return inner;
        auto* next = element->next;
        xmlUnlinkNode(element);
        bool guilty = isValid(validator, doc);
        next ? xmlAddPrevSibling(next, element) : xmlAddChild(parent, element);
        if (guilty)
            return cat(description, " is not known there, is there twice, or has no such value");
    }
    return {};
}

} // namespace

Result<std::optional<std::string>> problemBySchema(xmlDoc* doc, const char* schemaText) {
    // libxml2 2.9 fills tables of its RELAX NG types at the first use, unguarded.
    static std::mutex mutex;
    std::lock_guard lock(mutex);
    std::unique_ptr<xmlRelaxNGParserCtxt, FreeSchemaParser> parser(
        xmlRelaxNGNewMemParserCtxt(schemaText, static_cast<int>(std::strlen(schemaText))));
    std::unique_ptr<xmlRelaxNG, FreeSchema> schema(parser ? xmlRelaxNGParse(parser.get()) : nullptr);
    std::unique_ptr<xmlRelaxNGValidCtxt, FreeValidator> validator(
        schema ? xmlRelaxNGNewValidCtxt(schema.get()) : nullptr);
    if (!validator)
        return fail(ErrorCode::InternalError, "a built-in schema cannot be used");
    std::string first;
    Doc copy(xmlCopyDoc(doc, 1));
    xmlRelaxNGSetValidErrors(validator.get(), ignoreMessage, ignoreMessage, nullptr);
    xmlRelaxNGSetValidStructuredErrors(validator.get(), noteFirst, &first);
    if (isValid(validator.get(), copy))
        return std::optional<std::string>();
    auto message = first;
    bool small = countElements(root(copy), mostElements + 1) <= mostElements;
    if (auto wrong = small ? tooMuch(validator.get(), copy, root(copy)) : std::string(); !wrong.empty())
        return std::optional(std::move(wrong));
    first = std::move(message);
    auto* culprit = named(root(copy), cat(" ", first, " "));
    return std::optional(
        cat(first.empty() ? "no details" : first, culprit ? cat(" (", tag(culprit), ")") : std::string()));
}

} // namespace vz::xml
