// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/event_relay.hpp"

#include "libvirt/disk_names.hpp"

#include "base/log.hpp"
#include "libvirt/driver_table.hpp"
#include "libvirt/event_makers.hpp"
#include "libvirt/lent.hpp"
#include "libvirt/private.hpp"

#include <array>
#include <exception>
#include <tuple>
#include <type_traits>
#include <vector>

namespace vz::abi {

namespace {

/** What the callbacks use. */
struct Target {
    Events& hub;
    EventRelay::Policy policy;
};
using LentTarget = Lent<Target>;

Events::Subject subjectOf(virDomainPtr inner, const EventRelay::Policy& policy) {
    Events::Subject subject{
        policy.outerId(static_cast<int>(virDomainGetID(inner))), virDomainGetName(inner), {}};
    virDomainGetUUID(inner, subject.uuid);
    return subject;
}

/** @p make: libvirt's maker with the arguments of the event behind the domain. */
template<typename Make>
void handOn(LentTarget& lentTarget, virDomainPtr inner, int eventId, int type, int detail, const Make& make) {
    lentTarget.use([&](Target& target) {
        if (target.policy.relays(inner, eventId, type, detail))
            target.hub.queue(subjectOf(inner, target.policy), make);
    });
}

/** One kind of event: its id, the type of its public callback, and a maker that takes what that gets. */
template<int eventId, typename Callback, auto make>
struct Kind;

template<int eventId, typename Callback, typename... Args, void* (*make)(virDomainPtr, Args...)>
struct Kind<eventId, Callback, make> {
    static constexpr int id = eventId;
    using Answer = std::invoke_result_t<Callback, virConnectPtr, virDomainPtr, Args..., void*>;
    static_assert(std::is_same_v<Callback, Answer (*)(virConnectPtr, virDomainPtr, Args..., void*)>);

    static Answer callback(virConnectPtr, virDomainPtr inner, Args... args, void* opaque) noexcept {
        int type = -1, detail = -1;
        if constexpr (eventId == VIR_DOMAIN_EVENT_ID_LIFECYCLE)
            std::tie(type, detail) = std::tie(args...);
        try {
            handOn(*lent<LentTarget>(opaque), inner, eventId, type, detail,
                   [&](virDomainPtr outer) { return make(outer, outerArgument(args)...); });
        } catch (const std::exception& error) {
            log::error("a domain event is lost: ", error.what());
        }
        return Answer();
    }

    static virConnectDomainEventGenericCallback generic() { return VIR_DOMAIN_EVENT_CALLBACK(callback); }
};

template<typename... Kinds>
struct KindList {
    static constexpr std::array ids{Kinds::id...};
    static const inline std::array callbacks{Kinds::generic()...};

