// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/pool/pools.hpp"

#include "base/log.hpp"
#include "storage/ploop/io.hpp"

#include <algorithm>

namespace vz::storage {

Pools::Pools(Settings settings)
    : store_(std::move(settings.configDir), std::move(settings.runDir)), environment_{
                                                                             store_, std::move(settings.tell),
                                                                             settings.patience} {}

Result<void> Pools::load() {
    VZ_CHECK(store_.prepare());
    VZ_CHECK(loadDefinitions());
    VZ_TRY(auto entries, store_.active());
    for (const auto& entry : entries)
        adopt(entry);
    return {};
}

Result<void> Pools::reload() {
    return loadDefinitions();
}

Result<void> Pools::loadDefinitions() {
    VZ_TRY(auto entries, store_.definitions());
    for (const auto& entry : entries) {
        auto config = PoolConfig::parse(entry.xml, false);
        if (!config || config->uuid.empty() || config->name != entry.name) {
            log::error("the definition of the pool '", entry.name, "' is left out: ",
                       config ? "it is of another name, or without a UUID" : config.error().message());
            continue;
        }
        std::lock_guard defining(defining_);
        if (byName(entry.name))
            continue;
        if (auto added = add(*std::move(config), true); !added)
            log::error("the definition of the pool '", entry.name,
                       "' is left out: ", added.error().message());
    }
    return {};
}

void Pools::adopt(const PoolStore::Entry& entry) {
    auto adopted = [&]() -> Result<void> {
        VZ_TRY(auto config, PoolConfig::parse(entry.xml, false));
        auto pool = byName(entry.name);
        if (pool && pool->uuid() != config.uuid)
            return fail(ErrorCode::OperationInvalid, "another pool has its name");
        std::optional<PoolConfig> defined;
        if (pool) {
            // What it was started with counts until it is stopped.
            defined = pool->config();
            drop(pool);
        }
        VZ_TRY(pool, add(std::move(config), defined.has_value()));
        if (auto taken = pool->adopt(); !taken) {
            drop(pool);
            if (defined)
                (void)add(*std::move(defined), true);
            return taken;
        }
        return defined ? pool->restoreDefinition(*std::move(defined)) : Result<void>();
    };
    if (auto done = adopted(); !done) {
        log::warning("the pool '", entry.name, "' is not active any more: ", done.error().message());
        if (auto removed = store_.removeActive(entry.name); !removed)
            log::warning(removed.error().message());
    }
}

void Pools::autostart() {
    auto first = store_.firstSinceBoot();
    if (!first)
        log::error("pools are not started automatically: ", first.error().message());
    if (!first || !*first)
        return;
    for (const auto& pool : all()) {
        if (!pool->autostart() || pool->active())
            continue;
        auto change = pool->beginChange("its automatic start");
        auto started = change ? pool->start() : Result<void>(std::move(change).takeError());
        if (!started && !pool->active())
            log::error("the pool '", pool->name(),
                       "' cannot be started automatically: ", started.error().message());
    }
}

std::vector<PoolRef> Pools::all() const {
    std::shared_lock lock(mutex_);
    std::vector<PoolRef> list;
    for (const auto& [name, pool] : pools_)
        list.push_back(pool);
    return list;
}

PoolRef Pools::byName(const std::string& name) const {
    std::shared_lock lock(mutex_);
    auto found = pools_.find(name);
    return found == pools_.end() ? nullptr : found->second;
}

PoolRef Pools::byUuid(const std::string& uuid) const {
    std::shared_lock lock(mutex_);
    auto found =
        std::ranges::find_if(pools_, [&](const auto& entry) { return entry.second->uuid() == uuid; });
    return found == pools_.end() ? nullptr : found->second;
}

PoolRef Pools::byTarget(const std::string& path) const {
    auto plain = plainPath(path);
    for (const auto& pool : all()) {
        if (pool->active() && pool->target() == plain)
            return pool;
    }
    return nullptr;
}

std::optional<VolumeRef> Pools::volumeAt(const std::string& path) const {
    auto plain = plainPath(path);
    if (ploop::nameOf(plain) == "DiskDescriptor.xml")
        plain = ploop::folderOf(plain);
    auto pool = byTarget(ploop::folderOf(plain));
    auto name = ploop::nameOf(plain);
    if (!pool || !pool->hasVolume(name))
        return {};
    return VolumeRef{pool, name};
}

/** The pool that a definition is of; null: a new one. */
Result<PoolRef> Pools::find(const PoolConfig& config) const {
    auto pool = byName(config.name);
    if (pool && pool->uuid() != config.uuid)
        return fail(ErrorCode::OperationFailed, "pool '", config.name, "' already exists with uuid ",
                    pool->uuid());
    auto other = byUuid(config.uuid);
    if (other && other != pool)
        return fail(ErrorCode::OperationFailed, "pool '", other->name(), "' is already defined with uuid ",
                    config.uuid);
    for (const auto& one : all()) {
        if (one != pool && (one->target() == config.target || one->config(true).target == config.target))
            return fail(ErrorCode::OperationFailed, "Storage source conflict with pool: '", one->name(),
                        "' has its volumes in ", config.target);
    }
    return pool;
}

Result<PoolRef> Pools::add(PoolConfig config, bool persistent) {
    VZ_CHECK(find(config));
    auto pool = std::make_shared<Pool>(environment_, std::move(config), persistent);
    std::unique_lock lock(mutex_);
    pools_.emplace(pool->name(), pool);
    return pool;
}

void Pools::drop(const PoolRef& pool) {
    std::unique_lock lock(mutex_);
    auto found = pools_.find(pool->name());
    if (found != pools_.end() && found->second == pool)
        pools_.erase(found);
}

/** Adds a new pool, with the Change in which it is to become something: nobody has it before. */
Result<Pools::Entered> Pools::enter(const PoolConfig& config, bool persistent) {
    auto pool = std::make_shared<Pool>(environment_, config, persistent);
    VZ_TRY(auto change, pool->beginChange("its definition"));
    std::unique_lock lock(mutex_);
    pools_.emplace(pool->name(), pool);
    return Entered{std::move(pool), std::move(change)};
}

/** Takes back what was entered; those who wait for the pool find it gone. */
void Pools::withdraw(const PoolRef& pool) {
    pool->abandon();
    drop(pool);
}

Result<PoolRef> Pools::define(PoolConfig config) {
    std::unique_lock defining(defining_);
    VZ_TRY(auto pool, find(config));
    if (!pool) {
        VZ_TRY(auto entered, enter(config, true));
        defining.unlock();
        if (auto defined = entered.pool->redefine(std::move(config)); !defined) {
            withdraw(entered.pool);
            return std::move(defined).takeError();
        }
        return entered.pool;
    }
    // The wait for the pool is no wait for others; what was found may have changed after it.
    defining.unlock();
    VZ_TRY(auto change, pool->beginChange("its definition"));
    defining.lock();
    VZ_CHECK(find(config));
    VZ_CHECK(pool->redefine(std::move(config)));
    return pool;
}

Result<PoolRef> Pools::create(PoolConfig config, bool build) {
    std::unique_lock defining(defining_);
    VZ_TRY(auto pool, find(config));
    if (!pool) {
        VZ_TRY(auto entered, enter(config, false));
        defining.unlock();
        auto started = build ? entered.pool->build() : Result<void>();
        if (started)
            started = entered.pool->start();
        if (!started) {
            withdraw(entered.pool);
            return std::move(started).takeError();
        }
        return entered.pool;
    }
    defining.unlock();
    VZ_TRY(auto change, pool->beginChange("its start"));
    if (pool->active())
        return fail(ErrorCode::OperationInvalid, "pool is already active as '", pool->name(), "'");
    if (pool->config() != config)
        return fail(ErrorCode::OperationFailed, "pool '", pool->name(),
                    "' is defined with other settings: start it as it is, or change its definition before");
    if (build)
        VZ_CHECK(pool->build());
    VZ_CHECK(pool->start());
    return pool;
}

Result<void> Pools::undefine(const PoolRef& pool) {
    VZ_TRY(auto change, pool->beginChange("its removal"));
    VZ_CHECK(pool->undefine());
    drop(pool);
    return {};
}

Result<void> Pools::stop(const PoolRef& pool) {
    VZ_TRY(auto change, pool->beginChange("its end"));
    VZ_CHECK(pool->stop());
    if (!pool->persistent())
        drop(pool);
    return {};
}

Result<void> Pools::refresh(const PoolRef& pool) {
    VZ_TRY(auto change, pool->beginChange("a refresh"));
    auto refreshed = pool->refresh();
    if (!pool->active() && !pool->persistent())
        drop(pool);
    return refreshed;
}

} // namespace vz::storage
