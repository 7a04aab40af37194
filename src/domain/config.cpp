// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/config.hpp"

#include "domain/config_data.hpp"
#include "domain/element_rules.hpp"
#include "domain/prepare.hpp"
#include "domain/reader.hpp"
#include "domain/validate.hpp"

#include <libvirt/libvirt.h>

namespace vz::domain {

Result<Config> Config::parse(const abi::DomainXml& parser, const std::string& xml, ParseOptions options) {
    VZ_TRY(auto prepared, prepare(xml, options));
    VZ_TRY(auto canonical, parser.canonical(prepared.xml, options.validate, options.live));
    VZ_TRY(auto doc, xml::parse(canonical.xml));
    auto* domain = xml::root(doc);
    VZ_TRY(auto definition, readDefinition(domain, prepared.virtType));
    definition.extension = prepared.settings;
    for (auto& interface : definition.interfaces)
        interface.antiSpoofing = definition.extension.network.antiSpoofing;
    if (definition.guestType == GuestType::Container) {
        VZ_CHECK(checkElements(domain));
        VZ_CHECK(checkValues(domain, definition));
    }
    auto data = std::make_shared<Data>();
    VZ_TRY(data->xml, restore(std::move(canonical.xml), prepared.virtType, prepared.extension));
    if (!options.live && data->xml.size() > domainXmlLimit - domainXmlReserve)
        return fail(ErrorCode::XmlError, "the domain XML has ", data->xml.size(),
                    " bytes when all defaults are filled in, more than the limit of ",
                    domainXmlLimit - domainXmlReserve);
    data->definition = std::move(definition);
    data->def = std::move(canonical.def);
    data->extension = std::move(prepared.extension);
    data->live = options.live;
    return Config(std::move(data));
}

const Definition& Config::definition() const {
    return data_->definition;
}

const abi::DomainDef& Config::def() const {
    return *data_->def;
}

const std::string& Config::stateXml() const {
    return data_->xml;
}

Result<std::string> Config::toXml(const abi::DomainXml& parser, unsigned int flags) const {
    bool secure = flags & VIR_DOMAIN_XML_SECURE;
    if (secure && !data_->live)
        return data_->xml;
    VZ_TRY(auto canonical, parser.formatPublic(*data_->def, data_->live, secure));
    return restore(std::move(canonical), data_->definition.virtType, data_->extension);
}

} // namespace vz::domain
