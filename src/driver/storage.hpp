// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "driver/names.hpp"
#include "driver/settings.hpp"
#include "driver/worker.hpp"
#include "libvirt/inner.hpp"
#include "libvirt/storage.hpp"
#include "storage/pool/pools.hpp"

#include <libvirt/libvirt.h>

#include <memory>
#include <thread>

namespace vz::driver {

/**
 * The driver's part for storage: our pools, their events, and what has to be known of those of the stock
 * storage driver, which has all pools of other types. Thread-safe.
 */
class Storage {
public:
    /** Reads the pools; those that were active are so again. */
    static Result<std::unique_ptr<Storage>> create(const Settings& settings);
    ~Storage();

    /** Returns at once. */
    void autostart();
    void reload();
    /** A client has connected, by @p conn: from the first one on, the stock driver's events reach ours. */
    void connected(virConnectPtr conn);

    storage::Pools& pools() { return *pools_; }
    abi::StorageEvents& events() { return *events_; }
    /** For what is left to do when a stream has ended. */
    Worker& worker() { return worker_; }

    /** See Names::claim(): pools of all types share their names and UUIDs. */
    Result<Names::Claim> claim(const std::string& name, const std::string& uuid);
    /** OperationFailed if the stock driver has a pool of that name or UUID, whether the client sees it or
     * not. */
    Result<void> requireFreeInStock(const std::string& name, const std::string& uuid);
    /** The same for our own pools. */
    Result<void> requireFreeHere(const std::string& name, const std::string& uuid);

private:
    explicit Storage(const Settings& settings);
    void tell(const storage::Pool& pool, storage::PoolEvent event);

    const bool autostart_;
    const std::chrono::seconds patience_;
    Names names_;
    std::unique_ptr<abi::StorageEvents> events_;
    std::unique_ptr<storage::Pools> pools_;
    std::mutex stockLock_;
    std::shared_ptr<abi::InnerConnection> stock_; ///< the driver's own connection to the stock driver
    std::thread starter_;
    Worker worker_; // last: its tasks use the rest
};

} // namespace vz::driver
