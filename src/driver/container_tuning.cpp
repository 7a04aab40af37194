// SPDX-License-Identifier: LGPL-2.1-or-later
// New limits for a running container.
#include "base/log.hpp"
#include "base/rollback.hpp"
#include "ct/live_counters.hpp"
#include "driver/container_domain.hpp"
#include "driver/driver.hpp"
#include "driver/limits.hpp"
#include "driver/quota.hpp"

#include <tuple>

namespace vz::driver {

namespace {

/** What is decided when a container starts cannot be changed while it runs. */
Result<void> checkLiveChange(const domain::Extension& from, const domain::Extension& to) {
    auto features = [](const domain::Extension& it) {
        return std::tie(it.nesting, it.fuse, it.noNewPrivileges, it.seccomp, it.userNamespace);
    };
    if (features(from) != features(to))
        return fail(ErrorCode::OperationUnsupported,
                    "<vz:features> take effect when a container starts: change "
                    "the persistent config (--config) and restart it");
    auto names = [](const domain::Extension& it) {
        return std::tie(it.network.hostname, it.network.nameservers, it.network.searchDomains);
    };
    if (names(from) != names(to))
        return fail(ErrorCode::OperationUnsupported,
                    "the names in <vz:network> take effect when a container starts: change "
                    "the persistent config (--config) and restart it");
    for (const auto& info : ct::counters()) {
        auto value = [&](const ct::Beancounters& set) {
            auto found = set.find(info.name);
            return found == set.end() ? ct::Beancounter() : found->second;
        };
        if (info.change == ct::CounterChange::Restart && value(from.beancounters) != value(to.beancounters))
            return fail(ErrorCode::OperationUnsupported, "<", info.name,
                        "> takes effect when a container starts: "
                        "change the persistent config (--config) and restart it");
    }
    return {};
}

Result<void> changeCounters(ct::Container& container, const ct::Cgroup& group, const domain::Definition& from,
                            const domain::Definition& to, const std::vector<ct::IdRange>& ids) {
    auto owner = ids.empty() ? std::nullopt : std::optional(ids.front().host);
    return ct::changeCounters(container, group, from.extension.beancounters, to.extension.beancounters,
                              owner);
}

Result<void> changeQuota(const domain::Definition& from, const domain::Definition& to,
                         const std::vector<ct::IdRange>& ids) {
    return from.extension.quota == to.extension.quota ? Result<void>() : setQuota(to, ids);
}

} // namespace

Result<void> ContainerDomain::setTuning(std::optional<domain::Config> config) {
    {
        std::lock_guard lock(lock_);
        if (!live_)
            return notRunning();
        live_->tuning = std::move(config);
    }
    return saveRuntime();
}

Result<void> ContainerDomain::undoTuning(const Live& live, const domain::RuntimeState& state) {
    VZ_TRY(auto wanted, domain::Config::parse(driver_.parser(), state.tuning, {.live = true}));
    VZ_TRY(auto from, limitsOf(driver_, wanted.definition(), {}, live.disks));
    VZ_TRY(auto to, limitsOf(driver_, live.config.definition(), state.cpus, live.disks));
    // Which CPUs it was to be given is not known.
    if (driver_.cgroupHost().has("cpuset"))
        from.cpusetCpus = "unknown";
    VZ_CHECK(live.cgroup->apply(changes(from, to)));
    VZ_CHECK(changeQuota(wanted.definition(), live.config.definition(), state.uidMap));
    return changeCounters(*live.container, *live.cgroup, wanted.definition(), live.config.definition(),
                          state.uidMap);
}

Result<void> ContainerDomain::tune(domain::Config config) {
    VZ_TRY(auto group, cgroup());
    auto before = current();
    VZ_CHECK(checkLiveChange(before.definition().extension, config.definition().extension));
    VZ_TRY(auto container, running());
    VZ_CHECK(ct::checkChange(container->init(), before.definition().extension.beancounters,
                             config.definition().extension.beancounters));
    VZ_TRY(const auto parts, liveParts());
    const auto& cpusBefore = parts.facts.cpus;
    VZ_TRY(auto cpusNow, chooseCpus(driver_, config.definition(), cpusBefore));
    VZ_TRY(auto from, limitsOf(driver_, before.definition(), cpusBefore, parts.disks));
    VZ_TRY(auto to, limitsOf(driver_, config.definition(), cpusNow, parts.disks));
    VZ_TRY(auto guaranteed, guaranteeOf(driver_, config.definition()));
    VZ_TRY(auto guaranteedBefore, guaranteeOf(driver_, before.definition()));
    auto useCpus = [this](const std::string& list) {
        std::lock_guard lock(lock_);
        if (live_)
            live_->facts.cpus = list;
    };
    VZ_CHECK(driver_.guarantees().reserve(uuid_, guaranteed));
    Rollback promise;
    promise.add([&] { driver_.guarantees().restore(uuid_, guaranteedBefore); });
    const auto& ids = parts.facts.uidMap;
    bool counters = false; // whether any of them may have been changed
    // A daemon that dies from here on leaves behind what it was about to do.
    VZ_CHECK(setTuning(config));
    Rollback undo;
    undo.add([&] {
        useCpus(cpusBefore);
        (void)setTuning({});
        auto undone = group->apply(changes(to, from));
        if (undone && counters)
            undone = changeCounters(*container, *group, config.definition(), before.definition(), ids);
        if (!undone)
            log::warning("limits of ", uuid_, " are not what they were: ", undone.error().message());
    });
    VZ_CHECK(group->apply(changes(from, to)));
    counters = true;
    VZ_CHECK(changeCounters(*container, *group, before.definition(), config.definition(), ids));
    VZ_CHECK(changeQuota(before.definition(), config.definition(), ids));
    undo.add([&] { (void)changeQuota(config.definition(), before.definition(), ids); });
    useCpus(cpusNow);
    VZ_CHECK(changeInterfaces(before, config));
    undo.add([&] {
        if (auto undone = changeInterfaces(config, before); !undone)
            log::warning("interfaces of ", uuid_, " are not what they were: ", undone.error().message());
    });
    {
        std::lock_guard lock(lock_);
        if (live_)
            live_->tuning.reset();
    }
    VZ_CHECK(setLive(config));
    undo.dismiss();
    promise.dismiss();
    return {};
}

} // namespace vz::driver
