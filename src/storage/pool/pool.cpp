// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/pool/pool.hpp"

#include "base/file.hpp"
#include "storage/ploop/io.hpp"
#include "storage/pool/volume_names.hpp"

#include <cerrno>
#include <sys/stat.h>
#include <unistd.h>

namespace vz::storage {

namespace {

/** As libvirt makes the folder of a pool if the XML does not say. */
constexpr mode_t defaultMode = 0711;

Result<void> checkFolder(const std::string& name, const std::string& target) {
    struct stat info;
    if (::stat(target.c_str(), &info) < 0)
        return failErrno(errno, "cannot start the pool '", name, "': cannot look at its folder ", target);
    if (!S_ISDIR(info.st_mode))
        return fail(ErrorCode::OperationFailed, "cannot start the pool '", name, "': ", target,
                    " is not a folder");
    return {};
}

} // namespace

Pool::Pool(const Environment& environment, PoolConfig config, bool persistent)
    : environment_(environment), name_(config.name), uuid_(config.uuid), config_(std::move(config)),
      persistent_(persistent) {}

bool Pool::active() const {
    std::lock_guard lock(mutex_);
    return active_;
}

bool Pool::persistent() const {
    std::lock_guard lock(mutex_);
    return persistent_;
}

bool Pool::autostart() const {
    return persistent() && environment_.store.autostart(name_);
}

PoolConfig Pool::config(bool inactive) const {
    std::lock_guard lock(mutex_);
    return inactive && next_ ? *next_ : config_;
}

Result<void> Pool::waitUnchanged(std::unique_lock<std::mutex>& lock) {
    if (!changed_.wait_for(lock, environment_.patience, [&] { return !changing_; }))
        return fail(ErrorCode::OperationTimeout, "the pool '", name_, "' is busy with ", changing_,
                    ", which was not done within ", environment_.patience.count(), " s");
    if (gone_)
        return fail(ErrorCode::NoStoragePool, "no storage pool with matching uuid '", uuid_, "' (", name_,
                    ")");
    return {};
}

Result<Pool::Change> Pool::beginChange(const char* what) {
    std::unique_lock lock(mutex_);
    VZ_CHECK(waitUnchanged(lock));
    if (lengthy_ > 0)
        return fail(ErrorCode::OperationInvalid, "pool '", name_, "' has asynchronous jobs running");
    changing_ = what; // Nothing new begins from here on; what takes a moment ends first.
    if (!changed_.wait_for(lock, environment_.patience, [&] { return short_ == 0; })) {
        changing_ = nullptr;
        changed_.notify_all();
        return fail(ErrorCode::OperationTimeout, "work on volumes of the pool '", name_,
                    "' was not done within ", environment_.patience.count(), " s");
    }
    return Change(shared_from_this());
}

Pool::Change::~Change() {
    if (!pool_)
        return;
    {
        std::lock_guard lock(pool_->mutex_);
        pool_->changing_ = nullptr;
    }
    pool_->changed_.notify_all();
}

Result<void> Pool::requireActive() const {
    if (!active_)
        return fail(ErrorCode::OperationInvalid, "storage pool '", name_, "' is not active");
    return {};
}

/** The definition in force, if the state is as @p what needs it. */
Result<PoolConfig> Pool::configFor(const char* what, bool active) const {
    std::lock_guard lock(mutex_);
    if (active_ && !active)
        return fail(ErrorCode::OperationInvalid, "cannot ", what, ": storage pool '", name_,
                    "' is already active");
    if (active)
        VZ_CHECK(requireActive());
    return config_;
}

Result<void> Pool::rescan() {
    VZ_TRY(auto names, scanFolder(target()));
    std::lock_guard lock(mutex_);
    volumes_.clear(); // there is no lease
    for (auto& name : names)
        volumes_.try_emplace(std::move(name));
    return {};
}

Result<void> Pool::start() {
    VZ_TRY(auto config, configFor("start it", false));
    VZ_CHECK(checkFolder(name_, config.target));
    VZ_CHECK(rescan());
    VZ_CHECK(environment_.store.saveActive(name_, config.format({})));
    {
        std::lock_guard lock(mutex_);
        active_ = true;
    }
    tell(PoolEvent::Started);
    return {};
}

Result<void> Pool::adopt() {
    VZ_TRY(auto config, configFor("take it up", false));
    VZ_CHECK(checkFolder(name_, config.target));
    VZ_CHECK(rescan());
    std::lock_guard lock(mutex_);
    active_ = true;
    return {};
}

Result<void> Pool::stop() {
    VZ_CHECK(configFor("stop it", true));
    VZ_CHECK(environment_.store.removeActive(name_));
    {
        std::lock_guard lock(mutex_);
        active_ = false;
        volumes_.clear();
        if (next_)
            config_ = *std::exchange(next_, std::nullopt);
        gone_ = !persistent_;
    }
    tell(PoolEvent::Stopped);
    return {};
}

Result<void> Pool::refresh() {
    VZ_TRY(auto config, configFor("refresh it", true));
    auto scanned = checkFolder(name_, config.target);
    if (scanned)
        scanned = rescan();
    if (!scanned) {
        // As libvirt: a pool that cannot be read is not one that runs.
        VZ_CHECK(stop());
        return scanned;
    }
    tell(PoolEvent::Refreshed);
    return {};
}

Result<void> Pool::build() {
    VZ_TRY(auto config, configFor("build it", false));
    const auto& wanted = config.permissions;
    mode_t mode = wanted.mode.value_or(defaultMode);
    bool made = !file::exists(config.target);
    VZ_CHECK(file::makeDirs(ploop::folderOf(config.target)));
    VZ_CHECK(file::makeDirs(config.target, mode));
    if (!file::isDirectory(config.target))
        return fail(ErrorCode::OperationFailed, config.target, " is there already and is not a folder");
    constexpr auto same = static_cast<uid_t>(-1);
    if ((wanted.owner || wanted.group) &&
        ::chown(config.target.c_str(), wanted.owner.value_or(same), wanted.group.value_or(same)) < 0)
        return failErrno(errno, "cannot change the owner of ", config.target);
    if ((made || wanted.mode) && ::chmod(config.target.c_str(), mode) < 0)
        return failErrno(errno, "cannot change the mode of ", config.target);
    tell(PoolEvent::Created);
    return {};
}

Result<void> Pool::removeTarget() {
    VZ_TRY(auto config, configFor("delete it", false));
    if (::rmdir(config.target.c_str()) < 0)
        return failErrno(errno, "failed to remove the folder ", config.target, " of the pool '", name_, "'");
    tell(PoolEvent::Deleted);
    return {};
}

Result<void> Pool::redefine(PoolConfig config) {
    VZ_CHECK(environment_.store.saveDefinition(name_, config.format({})));
    {
        std::lock_guard lock(mutex_);
        persistent_ = true;
        if (active_ && config != config_)
            next_ = std::move(config);
        else {
            config_ = std::move(config);
            next_.reset();
        }
    }
    tell(PoolEvent::Defined);
    return {};
}

Result<void> Pool::restoreDefinition(PoolConfig config) {
    std::lock_guard lock(mutex_);
    if (config != config_)
        next_ = std::move(config);
    return {};
}

Result<void> Pool::undefine() {
    VZ_CHECK(configFor("undefine it", false));
    VZ_CHECK(environment_.store.removeDefinition(name_));
    {
        std::lock_guard lock(mutex_);
        gone_ = true;
    }
    tell(PoolEvent::Undefined);
    return {};
}

void Pool::abandon() {
    std::lock_guard lock(mutex_);
    gone_ = true;
}

Result<void> Pool::setAutostart(bool on) {
    // Under the lock, so that it is not undefined meanwhile.
    std::unique_lock lock(mutex_);
    VZ_CHECK(waitUnchanged(lock));
    if (!persistent_)
        return fail(ErrorCode::OperationInvalid, "cannot set autostart for transient pool");
    return environment_.store.setAutostart(name_, on);
}

Result<std::vector<std::string>> Pool::volumes() const {
    std::lock_guard lock(mutex_);
    VZ_CHECK(requireActive());
    std::vector<std::string> names;
    for (const auto& [name, volume] : volumes_) {
        if (volume.there)
            names.push_back(name);
    }
    return names;
}

bool Pool::hasVolume(const std::string& name) const {
    std::lock_guard lock(mutex_);
    auto found = volumes_.find(name);
    return active_ && found != volumes_.end() && found->second.there;
}

Result<std::string> Pool::volumePath(const std::string& name) const {
    std::lock_guard lock(mutex_);
    VZ_CHECK(requireActive());
    auto found = volumes_.find(name);
    if (found == volumes_.end() || !found->second.there)
        return fail(ErrorCode::NoStorageVolume, "no storage vol with matching name '", name, "'");
    return cat(config_.target, "/", name);
}

Result<Pool::Lease> Pool::lease(const std::string& name, Use use, const char* what, bool lengthy) {
    std::unique_lock lock(mutex_);
    auto free = [&] {
        auto found = volumes_.find(name);
        return !changing_ && (found == volumes_.end() || !found->second.ends());
    };
    if (!changed_.wait_for(lock, environment_.patience, free))
        return fail(ErrorCode::OperationTimeout, "the volume '", name, "' of the pool '", name_,
                    "' is busy, and was so for ", environment_.patience.count(), " s");
    VZ_CHECK(requireActive());
    auto found = volumes_.find(name);
    bool known = found != volumes_.end();
    if (use == Use::Make && known)
        return fail(ErrorCode::StorageVolExist, "storage vol '", name, "' already exists");
    if (use != Use::Make && (!known || !found->second.there))
        return known ? fail(ErrorCode::OperationInvalid, "volume '", name, "' is still being allocated.")
                     : fail(ErrorCode::NoStorageVolume, "no storage vol with matching name '", name, "'");
    auto& volume = volumes_[name];
    if (use == Use::Read ? volume.changing : !volume.idle())
        return fail(ErrorCode::OperationInvalid, "volume '", name, "' is still in use: ", volume.work);
    volume.there = use != Use::Make;
    volume.changing = use != Use::Read;
    volume.readers += use == Use::Read;
    volume.work = what;
    (lengthy ? lengthy_ : short_)++;
    return Lease(shared_from_this(), name, cat(config_.target, "/", name), use, lengthy);
}

void Pool::end(Lease& lease) {
    {
        std::lock_guard lock(mutex_);
        --(lease.lengthy_ ? lengthy_ : short_);
        if (auto found = volumes_.find(lease.name_); found != volumes_.end()) {
            auto& volume = found->second;
            if (lease.use_ == Use::Read)
                --volume.readers;
            else
                volume.changing = false;
            volume.ending -= lease.ending_;
            if (!volume.there)
                volumes_.erase(found);
        }
    }
    changed_.notify_all();
}

Pool::Lease::~Lease() {
    if (pool_)
        pool_->end(*this);
}

void Pool::Lease::ending() {
    std::lock_guard lock(pool_->mutex_);
    if (lengthy_) {
        --pool_->lengthy_;
        ++pool_->short_;
        lengthy_ = false;
    }
    if (auto found = pool_->volumes_.find(name_); found != pool_->volumes_.end() && !ending_) {
        ++found->second.ending;
        ending_ = true;
    }
}

void Pool::Lease::exists(bool yes) {
    std::lock_guard lock(pool_->mutex_);
    if (auto found = pool_->volumes_.find(name_); found != pool_->volumes_.end())
        found->second.there = yes;
}

} // namespace vz::storage
