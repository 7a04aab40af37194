// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/container_domain.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "driver/driver.hpp"

namespace vz::driver {

Error notRunning() {
    return fail(ErrorCode::OperationInvalid, "domain is not running");
}

ContainerDomain::ContainerDomain(Driver& driver, domain::Config config, bool persistent)
    : driver_(driver), uuid_(config.definition().uuid), config_(std::move(config)), persistent_(persistent),
      snapshots_(driver.parser(), cat(driver.paths().lib, "/snapshot/", uuid_)) {
    autostart_ = persistent && driver.store().autostart(config_.definition().name);
}

ContainerDomain::~ContainerDomain() = default;

std::string ContainerDomain::name() const {
    std::lock_guard lock(lock_);
    return config_.definition().name;
}

bool ContainerDomain::persistent() const {
    std::lock_guard lock(lock_);
    return persistent_;
}

bool ContainerDomain::updated() const {
    std::lock_guard lock(lock_);
    return updated_;
}

bool ContainerDomain::autostart() const {
    std::lock_guard lock(lock_);
    return autostart_;
}

std::pair<int, int> ContainerDomain::state() const {
    std::lock_guard lock(lock_);
    return {state_, reason_};
}

abi::Events::Subject ContainerDomain::subject() const {
    abi::Events::Subject subject{id_, name(), {}};
    (void)abi::uuidBytes(uuid_, subject.uuid);
    return subject;
}

domain::Config ContainerDomain::config() const {
    std::lock_guard lock(lock_);
    return config_;
}

domain::Config ContainerDomain::current() const {
    std::lock_guard lock(lock_);
    return live_ ? live_->config : config_;
}

Result<std::shared_ptr<ct::Container>> ContainerDomain::running() const {
    std::lock_guard lock(lock_);
    if (!live_)
        return notRunning();
    return live_->container;
}

Result<std::shared_ptr<ct::Cgroup>> ContainerDomain::cgroup() const {
    std::lock_guard lock(lock_);
    if (!live_)
        return notRunning();
    return live_->cgroup;
}

Result<std::vector<domain::UsedDisk>> ContainerDomain::disks() const {
    std::lock_guard lock(lock_);
    if (!live_)
        return notRunning();
    return live_->disks;
}

std::string ContainerDomain::cpus() const {
    std::lock_guard lock(lock_);
    return live_ ? live_->facts.cpus : std::string();
}

virConnectPtr ContainerDomain::autodestroyOwner() const {
    std::lock_guard lock(lock_);
    return live_ ? live_->autodestroyOwner : nullptr;
}

std::string ContainerDomain::runDir() const {
    return cat(driver_.paths().run, "/", uuid_);
}

void ContainerDomain::setState(int state, int reason) {
    state_ = state;
    reason_ = reason;
}

domain::RuntimeState ContainerDomain::runtimeState() const {
    domain::RuntimeState state;
    state.liveXml = live_->config.stateXml();
    if (live_->tuning)
        state.tuning = live_->tuning->stateXml();
    state.cgroup = live_->cgroup->save();
    state.persistent = persistent_;
    state.paused = state_ == VIR_DOMAIN_PAUSED;
    state.reason = reason_;
    state.boots = live_->container->boots();
    state.uidMap = live_->facts.uidMap;
    state.gidMap = live_->facts.gidMap;
    state.cpus = live_->facts.cpus;
    state.interfaces = live_->facts.interfaces;
    state.disks = live_->disks;
    state.autodestroy = live_->autodestroyOwner != nullptr;
    return state;
}

Result<void> ContainerDomain::saveRuntime() {
    std::lock_guard lock(lock_);
    if (!live_)
        return {};
    return domain::saveState(runDir(), runtimeState());
}

// Definition

Result<void> ContainerDomain::define(domain::Config config) {
    const auto& name = config.definition().name;
    VZ_TRY(auto xml, config.toXml(driver_.parser(), VIR_DOMAIN_XML_SECURE));
    {
        std::lock_guard store(driver_.storeLock());
        VZ_CHECK(driver_.store().save(name, xml));
    }
    {
        std::lock_guard lock(lock_);
        config_ = std::move(config);
        updated_ = updated_ || live_.has_value();
        persistent_ = true;
    }
    return saveRuntime();
}

Result<void> ContainerDomain::setConfig(domain::Config config) {
    if (!persistent())
        return fail(ErrorCode::OperationInvalid, "transient domains do not have any persistent config");
    return define(std::move(config));
}

Result<void> ContainerDomain::setLive(domain::Config config, bool done) {
    std::lock_guard lock(lock_);
    if (!live_)
        return notRunning();
    auto before = std::exchange(live_->config, std::move(config));
    auto saved = domain::saveState(runDir(), runtimeState());
    if (!saved && !done)
        live_->config = std::move(before);
    return saved;
}

Result<void> ContainerDomain::undefine() {
    if (!persistent())
        return fail(ErrorCode::OperationInvalid, "cannot undefine transient domain");
    {
        std::lock_guard store(driver_.storeLock());
        VZ_CHECK(driver_.store().remove(name()));
    }
    bool runs;
    {
        std::lock_guard lock(lock_);
        persistent_ = false;
        autostart_ = false;
        runs = live_.has_value();
    }
    if (runs)
        return saveRuntime();
    if (auto released = driver_.idRanges().release(uuid_); !released)
        log::warning("the id range of ", uuid_, " stays taken: ", released.error().message());
    if (auto forgotten = snapshots_.forgetAll(); !forgotten)
        log::warning("what is known of snapshots of ", uuid_, " stays: ", forgotten.error().message());
    driver_.registry().remove(shared_from_this());
    return {};
}

Result<void> ContainerDomain::rename(const std::string& newName) {
    if (active())
        return fail(ErrorCode::OperationInvalid, "cannot rename active domain");
    if (!persistent())
        return fail(ErrorCode::OperationInvalid, "cannot rename a transient domain");
    auto before = config();
    auto oldName = before.definition().name;
    if (oldName == newName)
        return fail(ErrorCode::InvalidArg, "domain '", newName, "' has that name already");
    VZ_TRY(auto renamed, before.withName(driver_.parser(), newName));
    VZ_TRY(auto xml, renamed.toXml(driver_.parser(), VIR_DOMAIN_XML_SECURE));
    VZ_CHECK(driver_.registry().rename(shared_from_this(), oldName, newName));
    std::unique_lock store(driver_.storeLock());
    if (auto moved = driver_.store().rename(oldName, newName, xml); !moved) {
        (void)driver_.registry().rename(shared_from_this(), newName, oldName);
        return moved;
    }
    std::lock_guard lock(lock_);
    config_ = std::move(renamed);
    return {};
}

Result<void> ContainerDomain::setAutostart(bool on) {
    if (!persistent())
        return fail(ErrorCode::OperationInvalid, "cannot set autostart for transient domain");
    std::lock_guard store(driver_.storeLock());
    VZ_CHECK(driver_.store().setAutostart(name(), on));
    std::lock_guard lock(lock_);
    autostart_ = on;
    return {};
}

} // namespace vz::driver
