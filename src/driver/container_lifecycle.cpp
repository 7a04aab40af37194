// SPDX-License-Identifier: LGPL-2.1-or-later
// Start, end and pause of a container, and what its supervisor tells of them.
#include "base/file.hpp"
#include "base/log.hpp"
#include "base/rollback.hpp"
#include "ct/guest_facts.hpp"
#include "ct/tcp_memory.hpp"
#include "driver/container_domain.hpp"
#include "driver/container_storage.hpp"
#include "driver/driver.hpp"
#include "driver/interfaces.hpp"
#include "driver/launch.hpp"
#include "driver/limits.hpp"
#include "driver/quota.hpp"

#include <csignal>

namespace vz::driver {

namespace {

constexpr auto killLimit = std::chrono::seconds(15);

struct Stopped {
    int reason; ///< virDomainShutoffReason
    int detail; ///< virDomainEventStoppedDetailType
};

Stopped describe(ct::StopReason reason) {
    switch (reason) {
    case ct::StopReason::Shutdown:
        return {VIR_DOMAIN_SHUTOFF_SHUTDOWN, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN};
    case ct::StopReason::Destroyed:
        return {VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED};
    case ct::StopReason::Crashed:
        break;
    }
    return {VIR_DOMAIN_SHUTOFF_CRASHED, VIR_DOMAIN_EVENT_STOPPED_CRASHED};
}

void warn(const Result<void>& result, std::string_view what) {
    if (!result)
        log::warning(what, ": ", result.error().message());
}

void setLabel(domain::Config::LiveFacts& facts, pid_t init) {
    facts.securityLabel = ct::apparmorLabel(init);
    facts.securityModel = facts.securityLabel.empty() ? "none" : "apparmor";
}

} // namespace

ct::Observer ContainerDomain::observer(unsigned run) {
    // The observer must not keep the domain alive, and its work may wait: it goes to the worker. News of an
    // earlier run that come after a new start are no longer of interest; each action looks for itself, as the
    // new start may come at any moment.
    auto post = [weak = weak_from_this(), &driver = driver_](auto action) {
        driver.worker().post([weak, action] {
            if (auto self = weak.lock())
                action(*self);
        });
    };
    return {
        .rebooted = [post, run](pid_t init) { post([=](auto& self) { self.onRebooted(run, init); }); },
        .preserved = [post, run](auto reason) { post([=](auto& self) { self.onPreserved(run, reason); }); },
        .dying = [post, run] { post([=](auto& self) { self.onDying(run); }); },
        .stopped = [post, run](auto reason) { post([=](auto& self) { self.onStopped(run, reason); }); }};
}

unsigned ContainerDomain::beginRun() {
    std::lock_guard lock(lock_);
    starting_ = true;
    endedWhileStarting_.reset();
    return ++run_;
}

Result<void> ContainerDomain::start(const StartMode& mode) {
    return startOnce(config(), mode);
}

Result<void> ContainerDomain::startOnce(domain::Config from, const StartMode& mode) {
    if (active())
        return fail(ErrorCode::OperationInvalid, "domain is already running");
    // Whoever had the job before us, or its end if it was transient, may have removed it: nobody could reach
    // a container of a domain that is in no list.
    if (driver_.registry().byUuid(uuid_).get() != this)
        return fail(ErrorCode::NoDomain, "no domain with matching uuid '", uuid_, "' (", name(), ")");
    // A revert that was cut off may have changed some of its images only.
    VZ_CHECK(settleSnapshots());
    unsigned run = beginRun();
    Live live{std::move(from), {}, nullptr, nullptr, {}, nullptr, mode.autodestroyOwner};
    auto launched = launch(run, mode, live);
    if (launched) {
        becomeActive(
            std::move(live), mode.paused,
            mode.paused
                ? int(mode.forSnapshot() ? VIR_DOMAIN_PAUSED_FROM_SNAPSHOT : VIR_DOMAIN_PAUSED_USER)
                : int(mode.forSnapshot() ? VIR_DOMAIN_RUNNING_FROM_SNAPSHOT : VIR_DOMAIN_RUNNING_BOOTED));
        driver_.events().lifecycle(subject(), VIR_DOMAIN_EVENT_STARTED, mode.event);
        if (mode.paused)
            driver_.events().lifecycle(subject(), VIR_DOMAIN_EVENT_SUSPENDED,
                                       mode.forSnapshot() ? VIR_DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT
                                                          : VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
    }
    std::optional<ct::StopReason> ended;
    {
        std::lock_guard lock(lock_);
        starting_ = false;
        ended = launched ? endedWhileStarting_ : std::nullopt;
        if (!launched)
            setState(VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_SHUTOFF_FAILED);
    }
    if (ended)
        finishStop(run, *ended);
    // Its connection may have been closed before it could be known as the owner.
    else if (launched && mode.autodestroyOwner && !driver_.isConnected(mode.autodestroyOwner))
        driver_.autodestroy(shared_from_this());
    return launched;
}

Result<void> ContainerDomain::launch(unsigned run, const StartMode& mode, Live& live) {
    const auto definition = live.config.definition();
    VZ_CHECK(domain::checkStartable(definition, driver_.paths()));
    DiskLeases leases;
    Rollback undo;
    VZ_CHECK(file::removeTree(runDir()));
    VZ_CHECK(file::makeDirs(runDir(), 0700));
    undo.add([dir = runDir()] { warn(file::removeTree(dir), "cannot remove the run folder"); });
    undo.add([this, &live] {
        if (live.cgroup)
            warn(live.cgroup->remove(), "cannot remove the cgroups");
        unplugInterfaces(interfacePlace(live.netns ? live.netns->get() : -1), live.facts.interfaces);
    });
    // Their processes end before the groups that they are in are removed.
    undo.add([&leases] { leases.giveBack(); });
    VZ_TRY(auto guarantee, guaranteeOf(driver_, definition));
    VZ_CHECK(driver_.guarantees().reserve(uuid_, guarantee));
    undo.add([this] { driver_.guarantees().release(uuid_); });
    VZ_CHECK(leases.take(definition));
    VZ_TRY(auto spec, launchSpec(driver_, definition, runDir(), leases.disks()));
    VZ_CHECK(setQuota(definition, spec.uids));
    VZ_TRY(live.facts.cpus, chooseCpus(driver_, definition, {}));
    VZ_TRY(auto limits, startLimits(driver_, definition, live.facts.cpus, leases.disks()));
    live.facts.uidMap = spec.uids;
    live.facts.gidMap = spec.gids;

    domain::RuntimeState begun;
    ct::Container::StartOptions options;
    options.supervisorPath = driver_.settings().supervisor;
    options.limit = std::chrono::seconds(driver_.settings().startTimeoutSeconds);
    options.prepare = [&](pid_t supervisor, ct::LaunchSpec& prepared) -> Result<void> {
        auto partition =
            definition.partition.empty() ? driver_.settings().cgroupPartition : definition.partition;
        VZ_TRY(live.cgroup,
               ct::Cgroup::create(driver_.cgroupHost(), {definition.name, partition, uuid_}, supervisor));
        if (!prepared.uids.empty())
            VZ_CHECK(live.cgroup->delegate(prepared.uids.front().host, prepared.gids.front().host));
        VZ_CHECK(live.cgroup->apply(limits));
        VZ_CHECK(leases.moveTo(*live.cgroup));
        // If the daemon dies in the midst of this, the next one knows what to remove.
        live.facts.id = supervisor; // libvirt drops live parts of what has no id; init's is not there yet
        VZ_TRY(live.config, live.config.live(driver_.parser(), live.facts));
        begun.liveXml = live.config.stateXml();
        begun.cgroup = live.cgroup->save();
        begun.persistent = persistent();
        begun.starting = true;
        begun.disks = leases.disks();
        VZ_CHECK(domain::saveState(runDir(), begun));
        prepared.supervisorCgroups = live.cgroup->supervisorDirs();
        prepared.payloadCgroups = live.cgroup->payloadDirs();
        prepared.cgroupView = live.cgroup->view();
        return {};
    };
    auto plugAll = [&](int netns) {
        auto save = [&] {
            begun.interfaces = live.facts.interfaces;
            live.netns = keptNetwork(live.facts.interfaces, netns);
            return domain::saveState(runDir(), begun);
        };
        return InterfacePlugger(driver_.parser(), interfacePlace(netns), live.config, live.facts.interfaces,
                                save)
            .plugAll();
    };
    auto buffers = ct::socketLimits(definition.extension.beancounters).buffers;
    bool limited = buffers != ct::BufferLimits();
    if (limited || !definition.interfaces.empty() || !definition.hostDevices.empty())
        options.network = [&, limited](int netns) -> Result<void> {
            if (limited)
                VZ_CHECK(ct::setTcpMemory(netns, buffers));
            return plugAll(netns);
        };
    if (mode.paused)
        options.beforeInit = [&](pid_t) { return live.cgroup->freeze(true); };
    VZ_TRY(live.container, ct::Container::start(driver_.reactor(), std::move(spec), options, observer(run)));
    undo.add([&] {
        if (mode.paused)
            warn(live.cgroup->freeze(false), "cannot thaw");
        warn(live.container->kill(killLimit), "cannot kill the container");
    });

    live.disks = leases.disks();
    live.facts.id = live.container->init();
    for (size_t i = 0; i < std::max<size_t>(definition.consoles.size(), 1); ++i)
        live.facts.consolePaths.push_back(live.container->consolePath(i));
    setLabel(live.facts, live.facts.id);
    VZ_TRY(live.config, live.config.withFacts(driver_.parser(), live.facts));
    undo.dismiss();
    return {};
}

void ContainerDomain::becomeActive(Live live, bool paused, int reason) {
    {
        std::lock_guard lock(lock_);
        id_ = live.facts.id;
        live_ = std::move(live);
        updated_ = false;
        setState(paused ? VIR_DOMAIN_PAUSED : VIR_DOMAIN_RUNNING, reason);
    }
    warn(saveRuntime(), "cannot save the state of a running container");
    driver_.countActive(+1);
}

Result<void> ContainerDomain::adopt(const domain::RuntimeState& state) {
    VZ_TRY(auto config, domain::Config::parse(driver_.parser(), state.liveXml, {.live = true}));
    VZ_TRY(auto cgroup, ct::Cgroup::open(driver_.cgroupHost(), state.cgroup));
    unsigned run = beginRun();
    auto container = ct::Container::adopt(driver_.reactor(), runDir(), observer(run));
    if (!container) {
        std::lock_guard lock(lock_);
        starting_ = false;
        return std::move(container).takeError();
    }
    Live live{std::move(config), {}, *std::move(container), std::move(cgroup), state.disks};
    live.facts.id = live.container->init();
    const auto& definition = live.config.definition();
    for (size_t i = 0; i < definition.consoles.size(); ++i)
        live.facts.consolePaths.push_back(live.container->consolePath(i));
    live.facts.interfaces = state.interfaces;
    if (auto netns =
            state.interfaces.empty() ? Result<UniqueFd>(notRunning()) : live.container->networkNamespace())
        live.netns = keptNetwork(state.interfaces, netns->get());
    live.facts.uidMap = state.uidMap;
    live.facts.gidMap = state.gidMap;
    live.facts.cpus = state.cpus;
    if (auto guarantee = guaranteeOf(driver_, definition))
        driver_.guarantees().restore(uuid_, *guarantee);
    if (!state.tuning.empty())
        warn(undoTuning(live, state), "the limits of a running container are not what they were");
    setLabel(live.facts, live.facts.id);
    auto refreshed = live.config.withFacts(driver_.parser(), live.facts);
    if (refreshed)
        live.config = *std::move(refreshed);
    else
        log::warning("the live XML of ", uuid_,
                     " cannot be brought up to date: ", refreshed.error().message());
    bool rebooted = live.container->boots() != state.boots;
    auto frozen = live.cgroup->frozen();
    bool paused = frozen && *frozen;
    becomeActive(std::move(live), paused,
                 paused && !state.paused ? int(VIR_DOMAIN_PAUSED_UNKNOWN) : state.reason);
    if (rebooted)
        driver_.events().reboot(subject());
    std::optional<ct::StopReason> ended;
    {
        std::lock_guard lock(lock_);
        starting_ = false;
        ended = endedWhileStarting_;
    }
    if (ended)
        finishStop(run, *ended);
    return {};
}

void ContainerDomain::endedWhileAway(ct::StopReason reason) {
    std::lock_guard lock(lock_);
    setState(VIR_DOMAIN_SHUTOFF, describe(reason).reason);
}

void ContainerDomain::onDying(unsigned run) {
    std::shared_ptr<ct::Cgroup> group;
    {
        std::lock_guard lock(lock_);
        if (run_ != run || !live_)
            return;
        group = live_->cgroup;
    }
    if (auto frozen = group->frozen(); frozen && *frozen)
        warn(group->freeze(false), "cannot thaw a container whose supervisor is dead");
}

void ContainerDomain::onStopped(unsigned run, ct::StopReason reason) {
    {
        std::lock_guard lock(lock_);
        if (run_ != run)
            return;
        if (starting_) {
            endedWhileStarting_ = reason;
            return;
        }
        if (live_ && !live_->disks.empty()) {
            // Its images may take a while to be closed, for which news of others do not wait.
            driver_.enders().post(
                [self = shared_from_this(), run, reason] { self->finishStop(run, reason); });
            return;
        }
    }
    finishStop(run, reason);
}

void ContainerDomain::finishStop(unsigned run, ct::StopReason reason) {
    std::shared_ptr<ct::Cgroup> cgroup;
    std::vector<domain::UsedInterface> interfaces;
    std::shared_ptr<UniqueFd> netns;
    std::vector<domain::UsedDisk> disks;
    bool forSnapshot;
    {
        std::lock_guard lock(lock_);
        if (run_ != run || !live_ || live_->finishing)
            return;
        live_->finishing = true;
        forSnapshot = live_->forSnapshot;
        cgroup = live_->cgroup;
        interfaces = live_->facts.interfaces;
        netns = live_->netns;
        disks = live_->disks;
        if (live_->destroying)
            reason = ct::StopReason::Destroyed;
    }
    // Whoever starts it again, or does something with an image of it, finds it closed.
    warn(awaitClosed(disks), "an image of a stopped container stays open");
    warn(cgroup->remove(), "cannot remove the cgroups of a stopped container");
    unplugInterfaces(interfacePlace(netns ? netns->get() : -1), interfaces);
    warn(file::removeTree(runDir()), "cannot remove the run folder");
    driver_.guarantees().release(uuid_);
    auto about = subject();
    auto stopped = forSnapshot
                       ? Stopped{VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT, VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT}
                       : describe(reason);
    bool transient;
    {
        std::lock_guard lock(lock_);
        live_.reset();
        id_ = -1;
        updated_ = false;
        transient = !persistent_;
        setState(VIR_DOMAIN_SHUTOFF, stopped.reason);
        if (transient)
            driver_.registry().remove(shared_from_this());
    }
    if (transient) {
        warn(driver_.idRanges().release(uuid_), "cannot give an id range back");
        warn(snapshots_.forgetAll(), "cannot remove what is known of snapshots");
    }
    driver_.events().lifecycle(about, VIR_DOMAIN_EVENT_STOPPED, stopped.detail);
    driver_.countActive(-1);
    stopped_.notify_all();
}

void ContainerDomain::onRebooted(unsigned run, pid_t init) {
    {
        std::lock_guard lock(lock_);
        if (run_ != run || !live_)
            return;
        live_->facts.id = init;
        setLabel(live_->facts, init);
        if (auto config = live_->config.withFacts(driver_.parser(), live_->facts))
            live_->config = *std::move(config);
        id_ = init;
        setState(VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_BOOTED);
    }
    warn(saveRuntime(), "cannot save the state of a running container");
    driver_.events().reboot(subject());
}

void ContainerDomain::onPreserved(unsigned run, ct::StopReason reason) {
    bool crashed = reason == ct::StopReason::Crashed;
    {
        std::lock_guard lock(lock_);
        if (run_ != run || !live_)
            return;
        if (crashed)
            setState(VIR_DOMAIN_CRASHED, VIR_DOMAIN_CRASHED_PANICKED);
        else
            setState(VIR_DOMAIN_SHUTDOWN, VIR_DOMAIN_SHUTDOWN_USER);
    }
    if (crashed)
        driver_.events().lifecycle(subject(), VIR_DOMAIN_EVENT_CRASHED, VIR_DOMAIN_EVENT_CRASHED_PANICKED);
    else
        driver_.events().lifecycle(subject(), VIR_DOMAIN_EVENT_SHUTDOWN, VIR_DOMAIN_EVENT_SHUTDOWN_FINISHED);
}

void ContainerDomain::waitUntilStopped(std::chrono::milliseconds limit) {
    std::unique_lock lock(lock_);
    stopped_.wait_for(lock, limit, [this] { return !live_; });
}

unsigned ContainerDomain::setDestroying(bool on) {
    std::lock_guard lock(lock_);
    if (live_)
        live_->destroying = on;
    return run_;
}

Result<void> ContainerDomain::destroy(bool graceful) {
    VZ_TRY(auto container, running());
    VZ_TRY(auto group, cgroup());
    unsigned run = setDestroying(true);
    if (graceful) {
        VZ_TRY(auto signals, ct::endSignals(container->init()));
        if (signals.poweroff) {
            VZ_CHECK(container->expectEnd(false));
            VZ_CHECK(container->signalInit(signals.poweroff));
            waitUntilStopped(killLimit);
            if (!active())
                return {};
            setDestroying(false);
            return fail(ErrorCode::ResourceBusy, "the container's init did not end within ",
                        std::chrono::seconds(killLimit).count(), " s after it was asked to");
        }
    }
    // A frozen task dies only when it is thawed: let the signal wait for it, so that nothing runs in between.
    if (auto frozen = group->frozen(); frozen && *frozen) {
        warn(container->signalInit(SIGKILL), "cannot signal a frozen container");
        warn(group->freeze(false), "cannot thaw a container that is being destroyed");
    }
    if (auto killed = container->kill(killLimit); !killed && active())
        return killed;
    finishStop(run, ct::StopReason::Destroyed);
    // If the worker does it, that waits for the images.
    waitUntilStopped(closeLimit + killLimit);
    if (active())
        return fail(ErrorCode::OperationFailed,
                    "the container is dead but its remains could not be removed in time");
    return {};
}

Result<void> ContainerDomain::shutdown() {
    VZ_TRY(auto container, running());
    if (state().first == VIR_DOMAIN_PAUSED)
        return fail(ErrorCode::OperationInvalid, "domain is paused: resume it before its shutdown");
    VZ_TRY(auto signals, ct::endSignals(container->init()));
    VZ_CHECK(container->expectEnd(false));
    // An init that listens to no signal has nothing to save: its processes are ended.
    return container->signalInit(signals.poweroff ? signals.poweroff : SIGKILL);
}

Result<void> ContainerDomain::reboot() {
    VZ_TRY(auto container, running());
    if (state().first == VIR_DOMAIN_PAUSED)
        return fail(ErrorCode::OperationInvalid, "domain is paused: resume it before its reboot");
    VZ_TRY(auto signals, ct::endSignals(container->init()));
    VZ_CHECK(container->expectEnd(true));
    return container->signalInit(signals.reboot ? signals.reboot : SIGKILL);
}

Result<void> ContainerDomain::reset() {
    VZ_TRY(auto container, running());
    VZ_TRY(auto group, cgroup());
    if (auto frozen = group->frozen(); frozen && *frozen)
        VZ_CHECK(resume());
    return container->reset();
}

Result<void> ContainerDomain::suspend() {
    VZ_TRY(auto group, cgroup());
    auto now = state().first;
    if (now == VIR_DOMAIN_PAUSED)
        return {};
    if (now != VIR_DOMAIN_RUNNING)
        return notRunning();
    if (auto frozen = group->freeze(true); !frozen) {
        warn(group->freeze(false), "cannot thaw after a freeze that failed");
        return frozen;
    }
    {
        std::lock_guard lock(lock_);
        if (!live_)
            return notRunning();
        setState(VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_USER);
    }
    driver_.events().lifecycle(subject(), VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
    return saveRuntime();
}

Result<void> ContainerDomain::resume() {
    VZ_TRY(auto group, cgroup());
    if (state().first == VIR_DOMAIN_RUNNING)
        return fail(ErrorCode::OperationInvalid, "domain is already running");
    if (state().first != VIR_DOMAIN_PAUSED)
        return fail(ErrorCode::OperationInvalid, "domain is not paused");
    VZ_CHECK(group->freeze(false));
    {
        std::lock_guard lock(lock_);
        if (!live_)
            return notRunning();
        setState(VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNPAUSED);
    }
    driver_.events().lifecycle(subject(), VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
    return saveRuntime();
}

Result<void> ContainerDomain::setEndActions(const domain::Definition& definition) {
    VZ_TRY(auto container, running());
    return container->setEndActions(definition.onPoweroff, definition.onReboot, definition.onCrash);
}

} // namespace vz::driver
