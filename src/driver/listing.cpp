// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/methods.hpp"

#include <cstdlib>

namespace vz::driver {

namespace {

bool mayList(const ConnectCall& call, const ContainerDomain& domain) {
    return abi::mayAccessDomain(call.conn, domain.config().def().get(), "getattr");
}

std::vector<DomainRef> listed(const ConnectCall& call, bool active) {
    auto domains = call.driver.registry().all();
    std::erase_if(domains,
                  [&](auto& domain) { return domain->active() != active || !mayList(call, *domain); });
    return domains;
}

constexpr unsigned int allListFlags =
    VIR_CONNECT_LIST_DOMAINS_ACTIVE | VIR_CONNECT_LIST_DOMAINS_INACTIVE |
    VIR_CONNECT_LIST_DOMAINS_PERSISTENT | VIR_CONNECT_LIST_DOMAINS_TRANSIENT |
    VIR_CONNECT_LIST_DOMAINS_RUNNING | VIR_CONNECT_LIST_DOMAINS_PAUSED | VIR_CONNECT_LIST_DOMAINS_SHUTOFF |
    VIR_CONNECT_LIST_DOMAINS_OTHER | VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE |
    VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE | VIR_CONNECT_LIST_DOMAINS_AUTOSTART |
    VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART | VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT |
    VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT | VIR_CONNECT_LIST_DOMAINS_HAS_CHECKPOINT |
    VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT;

/** One group of list flags: no bit of it asked for, or one that fits. */
bool fits(unsigned int flags, std::initializer_list<std::pair<unsigned int, bool>> group) {
    bool asked = false;
    for (auto [flag, is] : group) {
        if (!(flags & flag))
            continue;
        if (is)
            return true;
        asked = true;
    }
    return !asked;
}

bool matches(const ContainerDomain& domain, unsigned int flags) {
    bool active = domain.active(), persistent = domain.persistent(), autostart = domain.autostart();
    bool snapshots = !domain.snapshots().tree().empty();
    int state = domain.state().first;
    bool other = state != VIR_DOMAIN_RUNNING && state != VIR_DOMAIN_PAUSED && state != VIR_DOMAIN_SHUTOFF;
    return fits(flags,
                {{VIR_CONNECT_LIST_DOMAINS_ACTIVE, active}, {VIR_CONNECT_LIST_DOMAINS_INACTIVE, !active}}) &&
           fits(flags, {{VIR_CONNECT_LIST_DOMAINS_PERSISTENT, persistent},
                        {VIR_CONNECT_LIST_DOMAINS_TRANSIENT, !persistent}}) &&
           fits(flags, {{VIR_CONNECT_LIST_DOMAINS_RUNNING, state == VIR_DOMAIN_RUNNING},
                        {VIR_CONNECT_LIST_DOMAINS_PAUSED, state == VIR_DOMAIN_PAUSED},
                        {VIR_CONNECT_LIST_DOMAINS_SHUTOFF, state == VIR_DOMAIN_SHUTOFF},
                        {VIR_CONNECT_LIST_DOMAINS_OTHER, other}}) &&
           fits(flags, {{VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE, false},
                        {VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE, true}}) &&
           fits(flags, {{VIR_CONNECT_LIST_DOMAINS_AUTOSTART, autostart},
                        {VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART, !autostart}}) &&
           fits(flags, {{VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT, snapshots},
                        {VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT, !snapshots}}) &&
           fits(flags, {{VIR_CONNECT_LIST_DOMAINS_HAS_CHECKPOINT, false},
                        {VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT, true}});
}

/** The virtual machines that the client sees. None if QEMU's driver cannot be reached: the containers are
 * there without it. */
std::vector<abi::DomainHandle> machines(const ConnectCall& call, unsigned int flags) {
    auto inner = call.driver.machineConnection(call.conn);
    if (!inner)
        return {};
    auto list = call.driver.machines().list(**inner, flags);
    return list ? *std::move(list) : std::vector<abi::DomainHandle>();
}

/** The found container as a handle, if the connection may see it. */
Result<Passed<virDomainPtr>> found(const ConnectCall& call, const ContainerDomain& domain, const char* slot) {
    VZ_CHECK(checkAccess(call.conn, domain.config().def().get(), slot, 0));
    VZ_TRY(auto* handle, domainHandle(call.conn, domain));
    return Passed<virDomainPtr>{handle};
}

/** A virtual machine as QEMU's driver has found it: one that the client does not see is not there. */
template<typename Find>
Result<Passed<virDomainPtr>> foundMachine(const ConnectCall& call, const std::string& what, Find find) {
    auto none = [&] { return fail(ErrorCode::NoDomain, "no domain with matching ", what); };
    auto machines = MachineCall::begin(call.driver, call.conn);
    bool nothing = call.driver.machines().absent() ||
                   (!machines && machines.error().code() == ErrorCode::AccessDenied); // they are not for it
    if (!machines) // it may be one; but nobody can tell now
        return nothing ? none()
                       : std::move(machines).takeError().within(cat("no container has a matching ", what));
    abi::DomainHandle machine(find(machines->inner->get()));
    if (!machine)
        return ::virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? Result<Passed<virDomainPtr>>(none())
                                                            : Passed<virDomainPtr>{nullptr};
    if (!call.driver.machines().visible(machine.get()))
        return none();
    VZ_TRY(auto* handle, outerHandle(call.conn, machine.get()));
    return Passed<virDomainPtr>{handle};
}

/** The list that the client frees. */
class HandleList {
public:
    explicit HandleList(size_t capacity)
        : list_(static_cast<virDomainPtr*>(std::calloc(capacity + 1, sizeof(virDomainPtr)))) {
        if (!list_)
            throw std::bad_alloc();
    }
    HandleList(const HandleList&) = delete;
    HandleList& operator=(const HandleList&) = delete;
    ~HandleList() {
        for (int i = 0; list_ && i < count_; ++i)
            ::virDomainFree(list_[i]);
        std::free(list_);
    }
    void add(virDomainPtr handle) { list_[count_++] = handle; }
    int release(virDomainPtr** list) {
        *list = std::exchange(list_, nullptr);
        return count_;
    }

private:
    virDomainPtr* list_;
    int count_ = 0;
};

} // namespace

Result<int> listDomains(const ConnectCall& call, int* ids, int max) {
    int count = 0;
    auto add = [&](int id) {
        if (id > 0 && count < max)
            ids[count++] = id;
    };
    for (auto& domain : listed(call, true))
        add(domain->id());
    for (auto& machine : machines(call, VIR_CONNECT_LIST_DOMAINS_ACTIVE))
        add(vm::outerId(static_cast<int>(::virDomainGetID(machine.get()))));
    return count;
}

Result<int> numOfDomains(const ConnectCall& call) {
    return static_cast<int>(listed(call, true).size() +
                            machines(call, VIR_CONNECT_LIST_DOMAINS_ACTIVE).size());
}

Result<int> listDefinedDomains(const ConnectCall& call, char** names, int max) {
    int count = 0;
    auto add = [&](const char* name) {
        if (count < max)
            names[count++] = ::strdup(name);
    };
    for (auto& domain : listed(call, false))
        add(domain->name().c_str());
    for (auto& machine : machines(call, VIR_CONNECT_LIST_DOMAINS_INACTIVE))
        add(::virDomainGetName(machine.get()));
    return count;
}

Result<int> numOfDefinedDomains(const ConnectCall& call) {
    return static_cast<int>(listed(call, false).size() +
                            machines(call, VIR_CONNECT_LIST_DOMAINS_INACTIVE).size());
}

Result<int> listAllDomains(const ConnectCall& call, virDomainPtr** domains, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, allListFlags, "virConnectListAllDomains"));
    auto containers = call.driver.registry().all();
    std::erase_if(containers,
                  [&](auto& domain) { return !matches(*domain, flags) || !mayList(call, *domain); });
    auto virtualMachines = machines(call, flags);
    size_t total = containers.size() + virtualMachines.size();
    if (!domains)
        return static_cast<int>(total);
    HandleList list(total);
    for (auto& domain : containers) {
        VZ_TRY(auto* handle, domainHandle(call.conn, *domain));
        list.add(handle);
    }
    for (auto& machine : virtualMachines) {
        VZ_TRY(auto* handle, outerHandle(call.conn, machine.get()));
        list.add(handle);
    }
    return list.release(domains);
}

