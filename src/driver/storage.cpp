// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/storage.hpp"

#include "base/log.hpp"
#include "libvirt/driver_table.hpp"
#include "libvirt/objects.hpp"

namespace vz::driver {

namespace {

/** Of libvirt's for this process: found without a socket, as the storage driver of this daemon is. */
constexpr const char* stockUri = "storage:///system";

/** virStoragePoolEventLifecycleType for what happens to a pool of ours. */
int lifecycleOf(storage::PoolEvent event) {
    using enum storage::PoolEvent;
    switch (event) {
    case Defined:
        return VIR_STORAGE_POOL_EVENT_DEFINED;
    case Undefined:
        return VIR_STORAGE_POOL_EVENT_UNDEFINED;
    case Started:
        return VIR_STORAGE_POOL_EVENT_STARTED;
    case Stopped:
        return VIR_STORAGE_POOL_EVENT_STOPPED;
    case Created:
        return VIR_STORAGE_POOL_EVENT_CREATED;
    case Deleted:
        return VIR_STORAGE_POOL_EVENT_DELETED;
    case Refreshed:
        break;
    }
    return -1;
}

} // namespace

Storage::Storage(const Settings& settings)
    : autostart_(settings.autostart), patience_(settings.jobTimeoutSeconds) {}

Result<std::unique_ptr<Storage>> Storage::create(const Settings& settings) {
    std::unique_ptr<Storage> self(new Storage(settings));
    VZ_TRY(self->events_, abi::StorageEvents::create());
    storage::Pools::Settings pools;
    pools.configDir = settings.configDir + "/storage";
    pools.runDir = settings.runDir + "/storage";
    pools.patience = self->patience_;
    pools.tell = [storage = self.get()](const storage::Pool& pool, storage::PoolEvent event) {
        storage->tell(pool, event);
    };
    self->pools_ = std::make_unique<storage::Pools>(std::move(pools));
    VZ_CHECK(self->pools_->load());
    return self;
}

Storage::~Storage() {
    if (starter_.joinable())
        starter_.join();
    if (events_)
        events_->stopRelay();
}

void Storage::tell(const storage::Pool& pool, storage::PoolEvent event) {
    unsigned char uuid[VIR_UUID_BUFLEN];
    if (!abi::uuidBytes(pool.uuid(), uuid))
        return;
    if (event == storage::PoolEvent::Refreshed)
        events_->refresh(pool.name(), uuid);
    else
        events_->lifecycle(pool.name(), uuid, lifecycleOf(event));
}

void Storage::autostart() {
    if (autostart_)
        starter_ = std::thread([this] { pools_->autostart(); });
}

void Storage::reload() {
    if (auto loaded = pools_->reload(); !loaded)
        log::error("pools cannot be read again: ", loaded.error().message());
}

void Storage::connected(virConnectPtr conn) {
    std::lock_guard lock(stockLock_);
    if (stock_ || !abi::hasStockStorage())
        return;
    abi::AsDaemon asDaemon; // events are for all clients
    auto stock = abi::InnerConnection::open(stockUri, conn);
    auto relayed = stock ? events_->relay((*stock)->get()) : Result<void>(std::move(stock).takeError());
    if (!relayed) {
        // The next client tries again.
        log::error("events of pools of the storage driver do not arrive: ", relayed.error().message());
        return;
    }
    stock_ = *std::move(stock);
}

Result<Names::Claim> Storage::claim(const std::string& name, const std::string& uuid) {
    return names_.claim(name, uuid, patience_);
}

Result<void> Storage::requireFreeInStock(const std::string& name, const std::string& uuid) {
    if (!abi::hasStockStorage())
        return {};
    std::shared_ptr<abi::InnerConnection> stock;
    {
        std::lock_guard lock(stockLock_);
        stock = stock_;
    }
    if (!stock)
        return fail(ErrorCode::OperationFailed,
                    "the storage driver cannot be asked whether it has a pool of that name");
    abi::AsDaemon asDaemon;
    virStoragePoolPtr* list = nullptr;
    int count = ::virConnectListAllStoragePools(stock->get(), &list, 0);
    if (count < 0)
        return abi::lastError("the pools of the storage driver cannot be listed");
    Result<void> free;
    for (int i = 0; i < count; ++i) {
        char text[VIR_UUID_STRING_BUFLEN] = "";
        (void)::virStoragePoolGetUUIDString(list[i], text);
        std::string other = ::virStoragePoolGetName(list[i]);
        if (other == name || text == uuid)
            free = fail(ErrorCode::OperationFailed, "pool '", other, "' already exists with uuid ", text);
        ::virStoragePoolFree(list[i]);
    }
    std::free(list);
    return free;
}

Result<void> Storage::requireFreeHere(const std::string& name, const std::string& uuid) {
    auto pool = pools_->byName(name);
    if (!pool && !uuid.empty())
        pool = pools_->byUuid(uuid);
    if (pool)
        return fail(ErrorCode::OperationFailed, "pool '", pool->name(), "' already exists with uuid ",
                    pool->uuid(), ", and is of the type ploop");
    return {};
}

} // namespace vz::driver
