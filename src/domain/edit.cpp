// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/xml.hpp"
#include "domain/config_data.hpp"
#include "domain/validate.hpp"

namespace vz::domain {

namespace {

void setTop(xmlNode* domain, const char* element, const std::string& value) {
    auto* node = xml::child(domain, element);
    xml::setText(node ? node : xml::addChild(domain, element), value);
}

} // namespace

Result<Config> Config::withName(const abi::DomainXml& parser, const std::string& name) const {
    VZ_CHECK(checkName(name));
    VZ_TRY(auto doc, xml::parse(data_->xml));
    setTop(xml::root(doc), "name", name);
    return parse(parser, xml::format(doc.get()), {.validate = false, .live = data_->live});
}

Result<Config> Config::withEndAction(const abi::DomainXml& parser, const char* element,
                                     const std::string& action) const {
    VZ_TRY(auto doc, xml::parse(data_->xml));
    setTop(xml::root(doc), element, action);
    return parse(parser, xml::format(doc.get()), {.validate = false, .live = data_->live});
}

} // namespace vz::domain
