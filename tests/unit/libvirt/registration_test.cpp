// SPDX-License-Identifier: LGPL-2.1-or-later
#include "libvirt/driver_table.hpp"

#include "libvirt/inner.hpp"
#include "libvirt/private.hpp"

#include <catch2/catch.hpp>

#include <cstring>

namespace abi = vz::abi;
using vz::ErrorCode;

namespace {

int opened = 0;

int connectOpen(virConnectPtr, virConnectAuthPtr, void*, unsigned) {
    ++opened;
    return 0;
}
int connectClose(virConnectPtr) {
    --opened;
    return 0;
}
const char* connectGetType(virConnectPtr) {
    return "vz-test";
}
int connectGetVersion(virConnectPtr, unsigned long*) {
    abi::report(vz::failErrno(EBUSY, "the version"));
    return -1;
}
int nodeGetFreePages(virConnectPtr, unsigned, unsigned*, int, unsigned, unsigned long long*, unsigned) {
    return 17;
}

template<typename F>
void* pointer(F function) {
    return reinterpret_cast<void*>(function);
}

std::vector<std::string> calls; // what libvirt called on the state driver

template<char const* What>
int called() {
    calls.push_back(What);
    return 0;
}
constexpr char kReload[] = "reload", kStop[] = "stop", kPrepare[] = "shutdownPrepare",
               kWait[] = "shutdownWait", kCleanup[] = "cleanup";

int initialize(bool privileged, const char* root, bool monolithic, void (*inhibit)(bool, void*),
               void* opaque) {
    calls.push_back(vz::cat("initialize ", privileged ? "privileged " : "", root ? root : "no root", " ",
                            monolithic ? "monolithic" : ""));
    inhibit(true, opaque);
    return 1;
}

template<typename Function>
Function* innerSlot(const abi::InnerConnection& inner, const char* slot) {
    return reinterpret_cast<Function*>(inner.slot(abi::hypervisorSlot(slot)));
}

/** Another driver of this process, reached over a connection of ours. */
void callAnotherDriver(virConnectPtr ours) {
    CHECK_FALSE(abi::InnerConnection::open("nonsense:///system", ours));
    auto opened = abi::InnerConnection::open("test:///default", ours);
    REQUIRE(opened);
    auto& inner = **opened;
    CHECK(inner.inProcess());
    CHECK(inner.alive());
    CHECK(inner.slot(abi::hypervisorSlot("domainQemuAttach")) == nullptr); // it has none
    CHECK(inner.slot(-1) == nullptr);
    unsigned long version = 0;
    CHECK(innerSlot<int(virConnectPtr, unsigned long*)>(inner, "connectGetVersion")(inner.get(), &version) ==
          0);
    CHECK(version == 2);

    // The test driver always has this domain.
    virDomainPtr test = virDomainLookupByName(inner.get(), "test");
    REQUIRE(test);
    unsigned char uuid[VIR_UUID_BUFLEN];
    REQUIRE(virDomainGetUUID(test, uuid) == 0);
    virDomainFree(test);
    auto handle = inner.domain("test", uuid, 1);
    REQUIRE(handle);
    CHECK(virDomainGetConnect(handle->get()) == inner.get());
    auto* isActive = innerSlot<int(virDomainPtr)>(inner, "domainIsActive");
    CHECK(isActive(handle->get()) == 1);
    auto snapshot = abi::makeSnapshot(handle->get(), "before");
    REQUIRE(snapshot);
    CHECK(std::string(virDomainSnapshotGetName(*snapshot)) == "before");
    CHECK(virDomainSnapshotGetDomain(*snapshot) == handle->get());
    abi::SnapshotHandle ownedSnapshot(*snapshot);
    auto checkpoint = abi::makeCheckpoint(handle->get(), "since");
    REQUIRE(checkpoint);
    CHECK(std::string(virDomainCheckpointGetName(*checkpoint)) == "since");
    abi::CheckpointHandle ownedCheckpoint(*checkpoint);
    auto device = inner.nodeDevice("pci_0000");
    REQUIRE(device);
    CHECK(std::string(virNodeDeviceGetName(device->get())) == "pci_0000");

    // An error of the other driver stays when our objects of it go.
    unsigned char unknown[VIR_UUID_BUFLEN] = {1};
    {
        auto stranger = inner.domain("stranger", unknown, -1);
        REQUIRE(stranger);
        CHECK(isActive(stranger->get()) == -1);
    }
    opened->reset();
    CHECK(virGetLastErrorCode() == VIR_ERR_NO_DOMAIN);
    virResetLastError();
}

const abi::StateCallbacks state{initialize,    called<kCleanup>, called<kReload>,
                                called<kStop>, called<kPrepare>, called<kWait>};

} // namespace

TEST_CASE("slots are found by name") {
    CHECK(abi::hypervisorSlots().size() >= 258);
    CHECK(std::string(abi::hypervisorSlots()[0]) == "name");
    CHECK(abi::hypervisorSlot("connectOpen") == 2);
    CHECK(abi::hypervisorSlot("domainSuspend") > 0);
    CHECK(std::string(abi::hypervisorSlots()[static_cast<size_t>(abi::hypervisorSlot("domainSuspend"))]) ==
          "domainSuspend");
    CHECK(abi::hypervisorSlot("domainSuspendd") == -1);
    CHECK(abi::hypervisorSlot("") == -1);
}

