// SPDX-License-Identifier: LGPL-2.1-or-later
// The module's entry: what the shim calls, and the state driver's functions.
#include "base/log.hpp"
#include "driver/driver.hpp"
#include "driver/methods.hpp"
#include "driver/storage_call.hpp"

#include <atomic>

namespace vz::driver {

namespace {

// The driver object of this process; made by initialize, ended by cleanup, read by every slot.
std::atomic<Driver*> current;

constexpr const char* schemes[] = {"vz", "parallels"};

int initialize(bool privileged, const char* root, bool, void (*inhibit)(bool, void*), void* opaque) {
    constexpr int complete = 1, skipped = 0;
    if (!privileged || root)
        return skipped;
    try {
        auto hold = [inhibit, opaque](bool on) {
            if (inhibit)
                inhibit(on, opaque);
        };
        auto driver = Driver::create("/etc/libvirt", hold);
        if (driver) {
            current = driver->release();
            current.load()->autostart();
            return complete;
        }
        log::error("the vz driver cannot start: ", driver.error().message());
    } catch (const std::exception& error) {
        log::error("the vz driver cannot start: ", error.what());
    }
    // The daemon serves others too: it must run without us rather than not at all.
    return skipped;
}

int cleanup() {
    delete current.exchange(nullptr);
    return 0;
}

int reload() {
    try {
        if (auto* driver = theDriver())
            driver->reload();
    } catch (const std::exception& error) {
        log::error("reload: ", error.what());
    }
    return 0;
}

int nothing() {
    return 0;
}

Result<void> registerAll() {
    abi::logToLibvirt();
    auto slots = slotTable();
    auto storageSlots = storageTable();
    static const abi::StateCallbacks state{initialize, cleanup, reload, nothing, nothing, nothing};
    return abi::registerDriver("vz", schemes, slots, state, storageSlots);
}

} // namespace

Driver* theDriver() {
    return current;
}

} // namespace vz::driver

/** Called once by the shim. 0, or -1 after logging why. */
extern "C" __attribute__((visibility("default"))) int vzDriverRegister() {
    try {
        auto registered = vz::driver::registerAll();
        if (registered)
            return 0;
        vz::log::error("the vz driver cannot be registered: ", registered.error().message());
    } catch (const std::exception& error) {
        vz::log::error("the vz driver cannot be registered: ", error.what());
    }
    return -1;
}
