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
    std::vector<void*> storage;
    void* const* stockStorage = nullptr; ///< of libvirt
    priv::ConnectDriver connect{};
    priv::StateDriver state{};
};

std::atomic<const Registration*> registered{nullptr};

using Layout = std::span<const char* const>;

int slotOf(Layout layout, std::string_view name) {
    auto found = std::ranges::find(layout, name, [](const char* slot) { return std::string_view(slot); });
    return found == layout.end() ? -1 : static_cast<int>(found - layout.begin());
}

Result<void> fillSlots(std::vector<void*>& table, const char* what, Layout layout, const std::string& driver,
                       std::span<const SlotEntry> slots) {
    // Room behind the last known slot: should libvirt look further, it finds "not supported".
    constexpr size_t kSpare = 32;
    table.assign(layout.size() + kSpare, nullptr);
    table[0] = const_cast<char*>(driver.c_str());
    for (const auto& entry : slots) {
        int index = slotOf(layout, entry.slot);
        if (index <= 0)
            return fail(ErrorCode::InternalError, "the ", what, " table of libvirt ", layout::version(),
                        " has no function slot '", entry.slot, "'");
        table[static_cast<size_t>(index)] = entry.function;
    }
    return {};
}

/** Puts our storage table in the place of the shared one; what we have no function for stays that one's. */
void wrapStorage(Registration& registration) {
    if (registration.storage.empty())
        return;
    auto* stock = static_cast<void* const*>(registration.connect.storage);
    for (size_t i = 0; stock && i < layout::storage().size(); ++i) {
        if (i == 0 || !registration.storage[i])
            registration.storage[i] = stock[i];
    }
    registration.stockStorage = stock;
    registration.connect.storage = registration.storage.data();
}

void fillSchemes(Registration& registration, std::span<const char* const> uriSchemes) {
    registration.schemeTexts.assign(uriSchemes.begin(), uriSchemes.end());
    for (const auto& scheme : registration.schemeTexts)
        registration.schemes.push_back(scheme.c_str());
    registration.schemes.push_back(nullptr);
}

} // namespace

int hypervisorSlot(std::string_view name) {
    return slotOf(layout::hypervisor(), name);
}

std::span<const char* const> hypervisorSlots() {
    return layout::hypervisor();
}

int storageSlot(std::string_view name) {
    return slotOf(layout::storage(), name);
}

std::span<const char* const> storageSlots() {
    return layout::storage();
}

void* stockStorage(int index) {
    const auto* registration = registered.load();
    return registration && registration->stockStorage && index > 0 ? registration->stockStorage[index]
                                                                   : nullptr;
}

bool hasStockStorage() {
    const auto* registration = registered.load();
    return registration && registration->stockStorage;
}

Result<void> registerDriver(const char* name, std::span<const char* const> uriSchemes,
                            std::span<const SlotEntry> slots, const StateCallbacks& state,
                            std::span<const SlotEntry> storage) {
    if (registered.load())
        return fail(ErrorCode::InternalError, "driver '", name, "' is already registered");

    auto registration = std::make_unique<Registration>();
    registration->name = name;
    fillSchemes(*registration, uriSchemes);
    VZ_CHECK(
        fillSlots(registration->hypervisor, "hypervisor", layout::hypervisor(), registration->name, slots));
    if (!storage.empty())
        VZ_CHECK(fillSlots(registration->storage, "storage", layout::storage(), registration->name, storage));
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
    wrapStorage(*forever); // before the first connection, which takes the pointer as it is then
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
