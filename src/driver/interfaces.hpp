// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "domain/config.hpp"
#include "driver/interface_rules.hpp"
#include "driver/network_ports.hpp"

#include <functional>
#include <optional>
#include <string>
#include <vector>

/** Network interfaces on their way into a container and out of it. */
namespace vz::driver {

/** Which container, and how to reach its network. */
struct InterfacePlace {
    InterfaceOwner owner;
    std::string runDir;
    std::string supervisor; ///< path of the program
    int netns = -1;         ///< a handle, or -1 if the container is gone
};

/**
 * Plugs interfaces into one container. What it has is written down before anything is made, so that whoever
 * comes after a crash finds all of it. The caller holds the domain's modify job.
 */
class InterfacePlugger {
public:
    using Save = std::function<Result<void>()>;

    /** @p config, a live one, learns what networks tell; @p used what was made. @p save writes @p used down.
     */
    InterfacePlugger(const abi::DomainXml& parser, InterfacePlace place, domain::Config& config,
                     std::vector<domain::UsedInterface>& used, Save save)
        : parser_(parser), place_(std::move(place)), config_(config), used_(used), save_(std::move(save)) {}

    /** All interfaces of the config, <hostdev> ones last. After an error some are plugged: see unplug(). */
    Result<void> plugAll();
    /** One <interface>, by its place in the config; on failure nothing of it remains. */
    Result<void> plug(size_t index);
    /** One <hostdev type='net'>. */
    Result<void> plugHostDevice(size_t index);
    /** Takes one out by its name. If part of that fails it stays written down, and can be tried again. */
    Result<void> unplug(const std::string& name);
    /**
     * Makes of the interface that is @p was what interface @p index of the config says. OperationUnsupported
     * for what cannot change while it is plugged in. On failure all is as before.
     */
    Result<void> change(const domain::Interface& was, size_t index);
    /** The same for the rules (interface_rules.hpp) of all interfaces of a config that has the same ones. */
    Result<void> changeAll(const domain::Definition& was);

private:
    Result<void> make(domain::UsedInterface& entry, size_t index);
    static std::string newPortOf(const domain::Interface& was);
    Result<void> takeNewPort(const domain::Interface& was, size_t index);
    void changePort(const domain::Interface& was);
    domain::UsedInterface& add(domain::UsedInterface entry);
    domain::UsedInterface* find(const std::string& name);
    Result<void> failed(const std::string& name, Error error);
    const domain::Interface& wanted(size_t index) const { return config_.definition().interfaces.at(index); }

    const abi::DomainXml& parser_;
    const InterfacePlace place_;
    domain::Config& config_;
    std::vector<domain::UsedInterface>& used_;
    const Save save_;
};

/** Removes all of it, whatever is there: the container may be gone, and parts may never have been made. All
 * steps are tried; the first error is returned. */
Result<void> unplugInterface(const InterfacePlace& place, const domain::UsedInterface& used);
/** The same for all; failures are logged. Lets go of the network namespace, if it was kept. */
void unplugInterfaces(const InterfacePlace& place, const std::vector<domain::UsedInterface>& used);

/** What ct is asked for; ConfigUnsupported for types that containers cannot have. */
Result<ct::NetInterface> netInterfaceOf(const domain::Interface& interface);

} // namespace vz::driver
