// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/reactor.hpp"
#include "ct/cgroup.hpp"
#include "ct/id_ranges.hpp"
#include "domain/store.hpp"
#include "driver/capabilities.hpp"
#include "driver/guarantees.hpp"
#include "driver/machine_capabilities.hpp"
#include "driver/names.hpp"
#include "driver/network_remains.hpp"
#include "driver/registry.hpp"
#include "driver/settings.hpp"
#include "driver/storage.hpp"
#include "driver/worker.hpp"
#include "libvirt/domain_xml.hpp"
#include "libvirt/event_relay.hpp"
#include "libvirt/monitor_events.hpp"
#include "libvirt/objects.hpp"
#include "vm/machines.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <set>

namespace vz::driver {

/**
 * The one driver object of the daemon: made by the state driver's initialize, ended by its cleanup. What is
 * const here is set once and safe to use from any thread; the rest is thread-safe by itself.
 */
class Driver {
public:
    using Inhibit = std::function<void(bool on)>;

    /** Reads the settings and configs, finds running containers again. */
    static Result<std::unique_ptr<Driver>> create(const std::string& configRoot, Inhibit inhibit);
    ~Driver();

    /** Settles what needs other drivers of the daemon, brings snapshot calls that were cut off to their end,
     * then starts what has autostart set, once per boot of the host; returns at once. */
    void autostart();
    /** Looks for configs that were added on disk (SIGHUP). */
    void reload();

    const Settings& settings() const { return settings_; }
    const domain::Paths& paths() const { return paths_; }
    const abi::DomainXml& parser() const { return *parser_; }
    const ct::CgroupHost& cgroupHost() const { return cgroupHost_; }
    const CapabilitiesFacts& capabilities() const { return capabilities_; }
    /** How this host holds beancounters, found out once; empty if that cannot be. */
    const std::vector<ct::CounterStatus>& hostCounters();
    abi::Events& events() { return *events_; }
    Registry& registry() { return registry_; }
    domain::Store& store() { return store_; }
    std::mutex& storeLock() { return storeLock_; }
    ct::IdRanges& idRanges() { return idRanges_; }
    Reactor& reactor() { return *reactor_; }
    Worker& worker() { return worker_; }
    /** For ends of containers that wait for something. */
    Worker& enders() { return enders_; }
    vm::Machines& machines() { return machines_; }
    /** QEMU's driver for the calls of a client: see vm::Machines::connection(). */
    Result<std::shared_ptr<abi::InnerConnection>> machineConnection(virConnectPtr conn);
    abi::MonitorEvents& monitorEvents() { return monitorEvents_; }
    Storage& storage() { return *storage_; }
    Guarantees& guarantees() { return guarantees_; }
    MachineCapabilities& machineCapabilities() { return machineCapabilities_; }
    /** See Names::claim(); waits as long as the settings say. */
    Result<Names::Claim> claimNames(const std::string& name, const std::string& uuid);

    /** A domain became active (+1) or inactive (-1): keeps a `libvirtd --timeout` alive while any is. */
    void countActive(int change);

    // Connections, for what must end with them.
    void connected(virConnectPtr conn);
    void disconnected(virConnectPtr conn);
    bool isConnected(virConnectPtr conn) const;
    /** Destroys @p domain, whose connection is gone, on a thread of its own; returns at once. */
    void autodestroy(const DomainRef& domain);

private:
    Driver(Settings settings, Inhibit inhibit);
    Result<void> prepare();
    Result<void> loadConfigs();
    void adoptRunning();
    void adopt(const std::string& uuid);
    void settleSnapshots();
    void removeInterfaces(const domain::RuntimeState& state, const std::string& uuid,
                          const std::string& folder);
    void settleNetwork();
    bool usesFilter(const std::string& hostName) const;
    bool isFirstStart() const;
    void autostartAll();
    void relayEvents(virConnectPtr conn);

    Settings settings_;
    domain::Paths paths_;
    Inhibit inhibit_;
    std::unique_ptr<abi::DomainXml> parser_;
    std::unique_ptr<abi::Events> events_;
    std::unique_ptr<Reactor> reactor_;
    ct::CgroupHost cgroupHost_;
    Guarantees guarantees_{cgroupHost_};
    CapabilitiesFacts capabilities_;
    std::once_flag countersProbed_;
    std::vector<ct::CounterStatus> hostCounters_;
    domain::Store store_;
    std::mutex storeLock_;
    ct::IdRanges idRanges_;
    mutable std::mutex connectionsLock_;
    std::set<virConnectPtr> connections_;
    std::mutex activeLock_;
    int active_ = 0;
    Registry registry_;
    Names names_;
    vm::Machines machines_;
    MachineCapabilities machineCapabilities_;
    abi::MonitorEvents monitorEvents_;
    std::mutex relayLock_;
    std::unique_ptr<abi::EventRelay> relay_;
    std::unique_ptr<Storage> storage_;
    NetworkRemains remains_;
    std::atomic<bool> ending_ = false;
    std::thread starter_; ///< what the start of the daemon does not wait for
    // Last: their tasks use everything above.
    Worker enders_{8};
    Worker worker_;        // gives those work
    Worker autodestroyer_; // may wait for the news that worker_ brings
};

/** The driver while it is initialized, or null. */
Driver* theDriver();

} // namespace vz::driver
