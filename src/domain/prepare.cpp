// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/prepare.hpp"

#include "domain/element_rules.hpp"
#include "domain/extension.hpp"
#include "domain/validate.hpp"

namespace vz::domain {

namespace {

Result<std::string> takeType(xmlNode* domain) {
    auto type = xml::attribute(domain, "type");
    if (type.empty())
        return fail(ErrorCode::XmlError, "<domain> has no type: use type='vz'");
    if (type != "vz" && type != "parallels")
        return fail(ErrorCode::ConfigUnsupported, "<domain type='", type,
                    "'> is not supported on this connection: use vz or parallels");
    xml::setAttribute(domain, "type", "vz");
    return type;
}

/** Takes our element out. Others of foreign namespaces would be dropped by libvirt without a word. */
Result<void> takeExtension(xmlNode* domain, Prepared& prepared) {
    for (auto* element : xml::children(domain)) {
        if (!element->ns)
            continue;
        auto uri = reinterpret_cast<const char*>(element->ns->href);
        if (!isOurs(element) || xml::name(element) != "container")
            return fail(ErrorCode::ConfigUnsupported, "the element <", xml::name(element),
                        "> of the namespace ", uri, " is not supported: only <container> of ",
                        extensionNamespace, " is");
        if (!prepared.extension.empty())
            return fail(ErrorCode::XmlError, "<vz:container> is given twice");
        VZ_CHECK(checkExtension(element));
        prepared.settings = readExtension(element);
        prepared.extension = printExtension(element);
        xml::remove(element);
    }
    return {};
}

/**
 * libvirt 9.0.0 prints the value of <initenv> without escaping it: it gets it escaped already, so that its
 * text is right.
 */
void escapeInitEnv(xmlNode* os) {
    for (auto* variable : xml::children(os, "initenv")) {
        std::string escaped;
        for (char c : xml::escape(xml::text(variable)))
            escaped += c == '\r' ? std::string("&#13;") : std::string(1, c);
        xml::setText(variable, escaped);
    }
}

/** Without driver callbacks, libvirt's parser has no defaults for these. */
void addDefaults(xmlNode* domain, bool container) {
    auto* devices = xml::child(domain, "devices");
    if (xml::child(devices, "graphics") && !xml::child(devices, "video"))
        xml::setAttribute(xml::addChild(xml::addChild(devices, "video"), "model"), "type", "vga");
    if (!container)
        return;
    auto* os = xml::child(domain, "os");
    if (trim(xml::text(xml::child(os, "init"))).empty()) {
        if (auto* init = xml::child(os, "init"))
            xml::remove(init);
        xml::setText(xml::addChild(os, "init"), "/sbin/init");
    }
    for (auto* console : xml::children(devices, "console")) {
        auto* target = xml::child(console, "target");
        if (!target)
            target = xml::addChild(console, "target");
        if (!xml::hasAttribute(target, "type"))
            xml::setAttribute(target, "type", "lxc");
    }
}

/** What libvirt's parser would stumble over or drops anyway. */
void removeIdle(xmlNode* domain) {
    for (auto* boot : xml::children(xml::child(domain, "os"), "boot"))
        xml::remove(boot);
    // libvirt 9.0.0 takes a capabilities hostdev for a USB one and refuses it beside this controller.
    auto* devices = xml::child(domain, "devices");
    if (!xml::child(devices, "hostdev"))
        return;
    for (auto* controller : xml::children(devices, "controller")) {
        if (xml::attribute(controller, "type") == "usb" && xml::attribute(controller, "model") == "none")
            xml::remove(controller);
    }
}

/** The one live part that libvirt's inactive parser keeps. */
void removeLiveParts(xmlNode* domain) {
    for (auto* device : xml::children(xml::child(domain, "devices"))) {
        if (auto* guest = xml::child(device, "guest"))
            xmlUnsetProp(guest, xml::chars("actual"));
    }
}

} // namespace

Result<xml::Doc> parseLimited(const std::string& text, std::string_view what) {
    if (text.size() > domainXmlLimit)
        return fail(ErrorCode::XmlError, what, " has ", text.size(), " bytes, more than the limit of ",
                    domainXmlLimit);
    VZ_TRY(auto doc, xml::parse(text));
    if (doc->intSubset || doc->extSubset)
        return fail(ErrorCode::XmlError, what, " has a document type (<!DOCTYPE>), which is not accepted");
    return doc;
}

Result<Prepared> prepare(const std::string& text, Config::ParseOptions options) {
    VZ_TRY(auto doc, parseLimited(text, "the domain XML"));
    auto* domain = xml::root(doc);
    if (xml::name(domain) != "domain" || domain->ns)
        return fail(ErrorCode::XmlError, "the domain XML starts with <", xml::name(domain),
                    "> instead of <domain>");
    Prepared prepared;
    VZ_TRY(prepared.virtType, takeType(domain));
    VZ_CHECK(takeExtension(domain, prepared));
    VZ_CHECK(checkName(xml::text(xml::child(domain, "name"))));
    VZ_CHECK(checkCounts(domain));
    const auto osType = std::string(trim(xml::text(xml::path(domain, {"os", "type"}))));
    bool container = osType == "exe";
    // Without any type, libvirt's parser says what is missing.
    if (!osType.empty() && !container && osType != "hvm")
        return fail(ErrorCode::ConfigUnsupported, "<os><type>", osType,
                    "</type> is not supported: use exe for a container, hvm for a virtual machine");
    if (!prepared.extension.empty() && !container)
        return fail(ErrorCode::ConfigUnsupported,
                    "<vz:container> is not supported for a virtual machine (<os><type>", osType,
                    "): remove it");
    if (container) {
        VZ_CHECK(checkRaw(domain));
        VZ_CHECK(checkElements(domain));
        escapeInitEnv(xml::child(domain, "os"));
        removeIdle(domain);
    }
    addDefaults(domain, container);
    if (!options.live)
        removeLiveParts(domain);
    prepared.xml = xml::format(doc.get());
    return prepared;
}

Result<std::string> restore(std::string canonical, const std::string& virtType,
                            const std::string& extension) {
    constexpr std::string_view start = "<domain type='vz'", end = "</domain>";
    auto last = canonical.rfind(end);
    if (!canonical.starts_with(start) || last == canonical.npos)
        return fail(ErrorCode::InternalError, "libvirt printed a domain in a form that is not known");
    canonical.insert(last, extension);
    canonical.replace(0, start.size(), cat("<domain type='", virtType, "'"));
    return canonical;
}

} // namespace vz::domain
