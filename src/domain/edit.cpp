// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/edit.hpp"

#include "base/xml.hpp"
#include "domain/config_data.hpp"
#include "domain/extension.hpp"
#include "domain/validate.hpp"

namespace vz::domain {

namespace {

/** One element of a path: its name, and which of several it is. */
struct Step {
    std::string name, key, value;
};

struct Path {
    bool extension = false; ///< inside <vz:container>
    std::vector<Step> steps;
    std::string attribute; ///< of the last element; empty: its text
};

Path parsePath(std::string_view text) {
    Path path;
    path.extension = text.starts_with("vz:");
    if (path.extension)
        text.remove_prefix(3);
    while (!text.empty() && text.front() != '@') {
        if (text.front() == '/')
            text.remove_prefix(1);
        auto end = std::min(text.find_first_of("/[@"), text.size());
        Step step{std::string(text.substr(0, end)), {}, {}};
        text.remove_prefix(end);
        if (text.starts_with('[')) {
            auto close = text.find(']'), equals = text.find('=');
            step.key = text.substr(1, equals - 1);
            step.value = text.substr(equals + 1, close - equals - 1);
            text.remove_prefix(close + 1);
        }
        path.steps.push_back(std::move(step));
    }
    if (!text.empty())
        path.attribute = text.substr(1);
    return path;
}

/** Those that a path names by a file are told apart by the text of a child, others by an attribute, which may
 * be one of a child. */
bool byChild(const Step& step) {
    return step.value.starts_with('/');
}

std::string keyOf(xmlNode* element, const Step& step) {
    if (byChild(step))
        return xml::text(xml::child(element, step.key.c_str()));
    auto at = step.key.find('@');
    if (at == std::string::npos)
        return xml::attribute(element, step.key.c_str());
    return xml::attribute(xml::child(element, step.key.substr(0, at).c_str()), step.key.c_str() + at + 1);
}

bool matches(xmlNode* element, const Step& step) {
    if (xml::name(element) != step.name)
        return false;
    return step.key.empty() || keyOf(element, step) == step.value;
}

xmlNode* find(xmlNode* parent, const Step& step) {
    for (auto* element : xml::children(parent)) {
        if (matches(element, step) && (!element->ns || isOurs(element)))
            return element;
    }
    return nullptr;
}

/** A new child is in the namespace of its parent. */
xmlNode* add(xmlNode* parent, const std::string& name) {
    auto* element = xml::addChild(parent, name.c_str());
    xmlSetNs(element, parent->ns);
    return element;
}

xmlNode* findOrAdd(xmlNode* parent, const Step& step) {
    if (auto* found = find(parent, step))
        return found;
    auto* element = add(parent, step.name);
    if (byChild(step))
        xml::setText(add(element, step.key), step.value);
    else if (!step.key.empty())
        xml::setAttribute(element, step.key.c_str(), step.value);
    return element;
}

xmlNode* extensionOf(xmlNode* domain, bool make) {
    for (auto* element : xml::children(domain)) {
        if (isOurs(element))
            return element;
    }
    if (!make)
        return nullptr;
    auto* element = xml::addChild(domain, "container");
    auto* uri = xml::chars(extensionNamespace);
    xmlSetNs(element, xmlNewNs(element, uri, xml::chars("vz")));
    return element;
}

/** Whether an element says nothing any more: only what tells it from its like is left in it. */
bool isEmpty(xmlNode* element, const Step& step) {
    for (auto* child : xml::children(element)) {
        if (!byChild(step) || xml::name(child) != step.key)
            return false;
    }
    for (auto* at = element->properties; at; at = at->next) {
        if (step.key != reinterpret_cast<const char*>(at->name) && !xmlStrEqual(at->name, BAD_CAST "unit"))
            return false;
    }
    return byChild(step) || trim(xml::text(element)).empty();
}

void set(xmlNode* from, const Path& path, const std::string& value) {
    auto* element = from;
    for (const auto& step : path.steps)
        element = findOrAdd(element, step);
    if (path.attribute.empty())
        xml::setText(element, value);
    else
        xml::setAttribute(element, path.attribute.c_str(), value);
}

void unset(xmlNode* from, const Path& path) {
    std::vector<xmlNode*> elements;
    for (const auto& step : path.steps) {
        auto* element = find(elements.empty() ? from : elements.back(), step);
        if (!element)
            return;
        elements.push_back(element);
    }
    if (path.attribute.empty())
        xml::setText(elements.back(), "");
    else
        xmlUnsetProp(elements.back(), xml::chars(path.attribute.c_str()));
    for (size_t i = elements.size(); i-- > 0 && isEmpty(elements[i], path.steps[i]);)
        xml::remove(elements[i]);
}

void apply(xmlNode* domain, const Edit& edit) {
    auto path = parsePath(edit.path);
    auto* from = path.extension ? extensionOf(domain, edit.value.has_value()) : domain;
    if (!from)
        return;
    if (edit.value)
        set(from, path, *edit.value);
    else
        unset(from, path);
    if (path.extension && xml::children(from).empty())
        xml::remove(from);
}

} // namespace

Result<Config> Config::edited(const abi::DomainXml& parser, const Edits& edits) const {
    VZ_TRY(auto doc, xml::parse(data_->xml));
    for (const auto& edit : edits)
        apply(xml::root(doc), edit);
    return parse(parser, xml::format(doc.get()), {.validate = false, .live = data_->live});
}

Result<Config> Config::withName(const abi::DomainXml& parser, const std::string& name) const {
    VZ_CHECK(checkName(name));
    return edited(parser, {{"name", name}});
}

} // namespace vz::domain
