// SPDX-License-Identifier: LGPL-2.1-or-later
// Hotplug: devices that come to and leave a running container.
#include "base/log.hpp"
#include "driver/container_domain.hpp"
#include "driver/container_storage.hpp"
#include "driver/driver.hpp"
#include "driver/interfaces.hpp"
#include "driver/io_limits.hpp"
#include "driver/launch.hpp"
#include "driver/limits.hpp"

namespace vz::driver {

using domain::DeviceKind;

namespace {

Error cannotHotplug(std::string_view what) {
    return fail(ErrorCode::OperationUnsupported, "this kind of device cannot be ", what,
                " while a container runs; only disk, filesystem, interface and hostdev (storage, misc, net) "
                "devices can. ",
                "Change the persistent config (--config) and restart it");
}

bool isOnBlocks(const domain::Config::Device& device) {
    return device.kind == DeviceKind::Disk || device.kind == DeviceKind::Filesystem;
}

} // namespace

Result<void> ContainerDomain::limitDisks(const std::vector<ct::BlockLimit>& before,
                                         const std::vector<ct::BlockLimit>& now) {
    VZ_TRY(auto group, cgroup());
    return group->apply(changes({.blockDevices = before}, {.blockDevices = now}));
}

Result<void> ContainerDomain::attachDevice(domain::Config& changed, const domain::Config::Device& device,
                                           LiveParts& parts) {
    auto& facts = parts.facts;
    VZ_TRY(auto container, running());
    const auto definition = changed.definition();
    switch (device.kind) {
    case DeviceKind::Filesystem: {
        const auto& filesystem = definition.filesystems.at(device.index);
        if (isOnDisk(filesystem)) {
            DiskLeases leases;
            VZ_CHECK(leases.take(filesystem));
            return attachDisk(leases, parts);
        }
        VZ_TRY(auto mount, mountOf(filesystem, facts.uidMap, {}));
        return container->attachMount(mount);
    }
    case DeviceKind::Disk: {
        DiskLeases leases;
        VZ_CHECK(leases.take(definition.disks.at(device.index), false));
        return attachDisk(leases, parts);
    }
    case DeviceKind::HostDevice: {
        if (definition.hostDevices.at(device.index).type == domain::HostDevice::Type::Network)
            return withPlugger(changed, parts,
                               [&](auto& plugger) { return plugger.plugHostDevice(device.index); });
        VZ_TRY(auto grant, deviceOf(definition.hostDevices.at(device.index)));
        VZ_TRY(auto group, cgroup());
        VZ_CHECK(group->allowDevice(grant.rule));
        if (auto attached = container->attachDevice(grant.node); !attached) {
            (void)group->denyDevice(grant.rule);
            return attached;
        }
        return {};
    }
    case DeviceKind::Interface:
        return withPlugger(changed, parts, [&](auto& plugger) { return plugger.plug(device.index); });
    default:
        return cannotHotplug("attached");
    }
}

Result<void> ContainerDomain::detachDevice(const domain::Config& config, const domain::Config::Device& device,
                                           LiveParts& parts) {
    VZ_TRY(auto container, running());
    const auto& definition = config.definition();
    auto unplug = [&](const std::string& name) {
        auto copy = config;
        return withPlugger(copy, parts, [&](auto& plugger) { return plugger.unplug(name); });
    };
    switch (device.kind) {
    case DeviceKind::Filesystem: {
        const auto& filesystem = definition.filesystems.at(device.index);
        if (filesystem.target == "/")
            return fail(ErrorCode::OperationInvalid,
                        "the root filesystem of a running container cannot be detached");
        return isOnDisk(filesystem) ? detachDisk(filesystem.target, parts)
                                    : container->detachMount(filesystem.target);
    }
    case DeviceKind::Disk:
        return detachDisk(definition.disks.at(device.index).target, parts);
    case DeviceKind::HostDevice: {
        if (definition.hostDevices.at(device.index).type == domain::HostDevice::Type::Network)
            return unplug(definition.hostDevices.at(device.index).path);
        VZ_TRY(auto grant, deviceOf(definition.hostDevices.at(device.index)));
        VZ_TRY(auto group, cgroup());
        VZ_CHECK(container->detachDevice(grant.node.path));
        return group->denyDevice(grant.rule);
    }
    case DeviceKind::Interface:
        return unplug(definition.interfaces.at(device.index).mac);
    default:
        return cannotHotplug("detached");
    }
}

Result<ContainerDomain::LiveParts> ContainerDomain::liveParts() const {
    std::lock_guard lock(lock_);
    if (!live_)
        return notRunning();
    return LiveParts{live_->facts, live_->disks};
}

Result<void> ContainerDomain::setLiveParts(LiveParts parts) {
    std::lock_guard lock(lock_);
    if (!live_ || live_->finishing) // what comes now would not be removed with the rest
        return notRunning();
    live_->facts = std::move(parts.facts);
    live_->disks = std::move(parts.disks);
    return {};
}

Result<void> ContainerDomain::attachLive(const std::string& xml) {
    VZ_CHECK(running());
    auto before = current();
    domain::Config::Device device{};
    VZ_TRY(auto changed, before.withDevice(driver_.parser(), xml, true, &device));
    VZ_TRY(auto parts, liveParts());
    VZ_CHECK(attachDevice(changed, device, parts));
    auto finish = [&]() -> Result<void> {
        if (isOnBlocks(device)) {
            VZ_TRY(auto limits, blockLimits(changed.definition(), parts.disks));
            VZ_CHECK(limitDisks({}, limits));
        }
        VZ_TRY(auto live, changed.withFacts(driver_.parser(), parts.facts));
        VZ_CHECK(setLiveParts(parts));
        return setLive(std::move(live));
    };
    if (auto finished = finish(); !finished) {
        if (auto undone = detachDevice(changed, device, parts); !undone)
            log::warning("a device stays attached after a failure: ", undone.error().message());
        (void)setLiveParts(std::move(parts)); // as they are after that
        return finished;
    }
    driver_.events().deviceAdded(subject(), device.alias);
    return {};
}

Result<void> ContainerDomain::detachLive(const domain::Config::Device& device) {
    VZ_CHECK(running());
    auto before = current();
    VZ_TRY(auto changed, before.withoutDevice(driver_.parser(), device));
    VZ_TRY(auto parts, liveParts());
    // One that is gone from the host must not keep another in the container.
    std::vector<ct::BlockLimit> limits;
    if (isOnBlocks(device))
        limits = blockLimits(before.definition(), parts.disks).valueOr({});
    if (auto detached = detachDevice(before, device, parts); !detached) {
        driver_.events().deviceRemovalFailed(subject(), device.alias);
        return detached;
    }
    if (isOnBlocks(device)) {
        const auto now = blockLimits(changed.definition(), parts.disks).valueOr({});
        if (auto limited = limitDisks(limits, now); !limited)
            log::warning("limits of a disk that is gone stay set: ", limited.error().message());
    }
    VZ_CHECK(setLiveParts(std::move(parts)));
    // It is gone, whether or not that can be written down.
    auto saved = setLive(std::move(changed), true);
    driver_.events().deviceRemoved(subject(), device.alias);
    return saved;
}

Result<void> ContainerDomain::updateLive(const std::string& xml) {
    VZ_CHECK(running());
    auto before = current();
    VZ_TRY(auto device, before.findDevice(driver_.parser(), xml));
    if (device.kind != DeviceKind::Interface)
        return fail(ErrorCode::OperationUnsupported,
                    "only an interface can be updated while a container runs: detach this device and attach ",
                    "it again, or change the persistent config (--config) and restart the container");
    VZ_TRY(auto changed, before.withUpdatedDevice(driver_.parser(), device, xml));
    VZ_TRY(auto parts, liveParts());
    VZ_CHECK(withPlugger(changed, parts, [&](auto& plugger) {
        return plugger.change(before.definition().interfaces.at(device.index), device.index);
    }));
    VZ_CHECK(setLiveParts(std::move(parts)));
    return setLive(std::move(changed), true);
}

} // namespace vz::driver