TEST_CASE("an unknown slot is refused before anything is registered, then libvirt runs what is registered") {
    const char* const schemes[] = {"vztest"};
    const abi::SlotEntry wrong[] = {{"domainFly", pointer(connectClose)}};
    auto refused = abi::registerDriver("vz-test", schemes, wrong, state);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::InternalError);
    CHECK(refused.error().message().find("domainFly") != std::string::npos);

    REQUIRE(virInitialize() == 0);
    const abi::SlotEntry slots[] = {
        {"connectOpen", pointer(connectOpen)},           {"connectClose", pointer(connectClose)},
        {"connectGetType", pointer(connectGetType)},     {"connectGetVersion", pointer(connectGetVersion)},
        {"nodeGetFreePages", pointer(nodeGetFreePages)},
    };
    auto done = abi::registerDriver("vz-test", schemes, slots, state);
    INFO((done ? "" : done.error().message()));
    REQUIRE(done);
    CHECK_FALSE(abi::registerDriver("vz-test", schemes, slots, state));

    // The daemon starts the state drivers; after that libvirt's remote driver leaves local URIs to the
    // others.
    int inhibited = 0;
    auto inhibit = [](bool on, void* opaque) { *static_cast<int*>(opaque) += on ? 1 : -1; };
    REQUIRE(abi::priv::virStateInitialize(false, false, nullptr, true, inhibit, &inhibited) == 0);
    CHECK(inhibited == 1);
    CHECK(abi::priv::virStateReload() == 0);
    CHECK(abi::priv::virStateStop() == 0);
    CHECK(abi::priv::virStateShutdownPrepare() == 0);
    CHECK(abi::priv::virStateShutdownWait() == 0);
    CHECK(calls == std::vector<std::string>{"initialize no root monolithic", "reload", "stop",
                                            "shutdownPrepare", "shutdownWait"});

    // Through the public API, libvirt's own dispatch reaches our functions in their slots.
    virConnectPtr conn = virConnectOpen("vztest:///system");
    REQUIRE(conn);
    CHECK(opened == 1);
    CHECK(std::string(virConnectGetType(conn)) == "vz-test");
    unsigned pages[] = {4};
    unsigned long long counts[1];
    CHECK(virNodeGetFreePages(conn, 1, pages, 0, 1, counts, 0) == 17);

    unsigned long version;
    CHECK(virConnectGetVersion(conn, &version) == -1);
    const virError* error = virGetLastError();
    REQUIRE(error);
    CHECK(error->code == VIR_ERR_SYSTEM_ERROR);
    CHECK(error->domain == VIR_FROM_PARALLELS);
    CHECK(error->int1 == EBUSY);
    CHECK(std::string(error->message) == "the version: Device or resource busy");
    auto ours = abi::lastError("fallback");
    CHECK(ours.code() == ErrorCode::SystemError);
    CHECK(ours.systemError() == EBUSY);
    CHECK(ours.message() == "the version: Device or resource busy");
    CHECK(virGetLastError() == nullptr);

    callAnotherDriver(conn);

    // A slot without a function is libvirt's own "not supported".
    CHECK(virConnectNumOfDomains(conn) == -1);
    CHECK(virGetLastErrorCode() == VIR_ERR_NO_SUPPORT);
    virResetLastError();
    CHECK(virConnectClose(conn) == 0);
    CHECK(opened == 0);
    CHECK(abi::priv::virStateCleanup() == 0);
    CHECK(calls.back() == "cleanup");
}

TEST_CASE("a thread is the daemon for a while, and then who it was") {
    namespace priv = abi::priv;
    REQUIRE(virInitialize() == 0);
    CHECK(priv::virIdentityGetCurrent() == nullptr);
    {
        abi::AsDaemon nobodyBefore;
        CHECK(priv::virIdentityIsCurrentElevated());
    }
    CHECK(priv::virIdentityGetCurrent() == nullptr);

    void* client = priv::virIdentityNew();
    REQUIRE(priv::virIdentitySetCurrent(client) == 0);
    {
        abi::AsDaemon now;
        CHECK(priv::virIdentityIsCurrentElevated());
        abi::AsDaemon again;
    }
    CHECK_FALSE(priv::virIdentityIsCurrentElevated());
    void* after = priv::virIdentityGetCurrent();
    CHECK(after == client);
    REQUIRE(priv::virIdentitySetCurrent(nullptr) == 0);
    priv::virIdentityRestoreHelper(&after); // the only way here to let a reference go
    REQUIRE(priv::virIdentitySetCurrent(nullptr) == 0);
    priv::virIdentityRestoreHelper(&client);
    REQUIRE(priv::virIdentitySetCurrent(nullptr) == 0);
}

TEST_CASE("lastError falls back when libvirt raised nothing") {
    virResetLastError();
    auto error = abi::lastError("nothing was said");
    CHECK(error.code() == ErrorCode::InternalError);
    CHECK(error.message() == "nothing was said");
}

TEST_CASE("percent signs in a message are text") {
    abi::report(vz::fail(ErrorCode::OperationInvalid, "100%s %n of it"));
    CHECK(std::string(virGetLastErrorMessage()) == "100%s %n of it");
    CHECK(virGetLastErrorCode() == VIR_ERR_OPERATION_INVALID);
    virResetLastError();
}
