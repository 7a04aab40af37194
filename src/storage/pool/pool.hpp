// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/pool/pool_store.hpp"
#include "storage/pool/pool_xml.hpp"

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace vz::storage {

class Pool;
using PoolRef = std::shared_ptr<Pool>;

/** What happens to a pool; the order is libvirt's of lifecycle events, and then its other one. */
enum class PoolEvent { Defined, Undefined, Started, Stopped, Created, Deleted, Refreshed };

/**
 * One pool. Name and UUID never change. Its lock is held for moments only: what takes long holds a Change
 * (of the pool as a whole) or a Lease (of one volume), so that looking things up never waits. Thread-safe.
 */
class Pool : public std::enable_shared_from_this<Pool> {
public:
    struct Environment {
        const PoolStore& store;
        std::function<void(const Pool&, PoolEvent)> tell; ///< called without any lock of the pool's
        std::chrono::seconds patience;                    ///< how long one call waits for another
    };

    Pool(const Environment& environment, PoolConfig config, bool persistent);

    const std::string& name() const { return name_; }
    const std::string& uuid() const { return uuid_; }
    bool active() const;
    bool persistent() const;
    bool autostart() const;
    /** The definition in force; @p inactive: that of the next start. */
    PoolConfig config(bool inactive = false) const;
    std::string target() const { return config().target; }

    /** While it lives, nobody else changes the pool or begins anything with a volume. */
    class Change {
    public:
        Change(Change&& other) noexcept : pool_(std::move(other.pool_)) {}
        Change& operator=(Change&&) = delete;
        ~Change();

    private:
        friend class Pool;
        explicit Change(PoolRef pool) : pool_(std::move(pool)) {}
        PoolRef pool_;
    };
    /** Waits for what takes a moment. OperationInvalid if long work on volumes is going on,
     * OperationTimeout. */
    Result<Change> beginChange(const char* what);

    // With a Change. OperationInvalid in the wrong state.
    Result<void> start();
    Result<void> stop();
    Result<void> refresh();
    Result<void> build();
    /** Removes the folder, which must be empty. */
    Result<void> removeTarget();
    /** The definition for the next start, or for now if the pool is not active; makes it persistent. */
    Result<void> redefine(PoolConfig config);
    /** An inactive pool only. */
    Result<void> undefine();
    /** It never came to be: whoever waits for it is told that there is no such pool. */
    void abandon();

    // Waits for a Change that somebody has.
    Result<void> setAutostart(bool on);

    // While nobody else knows it.
    /** Takes up a pool that an earlier daemon had active. */
    Result<void> adopt();
    /** After that: the definition on the disk, which is for the next start. */
    Result<void> restoreDefinition(PoolConfig config);

    // Volumes. OperationInvalid if the pool is not active.
    Result<std::vector<std::string>> volumes() const;
    /** The path of a volume: NoStorageVolume if there is none of that name. */
    Result<std::string> volumePath(const std::string& name) const;
    bool hasVolume(const std::string& name) const;

    enum class Use {
        Read,   ///< others may read as well
        Change, ///< nobody else
        Make,   ///< there is none of that name yet
    };
    /** The right to work on a volume. */
    class Lease {
    public:
        Lease(Lease&& other) noexcept = default;
        Lease& operator=(Lease&&) = delete;
        ~Lease();

        const std::string& path() const { return path_; }
        /** Work is done, and the rest takes a moment: others wait for it instead of being refused. */
        void ending();
        /** The volume that was made is there; the one that was removed is not. */
        void exists(bool yes);

    private:
        friend class Pool;
        Lease(PoolRef pool, std::string name, std::string path, Use use, bool lengthy)
            : pool_(std::move(pool)), name_(std::move(name)), path_(std::move(path)), use_(use),
              lengthy_(lengthy) {}
        bool ending_ = false;
        PoolRef pool_;
        std::string name_, path_;
        Use use_;
        bool lengthy_;
    };
    /**
     * @p lengthy: changes of the pool are refused meanwhile, else they wait. StorageVolExist,
     * NoStorageVolume, and OperationInvalid, which tells what is being done with the volume.
     */
    Result<Lease> lease(const std::string& name, Use use, const char* what, bool lengthy);

private:
    struct Volume {
        bool there = true; ///< not one that is being made
        bool changing = false;
        unsigned readers = 0;
        unsigned ending = 0; ///< of those who read or change
        std::string work;    ///< the last that began
        bool idle() const { return !changing && readers == 0; }
        /** Whether it will be idle in a moment. */
        bool ends() const { return !idle() && ending == readers + changing; }
    };

    Result<void> requireActive() const;
    Result<void> waitUnchanged(std::unique_lock<std::mutex>& lock);
    Result<void> rescan();
    void end(Lease& lease);
    Result<PoolConfig> configFor(const char* what, bool active) const;
    void tell(PoolEvent event) const { environment_.tell(*this, event); }

    const Environment environment_;
    const std::string name_, uuid_;

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    PoolConfig config_;
    std::optional<PoolConfig> next_; ///< for when it is started the next time
    bool active_ = false, persistent_, gone_ = false;
    const char* changing_ = nullptr;   ///< by whom the pool is being changed
    unsigned lengthy_ = 0, short_ = 0; ///< leases
    std::map<std::string, Volume> volumes_;
};

} // namespace vz::storage