Result<Passed<virDomainPtr>> lookupById(const ConnectCall& call, int id) {
    if (auto domain = call.driver.registry().byId(id))
        return found(call, *domain, "domainLookupByID");
    if (!vm::isMachineId(id))
        return fail(ErrorCode::NoDomain, "no domain with matching id ", id);
    return foundMachine(call, cat("id ", id),
                        [&](virConnectPtr inner) { return ::virDomainLookupByID(inner, vm::innerId(id)); });
}

Result<Passed<virDomainPtr>> lookupByUuid(const ConnectCall& call, const unsigned char* uuid) {
    VZ_TRY(auto text, abi::uuidText(uuid));
    if (auto domain = call.driver.registry().byUuid(text))
        return found(call, *domain, "domainLookupByUUID");
    return foundMachine(call, cat("uuid '", text, "'"),
                        [&](virConnectPtr inner) { return ::virDomainLookupByUUID(inner, uuid); });
}

Result<Passed<virDomainPtr>> lookupByName(const ConnectCall& call, const char* name) {
    if (auto domain = call.driver.registry().byName(name))
        return found(call, *domain, "domainLookupByName");
    return foundMachine(call, cat("name '", name, "'"),
                        [&](virConnectPtr inner) { return ::virDomainLookupByName(inner, name); });
}

} // namespace vz::driver
