// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/interfaces.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "base/process.hpp"
#include "base/rollback.hpp"
#include "driver/open_vswitch.hpp"
#include "libvirt/objects.hpp"

#include <algorithm>
#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>

namespace vz::driver {

using domain::UsedInterface;

namespace {

/**
 * Where the network namespace of a container that has a lent interface is kept beside its processes and this
 * daemon: when all are killed, the kernel would give the interface another name, or remove a virtual one.
 */
std::string keptNamespace(const std::string& runDir) {
    return runDir + "/netns";
}

/** By a program of its own: AppArmor's rules for libvirtd forbid that it mounts anything. */
Result<void> askSupervisor(const InterfacePlace& place, const char* what) {
    process::Command command{.argv = {place.supervisor, what, keptNamespace(place.runDir)}};
    if (place.netns >= 0)
        command.fds = {{3, place.netns}};
    VZ_TRY(auto done, process::run(std::move(command)));
    if (done.status != 0)
        return fail(ErrorCode::OperationFailed, trim(done.errors));
    return {};
}

void keepNamespace(const InterfacePlace& place) {
    // It is for the one case that all are killed at once: no reason to refuse the interface.
    if (auto kept = askSupervisor(place, "keep"); !kept)
        log::warning("the network namespace of '", place.owner.name,
                     "' is not kept: ", kept.error().message());
}

/** None if it is not kept. */
UniqueFd openKept(const std::string& runDir) {
    auto kept = file::open(keptNamespace(runDir), O_RDONLY);
    bool isNetwork = kept && ::ioctl(kept->get(), NS_GET_NSTYPE) == CLONE_NEWNET;
    return isNetwork ? *std::move(kept) : UniqueFd();
}

void dropNamespace(const InterfacePlace& place) {
    if (!file::exists(keptNamespace(place.runDir)))
        return;
    if (auto dropped = askSupervisor(place, "drop"); !dropped)
        log::warning("the network namespace of '", place.owner.name, "' stays: ", dropped.error().message());
}

Result<void> runScript(const std::string& path, const std::string& interface) {
    auto done = process::run({.argv = {path, interface}}, {}, std::chrono::seconds(30));
    if (!done)
        return std::move(done).takeError().within(cat("cannot run <script path='", path, "'>"));
    if (done->status != 0)
        return fail(ErrorCode::OperationFailed, "the script ", path, " ended with status ", done->status,
                    " for the interface ", interface, ": ", trim(done->errors));
    return {};
}

/** What is not changed while it is plugged in. */
Result<void> checkChange(const domain::Interface& was, const domain::Interface& now) {
    const char* what = nullptr;
    if (!now.guestDev.empty() && now.guestDev != was.guestDev)
        what = "<guest dev=>";
    else if (!now.targetDev.empty() && now.targetDev != was.targetDev)
        what = "<target dev=>";
    else if (now.script != was.script || now.downScript != was.downScript)
        what = "<script>";
    if (!what)
        return {};
    return fail(ErrorCode::OperationUnsupported, what, " of the interface ", was.mac,
                " cannot be changed while it is plugged in: detach it and attach it again");
}

bool sameSource(const domain::Interface& a, const domain::Interface& b) {
    return a.type == b.type && a.network == b.network && a.portGroup == b.portGroup && a.plug == b.plug &&
           a.bridge == b.bridge && a.device == b.device && a.mode == b.mode && a.vlan == b.vlan &&
           a.virtualPort == b.virtualPort;
}

/** From one bridge to another, or that of another network. */
Result<void> checkMove(const domain::Interface& was, const domain::Interface& now) {
    auto plain = [](const domain::Interface& interface) {
        return interface.plug == "bridge" && !interface.virtualPort && !interface.vlan;
    };
    if (plain(was) && plain(now))
        return {};
    return fail(ErrorCode::OperationUnsupported, "the interface ", was.mac,
                " can only be moved from one bridge to another while it is plugged in, not from type '",
                was.plug, "' to '", now.plug, "': detach it and attach it again");
}

/** A trunk carries its tags as they are; else there is one, which the guest does not see. */
std::vector<ct::PortVlan> portVlans(const domain::Vlan& vlan) {
    std::vector<ct::PortVlan> out;
    for (const auto& tag : vlan.tags)
        out.push_back({.id = tag.id,
                       .native = !vlan.trunk || !tag.nativeMode.empty(),
                       .untagged = !vlan.trunk || tag.nativeMode == "untagged"});
    return out;
}

} // namespace

Result<ct::NetInterface> netInterfaceOf(const domain::Interface& interface) {
    ct::NetInterface out{.hostName = interface.targetDev,
                         .guestName = interface.guestDev,
                         .mac = interface.mac,
                         .up = interface.linkUp,
                         .mtu = interface.mtu,
                         .addresses = interface.addresses,
                         .routes = interface.routes};
    if (interface.vlan && interface.plug != "bridge")
        return fail(ErrorCode::ConfigUnsupported, "<vlan> of the interface ", interface.mac,
                    " is possible with a bridge only");
    if (interface.routed) {
        // Its addresses and routes are made together with the host's.
        out.addresses.clear();
    } else if (interface.plug == "bridge") {
        if (!interface.virtualPort) {
            out.bridge = interface.bridge;
            if (interface.vlan)
                out.vlans = portVlans(*interface.vlan);
        }
    } else if (interface.plug == "direct") {
        out.kind = ct::LinkKind::Macvlan;
        out.parent = interface.device;
        out.mode = interface.mode;
    } else if (interface.plug != "ethernet") {
        return fail(ErrorCode::ConfigUnsupported, "<interface type='", interface.plug, "'> (", interface.mac,
                    ") is not possible for containers: use type network, bridge, direct or ethernet");
    }
    return out;
}

UsedInterface* InterfacePlugger::find(const std::string& name) {
    return const_cast<UsedInterface*>(domain::interfaceNamed(used_, name));
}

UsedInterface& InterfacePlugger::add(UsedInterface entry) {
    used_.push_back(std::move(entry));
    return used_.back();
}

Result<void> InterfacePlugger::failed(const std::string& name, Error error) {
    if (auto undone = unplug(name); !undone)
        log::warning("an interface that could not be plugged in is left over: ", undone.error().message());
    return error;
}

Result<void> InterfacePlugger::plugAll() {
    const auto definition = config_.definition();
    for (size_t i = 0; i < definition.interfaces.size(); ++i)
        VZ_CHECK(plug(i));
    for (size_t i = 0; i < definition.hostDevices.size(); ++i) {
        if (definition.hostDevices[i].type == domain::HostDevice::Type::Network)
            VZ_CHECK(plugHostDevice(i));
    }
    return {};
}

Result<void> InterfacePlugger::plug(size_t index) {
    const auto interface = wanted(index);
    auto& entry = add({.name = interface.mac, .downScript = interface.downScript});
    if (interface.type == "network") {
        entry.network = interface.network;
        entry.portId = abi::newUuid();
    }
    auto made = make(entry, index);
    return made ? made : failed(interface.mac, std::move(made).takeError());
}

Result<void> InterfacePlugger::make(UsedInterface& entry, size_t index) {
    if (!entry.portId.empty()) {
        VZ_CHECK(save_());
        VZ_TRY(auto port, takePort(place_.owner, wanted(index), entry.portId));
        VZ_TRY(config_, config_.withPort(parser_, index, port));
    }
    const auto& interface = wanted(index);
    VZ_TRY(auto plan, netInterfaceOf(interface));
    bool inSwitch = interface.plug == "bridge" && interface.virtualPort;
    auto announce = [&](const ct::CreatedInterface& made) {
        entry.link = made;
        if (inSwitch)
            entry.switchBridge = interface.bridge;
        return save_();
    };
    noteRules(interface, entry);
    VZ_TRY(entry.link, ct::makeInterface(place_.netns, plan, announce));
    VZ_CHECK(save_());
    if (inSwitch)
        VZ_CHECK(addSwitchPort(place_.owner, interface, entry.link.hostName));
    VZ_CHECK(applyRules(place_.owner, interface, entry, place_.netns));
    if (!interface.script.empty())
        VZ_CHECK(runScript(interface.script, entry.link.hostName));
    VZ_CHECK(ct::configureInterface(place_.netns, plan, entry.link));
    return connectRouted(interface, entry, place_.netns);
}

Result<void> InterfacePlugger::plugHostDevice(size_t index) {
    const auto& device = config_.definition().hostDevices.at(index);
    ct::NetInterface plan{.kind = ct::LinkKind::Moved,
                          .hostName = device.path,
                          .guestName = device.path,
                          .addresses = device.addresses,
                          .routes = device.routes};
    auto& entry = add({.name = device.path});
    auto make = [&]() -> Result<void> {
        keepNamespace(place_);
        auto announce = [&](const ct::CreatedInterface& made) {
            entry.link = made;
            return save_();
        };
        VZ_TRY(entry.link, ct::makeInterface(place_.netns, plan, announce));
        VZ_CHECK(save_());
        return ct::configureInterface(place_.netns, plan, entry.link);
    };
    auto made = make();
    return made ? made : failed(device.path, std::move(made).takeError());
}

Result<void> InterfacePlugger::unplug(const std::string& name) {
    auto* entry = find(name);
    if (!entry)
        return {};
    VZ_CHECK(unplugInterface(place_, *entry));
    std::erase_if(used_, [&](const auto& used) { return used.name == name; });
    auto lent = std::any_of(used_.begin(), used_.end(),
                            [](const auto& used) { return used.link.kind == ct::LinkKind::Moved; });
    if (!lent)
        dropNamespace(place_);
    return {};
}

Result<void> InterfacePlugger::change(const domain::Interface& was, size_t index) {
    if (!find(was.mac))
        return fail(ErrorCode::DeviceMissing, "the interface ", was.mac, " is not plugged in");
    VZ_CHECK(checkChange(was, wanted(index)));
    bool elsewhere = !sameSource(was, wanted(index));
    Rollback undo;
    if (elsewhere && wanted(index).type == "network") {
        undo.add([&] { (void)unplug(newPortOf(was)); });
        VZ_CHECK(takeNewPort(was, index));
    }
    const auto& now = wanted(index);
    if (elsewhere)
        VZ_CHECK(checkMove(was, now));
    auto* entry = find(was.mac);
    if (!sameRules(was, now)) {
        noteRules(now, *entry);
        VZ_CHECK(save_());
        VZ_CHECK(changeRules(place_.owner, was, now, *entry, place_.netns));
        undo.add([&] { (void)changeRules(place_.owner, now, was, *entry, place_.netns); });
    }
    if (now.mtu != was.mtu && now.mtu) {
        VZ_CHECK(ct::setMtu(place_.netns, entry->link, now.mtu));
        undo.add([&] {
            if (was.mtu)
                (void)ct::setMtu(place_.netns, entry->link, was.mtu);
        });
    }
    VZ_TRY(auto before, netInterfaceOf(was));
    VZ_TRY(auto plan, netInterfaceOf(now));
    if (plan.addresses != before.addresses || plan.routes != before.routes) {
        VZ_CHECK(ct::changeAddresses(place_.netns, entry->link, before, plan));
        undo.add([&] { (void)ct::changeAddresses(place_.netns, entry->link, plan, before); });
    }
    undo.add([&] { (void)ct::setLinkUp(place_.netns, entry->link, before); });
    VZ_CHECK(ct::setLinkUp(place_.netns, entry->link, plan));
    VZ_CHECK(connectRouted(now, *entry, place_.netns));
    if (elsewhere) {
        undo.add([&] { (void)ct::setBridge(entry->link, was.bridge); });
        VZ_CHECK(ct::setBridge(entry->link, now.bridge));
        // A port is isolated in its bridge.
        if (now.isolated)
            VZ_CHECK(restoreRules(place_.owner, now, *entry));
    }
    undo.dismiss();
    if (elsewhere)
        changePort(was);
    return {};
}

/** The name of the entry that has the port until the interface is moved: one that is cut off is found. */
std::string InterfacePlugger::newPortOf(const domain::Interface& was) {
    return cat(was.mac, " new");
}

Result<void> InterfacePlugger::takeNewPort(const domain::Interface& was, size_t index) {
    auto id = abi::newUuid();
    add({.name = newPortOf(was), .network = wanted(index).network, .portId = id});
    VZ_CHECK(save_());
    VZ_TRY(auto port, takePort(place_.owner, wanted(index), id));
    VZ_TRY(config_, config_.withPort(parser_, index, port));
    return {};
}

void InterfacePlugger::changePort(const domain::Interface& was) {
    auto* entry = find(was.mac);
    UsedInterface old{.network = entry->network, .portId = entry->portId};
    auto* fresh = find(newPortOf(was));
    entry->network = fresh ? fresh->network : "";
    entry->portId = fresh ? fresh->portId : "";
    std::erase_if(used_, [&](const auto& each) { return each.name == newPortOf(was); });
    if (old.portId.empty())
        return;
    if (auto released = releasePort(old.network, old.portId); !released)
        log::warning("a port stays taken: ", released.error().message());
}

Result<void> InterfacePlugger::changeAll(const domain::Definition& was) {
    const auto definition = config_.definition();
    Rollback undo;
    for (size_t i = 0; i < std::min(definition.interfaces.size(), was.interfaces.size()); ++i) {
        const auto &from = was.interfaces[i], &to = definition.interfaces[i];
        if (sameRules(from, to))
            continue;
        VZ_CHECK(change(from, i));
        undo.add([this, from, to] {
            if (const auto* entry = find(from.mac))
                (void)changeRules(place_.owner, to, from, *entry, place_.netns);
        });
    }
    undo.dismiss();
    return {};
}

Result<void> unplugInterface(const InterfacePlace& place, const UsedInterface& used) {
    std::optional<Error> first;
    auto attempt = [&](Result<void> done) {
        if (!done && !first)
            first = std::move(done).takeError();
    };
    bool made = !used.link.hostName.empty() || !used.link.guestName.empty();
    if (made) {
        dropRules(place.owner, used);
        if (!used.downScript.empty()) {
            if (auto ran = runScript(used.downScript, used.link.hostName); !ran)
                log::warning(ran.error().message()); // it has been told, whatever it makes of that
        }
        if (!used.switchBridge.empty())
            attempt(removeSwitchPort(used.link.hostName));
        auto kept = used.link.kind == ct::LinkKind::Moved ? openKept(place.runDir) : UniqueFd();
        attempt(ct::removeInterface(kept ? kept.get() : place.netns, used.link));
    }
    if (!used.portId.empty())
        attempt(releasePort(used.network, used.portId));
    if (first)
        return *std::move(first);
    return {};
}

void unplugInterfaces(const InterfacePlace& place, const std::vector<UsedInterface>& used) {
    for (const auto& each : used) {
        if (auto done = unplugInterface(place, each); !done)
            log::warning("the interface ", each.name, " of '", place.owner.name,
                         "' is left over: ", done.error().message());
    }
    dropNamespace(place);
}

} // namespace vz::driver
