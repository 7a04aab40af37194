// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/driver_table.hpp"

#include "base/log.hpp"
#include "libvirt/layout.hpp"
#include "libvirt/private.hpp"

#include <algorithm>
#include <atomic>
#include <memory>

namespace vz::abi {

namespace {

/** All that libvirt keeps pointers to; made once and never freed. */
struct Registration {
    std::string name;
    std::vector<std::string> schemeTexts;
    std::vector<const char*> schemes;
    std::vector<void*> hypervisor;
    priv::ConnectDriver connect{};
    priv::StateDriver state{};
};

std::atomic<const Registration*> registered{nullptr};

Result<void> fillSlots(Registration& registration, std::span<const SlotEntry> slots) {
    // Room behind the last known slot: should libvirt look further, it finds "not supported".
    constexpr size_t kSpare = 32;
    registration.hypervisor.assign(layout::hypervisor().size() + kSpare, nullptr);
    registration.hypervisor[0] = const_cast<char*>(registration.name.c_str());
    for (const auto& entry : slots) {
        int index = hypervisorSlot(entry.slot);
        if (index <= 0)
            return fail(ErrorCode::InternalError, "the hypervisor table of libvirt ", layout::version(),
                        " has no function slot '", entry.slot, "'");
        registration.hypervisor[static_cast<size_t>(index)] = entry.function;
    }
    return {};
}

void fillSchemes(Registration& registration, std::span<const char* const> uriSchemes) {
    registration.schemeTexts.assign(uriSchemes.begin(), uriSchemes.end());
    for (const auto& scheme : registration.schemeTexts)
        registration.schemes.push_back(scheme.c_str());
    registration.schemes.push_back(nullptr);
}

} // namespace

int hypervisorSlot(std::string_view name) {
    auto slots = layout::hypervisor();
    auto found = std::ranges::find(slots, name, [](const char* slot) { return std::string_view(slot); });
    return found == slots.end() ? -1 : static_cast<int>(found - slots.begin());
}

std::span<const char* const> hypervisorSlots() {
    return layout::hypervisor();
}

Result<void> registerDriver(const char* name, std::span<const char* const> uriSchemes,
                            std::span<const SlotEntry> slots, const StateCallbacks& state) {
    if (registered.load())
        return fail(ErrorCode::InternalError, "driver '", name, "' is already registered");

    auto registration = std::make_unique<Registration>();
    registration->name = name;
    fillSchemes(*registration, uriSchemes);
    VZ_CHECK(fillSlots(*registration, slots));
    // localOnly: a URI that names another host or a transport is the remote driver's, not ours.
    registration->connect.localOnly = true;
    registration->connect.uriSchemes = registration->schemes.data();
    registration->connect.hypervisor = registration->hypervisor.data();
    registration->state = {.name = registration->name.c_str(),
                           .initialized = false,
                           .initialize = state.initialize,
                           .cleanup = state.cleanup,
                           .reload = state.reload,
                           .stop = state.stop,
                           .shutdownPrepare = state.shutdownPrepare,
                           .shutdownWait = state.shutdownWait};

    auto* forever = registration.release();
    registered.store(forever);
    // libvirt writes into both structures and cannot unregister, so they are kept whatever happens now.
    if (priv::virRegisterConnectDriver(&forever->connect, true) < 0)
        return lastError("libvirt refused the connection driver");
    if (priv::virRegisterStateDriver(&forever->state) < 0)
        return lastError("libvirt refused the state driver");
    return {};
}

const char* driverName() {
    const auto* registration = registered.load();
    return registration ? registration->name.c_str() : "vz";
}

const void* hypervisorTable() {
    const auto* registration = registered.load();
    return registration ? registration->hypervisor.data() : nullptr;
}

} // namespace vz::abi
