// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/log.hpp"
#include "libvirt/driver_table.hpp"
#include "libvirt/lent.hpp"
#include "libvirt/objects.hpp"
#include "libvirt/private.hpp"
#include "libvirt/storage.hpp"

#include <vector>

namespace vz::abi {

/** As the hub of domain events (events.cpp): with a client that stays, for the same reason. */
struct StorageEvents::State {
    void* hub = nullptr;
    virConnectPtr conn = nullptr;
    int keeper = -1;

    /** Where the events of another driver go; ended before that, as libvirt drops callbacks late. */
    struct Target {
        State* state;
    };
    using Loan = Lent<Target>;
    std::mutex lock; ///< of all below
    std::shared_ptr<Loan> loan;
    ConnectRef source;
    std::vector<int> callbacks;

    ~State() {
        if (keeper >= 0)
            priv::virObjectEventStateDeregisterID(conn, hub, keeper, true);
        priv::virObjectUnref(hub);
        priv::virObjectUnref(conn);
    }

    void queue(void* event) {
        if (event)
            priv::virObjectEventStateQueue(hub, event);
        else
            log::error("a storage event is lost: ", lastError("libvirt could not make it").message());
    }
};

namespace {

template<typename Make>
void handOn(virStoragePoolPtr pool, Make make) {
    unsigned char uuid[VIR_UUID_BUFLEN];
    const char* name = ::virStoragePoolGetName(pool);
    if (name && ::virStoragePoolGetUUID(pool, uuid) == 0)
        make(name, uuid);
}

} // namespace

Result<std::unique_ptr<StorageEvents>> StorageEvents::create() {
    auto state = std::make_shared<State>();
    state->hub = priv::virObjectEventStateNew();
    state->conn = priv::virGetConnect();
    auto nothing = [](virConnectPtr, virStoragePoolPtr, void*) {};
    if (!state->hub || !state->conn ||
        priv::virStoragePoolEventStateRegisterID(state->conn, state->hub, nullptr,
                                                 VIR_STORAGE_POOL_EVENT_ID_REFRESH, nothing, nullptr, nullptr,
                                                 &state->keeper) < 0)
        return lastError("libvirt could not make a hub for storage events");
    return std::unique_ptr<StorageEvents>(new StorageEvents(std::move(state)));
}

StorageEvents::StorageEvents(std::shared_ptr<State> state) : state_(std::move(state)) {}

StorageEvents::~StorageEvents() {
    stopRelay();
}

int StorageEvents::registerAny(virConnectPtr conn, virStoragePoolPtr pool, int eventId,
                               virConnectStoragePoolEventGenericCallback cb, void* opaque,
                               virFreeCallback ff) {
    int id = -1;
    if (priv::virStoragePoolEventStateRegisterID(conn, state_->hub, pool, eventId, cb, opaque, ff, &id) < 0)
        return -1;
    return id;
}

int StorageEvents::deregisterAny(virConnectPtr conn, int callbackId) {
    return priv::virObjectEventStateDeregisterID(conn, state_->hub, callbackId, true) < 0 ? -1 : 0;
}

void StorageEvents::lifecycle(const std::string& name, const unsigned char* uuid, int type) {
    state_->queue(priv::virStoragePoolEventLifecycleNew(name.c_str(), uuid, type, 0));
}

void StorageEvents::refresh(const std::string& name, const unsigned char* uuid) {
    state_->queue(priv::virStoragePoolEventRefreshNew(name.c_str(), uuid));
}

Result<void> StorageEvents::relay(virConnectPtr source) {
    stopRelay();
    static_assert(VIR_STORAGE_POOL_EVENT_ID_LAST == 2, "there is a kind of storage events more to hand on");
    using Loan = State::Loan;
    auto onLifecycle = [](virConnectPtr, virStoragePoolPtr pool, int type, int detail, void* opaque) {
        lent<Loan>(opaque)->use([&](State::Target& target) {
            handOn(pool, [&](const char* name, const unsigned char* uuid) {
                target.state->queue(priv::virStoragePoolEventLifecycleNew(name, uuid, type, detail));
            });
        });
    };
    auto onRefresh = [](virConnectPtr, virStoragePoolPtr pool, void* opaque) {
        lent<Loan>(opaque)->use([&](State::Target& target) {
            handOn(pool, [&](const char* name, const unsigned char* uuid) {
                target.state->queue(priv::virStoragePoolEventRefreshNew(name, uuid));
            });
        });
    };
    virConnectStoragePoolEventLifecycleCallback lifecycleCallback = onLifecycle;
    virConnectStoragePoolEventGenericCallback refreshCallback = onRefresh;
    const std::pair<int, virConnectStoragePoolEventGenericCallback> kinds[] = {
        {VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE, VIR_STORAGE_POOL_EVENT_CALLBACK(lifecycleCallback)},
        {VIR_STORAGE_POOL_EVENT_ID_REFRESH, refreshCallback},
    };
    std::unique_lock guard(state_->lock);
    state_->loan = std::make_shared<Loan>(State::Target{state_.get()});
    state_->source = refConnect(source);
    for (const auto& [kind, callback] : kinds) {
        void* opaque = lend(state_->loan);
        int id =
            ::virConnectStoragePoolEventRegisterAny(source, nullptr, kind, callback, opaque, unlend<Loan>);
        if (id < 0) {
            auto error = lastError("the storage driver refused to tell its events");
            unlend<Loan>(opaque);
            guard.unlock();
            stopRelay();
            return error;
        }
        state_->callbacks.push_back(id);
    }
    return {};
}

void StorageEvents::stopRelay() {
    std::shared_ptr<State::Loan> loan;
    std::vector<int> callbacks;
    ConnectRef source;
    {
        std::lock_guard guard(state_->lock);
        loan.swap(state_->loan);
        callbacks.swap(state_->callbacks);
        source.swap(state_->source);
    }
    if (loan)
        loan->end();
    for (int id : callbacks)
        (void)::virConnectStoragePoolEventDeregisterAny(source.get(), id);
}

} // namespace vz::abi