    static constexpr bool isComplete() {
        for (size_t i = 0; i < ids.size(); ++i)
            if (ids[i] != static_cast<int>(i))
                return false;
        return ids.size() == VIR_DOMAIN_EVENT_ID_LAST;
    }
};

using AllKinds = KindList<
    Kind<VIR_DOMAIN_EVENT_ID_LIFECYCLE, virConnectDomainEventCallback,
         priv::virDomainEventLifecycleNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_REBOOT, virConnectDomainEventGenericCallback,
         priv::virDomainEventRebootNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_RTC_CHANGE, virConnectDomainEventRTCChangeCallback,
         priv::virDomainEventRTCChangeNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_WATCHDOG, virConnectDomainEventWatchdogCallback,
         priv::virDomainEventWatchdogNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_IO_ERROR, virConnectDomainEventIOErrorCallback,
         priv::virDomainEventIOErrorNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_GRAPHICS, virConnectDomainEventGraphicsCallback, graphicsEvent>,
    Kind<VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, virConnectDomainEventIOErrorReasonCallback,
         priv::virDomainEventIOErrorReasonNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_CONTROL_ERROR, virConnectDomainEventGenericCallback,
         priv::virDomainEventControlErrorNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_BLOCK_JOB, virConnectDomainEventBlockJobCallback,
         priv::virDomainEventBlockJobNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_DISK_CHANGE, virConnectDomainEventDiskChangeCallback,
         priv::virDomainEventDiskChangeNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_TRAY_CHANGE, virConnectDomainEventTrayChangeCallback,
         priv::virDomainEventTrayChangeNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_PMWAKEUP, virConnectDomainEventPMWakeupCallback,
         priv::virDomainEventPMWakeupNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_PMSUSPEND, virConnectDomainEventPMSuspendCallback,
         priv::virDomainEventPMSuspendNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, virConnectDomainEventBalloonChangeCallback,
         priv::virDomainEventBalloonChangeNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_PMSUSPEND_DISK, virConnectDomainEventPMSuspendDiskCallback,
         priv::virDomainEventPMSuspendDiskNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, virConnectDomainEventDeviceRemovedCallback,
         priv::virDomainEventDeviceRemovedNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, virConnectDomainEventBlockJobCallback,
         priv::virDomainEventBlockJob2NewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_TUNABLE, virConnectDomainEventTunableCallback, tunableEvent>,
    Kind<VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, virConnectDomainEventAgentLifecycleCallback,
         priv::virDomainEventAgentLifecycleNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, virConnectDomainEventDeviceAddedCallback,
         priv::virDomainEventDeviceAddedNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, virConnectDomainEventMigrationIterationCallback,
         priv::virDomainEventMigrationIterationNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, virConnectDomainEventJobCompletedCallback, jobCompletedEvent>,
    Kind<VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, virConnectDomainEventDeviceRemovalFailedCallback,
         priv::virDomainEventDeviceRemovalFailedNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, virConnectDomainEventMetadataChangeCallback,
         priv::virDomainEventMetadataChangeNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD, virConnectDomainEventBlockThresholdCallback,
         priv::virDomainEventBlockThresholdNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_MEMORY_FAILURE, virConnectDomainEventMemoryFailureCallback,
         priv::virDomainEventMemoryFailureNewFromDom>,
    Kind<VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE, virConnectDomainEventMemoryDeviceSizeChangeCallback,
         priv::virDomainEventMemoryDeviceSizeChangeNewFromDom>>;
static_assert(AllKinds::isComplete(), "one row for each VIR_DOMAIN_EVENT_ID_ of this libvirt, in order");

} // namespace

struct EventRelay::State {
    ConnectRef source;
    std::shared_ptr<LentTarget> target;
    std::vector<int> registrations; ///< ids that the source gave

    Result<void> add(int eventId) {
        void* opaque = lend(target);
        int id = virConnectDomainEventRegisterAny(source.get(), nullptr, eventId,
                                                  AllKinds::callbacks[static_cast<size_t>(eventId)], opaque,
                                                  unlend<LentTarget>);
        if (id < 0) {
            unlend<LentTarget>(opaque); // What is not registered stays the caller's.
            return lastError("libvirt refused to tell of events");
        }
        registrations.push_back(id);
        return {};
    }
};

Result<std::unique_ptr<EventRelay>> EventRelay::start(virConnectPtr source, Events& hub, Policy policy) {
    auto state = std::make_unique<State>();
    state->source = refConnect(source);
    if (!state->source)
        return lastError("there is no connection to get events from");
    state->target = std::make_shared<LentTarget>(Target{hub, std::move(policy)});
    state->registrations.reserve(AllKinds::ids.size());

    std::unique_ptr<EventRelay> relay(new EventRelay(std::move(state)));
    for (int id : AllKinds::ids)
        VZ_CHECK(relay->state_->add(id));
    return relay;
}

EventRelay::EventRelay(std::unique_ptr<State> state) : state_(std::move(state)) {}

EventRelay::~EventRelay() {
    state_->target->end();
    for (int id : state_->registrations)
        if (virConnectDomainEventDeregisterAny(state_->source.get(), id) < 0)
            log::debug("events are not told off: ", lastError("libvirt said nothing").message());
}

} // namespace vz::abi
