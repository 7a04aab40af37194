// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/monitor_events.hpp"

#include "base/log.hpp"
#include "libvirt/driver_table.hpp"
#include "libvirt/lent.hpp"
#include "libvirt/objects.hpp"
#include "libvirt/private.hpp"

#include <atomic>
#include <exception>
#include <map>
#include <mutex>
#include <optional>

namespace vz::abi {

namespace {

using LentPolicy = Lent<MonitorEvents::Policy>;

/** One client's wish, shared by the registry and the inner driver's callback. */
class Listener {
public:
    Listener(std::shared_ptr<LentPolicy> policy, ConnectRef outer, const MonitorEvents::Client& client)
        : policy_(std::move(policy)), callback_(client.callback), opaque_(client.opaque),
          freeOpaque_(client.freeOpaque), outer_(std::move(outer)) {}

    void tell(virDomainPtr inner, const char* event, long long seconds, unsigned int micros,
              const char* details) {
        // A reference of its own: the client may remove the registration and close meanwhile, or in its
        // callback. No lock is held there, nor does libvirt hold one.
        auto outer = connection();
        auto id = outer ? visibleId(inner) : std::nullopt;
        if (!id)
            return;
        unsigned char uuid[VIR_UUID_BUFLEN];
        virDomainGetUUID(inner, uuid);
        auto dom = makeDomain(outer.get(), virDomainGetName(inner), uuid, *id);
        if (!dom) {
            log::error("an event of QEMU's monitor is lost: ", dom.error().message());
            return;
        }
        callback_(outer.get(), *dom, event, seconds, micros, details, opaque_);
        priv::virObjectUnref(*dom);
    }

    /** No callback starts after it. */
    void stop() {
        ConnectRef last;
        std::lock_guard guard(lock_);
        last.swap(outer_);
    }

    /** The inner driver is done with it. Runs with that driver's lock held. */
    void freed() {
        freed_ = true;
        if (freeOpaque_)
            freeOpaque_(opaque_);
    }
    bool isFreed() const { return freed_; }

private:
    ConnectRef connection() {
        std::lock_guard guard(lock_);
        return outer_;
    }

    std::optional<int> visibleId(virDomainPtr inner) {
        std::optional<int> id;
        policy_->use([&](auto& policy) {
            if (policy.shows(inner))
                id = policy.outerId(static_cast<int>(virDomainGetID(inner)));
        });
        return id;
    }

    const std::shared_ptr<LentPolicy> policy_;
    const virConnectDomainQemuMonitorEventCallback callback_;
    void* const opaque_;
    const virFreeCallback freeOpaque_;
    std::atomic<bool> freed_ = false;
    std::mutex lock_;
    ConnectRef outer_;
};

void onMonitorEvent(virConnectPtr, virDomainPtr inner, const char* event, long long seconds,
                    unsigned int micros, const char* details, void* opaque) noexcept {
    try {
        lent<Listener>(opaque)->tell(inner, event, seconds, micros, details);
    } catch (const std::exception& error) {
        log::error("an event of QEMU's monitor is lost: ", error.what());
    }
}

void onFree(void* opaque) noexcept {
    lent<Listener>(opaque)->freed();
    unlend<Listener>(opaque);
}

struct Registration {
    std::shared_ptr<Listener> listener;
    ConnectRef outer; ///< tells whose it is, and keeps that open
    ConnectRef inner;
    decltype(MonitorEvents::Inner::remove) removeInner;
    int innerId = -1;

    /** False with the error raised if the inner driver keeps it. A driver that ended dropped it by itself. */
    bool end() {
        return listener->isFreed() || removeInner(inner.get(), innerId) >= 0 || listener->isFreed();
    }
};

} // namespace

struct MonitorEvents::State {
    std::shared_ptr<LentPolicy> policy;
    std::mutex lock;
    int lastId = 0;
    std::map<int, Registration> registrations;

    using Node = decltype(registrations)::node_type;

    /** Not in the registry yet, but with a number and all the memory that it needs there. */
    Node prepare(Registration registration) {
        int id;
        {
            std::lock_guard guard(lock);
            id = ++lastId;
        }
        decltype(registrations) one;
        one.emplace(id, std::move(registration));
        return one.extract(id);
    }

    void put(Node node) {
        std::lock_guard guard(lock);
        registrations.insert(std::move(node));
    }

    /** Out of the registry, so that only one thread has it; empty if it is not @p conn's. */
    Node take(virConnectPtr conn, int id) {
        std::lock_guard guard(lock);
        auto found = registrations.find(id);
        if (found == registrations.end() || found->second.outer.get() != conn)
            return {};
        return registrations.extract(found);
    }
};

MonitorEvents::MonitorEvents(Policy policy) : state_(std::make_unique<State>()) {
    state_->policy = std::make_shared<LentPolicy>(std::move(policy));
}

MonitorEvents::~MonitorEvents() {
    state_->policy->end();
    for (auto& [id, registration] : state_->registrations) {
        if (!registration.end())
            log::debug("QEMU's monitor is not told off: ", lastError("libvirt said nothing").message());
        registration.listener->stop();
    }
}

int MonitorEvents::add(const Inner& inner, const Client& client) {
    auto outer = refConnect(client.conn);
    auto innerConn = refConnect(inner.conn);
    if (!outer || !innerConn)
        return -1;
    auto listener = std::make_shared<Listener>(state_->policy, outer, client);
    auto node = state_->prepare({listener, outer, innerConn, inner.remove});
    void* opaque = lend(listener);
    int innerId =
        inner.add(inner.conn, client.innerDomain, client.event, onMonitorEvent, opaque, onFree, client.flags);
    if (innerId < 0) {
        unlend<Listener>(opaque); // What is not registered stays the caller's, and the client's its own.
        return -1;
    }
    node.mapped().innerId = innerId;
    int id = node.key();
    state_->put(std::move(node));
    return id;
}

int MonitorEvents::remove(virConnectPtr conn, int id) {
    auto node = state_->take(conn, id);
    if (!node) {
        report(fail(ErrorCode::InvalidArg, "this connection has no registration ", id,
                    " for events of QEMU's monitor"));
        return -1;
    }
    if (!node.mapped().end()) {
        state_->put(std::move(node));
        return -1;
    }
    node.mapped().listener->stop();
    return 0;
}

} // namespace vz::abi
