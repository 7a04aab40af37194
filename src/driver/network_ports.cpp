// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/network_ports.hpp"

#include "base/xml.hpp"
#include "driver/self_connection.hpp"
#include "libvirt/driver_table.hpp"

#include <libvirt/virterror.h>

#include <cstdlib>

namespace vz::driver {

namespace {

using NetworkHandle = std::unique_ptr<std::remove_pointer_t<virNetworkPtr>, abi::Unref>;
using PortHandle = std::unique_ptr<std::remove_pointer_t<virNetworkPortPtr>, abi::Unref>;

Result<NetworkHandle> networkNamed(virConnectPtr conn, const std::string& name) {
    NetworkHandle network(::virNetworkLookupByName(conn, name.c_str()));
    if (!network)
        return abi::lastError(cat("the network '", name, "' cannot be found"));
    return network;
}

/** True for errors that say that what was looked for is not there. */
bool isMissing(const Error& error) {
    auto code = static_cast<int>(error.code());
    return code == VIR_ERR_NO_NETWORK || code == VIR_ERR_NO_NETWORK_PORT || code == VIR_ERR_NO_SUPPORT;
}

void addRate(xmlNode* bandwidth, const char* name, const std::optional<domain::NetRate>& rate) {
    if (!rate)
        return;
    auto* element = xml::addChild(bandwidth, name);
    const std::pair<const char*, uint64_t> values[] = {
        {"average", rate->average}, {"peak", rate->peak}, {"burst", rate->burst}, {"floor", rate->floor}};
    for (auto [attribute, value] : values) {
        if (value)
            xml::setAttribute(element, attribute, cat(value));
    }
}

void addSettings(xmlNode* root, const domain::Interface& interface) {
    if (interface.virtualPort) {
        auto* port = xml::addChild(root, "virtualport");
        if (!interface.virtualPort->type.empty())
            xml::setAttribute(port, "type", interface.virtualPort->type);
        auto* parameters = xml::addChild(port, "parameters");
        for (const auto& [name, value] : interface.virtualPort->parameters)
            xml::setAttribute(parameters, name.c_str(), value);
    }
    if (interface.bandwidth.inbound || interface.bandwidth.outbound) {
        auto* bandwidth = xml::addChild(root, "bandwidth");
        addRate(bandwidth, "inbound", interface.bandwidth.inbound);
        addRate(bandwidth, "outbound", interface.bandwidth.outbound);
    }
    if (interface.vlan) {
        auto* vlan = xml::addChild(root, "vlan");
        if (interface.vlan->trunk)
            xml::setAttribute(vlan, "trunk", "yes");
        for (const auto& tag : interface.vlan->tags) {
            auto* element = xml::addChild(vlan, "tag");
            xml::setAttribute(element, "id", cat(tag.id));
            if (!tag.nativeMode.empty())
                xml::setAttribute(element, "nativeMode", tag.nativeMode);
        }
    }
    if (interface.isolated)
        xml::setAttribute(xml::addChild(root, "port"), "isolated", "yes");
}

/** With what it is plugged into if that is known: of the port that the interface has already. */
Result<std::string> portXml(const InterfaceOwner& owner, const domain::Interface& interface,
                            const std::string& id) {
    VZ_TRY(auto doc, xml::parse("<networkport/>"));
    auto* root = xml::root(doc);
    xml::setText(xml::addChild(root, "uuid"), id);
    auto* who = xml::addChild(root, "owner");
    xml::setText(xml::addChild(who, "name"), owner.name);
    xml::setText(xml::addChild(who, "uuid"), owner.uuid);
    if (!interface.portGroup.empty())
        xml::setText(xml::addChild(root, "group"), interface.portGroup);
    xml::setAttribute(xml::addChild(root, "mac"), "address", interface.mac);
    addSettings(root, interface);
    if (interface.portId == id) {
        auto* plug = xml::addChild(root, "plug");
        bool direct = interface.plug == "direct";
        xml::setAttribute(plug, "type", direct ? "direct" : "bridge");
        xml::setAttribute(plug, direct ? "dev" : "bridge", direct ? interface.device : interface.bridge);
        if (direct)
            xml::setAttribute(plug, "mode", interface.mode);
    }
    return xml::format(doc.get());
}

/** <actual> as libvirt keeps it in the state of a domain, from the port that the network has made. */
Result<std::string> actualOf(const std::string& text, const std::string& network) {
    VZ_TRY(auto port, xml::parse(text));
    VZ_TRY(auto doc, xml::parse("<actual/>"));
    auto* root = xml::root(doc);
    auto* plug = xml::child(xml::root(port), "plug");
    auto type = xml::attribute(plug, "type");
    if (type != "network" && type != "bridge" && type != "direct")
        return fail(ErrorCode::ConfigUnsupported, "the network '", network, "' plugs its guests in by '",
                    type, "', which is not possible for containers: use a network with a bridge, or one ",
                    "with forward mode bridge, vepa, private or passthrough");
    xml::setAttribute(root, "type", type);
    auto* source = xml::addChild(root, "source");
    for (const char* name : {"bridge", "macTableManager", "dev", "mode"}) {
        if (xml::hasAttribute(plug, name))
            xml::setAttribute(source, name, xml::attribute(plug, name));
    }
    for (const char* name : {"virtualport", "vlan", "bandwidth", "port"}) {
        if (auto* element = xml::child(xml::root(port), name))
            xmlAddChild(root, xmlDocCopyNode(element, doc.get(), 1));
    }
    return xml::format(doc.get(), root);
}

Result<PortHandle> createPort(virNetworkPtr network, const std::string& text, unsigned int flags) {
    PortHandle port(::virNetworkPortCreateXML(network, text.c_str(), flags));
    if (!port)
        return abi::lastError("the network gives no port");
    return port;
}

Result<void> deletePort(const std::string& network, const std::string& id) {
    VZ_TRY(auto connection, connectSelf());
    VZ_TRY(auto found, networkNamed(connection.get(), network));
    PortHandle port(::virNetworkPortLookupByUUIDString(found.get(), id.c_str()));
    if (!port || ::virNetworkPortDelete(port.get(), 0) < 0)
        return abi::lastError(cat("the port ", id, " of the network '", network, "' cannot be removed"));
    return {};
}

} // namespace

Result<domain::Config::NetworkPort> takePort(const InterfaceOwner& owner, const domain::Interface& interface,
                                             const std::string& id) {
    VZ_TRY(auto connection, connectSelf());
    VZ_TRY(auto network, networkNamed(connection.get(), interface.network));
    VZ_TRY(auto text, portXml(owner, interface, id));
    VZ_TRY(auto port, createPort(network.get(), text, 0));
    VZ_TRY(auto made, abi::takeText(::virNetworkPortGetXMLDesc(port.get(), 0),
                                    "the network does not describe its port"));
    auto actual = actualOf(made, interface.network);
    if (!actual) {
        (void)releasePort(interface.network, id);
        return std::move(actual).takeError();
    }
    return domain::Config::NetworkPort{id, *std::move(actual)};
}

Result<void> reclaimPort(const InterfaceOwner& owner, const domain::Interface& interface) {
    abi::AsDaemon asDaemon; // no client asks
    VZ_TRY(auto connection, connectSelf());
    VZ_TRY(auto network, networkNamed(connection.get(), interface.network));
    PortHandle known(::virNetworkPortLookupByUUIDString(network.get(), interface.portId.c_str()));
    if (known)
        return {};
    VZ_TRY(auto text, portXml(owner, interface, interface.portId));
    VZ_CHECK(createPort(network.get(), text, VIR_NETWORK_PORT_CREATE_RECLAIM));
    return {};
}

Result<std::vector<ct::IpAddress>> leasesOf(const std::string& name, const std::string& mac) {
    VZ_TRY(auto connection, connectSelf());
    VZ_TRY(auto network, networkNamed(connection.get(), name));
    virNetworkDHCPLeasePtr* leases = nullptr;
    int count = ::virNetworkGetDHCPLeases(network.get(), mac.c_str(), &leases, 0);
    if (count < 0)
        return abi::lastError(cat("the leases of the network '", name, "' cannot be read"));
    std::vector<ct::IpAddress> addresses;
    for (int i = 0; i < count; ++i) {
        addresses.push_back({.address = leases[i]->ipaddr, .prefix = leases[i]->prefix});
        ::virNetworkDHCPLeaseFree(leases[i]);
    }
    std::free(leases);
    return addresses;
}

Result<void> releasePort(const std::string& network, const std::string& id) {
    abi::AsDaemon asDaemon; // a container that ended does not keep it because of who may do what
    auto deleted = deletePort(network, id);
    if (!deleted && isMissing(deleted.error()))
        return {};
    return deleted;
}

bool canReleasePorts() {
    abi::AsDaemon asDaemon;
    auto connection = connectSelf();
    return connection && ::virConnectNumOfNetworks(connection->get()) >= 0;
}

} // namespace vz::driver
