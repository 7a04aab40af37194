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

void ignoreMessage(void*, const char*, ...) {}

bool isValid(xmlRelaxNGValidCtxt* validator, const xml::Doc& doc) {
    return xmlRelaxNGValidateDoc(validator, doc.get()) == 0;
}

/**
 * What is wrong in a document: the innermost element without which it would be valid. libxml2's own messages
 * rarely tell, as most elements may come in any order. @p doc loses what was tried.
 */
std::string culprit(xmlRelaxNGValidCtxt* validator, const xml::Doc& doc, xmlNode* parent) {
    for (auto* element : xml::children(parent)) {
        auto description = cat(tag(element), " in <", xml::name(parent), ">");
        if (auto inner = culprit(validator, doc, element); !inner.empty())
            return inner;
        auto* place = element->next;
        xmlUnlinkNode(element);
        bool guilty = isValid(validator, doc);
        place ? xmlAddPrevSibling(place, element) : xmlAddChild(parent, element);
        if (guilty)
            return cat(description, " is not known there, is there twice, or has no such value");
    }
    return {};
}

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

void readFeature(Extension& extension, xmlNode* feature) {
    for (const auto& known : switches) {
        if (xml::name(feature) == known.name)
            extension.*known.member = xml::attribute(feature, "state") == "on";
    }
}

void readCpu(Extension& extension, xmlNode* setting) {
    auto value = parseNumber<uint64_t>(trim(xml::text(setting)));
    if (xml::name(setting) == "units")
        extension.cpuUnits = value;
    else if (xml::name(setting) == "limit")
        extension.cpuLimitPercent = value;
}

uint64_t amount(xmlNode* element, const char* name) {
    return parseNumber<uint64_t>(trim(xml::attribute(element, name))).value_or(ct::Beancounter::unlimited);
}

void readBeancounter(Extension& extension, xmlNode* element) {
    ct::Beancounter value;
    bool barrier = xml::hasAttribute(element, "barrier"), limit = xml::hasAttribute(element, "limit");
    const auto* info = ct::counterNamed(xml::name(element));
    bool guarantee = info && info->noLimit;
    if (barrier)
        value.barrier = amount(element, "barrier");
    if (limit)
        value.limit = amount(element, "limit");
    else if (barrier && !guarantee)
        value.limit = value.barrier;
    if (limit && !barrier)
        value.barrier = value.limit;
    extension.beancounters[std::string(xml::name(element))] = value;
}

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
    xmlRelaxNGSetValidErrors(validator.get(), ignoreMessage, ignoreMessage, nullptr);

    xml::Doc doc(xmlNewDoc(reinterpret_cast<const xmlChar*>("1.0")));
    xmlDocSetRootElement(doc.get(), xmlDocCopyNode(element, doc.get(), 1));
    if (isValid(validator.get(), doc))
        return {};
    auto wrong = culprit(validator.get(), doc, xml::root(doc));
    return fail(ErrorCode::XmlInvalidSchema,
                "the extension element <vz:container> is not as vz-container.rng asks: ",
                wrong.empty() ? "more than one thing in it is wrong" : wrong);
}

Extension readExtension(xmlNode* element) {
    Extension extension;
    for (auto* group : xml::children(element)) {
        for (auto* setting : xml::children(group)) {
            if (xml::name(group) == "features")
                readFeature(extension, setting);
            else if (xml::name(group) == "cpu")
                readCpu(extension, setting);
            else if (xml::name(group) == "ubc")
                readBeancounter(extension, setting);
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
