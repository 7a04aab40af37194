// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/extension.hpp"

#include <libxml/relaxng.h>

#include <cstring>
#include <mutex>

namespace vz::domain {

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
    std::string out = cat("<", xml::name(element));
    for (auto* at = element->properties; at; at = at->next) {
        auto value = xml::attribute(element, reinterpret_cast<const char*>(at->name));
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
    for (auto* element : xml::children(parent)) {
        if (message.find(cat(" ", xml::name(element), " ")) != message.npos)
            return element;
        if (auto* inner = named(element, message))
            return inner;
    }
    return nullptr;
}

void ignoreMessage(void*, const char*, ...) {}

struct Switch {
    std::string_view name;
    std::optional<bool> Extension::*member;
};
constexpr Switch switches[] = {
    {"nesting", &Extension::nesting},
    {"fuse", &Extension::fuse},
    {"no-new-privileges", &Extension::noNewPrivileges},
    {"seccomp", &Extension::seccomp},
    {"user-namespace", &Extension::userNamespace},
};

void print(std::string& out, xmlNode* element, size_t depth) {
    std::string indent(2 * depth, ' ');
    out += cat(indent, "<vz:", xml::name(element));
    if (depth == 1)
        out += cat(" xmlns:vz='", extensionNamespace, "'");
    for (auto* at = element->properties; at; at = at->next) {
        auto value = xml::attribute(element, reinterpret_cast<const char*>(at->name));
        out += cat(" ", view(at->name), "='", xml::escape(value), "'");
    }
    auto inner = xml::children(element);
    auto text = inner.empty() ? std::string(trim(xml::text(element))) : std::string();
    if (inner.empty() && text.empty()) {
        out += "/>\n";
        return;
    }
    out += ">";
    if (inner.empty()) {
        out += xml::escape(text);
    } else {
        out += "\n";
        for (auto* node : inner)
            print(out, node, depth + 1);
        out += indent;
    }
    out += cat("</vz:", xml::name(element), ">\n");
}

} // namespace

bool isOurs(const xmlNode* element) {
    return element->ns && view(element->ns->href) == extensionNamespace;
}

Result<void> checkExtension(xmlNode* element) {
    // libxml2 2.9 fills tables of its RELAX NG types at the first use, unguarded.
    static std::mutex mutex;
    std::lock_guard lock(mutex);
    std::unique_ptr<xmlRelaxNGParserCtxt, FreeSchemaParser> parser(
        xmlRelaxNGNewMemParserCtxt(containerSchema, static_cast<int>(std::strlen(containerSchema))));
    std::unique_ptr<xmlRelaxNG, FreeSchema> schema(parser ? xmlRelaxNGParse(parser.get()) : nullptr);
    std::unique_ptr<xmlRelaxNGValidCtxt, FreeValidator> validator(
        schema ? xmlRelaxNGNewValidCtxt(schema.get()) : nullptr);
    if (!validator)
        return fail(ErrorCode::InternalError, "the built-in schema of <vz:container> cannot be used");

    xml::Doc doc(xmlNewDoc(reinterpret_cast<const xmlChar*>("1.0")));
    xmlDocSetRootElement(doc.get(), xmlDocCopyNode(element, doc.get(), 1));
    std::string first;
    xmlRelaxNGSetValidErrors(validator.get(), ignoreMessage, ignoreMessage, nullptr);
    xmlRelaxNGSetValidStructuredErrors(validator.get(), noteFirst, &first);
    if (xmlRelaxNGValidateDoc(validator.get(), doc.get()) == 0)
        return {};
    auto* culprit = named(element, cat(" ", first, " "));
    return fail(ErrorCode::XmlInvalidSchema,
                "the extension element <vz:container> is not as vz-container.rng asks: ",
                first.empty() ? "no details" : first, culprit ? cat(" (", tag(culprit), ")") : std::string());
}

Extension readExtension(xmlNode* element) {
    Extension extension;
    for (auto* group : xml::children(element)) {
        if (xml::name(group) != "features")
            continue;
        for (auto* feature : xml::children(group)) {
            for (const auto& known : switches) {
                if (xml::name(feature) == known.name)
                    extension.*known.member = xml::attribute(feature, "state") == "on";
            }
        }
    }
    return extension;
}

std::string printExtension(xmlNode* element) {
    std::string out;
    print(out, element, 1);
    return out;
}

} // namespace vz::domain
