// SPDX-License-Identifier: LGPL-2.1-or-later
#include "event_kinds.hpp"

#include "base/text.hpp"
#include "event_source.hpp"
#include "libvirt/private.hpp"

#include <catch2/catch.hpp>

#include <cstring>
#include <memory>
#include <tuple>
#include <utility>

namespace priv = vz::abi::priv;

namespace events {

namespace {

// What a callback got, as text. Every argument is in it.

std::string text(const char* value) {
    return value ? vz::cat('"', value, '"') : "null";
}
template<std::integral T>
std::string text(T value) {
    return vz::cat(value);
}
std::string text(const virDomainEventGraphicsAddress* address) {
    return address ? vz::cat("{", address->family, " ", text(address->node), " ", text(address->service), "}")
                   : "null";
}
std::string text(const virDomainEventGraphicsSubject* subject) {
    if (!subject)
        return "null";
    std::string all = "{";
    for (int i = 0; i < subject->nidentity; ++i)
        all += vz::cat(text(subject->identities[i].type), "=", text(subject->identities[i].name), ";");
    return all + "}";
}
std::string text(const virTypedParameter& param) {
    switch (param.type) {
    case VIR_TYPED_PARAM_INT:
        return vz::cat(param.field, "=i", param.value.i);
    case VIR_TYPED_PARAM_UINT:
        return vz::cat(param.field, "=u", param.value.ui);
    case VIR_TYPED_PARAM_LLONG:
        return vz::cat(param.field, "=l", param.value.l);
    case VIR_TYPED_PARAM_ULLONG:
        return vz::cat(param.field, "=ul", param.value.ul);
    case VIR_TYPED_PARAM_BOOLEAN:
        return vz::cat(param.field, "=b", static_cast<int>(param.value.b));
    case VIR_TYPED_PARAM_STRING:
        return vz::cat(param.field, "=", text(param.value.s));
    default:
        return vz::cat(param.field, "=?");
    }
}

std::string texts() {
    return "";
}
template<typename... Rest>
std::string texts(virTypedParameterPtr params, int count, Rest...) {
    std::string all = vz::cat(" ", count, ":");
    for (int i = 0; i < count; ++i)
        all += vz::cat(" ", text(params[i]));
    return all;
}
template<typename First, typename... Rest>
std::string texts(First first, Rest... rest) {
    return vz::cat(" ", text(first), texts(rest...));
}

/** A public callback of any type that writes down what it was registered for and what it gets. */
template<typename Callback>
struct Writer;

template<typename R, typename... All>
struct Writer<R (*)(virConnectPtr, virDomainPtr, All...)> {
    static R callback(virConnectPtr, virDomainPtr dom, All... all) {
        auto given = std::tie(all...);
        constexpr size_t count = sizeof...(All) - 1;
        auto* listener = static_cast<Listener*>(std::get<count>(given));
        [&]<size_t... i>(std::index_sequence<i...>) {
            listener->lines->push_back(
                vz::cat(who(dom), " #", listener->eventId, texts(std::get<i>(given)...)));
        }
        (std::make_index_sequence<count>());
        return R();
    }
    static virConnectDomainEventGenericCallback generic() { return VIR_DOMAIN_EVENT_CALLBACK(callback); }
};

template<typename Callback>
Kind make(int id, std::string expected, void* (*maker)(virDomainPtr)) {
    return {id, Writer<Callback>::generic(), maker, std::move(expected)};
}

virDomainEventGraphicsAddressPtr address(int family, const char* node, const char* service) {
    auto* made = allocate<virDomainEventGraphicsAddress>();
    *made = {family, strdup(node), service ? strdup(service) : nullptr};
    return made;
}

virDomainEventGraphicsSubjectPtr graphicsSubject() {
    // libvirt frees the subject and the texts in it, but not the array: if it did, it would be freed twice.
    static std::vector<std::unique_ptr<virDomainEventGraphicsSubjectIdentity, decltype(&std::free)>> arrays;
    auto* array = allocate<virDomainEventGraphicsSubjectIdentity>(2);
    arrays.emplace_back(array, std::free);
    array[0] = {strdup("x509dname"), strdup("CN=a")};
    array[1] = {strdup("saslUsername"), strdup("b")};
    auto* made = allocate<virDomainEventGraphicsSubject>();
    *made = {2, array};
    return made;
}

virTypedParameterPtr params(int* count) {
    virTypedParameterPtr made = nullptr;
    int room = 0;
    *count = 0;
    REQUIRE(virTypedParamsAddInt(&made, count, &room, "i", -1) == 0);
    REQUIRE(virTypedParamsAddULLong(&made, count, &room, "ul", ~0ULL) == 0);
    REQUIRE(virTypedParamsAddString(&made, count, &room, "s", "text") == 0);
    REQUIRE(virTypedParamsAddBoolean(&made, count, &room, "b", 1) == 0);
    return made;
}

} // namespace

void freeListener(void* opaque) {
    delete static_cast<Listener*>(opaque);
}

std::vector<Kind> allKinds() {
    return {
        make<virConnectDomainEventCallback>(
            VIR_DOMAIN_EVENT_ID_LIFECYCLE, " 5 6",
            [](auto dom) { return priv::virDomainEventLifecycleNewFromDom(dom, 5, 6); }),
        make<virConnectDomainEventGenericCallback>(
            VIR_DOMAIN_EVENT_ID_REBOOT, "",
            [](auto dom) { return priv::virDomainEventRebootNewFromDom(dom); }),
        make<virConnectDomainEventRTCChangeCallback>(
            VIR_DOMAIN_EVENT_ID_RTC_CHANGE, " -5000000000",
            [](auto dom) { return priv::virDomainEventRTCChangeNewFromDom(dom, -5000000000); }),
        make<virConnectDomainEventWatchdogCallback>(
            VIR_DOMAIN_EVENT_ID_WATCHDOG, " 3",
            [](auto dom) { return priv::virDomainEventWatchdogNewFromDom(dom, 3); }),
        make<virConnectDomainEventIOErrorCallback>(
            VIR_DOMAIN_EVENT_ID_IO_ERROR, " \"/d.img\" \"virtio-disk0\" 1",
            [](auto dom) { return priv::virDomainEventIOErrorNewFromDom(dom, "/d.img", "virtio-disk0", 1); }),
        make<virConnectDomainEventGraphicsCallback>(VIR_DOMAIN_EVENT_ID_GRAPHICS,
                                                    " 2 {0 \"10.0.0.1\" \"5900\"} {2 \"/sock\" null} \"vnc\" "
                                                    "{\"x509dname\"=\"CN=a\";\"saslUsername\"=\"b\";}",
                                                    [](auto dom) {
                                                        return priv::virDomainEventGraphicsNewFromDom(
                                                            dom, 2, address(0, "10.0.0.1", "5900"),
                                                            address(2, "/sock", nullptr), "vnc",
                                                            graphicsSubject());
                                                    }),
        make<virConnectDomainEventIOErrorReasonCallback>(
            VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, " \"/d.img\" \"virtio-disk0\" 1 \"enospc\"",
            [](auto dom) {
                return priv::virDomainEventIOErrorReasonNewFromDom(dom, "/d.img", "virtio-disk0", 1,
                                                                   "enospc");
            }),
        make<virConnectDomainEventGenericCallback>(
            VIR_DOMAIN_EVENT_ID_CONTROL_ERROR, "",
            [](auto dom) { return priv::virDomainEventControlErrorNewFromDom(dom); }),
        make<virConnectDomainEventBlockJobCallback>(
            VIR_DOMAIN_EVENT_ID_BLOCK_JOB, " \"/d.img\" 4 3",
            [](auto dom) { return priv::virDomainEventBlockJobNewFromDom(dom, "/d.img", 4, 3); }),
        make<virConnectDomainEventDiskChangeCallback>(
            VIR_DOMAIN_EVENT_ID_DISK_CHANGE, " \"/old\" null \"ide0-0-0\" 1",
            [](auto dom) {
                return priv::virDomainEventDiskChangeNewFromDom(dom, "/old", nullptr, "ide0-0-0", 1);
            }),
        make<virConnectDomainEventTrayChangeCallback>(
            VIR_DOMAIN_EVENT_ID_TRAY_CHANGE, " \"ide0-0-1\" 1",
            [](auto dom) { return priv::virDomainEventTrayChangeNewFromDom(dom, "ide0-0-1", 1); }),
        make<virConnectDomainEventPMWakeupCallback>(
            VIR_DOMAIN_EVENT_ID_PMWAKEUP, " 11",
            [](auto dom) { return priv::virDomainEventPMWakeupNewFromDom(dom, 11); }),
        make<virConnectDomainEventPMSuspendCallback>(
            VIR_DOMAIN_EVENT_ID_PMSUSPEND, " 12",
            [](auto dom) { return priv::virDomainEventPMSuspendNewFromDom(dom, 12); }),
        make<virConnectDomainEventBalloonChangeCallback>(
            VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE, " 5000000000",
            [](auto dom) { return priv::virDomainEventBalloonChangeNewFromDom(dom, 5000000000); }),
        make<virConnectDomainEventPMSuspendDiskCallback>(
            VIR_DOMAIN_EVENT_ID_PMSUSPEND_DISK, " 13",
            [](auto dom) { return priv::virDomainEventPMSuspendDiskNewFromDom(dom, 13); }),
        make<virConnectDomainEventDeviceRemovedCallback>(
            VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, " \"net1\"",
            [](auto dom) { return priv::virDomainEventDeviceRemovedNewFromDom(dom, "net1"); }),
        make<virConnectDomainEventBlockJobCallback>(
            VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2, " \"vda\" 2 1",
            [](auto dom) { return priv::virDomainEventBlockJob2NewFromDom(dom, "vda", 2, 1); }),
        make<virConnectDomainEventTunableCallback>(
            VIR_DOMAIN_EVENT_ID_TUNABLE, " 4: i=i-1 ul=ul18446744073709551615 s=\"text\" b=b1",
            [](auto dom) {
                int count;
                auto* given = params(&count);
                void* event = priv::virDomainEventTunableNewFromDom(dom, &given, count);
                CHECK(given == nullptr);
                return event;
            }),
        make<virConnectDomainEventAgentLifecycleCallback>(
            VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, " 1 2",
            [](auto dom) { return priv::virDomainEventAgentLifecycleNewFromDom(dom, 1, 2); }),
        make<virConnectDomainEventDeviceAddedCallback>(
            VIR_DOMAIN_EVENT_ID_DEVICE_ADDED, " \"net2\"",
            [](auto dom) { return priv::virDomainEventDeviceAddedNewFromDom(dom, "net2"); }),
        make<virConnectDomainEventMigrationIterationCallback>(
            VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION, " 7",
            [](auto dom) { return priv::virDomainEventMigrationIterationNewFromDom(dom, 7); }),
        make<virConnectDomainEventJobCompletedCallback>(
            VIR_DOMAIN_EVENT_ID_JOB_COMPLETED, " 4: i=i-1 ul=ul18446744073709551615 s=\"text\" b=b1",
            [](auto dom) {
                int count;
                auto* given = params(&count);
                return priv::virDomainEventJobCompletedNewFromDom(dom, given, count);
            }),
        make<virConnectDomainEventDeviceRemovalFailedCallback>(
            VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED, " \"net3\"",
            [](auto dom) { return priv::virDomainEventDeviceRemovalFailedNewFromDom(dom, "net3"); }),
        make<virConnectDomainEventMetadataChangeCallback>(
            VIR_DOMAIN_EVENT_ID_METADATA_CHANGE, " 1 null",
            [](auto dom) { return priv::virDomainEventMetadataChangeNewFromDom(dom, 1, nullptr); }),
        make<virConnectDomainEventBlockThresholdCallback>(
            VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD, " \"vda[1]\" \"/d.img\" 5000000000 6000000000",
            [](auto dom) {
                return priv::virDomainEventBlockThresholdNewFromDom(dom, "vda[1]", "/d.img", 5000000000,
                                                                    6000000000);
            }),
        make<virConnectDomainEventMemoryFailureCallback>(
            VIR_DOMAIN_EVENT_ID_MEMORY_FAILURE, " 1 2 4294967293",
            [](auto dom) { return priv::virDomainEventMemoryFailureNewFromDom(dom, 1, 2, 4294967293U); }),
        make<virConnectDomainEventMemoryDeviceSizeChangeCallback>(
            VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE, " \"ua-vm\" 5000000000",
            [](auto dom) {
                return priv::virDomainEventMemoryDeviceSizeChangeNewFromDom(dom, "ua-vm", 5000000000);
            }),
    };
}

} // namespace events
