// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>

#include <span>
#include <string>
#include <string_view>
#include <vector>

/**
 * Registration with libvirtd: the slot tables of the libvirt version this is built for, and the state driver.
 * Layouts come from the checked-in list in src/libvirt/layouts/ (docs/libvirt-abi.md). This folder is the
 * only one that knows a private symbol or offset of libvirt.
 */
namespace vz::abi {

/** One entry of our driver: the slot's name in libvirt's table and the function for it. */
struct SlotEntry {
    const char* slot; ///< "domainSuspend"
    void* function;   ///< same prototype as the public API of that name (exceptions: libvirt-abi.md)
};

/** Number of the slot in this libvirt's hypervisor table, or -1. */
int hypervisorSlot(std::string_view name);
/** All slot names of the hypervisor table in order (index 0 is "name"). */
std::span<const char* const> hypervisorSlots();
/** The same of the storage table. */
int storageSlot(std::string_view name);
std::span<const char* const> storageSlots();

/** What libvirtd calls on the driver itself (virStateDriver). Functions must not throw. */
struct StateCallbacks {
    /** 1 complete, 0 skipped, -1 error (reported). @p inhibit tells the daemon to stay while guests run. */
    int (*initialize)(bool privileged, const char* root, bool monolithic,
                      void (*inhibit)(bool on, void* opaque), void* opaque);
    int (*cleanup)();
    int (*reload)();
    int (*stop)();
    int (*shutdownPrepare)();
    int (*shutdownWait)();
};

/**
 * Registers a hypervisor driver with the given slots (shared secondary drivers on). Fails with InternalError
 * naming a slot that this libvirt does not have. Called once per process; everything registered stays for its
 * life.
 *
 * With @p storage, our connections have a storage table of their own: that of the stock storage driver, which
 * has to be loaded by then, with these slots instead of its.
 */
Result<void> registerDriver(const char* name, std::span<const char* const> uriSchemes,
                            std::span<const SlotEntry> slots, const StateCallbacks& state,
                            std::span<const SlotEntry> storage = {});

/** The stock storage driver's function in slot @p index; null if it, or the whole driver, is not there. It
 * takes objects of our connections as they are. */
void* stockStorage(int index);
/** Whether the stock storage driver was loaded into this daemon. */
bool hasStockStorage();

/** Raises the error as libvirt's current error of this thread (VIR_FROM of our driver: VIR_FROM_PARALLELS).
 */
void report(const Error& error) noexcept;

/** Error of the failed libvirt call just made, as ours (code and message kept). */
Error lastError(std::string_view fallback);

/** The text that a libvirt call has returned, which is freed; lastError(@p fallback) for null. */
Result<std::string> takeText(char* text, std::string_view fallback);

/** Sends vz::log messages to libvirt's log. */
void logToLibvirt();

} // namespace vz::abi
