// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/network_remains.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "driver/filter_binding.hpp"
#include "driver/network_ports.hpp"

#include <algorithm>
#include <utility>

namespace vz::driver {

using domain::UsedInterface;

void NetworkRemains::load() {
    auto names = file::list(folder_);
    if (!names)
        return;
    for (const auto& uuid : *names) {
        if (auto state = domain::loadState(cat(folder_, '/', uuid)))
            left_[uuid] = std::move(state->interfaces);
        else
            log::warning("what is left over of the network of ", uuid,
                         " cannot be read: ", state.error().message());
    }
}

void NetworkRemains::take(const std::string& uuid, std::vector<UsedInterface>& interfaces) {
    bool any = false;
    for (auto& used : interfaces) {
        if (used.portId.empty() && !used.filtered)
            continue;
        UsedInterface left{.name = used.name,
                           .link = used.link,
                           .network = std::exchange(used.network, {}),
                           .portId = std::exchange(used.portId, {}),
                           .filtered = std::exchange(used.filtered, false)};
        // One that was cut off may have noted it already.
        auto& noted = left_[uuid];
        if (std::find(noted.begin(), noted.end(), left) == noted.end())
            noted.push_back(std::move(left));
        any = true;
    }
    if (any)
        save(uuid);
}

void NetworkRemains::save(const std::string& uuid) const {
    auto folder = cat(folder_, '/', uuid);
    auto found = left_.find(uuid);
    auto write = [&]() -> Result<void> {
        if (found == left_.end())
            return file::removeTree(folder);
        VZ_CHECK(file::makeDirs(folder, 0700));
        domain::RuntimeState state;
        state.interfaces = found->second;
        return domain::saveState(folder, state);
    };
    if (auto written = write(); !written)
        log::warning("what is left over of the network of ", uuid,
                     " is not written down: ", written.error().message());
}

namespace {

/** What a daemon without the network driver cannot tell the network is kept for one that has it. */
Result<void> release(const UsedInterface& used, bool possible) {
    if (used.portId.empty())
        return {};
    if (!possible)
        return fail(ErrorCode::OperationFailed, "this daemon has no network driver");
    return releasePort(used.network, used.portId);
}

} // namespace

void NetworkRemains::giveBack(const std::function<bool(const std::string& hostName)>& isUsed) {
    bool possible = left_.empty() || canReleasePorts();
    for (auto& [uuid, interfaces] : left_) {
        for (auto& used : interfaces) {
            if (auto released = release(used, possible))
                used.portId.clear();
            else
                log::warning("a port of the network '", used.network,
                             "' stays taken: ", released.error().message());
            bool bound = used.filtered && !isUsed(used.link.hostName);
            if (auto unbound = bound ? unbindFilter(used.link.hostName, uuid) : Result<void>())
                used.filtered = false;
            else
                log::warning("a network filter of ", used.link.hostName,
                             " is left over: ", unbound.error().message());
        }
        std::erase_if(interfaces, [](const auto& used) { return used.portId.empty() && !used.filtered; });
    }
    for (auto& [uuid, interfaces] : std::exchange(left_, {})) {
        if (!interfaces.empty())
            left_[uuid] = std::move(interfaces);
        save(uuid);
    }
    if (left_.empty())
        (void)file::removeTree(folder_);
}

} // namespace vz::driver
