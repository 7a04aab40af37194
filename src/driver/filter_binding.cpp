// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/filter_binding.hpp"

#include "base/xml.hpp"
#include "driver/self_connection.hpp"
#include "libvirt/driver_table.hpp"

#include <libvirt/virterror.h>

namespace vz::driver {

namespace {

using BindingHandle = std::unique_ptr<std::remove_pointer_t<virNWFilterBindingPtr>, abi::Unref>;

Result<std::string> bindingXml(const InterfaceOwner& owner, const domain::Interface& interface,
                               const std::string& hostName) {
    VZ_TRY(auto doc, xml::parse("<filterbinding/>"));
    auto* root = xml::root(doc);
    auto* who = xml::addChild(root, "owner");
    xml::setText(xml::addChild(who, "name"), owner.name);
    xml::setText(xml::addChild(who, "uuid"), owner.uuid);
    xml::setAttribute(xml::addChild(root, "portdev"), "name", hostName);
    xml::setAttribute(xml::addChild(root, "mac"), "address", interface.mac);
    auto* filter = xml::addChild(root, "filterref");
    xml::setAttribute(filter, "filter", interface.filter->name);
    for (const auto& [name, value] : interface.filter->parameters) {
        auto* parameter = xml::addChild(filter, "parameter");
        xml::setAttribute(parameter, "name", name);
        xml::setAttribute(parameter, "value", value);
    }
    return xml::format(doc.get());
}

/** Null if there is none. */
Result<BindingHandle> findBinding(virConnectPtr connection, const std::string& hostName) {
    BindingHandle binding(::virNWFilterBindingLookupByPortDev(connection, hostName.c_str()));
    auto* error = binding ? nullptr : ::virGetLastError();
    if (error && error->code != VIR_ERR_NO_NWFILTER_BINDING)
        return abi::lastError("the nwfilter driver cannot be asked");
    return binding;
}

Result<std::string> ownerOf(virNWFilterBindingPtr binding) {
    VZ_TRY(auto text, abi::takeText(::virNWFilterBindingGetXMLDesc(binding, 0),
                                    "the network filter of an interface is not described"));
    VZ_TRY(auto doc, xml::parse(text));
    return xml::text(xml::child(xml::child(xml::root(doc), "owner"), "uuid"));
}

} // namespace

Result<void> bindFilter(const InterfaceOwner& owner, const domain::Interface& interface,
                        const std::string& hostName) {
    abi::AsDaemon asDaemon;
    VZ_TRY(auto text, bindingXml(owner, interface, hostName));
    VZ_TRY(auto connection, connectSelf());
    auto bind = [&] {
        return BindingHandle(::virNWFilterBindingCreateXML(connection.get(), text.c_str(), 0));
    };
    auto binding = bind();
    if (!binding) {
        // Perhaps that of an earlier interface of the same name.
        auto error = abi::lastError("the network filter cannot be put on the interface");
        VZ_TRY(auto old, findBinding(connection.get(), hostName));
        if (old) {
            VZ_CHECK(unbindFilter(hostName));
            binding = bind();
        }
        if (!binding)
            return std::move(error).within(
                cat("<filterref filter='", interface.filter->name, "'> of ", interface.mac));
    }
    return {};
}

Result<bool> hasFilter(const std::string& hostName) {
    abi::AsDaemon asDaemon;
    VZ_TRY(auto connection, connectSelf());
    VZ_TRY(auto binding, findBinding(connection.get(), hostName));
    return static_cast<bool>(binding);
}

Result<void> unbindFilter(const std::string& hostName, const std::string& ownerUuid) {
    abi::AsDaemon asDaemon;
    VZ_TRY(auto connection, connectSelf());
    VZ_TRY(auto binding, findBinding(connection.get(), hostName));
    if (binding && !ownerUuid.empty()) {
        VZ_TRY(auto owner, ownerOf(binding.get()));
        if (owner != ownerUuid)
            return {};
    }
    if (binding && ::virNWFilterBindingDelete(binding.get()) < 0)
        return abi::lastError(cat("the network filter cannot be taken off the interface ", hostName));
    return {};
}

} // namespace vz::driver
