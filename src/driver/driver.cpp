// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/driver.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "ct/container.hpp"
#include "ct/guest_facts.hpp"
#include "ct/host_counters.hpp"
#include "driver/container_domain.hpp"
#include "driver/container_storage.hpp"
#include "driver/interfaces.hpp"
#include "driver/machine_guarantee.hpp"
#include "vm/ids.hpp"

namespace vz::driver {

namespace {

constexpr const char* remainsFolder = "network-remains"; ///< beside the run folders

} // namespace

Driver::Driver(Settings settings, Inhibit inhibit)
    : settings_(std::move(settings)), paths_{settings_.configDir, settings_.runDir, settings_.libDir,
                                             settings_.logDir},
      inhibit_(std::move(inhibit)), store_(paths_.config),
      idRanges_(cat(paths_.lib, "/id-ranges"), settings_.idRangeFirst, settings_.idRangeLast),
      machines_({.uri = settings_.qemuUri, .showForeign = settings_.showForeignMachines}),
      machineCapabilities_({.helper = settings_.kvmProbe, .wish = settings_.vmAccelerator}),
      monitorEvents_({.shows = [this](virDomainPtr machine) { return machines_.visible(machine); },
                      .outerId = vm::outerId}),
      remains_(cat(paths_.run, "/", remainsFolder)) {}

Driver::~Driver() {
    ending_ = true;
    if (starter_.joinable())
        starter_.join();
}

Result<std::unique_ptr<Driver>> Driver::create(const std::string& configRoot, Inhibit inhibit) {
    VZ_TRY(auto settings, Settings::load(cat(configRoot, "/vz.conf")));
    std::unique_ptr<Driver> driver(new Driver(std::move(settings), std::move(inhibit)));
    VZ_CHECK(driver->prepare());
    VZ_CHECK(driver->loadConfigs());
    driver->adoptRunning();
    driver->guarantees_.settle(driver->settings_.cgroupPartition);
    return driver;
}

Result<void> Driver::prepare() {
    for (const auto& folder :
         {paths_.config, cat(paths_.config, "/autostart"), paths_.run, paths_.lib, paths_.log})
        VZ_CHECK(file::makeDirs(folder, 0700));
    VZ_TRY(parser_, abi::DomainXml::create());
    VZ_TRY(storage_, Storage::create(settings_));
    VZ_TRY(events_, abi::Events::create());
    VZ_TRY(reactor_, Reactor::create());
    VZ_TRY(cgroupHost_, ct::CgroupHost::probe());
    CapabilitiesProbe probe;
    probe.hostUuid = abi::hostUuid();
    probe.emulator = settings_.supervisor;
    probe.securityModel = ct::apparmorEnabled() ? "apparmor" : "";
    VZ_TRY(capabilities_, probeCapabilities(probe));
    return {};
}

const std::vector<ct::CounterStatus>& Driver::hostCounters() {
    std::call_once(countersProbed_, [this] {
        if (auto found = ct::hostCounters(cgroupHost_))
            hostCounters_ = *std::move(found);
        else
            log::warning("how beancounters are held here cannot be told: ", found.error().message());
    });
    return hostCounters_;
}

Result<void> Driver::loadConfigs() {
    VZ_TRY(auto entries, store_.load());
    for (const auto& entry : entries) {
        auto config = domain::Config::parse(*parser_, entry.xml, {});
        if (!config) {
            log::error("the config of domain '", entry.name, "' is left out: ", config.error().message());
            continue;
        }
        if (config->definition().name != entry.name || registry_.byName(entry.name))
            continue;
        auto domain = std::make_shared<ContainerDomain>(*this, *std::move(config), true);
        if (auto added = registry_.add(domain); !added)
            log::error("the config of domain '", entry.name, "' is left out: ", added.error().message());
    }
    return {};
}

void Driver::reload() {
    storage_->reload();
    if (auto loaded = loadConfigs(); !loaded)
        log::error("configs cannot be read again: ", loaded.error().message());
}

void Driver::adoptRunning() {
    auto folders = file::list(paths_.run);
    if (!folders)
        return;
    remains_.load();
    for (const auto& name : *folders) {
        // Run folders of containers have their UUIDs as names.
        bool another = name == "storage" || name == remainsFolder;
        if (!another && file::isDirectory(cat(paths_.run, "/", name)))
            adopt(name);
    }
}

/** One run folder: a container that still runs is taken over; of one that does not, the remains are removed.
 */
void Driver::adopt(const std::string& uuid) {
    auto folder = cat(paths_.run, "/", uuid);
    auto state = domain::loadState(folder);
    if (state) {
        auto domain = registry_.byUuid(uuid);
        if (!domain && !state->persistent) {
            if (auto config = domain::Config::parse(*parser_, state->liveXml, {})) {
                domain = std::make_shared<ContainerDomain>(*this, *std::move(config), false);
                if (!registry_.add(domain))
                    domain = nullptr;
            }
        }
        auto adopted = state->starting
                           ? Result<void>(fail(ErrorCode::OperationAborted, "its start was cut off"))
                       : domain ? domain->adopt(*state)
                                : Result<void>(fail(ErrorCode::NoDomain, "its definition cannot be read"));
        if (adopted) {
            if (state->autodestroy) {
                if (auto job = domain->jobs().begin("autodestroy",
                                                    std::chrono::seconds(settings_.jobTimeoutSeconds)))
                    (void)domain->destroy(false);
            }
            return;
        }
        log::info("container ", uuid, " does not run any more: ", adopted.error().message());
        if (domain && !domain->persistent())
            registry_.remove(domain);
        if (auto closed = awaitClosed(state->disks); !closed)
            log::warning("an image of ", uuid, " is still open: ", closed.error().message());
        if (auto removed = ct::Cgroup::removeLeftovers(cgroupHost_, state->cgroup); !removed)
            log::warning("cgroups of ", uuid, " are left over: ", removed.error().message());
        removeInterfaces(*state, uuid, folder);
        if (domain && domain->persistent())
            domain->endedWhileAway(ct::Container::lastEnd(folder));
    }
    if (auto removed = file::removeTree(folder); !removed)
        log::warning("a run folder is left over: ", removed.error().message());
}

/** Of a container that is gone. What the network driver has to be asked for is done when clients are served.
 */
void Driver::removeInterfaces(const domain::RuntimeState& state, const std::string& uuid,
                              const std::string& folder) {
    auto here = state.interfaces;
    remains_.take(uuid, here);
    unplugInterfaces({.owner = {uuid, uuid}, .runDir = folder, .supervisor = settings_.supervisor}, here);
}

void Driver::settleNetwork() {
    remains_.giveBack([this](const auto& hostName) { return usesFilter(hostName); });
    for (auto& domain : registry_.all()) {
        if (!domain->active())
            continue;
        auto job = domain->jobs().begin("network", std::chrono::seconds(settings_.jobTimeoutSeconds));
        auto settled = job ? domain->settleInterfaces() : Result<void>(std::move(job).takeError());
        if (!settled && domain->active())
            log::warning("interfaces of '", domain->name(), "': ", settled.error().message());
    }
}

bool Driver::usesFilter(const std::string& hostName) const {
    for (const auto& domain : registry_.all()) {
        for (const auto& used : domain->interfaces()) {
            if (used.filtered && used.link.hostName == hostName)
                return true;
        }
    }
    return false;
}

/** A removal that was cut off may take long to be brought to its end: calls about that domain wait for it. */
void Driver::settleSnapshots() {
    for (auto& domain : registry_.all()) {
        if (ending_)
            return;
        if (!domain->hasUnsettledSnapshots())
            continue;
        auto job = domain->jobs().begin("settleSnapshots", std::chrono::seconds(settings_.jobTimeoutSeconds));
        auto settled = job ? domain->settleSnapshots([this](uint64_t, uint64_t) { return !ending_; })
                           : Result<void>(std::move(job).takeError());
        if (!settled)
            log::error("domain '", domain->name(), "': ", settled.error().message());
    }
}

void Driver::autostart() {
    autodestroyer_.post([this] { settleNetwork(); });
    storage_->autostart();
    starter_ = std::thread([this, all = isFirstStart()] {
        abi::AsDaemon asDaemon; // no client asks: without it no volume is found where access is checked
        settleSnapshots();
        if (all)
            autostartAll();
    });
}

/** Whether domains are to be started by themselves: once per boot of the host. The run folder is emptied by a
 * boot, not by a restart of the daemon. */
bool Driver::isFirstStart() const {
    auto done = cat(paths_.run, "/autostarted");
    if (!settings_.autostart || file::exists(done))
        return false;
    auto marked = file::writeAtomic(done, "");
    if (!marked)
        log::error("autostart is left out: ", marked.error().message());
    return static_cast<bool>(marked);
}

void Driver::autostartAll() {
    for (auto& domain : registry_.all()) {
        if (ending_)
            return;
        if (!domain->autostart() || domain->active())
            continue;
        auto job = domain->jobs().begin("autostart", std::chrono::seconds(settings_.jobTimeoutSeconds));
        auto started = job ? domain->start({}) : Result<void>(std::move(job).takeError());
        if (!started && !domain->active())
            log::error("domain '", domain->name(),
                       "' cannot be started automatically: ", started.error().message());
    }
}

void Driver::countActive(int change) {
    std::lock_guard lock(activeLock_);
    bool before = active_ > 0;
    active_ += change;
    if (before != (active_ > 0))
        inhibit_(active_ > 0);
}

Result<Names::Claim> Driver::claimNames(const std::string& name, const std::string& uuid) {
    return names_.claim(name, uuid, std::chrono::seconds(settings_.jobTimeoutSeconds));
}

void Driver::connected(virConnectPtr conn) {
    {
        std::lock_guard lock(connectionsLock_);
        connections_.insert(conn);
    }
    storage_->connected(conn);
    relayEvents(conn);
}

Result<std::shared_ptr<abi::InnerConnection>> Driver::machineConnection(virConnectPtr conn) {
    VZ_TRY(auto inner, machines_.connection(conn));
    relayEvents(conn); // if it came back, so does the driver's own
    return inner;
}

/** Opens the driver's own connection to QEMU's driver if it has none, and listens to it. */
void Driver::relayEvents(virConnectPtr conn) {
    if (machines_.ownAlive())
        return;
    std::lock_guard lock(relayLock_);
    if (!machines_.ensureOwn(conn))
        return;
    abi::AsDaemon asDaemon; // events are for all clients
    relay_.reset();
    auto inner = machines_.own();
    auto started =
        inner ? abi::EventRelay::start((*inner)->get(), *events_,
                                       {.relays =
                                            [this](virDomainPtr machine, int, int type, int detail) {
                                                bool shown = machines_.noteEvent(machine, type, detail);
                                                if (shown)
                                                    noteMachineGuarantee(*this, machine, type);
                                                return shown;
                                            },
                                        .outerId = vm::outerId})
              : Result<std::unique_ptr<abi::EventRelay>>(std::move(inner).takeError());
    if (started) {
        relay_ = *std::move(started);
        noteRunningMachines(*this, **inner);
        return;
    }
    log::error("events of virtual machines do not arrive: ", started.error().message());
    machines_.dropOwn(); // the next call tries again
}

bool Driver::isConnected(virConnectPtr conn) const {
    std::lock_guard lock(connectionsLock_);
    return connections_.contains(conn);
}

void Driver::disconnected(virConnectPtr conn) {
    {
        std::lock_guard lock(connectionsLock_);
        connections_.erase(conn);
    }
    // Like autodestroy(): QEMU's driver waits for the machines that end with a connection, and this is the
    // thread that serves all clients.
    if (auto inner = machines_.disconnected(conn))
        autodestroyer_.post([last = std::move(inner)]() mutable { last.reset(); });
    for (auto& domain : registry_.all()) {
        if (domain->autodestroyOwner() == conn)
            autodestroy(domain);
    }
}

void Driver::autodestroy(const DomainRef& domain) {
    // Closing a connection must not wait for a domain that is busy, nor may the news of other domains.
    autodestroyer_.post([domain, limit = std::chrono::seconds(settings_.jobTimeoutSeconds)] {
        auto job = domain->jobs().begin("autodestroy", limit);
        auto destroyed = job ? domain->destroy(false) : Result<void>(std::move(job).takeError());
        if (!destroyed && domain->active())
            log::error("domain '", domain->name(),
                       "' outlives its connection: ", destroyed.error().message());
    });
}

} // namespace vz::driver
