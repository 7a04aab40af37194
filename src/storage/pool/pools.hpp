// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/pool/pool.hpp"

#include <shared_mutex>

namespace vz::storage {

/** A volume, found by its path. */
struct VolumeRef {
    PoolRef pool;
    std::string name;
};

/** All ploop pools of the daemon. Thread-safe. */
class Pools {
public:
    struct Settings {
        std::string configDir, runDir;
        std::chrono::seconds patience; ///< see Pool::Environment
        std::function<void(const Pool&, PoolEvent)> tell;
    };
    explicit Pools(Settings settings);

    /** Reads the definitions, and takes up the pools that were active when an earlier daemon ended. */
    Result<void> load();
    /** Reads definitions that were added on the disk. */
    Result<void> reload();
    /** Starts what is marked for it, once per boot of the host. May take long. */
    void autostart();

    std::vector<PoolRef> all() const; ///< by name
    PoolRef byName(const std::string& name) const;
    PoolRef byUuid(const std::string& uuid) const;
    /** The active pool whose folder that is. */
    PoolRef byTarget(const std::string& path) const;
    /** The volume of an active pool at @p path, which may also be that of its DiskDescriptor.xml. */
    std::optional<VolumeRef> volumeAt(const std::string& path) const;

    /**
     * Adds a persistent pool, or gives the one of the same name and UUID a new definition. OperationFailed if
     * another pool has one of the two, or its folder.
     */
    Result<PoolRef> define(PoolConfig config);
    /** Adds a transient pool, or finds the inactive one of the same name and UUID, and starts it; builds it
     * before if @p build. */
    Result<PoolRef> create(PoolConfig config, bool build);
    Result<void> undefine(const PoolRef& pool);
    Result<void> stop(const PoolRef& pool);
    Result<void> refresh(const PoolRef& pool);

private:
    Result<PoolRef> find(const PoolConfig& config) const;
    Result<PoolRef> add(PoolConfig config, bool persistent);
    struct Entered {
        PoolRef pool;
        Pool::Change change;
    };
    Result<Entered> enter(const PoolConfig& config, bool persistent);
    void withdraw(const PoolRef& pool);
    Result<void> loadDefinitions();
    void adopt(const PoolStore::Entry& entry);
    void drop(const PoolRef& pool);

    PoolStore store_;
    Pool::Environment environment_;
    /** Held while it is looked for names that are free and they are taken, not for work on a pool. Before
     * mutex_, and after the Change of a pool that others know. */
    std::mutex defining_;
    mutable std::shared_mutex mutex_;
    std::map<std::string, PoolRef> pools_; ///< by name
};

} // namespace vz::storage
