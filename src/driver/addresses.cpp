// SPDX-License-Identifier: LGPL-2.1-or-later
// What addresses a container has: by its own kernel, or by the leases of libvirt's networks.
#include "ct/network.hpp"
#include "driver/client_memory.hpp"
#include "driver/methods.hpp"
#include "driver/network_ports.hpp"

#include <libvirt/libvirt.h>

namespace vz::driver {

namespace {

/** What the kernel of the container knows is what an agent would tell, and more than the host's ARP table
 * has. */
Result<std::vector<ct::InterfaceAddresses>> addressesInside(const DomainCall& call) {
    VZ_TRY(auto container, call.domain.running());
    VZ_TRY(auto netns, container->networkNamespace());
    return ct::interfaceAddresses(netns.get());
}

Result<std::vector<ct::InterfaceAddresses>> addressesLeased(const DomainCall& call) {
    VZ_CHECK(call.domain.running());
    std::vector<ct::InterfaceAddresses> found;
    for (const auto& used : call.domain.interfaces()) {
        if (used.network.empty())
            continue;
        VZ_TRY(auto addresses, leasesOf(used.network, used.link.mac));
        // As QEMU's driver calls them: by the name on the host.
        const auto& name = used.link.hostName.empty() ? used.link.guestName : used.link.hostName;
        if (!addresses.empty())
            found.push_back({name, used.link.mac, std::move(addresses)});
    }
    return found;
}

virDomainInterfacePtr publicForm(const ct::InterfaceAddresses& from) {
    auto* interface = allocate<virDomainInterface>(1);
    interface->name = copyText(from.name);
    interface->hwaddr = from.mac.empty() ? nullptr : copyText(from.mac);
    interface->addrs = allocate<virDomainIPAddress>(from.addresses.size());
    for (const auto& address : from.addresses) {
        auto& out = interface->addrs[interface->naddrs++];
        bool v6 = address.address.find(':') != std::string::npos;
        out.type = v6 ? VIR_IP_ADDR_TYPE_IPV6 : VIR_IP_ADDR_TYPE_IPV4;
        out.addr = copyText(address.address);
        out.prefix = address.prefix;
    }
    return interface;
}

} // namespace

Result<int> interfaceAddresses(const DomainCall& call, virDomainInterfacePtr** interfaces,
                               unsigned int source, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainInterfaceAddresses"));
    if (source > VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP)
        return fail(ErrorCode::ArgumentUnsupported,
                    "addresses of containers are known from 'lease', 'agent' ", "and 'arp'");
    VZ_TRY(auto found, source == VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE ? addressesLeased(call)
                                                                          : addressesInside(call));
    auto** list = allocate<virDomainInterfacePtr>(found.size() + 1);
    for (size_t i = 0; i < found.size(); ++i)
        list[i] = publicForm(found[i]);
    *interfaces = list;
    return static_cast<int>(found.size());
}

} // namespace vz::driver
