// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "libvirt/inner.hpp"

#include <libvirt/libvirt.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace vz::vm {

/**
 * The virtual machines of QEMU's driver, as far as this driver has to know them: the connections through
 * which they are reached, and which of them our clients see. The machines themselves are that driver's.
 * Thread-safe; no lock is held while libvirt is called.
 */
class Machines {
public:
    struct Settings {
        std::string uri;  ///< of QEMU's driver; empty: there are no virtual machines
        bool showForeign; ///< clients also see machines that were not made through us
    };
    explicit Machines(Settings settings) : settings_(std::move(settings)) {}

    const Settings& settings() const { return settings_; }

    /**
     * The connection on which the calls of client connection @p outer are done: opened with the first of
     * them, again when it was lost, and closed with @p outer, so that what libvirt binds to a connection
     * ends as the client expects. Errors: NoSupport if there are none by the settings, else libvirt's own.
     */
    Result<std::shared_ptr<abi::InnerConnection>> connection(virConnectPtr outer);
    /**
     * The client connection @p outer is closing. Returns the one that its calls were done on, or null. What
     * libvirt binds to that (autodestroy) is ended where its last owner lets go of it, which may take long.
     */
    std::shared_ptr<abi::InnerConnection> disconnected(virConnectPtr outer);

    /** True if this daemon has no virtual machines and never will: none by the settings, or no such driver.
     */
    bool absent() const;

    /** The driver's own connection, for what belongs to no client's. Errors: as connection(); NoConnect
     * before the first client's. */
    Result<std::shared_ptr<abi::InnerConnection>> own();
    bool ownAlive() const;
    /** Opens it if it is not open. True if it was opened now: what was known of machines may be outdated.
     * For one thread at a time. */
    bool ensureOwn(virConnectPtr outer);
    /** Forgets it, so that it is opened again. */
    void dropOwn();

    /** The machines of that name and of that UUID, in this order, seen by clients or not: none, one or two.
     */
    static Result<std::vector<abi::DomainHandle>> find(const abi::InnerConnection& inner,
                                                       const std::string& name, const std::string& uuid);
    /** The machines that clients see, by the list flags of virConnectListAllDomains. */
    Result<std::vector<abi::DomainHandle>> list(const abi::InnerConnection& inner, unsigned int flags);

    /** Whether clients see this machine. @p machine is an object of an inner connection. */
    bool visible(virDomainPtr machine);
    /** From now on clients see the machine of this UUID: it is being made through us. */
    void made(const std::string& uuid);
    /** That came to nothing: what is known of the UUID is asked for again. */
    void forget(const std::string& uuid);
    /**
     * Keeps the knowledge right by what happens to a machine, and tells if clients hear of it.
     * @p lifecycleType and @p detail are those of a lifecycle event, else -1.
     */
    bool noteEvent(virDomainPtr machine, int lifecycleType, int detail);

private:
    struct Known {
        bool ours;
        bool persistent;
    };
    Result<std::shared_ptr<abi::InnerConnection>> open(virConnectPtr outer);
    std::shared_ptr<abi::InnerConnection> liveOwn() const;
    /** What QEMU's driver says of a machine; nothing if it does not have it. */
    static std::optional<Known> ask(virDomainPtr machine);
    std::optional<Known> known(const std::string& uuid) const;
    bool shows(const std::optional<Known>& known) const;

    const Settings settings_;
    mutable std::mutex mutex_;
    std::map<virConnectPtr, std::shared_ptr<abi::InnerConnection>> connections_;
    std::shared_ptr<abi::InnerConnection> own_;
    std::map<std::string, Known> known_;
    // Why it cannot be opened, and until when that is believed: clients ask often, and each attempt leaves a
    // line in the daemon's log.
    std::optional<Error> failure_;
    bool absent_ = false;
    std::chrono::steady_clock::time_point retry_;
};

} // namespace vz::vm
