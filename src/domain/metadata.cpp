// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/config_data.hpp"
#include "domain/extension.hpp"
#include "domain/prepare.hpp"

#include <libxml/xmlstring.h>

#include <algorithm>

namespace vz::domain {

namespace {

bool inNamespace(const xmlNode* element, std::string_view uri) {
    return element->ns && uri == reinterpret_cast<const char*>(element->ns->href);
}

/** The element of namespace @p uri that clients see as metadata: in <metadata>, or our own beside it. */
xmlNode* find(xmlNode* domain, std::string_view uri) {
    auto* parent = uri == extensionNamespace ? domain : xml::child(domain, "metadata");
    for (auto* element : xml::children(parent)) {
        if (inNamespace(element, uri))
            return element;
    }
    return nullptr;
}

/** Gives @p ns to all elements in the tree that have none or have its URI by another prefix. */
void enter(xmlNode* element, xmlNs* ns) {
    if (!element->ns || xmlStrEqual(element->ns->href, ns->href))
        xmlSetNs(element, ns);
    for (auto* inner : xml::children(element))
        enter(inner, ns);
}

/**
 * The other way round: the tree as the client gave it, without the prefix. From the leaves up, so that no
 * element or attribute still uses a declaration when it is freed.
 */
void leave(xmlNode* element, std::string_view uri) {
    for (auto* inner : xml::children(element))
        leave(inner, uri);
    if (inNamespace(element, uri))
        xmlSetNs(element, nullptr);
    for (auto* at = element->properties; at; at = at->next) {
        if (at->ns && uri == reinterpret_cast<const char*>(at->ns->href))
            at->ns = nullptr;
    }
    xmlNs** link = &element->nsDef;
    while (*link) {
        if (uri == reinterpret_cast<const char*>((*link)->href)) {
            auto* gone = *link;
            *link = gone->next;
            xmlFreeNs(gone);
        } else {
            link = &(*link)->next;
        }
    }
}

Result<xmlNode*> makeElement(xmlDoc* target, const std::string& value, const char* key, const char* uri) {
    if (!key || !*key || xmlValidateNCName(xml::chars(key), 0) != 0)
        return fail(ErrorCode::InvalidArg, "the metadata key '", key ? key : "", "' cannot be an XML prefix");
    auto doc = parseLimited(value, "the metadata");
    if (!doc)
        return std::move(doc).takeError();
    auto* element = xmlDocCopyNode(xml::root(*doc), target, 1);
    // The client may have declared the namespace already, by the same or another prefix.
    auto* ns = xmlSearchNs(target, element, xml::chars(key));
    if (!ns || !xmlStrEqual(ns->href, xml::chars(uri)))
        ns = xmlNewNs(element, xml::chars(uri), xml::chars(key));
    if (!ns) {
        xmlFreeNode(element);
        return fail(ErrorCode::InvalidArg, "the metadata uses the prefix '", key,
                    "' for another namespace than ", uri);
    }
    enter(element, ns);
    return element;
}

Result<void> setText(xmlNode* domain, MetadataKind kind, const char* value) {
    const char* name = kind == MetadataKind::Title ? "title" : "description";
    if (kind == MetadataKind::Title && value && std::string_view(value).find('\n') != std::string_view::npos)
        return fail(ErrorCode::InvalidArg, "a domain's title has to be one line");
    auto* element = xml::child(domain, name);
    if (value && *value)
        xml::setText(element ? element : xml::addChild(domain, name), value);
    else if (element)
        xml::remove(element);
    return {};
}

bool hasName(xmlNode* element, std::string_view name) {
    return xml::name(element) == name;
}

/**
 * Puts the settings of @p from into @p into, both elements of ours: each replaces the one of its name in the
 * group of that name, and all that is not named stays as it is.
 */
void merge(xmlNode* from, xmlNode* into) {
    for (auto* group : xml::children(from)) {
        auto groups = xml::children(into);
        auto same = std::ranges::find_if(groups, [&](auto* each) { return hasName(each, xml::name(group)); });
        if (same == groups.end()) {
            xmlUnlinkNode(group);
            xmlAddChild(into, group);
            continue;
        }
        for (auto* setting : xml::children(group)) {
            for (auto* old : xml::children(*same)) {
                if (hasName(old, xml::name(setting)))
                    xml::remove(old);
            }
            xmlUnlinkNode(setting);
            xmlAddChild(*same, setting);
        }
    }
}

Result<void> setElement(xmlNode* domain, const char* value, const char* key, const char* uri) {
    if (!uri || !*uri)
        return fail(ErrorCode::InvalidArg, "metadata of kind 'element' needs a namespace URI");
    xmlNode* element = nullptr;
    if (value) {
        VZ_TRY(element, makeElement(domain->doc, value, key, uri));
    }
    auto* old = find(domain, uri);
    if (old && element && std::string_view(uri) == extensionNamespace) {
        merge(element, old);
        xmlReconciliateNs(domain->doc, old);
        xmlFreeNode(element);
        return {};
    }
    if (old)
        xml::remove(old);
    if (!element)
        return {};
    auto* parent = domain;
    if (std::string_view(uri) != extensionNamespace) {
        parent = xml::child(domain, "metadata");
        if (!parent)
            parent = xml::addChild(domain, "metadata");
    }
    xmlAddChild(parent, element);
    return {};
}

} // namespace

Result<Config> Config::withMetadata(const abi::DomainXml& parser, MetadataKind kind, const char* value,
                                    const char* key, const char* uri) const {
    VZ_TRY(auto doc, xml::parse(data_->xml));
    auto* domain = xml::root(doc);
    VZ_CHECK(kind == MetadataKind::Element ? setElement(domain, value, key, uri)
                                           : setText(domain, kind, value));
    return parse(parser, xml::format(doc.get()), {.validate = false, .live = data_->live});
}

Result<std::string> Config::metadata(MetadataKind kind, const char* uri) const {
    VZ_TRY(auto doc, xml::parse(data_->xml));
    auto* domain = xml::root(doc);
    if (kind != MetadataKind::Element) {
        const char* name = kind == MetadataKind::Title ? "title" : "description";
        if (auto* element = xml::child(domain, name))
            return xml::text(element);
        return fail(ErrorCode::NoDomainMetadata, "the domain '", data_->definition.name, "' has no ", name);
    }
    if (!uri || !*uri)
        return fail(ErrorCode::InvalidArg, "metadata of kind 'element' needs a namespace URI");
    auto* element = find(domain, uri);
    if (!element)
        return fail(ErrorCode::NoDomainMetadata, "the domain '", data_->definition.name,
                    "' has no metadata of the namespace ", uri);
    xml::Doc copy(xmlNewDoc(xml::chars("1.0")));
    auto* alone = xmlDocCopyNode(element, copy.get(), 1);
    xmlDocSetRootElement(copy.get(), alone);
    leave(alone, uri);
    return std::string(trim(xml::format(copy.get())));
}

} // namespace vz::domain
