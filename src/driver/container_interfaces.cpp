// SPDX-License-Identifier: LGPL-2.1-or-later
// Interfaces of a container that runs.
#include "base/log.hpp"
#include "driver/container_domain.hpp"
#include "driver/driver.hpp"
#include "driver/interfaces.hpp"

#include <algorithm>
#include <fcntl.h>

namespace vz::driver {

InterfacePlace ContainerDomain::interfacePlace(int netns) const {
    return {.owner = {name(), uuid_},
            .runDir = runDir(),
            .supervisor = driver_.settings().supervisor,
            .netns = netns};
}

std::shared_ptr<UniqueFd> ContainerDomain::keptNetwork(const std::vector<domain::UsedInterface>& used,
                                                       int netns) {
    bool lent = std::any_of(used.begin(), used.end(),
                            [](const auto& each) { return each.link.kind == ct::LinkKind::Moved; });
    return lent ? std::make_shared<UniqueFd>(::fcntl(netns, F_DUPFD_CLOEXEC, 0)) : nullptr;
}

std::vector<domain::UsedInterface> ContainerDomain::interfaces() const {
    std::lock_guard lock(lock_);
    return live_ ? live_->facts.interfaces : std::vector<domain::UsedInterface>();
}

Result<void> ContainerDomain::withPlugger(domain::Config& config, LiveParts& parts,
                                          const std::function<Result<void>(InterfacePlugger&)>& work) {
    VZ_TRY(auto container, running());
    VZ_TRY(auto netns, container->networkNamespace());
    auto save = [&]() -> Result<void> {
        VZ_CHECK(setLiveParts(parts));
        {
            std::lock_guard lock(lock_);
            if (live_)
                live_->netns = keptNetwork(parts.facts.interfaces, netns.get());
        }
        return saveRuntime();
    };
    InterfacePlugger plugger(driver_.parser(), interfacePlace(netns.get()), config, parts.facts.interfaces,
                             save);
    auto done = work(plugger);
    auto saved = save(); // also what is left after a failure
    return done ? saved : done;
}

/** The rules of interfaces, where those of the configs differ. */
Result<void> ContainerDomain::changeInterfaces(const domain::Config& from, domain::Config to) {
    const auto was = from.definition(), now = to.definition();
    if (std::equal(was.interfaces.begin(), was.interfaces.end(), now.interfaces.begin(), now.interfaces.end(),
                   sameRules))
        return {};
    VZ_TRY(auto parts, liveParts());
    VZ_CHECK(withPlugger(to, parts, [&](auto& plugger) { return plugger.changeAll(was); }));
    return setLiveParts(std::move(parts));
}

namespace {

/** Whether a device of the definition has this name as an interface. */
bool isWanted(const domain::Definition& definition, const std::string& name) {
    return std::any_of(definition.interfaces.begin(), definition.interfaces.end(),
                       [&](const auto& interface) { return interface.mac == name; }) ||
           std::any_of(definition.hostDevices.begin(), definition.hostDevices.end(),
                       [&](const auto& device) { return device.path == name; });
}

/** Back into its bridge, and known to its network, which may both have been made anew; and held to its
 * settings: a change of them may have been cut off. */
Result<void> reconnect(const InterfacePlace& place, const domain::Interface& interface,
                       const domain::UsedInterface& used) {
    if (!used.portId.empty())
        VZ_CHECK(reclaimPort(place.owner, interface));
    if (interface.plug == "bridge" && used.switchBridge.empty()) {
        VZ_TRY(auto master, ct::masterOf(used.link.hostName));
        if (master.empty())
            VZ_CHECK(ct::setBridge(used.link, interface.bridge));
    }
    VZ_CHECK(restoreRules(place.owner, interface, used));
    return connectRouted(interface, used, place.netns);
}

} // namespace

Result<void> ContainerDomain::settleInterfaces() {
    VZ_TRY(auto container, running());
    auto config = current();
    VZ_TRY(auto parts, liveParts());
    if (parts.facts.interfaces.empty() && config.definition().interfaces.empty())
        return {};
    VZ_TRY(auto netns, container->networkNamespace());
    const auto all = parts.facts.interfaces;
    for (const auto& used : all) {
        if (isWanted(config.definition(), used.name))
            continue;
        if (auto done = withPlugger(config, parts, [&](auto& plugger) { return plugger.unplug(used.name); });
            !done)
            log::warning("an interface is left over: ", done.error().message());
    }
    std::vector<std::string> lost;
    const auto definition = config.definition();
    for (const auto& interface : definition.interfaces) {
        const auto* used = domain::interfaceNamed(parts.facts.interfaces, interface.mac);
        auto there = used ? ct::interfaceExists(netns.get(), used->link) : Result<bool>(false);
        if (there && !*there) {
            VZ_CHECK(
                withPlugger(config, parts, [&](auto& plugger) { return plugger.unplug(interface.mac); }));
            VZ_TRY(auto device, config.findDeviceByAlias(interface.alias));
            VZ_TRY(config, config.withoutDevice(driver_.parser(), device));
            lost.push_back(interface.alias);
        } else if (used) {
            if (auto done = reconnect(interfacePlace(netns.get()), interface, *used); !done)
                log::warning("the interface ", interface.mac, " of '", name(),
                             "' is not connected: ", done.error().message());
        }
    }
    VZ_CHECK(setLiveParts(std::move(parts)));
    auto saved = setLive(std::move(config), true);
    for (const auto& alias : lost)
        driver_.events().deviceRemoved(subject(), alias);
    return saved;
}

} // namespace vz::driver
