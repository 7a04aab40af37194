// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/storage.hpp"

#include "libvirt/driver_table.hpp"
#include "libvirt/private.hpp"
#include "turn_until.hpp"
#include "unopened.hpp"

#include <catch2/catch.hpp>

#include <libvirt/virterror.h>

#include <vector>

namespace abi = vz::abi;
using vz::ErrorCode;

namespace {

constexpr const char* uuidText = "6f9a2cf6-93b2-4d1d-a9a3-0e1d7c5f8a01";
const unsigned char uuid[VIR_UUID_BUFLEN] = {0x6f, 0x9a, 0x2c, 0xf6, 0x93, 0xb2, 0x4d, 0x1d,
                                             0xa9, 0xa3, 0x0e, 0x1d, 0x7c, 0x5f, 0x8a, 0x01};

using Seen = std::vector<std::string>;

void onLifecycle(virConnectPtr, virStoragePoolPtr pool, int event, int detail, void* opaque) {
    char text[VIR_UUID_STRING_BUFLEN];
    virStoragePoolGetUUIDString(pool, text);
    static_cast<Seen*>(opaque)->push_back(
        vz::cat(virStoragePoolGetName(pool), " ", text, " ", event, " ", detail));
}
void onRefresh(virConnectPtr, virStoragePoolPtr pool, void* opaque) {
    static_cast<Seen*>(opaque)->push_back(vz::cat(virStoragePoolGetName(pool), " refresh"));
}

/** A hub with one client for both kinds of events. */
struct Hub {
    Hub() {
        static const int once = virEventRegisterDefaultImpl();
        REQUIRE(once == 0);
        auto made = abi::StorageEvents::create();
        REQUIRE(made);
        events = *std::move(made);
        virConnectStoragePoolEventLifecycleCallback lifecycle = onLifecycle;
        ids.push_back(events->registerAny(client.conn, nullptr, VIR_STORAGE_POOL_EVENT_ID_LIFECYCLE,
                                          VIR_STORAGE_POOL_EVENT_CALLBACK(lifecycle), &seen, nullptr));
        ids.push_back(events->registerAny(client.conn, nullptr, VIR_STORAGE_POOL_EVENT_ID_REFRESH, onRefresh,
                                          &seen, nullptr));
        REQUIRE((ids[0] >= 0 && ids[1] >= 0 && ids[0] != ids[1]));
    }
    ~Hub() {
        for (int id : ids)
            events->deregisterAny(client.conn, id);
    }
    Connection client;
    Seen seen;
    std::unique_ptr<abi::StorageEvents> events;
    std::vector<int> ids;
};

} // namespace

TEST_CASE("pools and volumes as libvirt's objects; a volume tells its pool") {
    Connection connection;
    auto pool = abi::makeStoragePool(connection.conn, "a pool", uuid);
    REQUIRE(pool);
    char text[VIR_UUID_STRING_BUFLEN];
    REQUIRE(virStoragePoolGetUUIDString(*pool, text) == 0);
    CHECK(std::string(text) == uuidText);
    CHECK(std::string(virStoragePoolGetName(*pool)) == "a pool");
    auto volume = abi::makeStorageVolume(connection.conn, "a pool", "a volume", "/its/key");
    REQUIRE(volume);
    CHECK(std::string(virStorageVolGetName(*volume)) == "a volume");
    CHECK(std::string(virStorageVolGetKey(*volume)) == "/its/key");
    auto name = abi::poolNameOf(*volume);
    REQUIRE(name);
    CHECK(*name == "a pool");
    virStorageVolFree(*volume);
    virStoragePoolFree(*pool);
}

TEST_CASE("definitions for the access manager, whatever the names hold") {
    virInitialize();
    auto pool = abi::StorageSubject::ofPool("a<b>&'\"", uuidText, "/a<b");
    REQUIRE(pool);
    CHECK(pool->pool());
    CHECK_FALSE(pool->volume());
    auto volume = pool->withVolume("v<&>", "/a<b/v<&>");
    REQUIRE(volume);
    CHECK(volume->pool() == pool->pool());
    CHECK(volume->volume());
    CHECK(abi::checkVolumeAccess(*volume, "start").error().code() == ErrorCode::InternalError);
}

TEST_CASE("events of pools arrive, until they are not wanted any more") {
    Hub hub;
    hub.events->lifecycle("p", uuid, VIR_STORAGE_POOL_EVENT_STARTED);
    hub.events->refresh("p", uuid);
    REQUIRE(events::turnUntil([&] { return hub.seen.size() == 2; }));
    CHECK(hub.seen == Seen{vz::cat("p ", uuidText, " 2 0"), "p refresh"});
    CHECK(hub.events->deregisterAny(hub.client.conn, 12345) == -1);
    virResetLastError();
}

TEST_CASE("events of another driver's pools arrive at our clients") {
    Hub hub;
    virConnectPtr source = virConnectOpen("test:///default");
    REQUIRE(source);
    REQUIRE(hub.events->relay(source));
    auto* pool = virStoragePoolLookupByName(source, "default-pool");
    REQUIRE(pool);
    char text[VIR_UUID_STRING_BUFLEN];
    REQUIRE(virStoragePoolGetUUIDString(pool, text) == 0);
    REQUIRE(virStoragePoolRefresh(pool, 0) == 0);
    REQUIRE(virStoragePoolDestroy(pool) == 0);
    REQUIRE(events::turnUntil([&] { return hub.seen.size() == 2; }));
    CHECK(hub.seen == Seen{"default-pool refresh", vz::cat("default-pool ", text, " 3 0")});

    hub.seen.clear();
    hub.events->stopRelay();
    REQUIRE(virStoragePoolCreate(pool, 0) == 0);
    hub.events->refresh("end", uuid);
    REQUIRE(events::turnUntil([&] { return !hub.seen.empty(); }));
    CHECK(hub.seen == Seen{"end refresh"});
    virStoragePoolFree(pool);
    CHECK(virConnectClose(source) == 0); // nothing holds it any more
}

TEST_CASE("the storage table is known; there is no stock driver before a registration") {
    CHECK(abi::storageSlot("storageVolResize") > 0);
    CHECK(abi::storageSlot("domainSuspend") == -1);
    CHECK(abi::storageSlots().size() == 46);
}
