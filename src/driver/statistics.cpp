// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/network.hpp"
#include "driver/blocks.hpp"
#include "driver/methods.hpp"
#include "driver/typed_params.hpp"

#include <algorithm>

namespace vz::driver {

namespace {

using Number = unsigned long long;

void addState(TypedParams& out, const ContainerDomain& domain) {
    auto [state, reason] = domain.state();
    out.add("state.state", state);
    out.add("state.reason", reason);
}

void addCpu(TypedParams& out, const ct::Cgroup& group) {
    if (auto time = group.cpuTime()) {
        out.add("cpu.time", Number(time->totalNs));
        out.add("cpu.user", Number(time->userNs));
        out.add("cpu.system", Number(time->systemNs));
    }
}

void addBalloon(TypedParams& out, const domain::Definition& definition, const ct::Cgroup* group) {
    out.add("balloon.current", Number(definition.memoryKiB));
    out.add("balloon.maximum", Number(definition.maxMemoryKiB));
    if (!group)
        return;
    if (auto memory = group->memory()) {
        uint64_t available = definition.memoryKiB;
        uint64_t used = memory->used / 1024;
        out.add("balloon.swap_in", Number(memory->swapIn / 1024));
        out.add("balloon.swap_out", Number(memory->swapOut / 1024));
        out.add("balloon.major_fault", Number(memory->majorFaults));
        out.add("balloon.minor_fault", Number(memory->minorFaults));
        out.add("balloon.unused", Number(available > used ? available - used : 0));
        out.add("balloon.available", Number(available));
        out.add("balloon.disk_caches", Number(memory->cache / 1024));
        out.add("balloon.rss", Number(used));
    }
}

void addVcpu(TypedParams& out, const domain::Definition& definition) {
    out.add("vcpu.current", definition.vcpus);
    out.add("vcpu.maximum", definition.maxVcpus);
}

/** What users call an interface: its name on the host, or inside if it is not on the host. */
std::string nameOf(const domain::UsedInterface& used) {
    bool onHost = used.link.kind == ct::LinkKind::Veth;
    return onHost ? used.link.hostName : used.link.guestName;
}

Result<ct::InterfaceCounters> countersOf(const ContainerDomain& domain, const domain::UsedInterface& used) {
    if (used.link.kind == ct::LinkKind::Veth)
        return ct::interfaceCounters(-1, used.link);
    VZ_TRY(auto container, domain.running());
    VZ_TRY(auto netns, container->networkNamespace());
    return ct::interfaceCounters(netns.get(), used.link);
}

void addNet(TypedParams& out, const ContainerDomain& domain) {
    auto interfaces = domain.interfaces();
    out.add("net.count", static_cast<unsigned int>(interfaces.size()));
    for (size_t i = 0; i < interfaces.size(); ++i) {
        auto prefix = cat("net.", i, ".");
        out.add(prefix + "name", nameOf(interfaces[i]));
        auto counters = countersOf(domain, interfaces[i]);
        if (!counters)
            continue;
        out.add(prefix + "rx.bytes", Number(counters->rxBytes));
        out.add(prefix + "rx.pkts", Number(counters->rxPackets));
        out.add(prefix + "rx.errs", Number(counters->rxErrors));
        out.add(prefix + "rx.drop", Number(counters->rxDropped));
        out.add(prefix + "tx.bytes", Number(counters->txBytes));
        out.add(prefix + "tx.pkts", Number(counters->txPackets));
        out.add(prefix + "tx.errs", Number(counters->txErrors));
        out.add(prefix + "tx.drop", Number(counters->txDropped));
    }
}

void addBlock(TypedParams& out, const ContainerDomain& domain) {
    auto reports = blockReports(domain);
    out.add("block.count", static_cast<unsigned int>(reports.size()));
    for (size_t i = 0; i < reports.size(); ++i) {
        const auto& [name, path, sizes, counters] = reports[i];
        auto prefix = cat("block.", i, ".");
        out.add(prefix + "name", name);
        out.add(prefix + "path", path);
        out.add(prefix + "rd.reqs", Number(counters.reads));
        out.add(prefix + "rd.bytes", Number(counters.readBytes));
        out.add(prefix + "rd.times", Number(counters.readNs));
        out.add(prefix + "wr.reqs", Number(counters.writes));
        out.add(prefix + "wr.bytes", Number(counters.writeBytes));
        out.add(prefix + "wr.times", Number(counters.writeNs));
        out.add(prefix + "fl.reqs", Number(counters.flushes));
        out.add(prefix + "fl.times", Number(counters.flushNs));
        out.add(prefix + "allocation", Number(sizes.allocation));
        out.add(prefix + "capacity", Number(sizes.capacity));
        out.add(prefix + "physical", Number(sizes.physical));
    }
}

void addCounters(TypedParams& out, const ContainerDomain& domain, const domain::Definition& definition,
                 const ct::Cgroup& group) {
    bool userNamespace = definition.extension.userNamespace.value_or(true);
    for (const auto& status :
         ct::counterStatus(definition.extension.beancounters, group, domain.id(), userNamespace)) {
        auto prefix = cat("vm.ubc.", status.info->name, ".");
        out.add(prefix + "held", Number(status.held));
        out.add(prefix + "maxheld", Number(status.maxHeld));
        out.add(prefix + "barrier", Number(status.set.barrier));
        out.add(prefix + "limit", Number(status.set.limit));
        out.add(prefix + "failcnt", Number(status.failures));
        out.add(prefix + "state", std::string(ct::nameOf(status.state)));
        out.add(prefix + "mechanism", status.mechanism);
    }
}

void addAll(TypedParams& out, const ContainerDomain& domain, unsigned int stats) {
    auto config = domain.current();
    const auto& definition = config.definition();
    auto group = domain.cgroup();
    const ct::Cgroup* running = group ? group->get() : nullptr;
    if (stats & VIR_DOMAIN_STATS_STATE)
        addState(out, domain);
    if (stats & VIR_DOMAIN_STATS_CPU_TOTAL && running)
        addCpu(out, *running);
    if (stats & VIR_DOMAIN_STATS_BALLOON)
        addBalloon(out, definition, running);
    if (stats & VIR_DOMAIN_STATS_VCPU)
        addVcpu(out, definition);
    if (stats & VIR_DOMAIN_STATS_INTERFACE && running)
        addNet(out, domain);
    if (stats & VIR_DOMAIN_STATS_BLOCK && running)
        addBlock(out, domain);
    if (stats & VIR_DOMAIN_STATS_VM && running)
        addCounters(out, domain, definition, *running);
}

/** What a request for no group in particular gives. */
constexpr unsigned int usualStats = VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_CPU_TOTAL |
                                    VIR_DOMAIN_STATS_BALLOON | VIR_DOMAIN_STATS_VCPU |
                                    VIR_DOMAIN_STATS_INTERFACE | VIR_DOMAIN_STATS_BLOCK;
/** Beancounters look at every process, so they are given on request only. */
constexpr unsigned int supportedStats = usualStats | VIR_DOMAIN_STATS_VM;

// Containers have no backing chains, and nothing here waits: those two flags change nothing.
constexpr unsigned int allStatsFlags =
    VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | VIR_CONNECT_GET_ALL_DOMAINS_STATS_INACTIVE |
    VIR_CONNECT_GET_ALL_DOMAINS_STATS_PERSISTENT | VIR_CONNECT_GET_ALL_DOMAINS_STATS_TRANSIENT |
    VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING | VIR_CONNECT_GET_ALL_DOMAINS_STATS_PAUSED |
    VIR_CONNECT_GET_ALL_DOMAINS_STATS_SHUTOFF | VIR_CONNECT_GET_ALL_DOMAINS_STATS_OTHER |
    VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT | VIR_CONNECT_GET_ALL_DOMAINS_STATS_BACKING |
    VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS;

/** Records under way; freed as libvirt frees them unless handed over. */
class Records {
public:
    explicit Records(size_t capacity)
        : list_(static_cast<virDomainStatsRecordPtr*>(
              std::calloc(capacity + 1, sizeof(virDomainStatsRecordPtr)))) {
        if (!list_)
            throw std::bad_alloc();
    }
    Records(const Records&) = delete;
    Records& operator=(const Records&) = delete;
    ~Records() {
        if (list_)
            ::virDomainStatsRecordListFree(list_);
    }
    /** Takes the caller's reference of @p handle. */
    void add(virDomainPtr handle, TypedParams& params) {
        auto* record = static_cast<virDomainStatsRecordPtr>(std::calloc(1, sizeof(virDomainStatsRecord)));
        if (!record) {
            ::virDomainFree(handle);
            throw std::bad_alloc();
        }
        record->dom = handle;
        params.release(&record->params, &record->nparams);
        list_[count_++] = record;
    }
    /** Takes a record of QEMU's driver, with our handle in it. */
    void add(virDomainStatsRecordPtr record, virDomainPtr handle) {
        abi::DomainHandle(std::exchange(record->dom, handle));
        list_[count_++] = record;
    }
    int count() const { return count_; }
    virDomainStatsRecordPtr* release() { return std::exchange(list_, nullptr); }

private:
    virDomainStatsRecordPtr* list_;
    int count_ = 0;
};

/** What the statistics are wanted of. */
struct Asked {
    std::vector<DomainRef> containers;
    std::vector<MachineCall> machines; ///< those asked for by handle
    bool all;                          ///< of everything there is
};

Result<Asked> asked(const ConnectCall& call, virDomainPtr* handles, unsigned int count) {
    Asked result{.all = !handles || !count};
    if (result.all)
        result.containers = call.driver.registry().all();
    for (unsigned int i = 0; !result.all && i < count; ++i) {
        VZ_TRY(auto container, findContainer(call.driver, handles[i]));
        if (container) {
            result.containers.push_back(std::move(container));
            continue;
        }
        auto machine = MachineCall::begin(call.driver, handles[i]);
        if (machine)
            result.machines.push_back(*std::move(machine));
        else if (machine.error().code() !=
                 ErrorCode::NoDomain) // what is gone is left out, as by QEMU's driver
            return std::move(machine).takeError();
    }
    return result;
}

/** Leaves those containers that @p flags and access control let through. */
void filter(const ConnectCall& call, std::vector<DomainRef>& domains, unsigned int flags) {
    std::erase_if(domains, [&](auto& domain) {
        bool active = domain->active(), persistent = domain->persistent();
        int state = domain->state().first;
        auto wrong = [&](unsigned int flag, unsigned int other, bool is) {
            return (flags & (flag | other)) && !(flags & (is ? flag : other));
        };
        unsigned int stateFlag = state == VIR_DOMAIN_RUNNING   ? VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING
                                 : state == VIR_DOMAIN_PAUSED  ? VIR_CONNECT_GET_ALL_DOMAINS_STATS_PAUSED
                                 : state == VIR_DOMAIN_SHUTOFF ? VIR_CONNECT_GET_ALL_DOMAINS_STATS_SHUTOFF
                                                               : VIR_CONNECT_GET_ALL_DOMAINS_STATS_OTHER;
        constexpr unsigned int allStates =
            VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING | VIR_CONNECT_GET_ALL_DOMAINS_STATS_PAUSED |
            VIR_CONNECT_GET_ALL_DOMAINS_STATS_SHUTOFF | VIR_CONNECT_GET_ALL_DOMAINS_STATS_OTHER;
        return wrong(VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE, VIR_CONNECT_GET_ALL_DOMAINS_STATS_INACTIVE,
                     active) ||
               wrong(VIR_CONNECT_GET_ALL_DOMAINS_STATS_PERSISTENT,
                     VIR_CONNECT_GET_ALL_DOMAINS_STATS_TRANSIENT, persistent) ||
               ((flags & allStates) && !(flags & stateFlag)) ||
               !abi::mayAccessDomain(call.conn, domain->config().def().get(), "read");
    });
}

/** Records as QEMU's driver gives them, in a list with a null at its end. */
class MachineRecords {
public:
    MachineRecords() = default;
    MachineRecords(virDomainStatsRecordPtr* list, int count) : list_(list), count_(count) {}
    MachineRecords(MachineRecords&& other) noexcept
        : list_(std::exchange(other.list_, nullptr)), count_(std::exchange(other.count_, 0)) {}
    MachineRecords& operator=(MachineRecords&&) = delete;
    ~MachineRecords() {
        if (!list_)
            return;
        // libvirt frees up to the first null only: those that were taken out are no longer between the rest.
        std::fill(std::remove(list_, list_ + count_, nullptr), list_ + count_, nullptr);
        ::virDomainStatsRecordListFree(list_);
    }

    /** There may be none of a driver that has machines. */
    bool asked() const { return list_ != nullptr; }
    /** True if libvirt's error of this thread tells why there are none. */
    bool failed() const { return count_ < 0; }
    int count() const { return count_; }
    virDomainPtr domain(int index) const { return list_[index]->dom; }
    virDomainStatsRecordPtr take(int index) { return std::exchange(list_[index], nullptr); }

private:
    virDomainStatsRecordPtr* list_ = nullptr;
    int count_ = 0;
};

/** Of all machines, or of those in @p handles. */
Result<MachineRecords> machineRecords(const MachineCall& machines, std::vector<virDomainPtr> handles,
                                      unsigned int stats, unsigned int flags) {
    using AllDomainStats = int (*)(virConnectPtr, virDomainPtr*, unsigned int, unsigned int,
                                   virDomainStatsRecordPtr**, unsigned int);
    virDomainStatsRecordPtr* list = nullptr;
    handles.push_back(nullptr);
    bool all = handles.size() == 1;
    VZ_TRY(auto passed, (forwardConnectAs<"connectGetAllDomainStats", AllDomainStats>(
                            machines, all ? nullptr : handles.data(),
                            static_cast<unsigned int>(handles.size() - 1), stats, &list, flags)));
    return MachineRecords(list, passed.value);
}

Result<MachineRecords> machineRecords(const ConnectCall& call, const Asked& asked, unsigned int stats,
                                      unsigned int flags) {
    if (!asked.all) {
        std::vector<virDomainPtr> handles;
        for (const auto& machine : asked.machines)
            handles.push_back(machine.domain.get());
        return handles.empty() ? MachineRecords()
                               : machineRecords(asked.machines.front(), std::move(handles), stats, flags);
    }
    auto machines = MachineCall::begin(call.driver, call.conn);
    if (!machines)
        return MachineRecords(); // containers have statistics without QEMU's driver, too
    auto records = machineRecords(*machines, {}, stats, flags);
    // QEMU's driver gives none at all if one machine ends meanwhile; that is rarely so twice.
    return records && (*records).failed() ? machineRecords(*machines, {}, stats, flags) : std::move(records);
}

} // namespace

Result<int> getAllDomainStats(const ConnectCall& call, virDomainPtr* domains, unsigned int count,
                              unsigned int stats, virDomainStatsRecordPtr** records, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, allStatsFlags, "virConnectGetAllDomainStats"));
    VZ_TRY(auto guests, asked(call, domains, count));
    VZ_TRY(auto machines, machineRecords(call, guests, stats, flags));
    if (machines.failed())
        return -1;
    bool ofContainers = !guests.all && guests.machines.empty();
    if ((flags & VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS) && (stats & ~supportedStats) &&
        (ofContainers || !machines.asked()))
        return fail(ErrorCode::ArgumentUnsupported, "statistics groups ", stats & ~supportedStats,
                    " are not supported for containers");
    unsigned int wanted = stats ? stats : usualStats;
    filter(call, guests.containers, flags);
    Records out(guests.containers.size() + static_cast<size_t>(machines.count()));
    for (auto& domain : guests.containers) {
        TypedParams params;
        addAll(params, *domain, wanted);
        VZ_TRY(auto handle, domainHandle(call.conn, *domain));
        out.add(handle, params);
    }
    for (int i = 0; i < machines.count(); ++i) {
        if (guests.all && !call.driver.machines().visible(machines.domain(i)))
            continue;
        VZ_TRY(auto* handle, outerHandle(call.conn, machines.domain(i)));
        out.add(machines.take(i), handle);
    }
    int made = out.count();
    *records = out.release();
    return made;
}

namespace {

Result<int> totalCpuStats(const ct::Cgroup& group, virTypedParameterPtr params, unsigned int nparams) {
    constexpr int total = 3;
    if (nparams == 0)
        return total;
    VZ_TRY(auto time, group.cpuTime());
    const std::pair<const char*, uint64_t> values[total] = {{VIR_DOMAIN_CPU_STATS_CPUTIME, time.totalNs},
                                                            {VIR_DOMAIN_CPU_STATS_USERTIME, time.userNs},
                                                            {VIR_DOMAIN_CPU_STATS_SYSTEMTIME, time.systemNs}};
    int given = static_cast<int>(nparams);
    ParamSlots slots(params, &given);
    for (auto [name, value] : values)
        slots.add(name, Number(value));
    return given;
}

/** One parameter for each CPU, at the places that the client's number of parameters gives. */
Result<int> eachCpuStats(const ct::Cgroup& group, virTypedParameterPtr params, unsigned int nparams,
                         unsigned int first, unsigned int count) {
    auto times = group.cpuTimes();
    // virsh shows the total then.
    if (!times && nparams == 0)
        return 0;
    if (!times)
        return std::move(times).takeError();
    if (first >= times->size())
        return fail(ErrorCode::InvalidArg, "start_cpu ", first, " is none of the host's ", times->size(),
                    " CPUs");
    constexpr int perCpu = 1;
    for (unsigned int i = 0; nparams > 0 && i < count && first + i < times->size(); ++i) {
        int room = static_cast<int>(nparams);
        ParamSlots slots(params + size_t(i) * nparams, &room);
        slots.add(VIR_DOMAIN_CPU_STATS_CPUTIME, Number((*times)[first + i]));
    }
    return perCpu;
}

} // namespace

Result<int> getCpuStats(const DomainCall& call, virTypedParameterPtr params, unsigned int nparams,
                        int startCpu, unsigned int ncpus, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, VIR_TYPED_PARAM_STRING_OKAY, "virDomainGetCPUStats"));
    VZ_TRY(auto group, call.domain.cgroup());
    if (nparams == 0 && ncpus == 0) {
        auto times = group->cpuTimes();
        return times ? static_cast<int>(times->size())
                     : static_cast<int>(maxVcpus(call.driver.capabilities()));
    }
    return startCpu == -1 ? totalCpuStats(*group, params, nparams)
                          : eachCpuStats(*group, params, nparams, static_cast<unsigned int>(startCpu), ncpus);
}

Result<int> memoryStats(const DomainCall& call, virDomainMemoryStatPtr stats, unsigned int count,
                        unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainMemoryStats"));
    VZ_TRY(auto group, call.domain.cgroup());
    VZ_TRY(auto memory, group->memory());
    uint64_t limit = call.domain.current().definition().memoryKiB;
    uint64_t used = memory.used / 1024;
    const std::pair<int, uint64_t> values[] = {
        {VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON, limit},
        {VIR_DOMAIN_MEMORY_STAT_AVAILABLE, limit},
        {VIR_DOMAIN_MEMORY_STAT_UNUSED, limit > used ? limit - used : 0},
        {VIR_DOMAIN_MEMORY_STAT_RSS, used},
        {VIR_DOMAIN_MEMORY_STAT_DISK_CACHES, memory.cache / 1024},
        {VIR_DOMAIN_MEMORY_STAT_MAJOR_FAULT, memory.majorFaults},
        {VIR_DOMAIN_MEMORY_STAT_MINOR_FAULT, memory.minorFaults},
        {VIR_DOMAIN_MEMORY_STAT_SWAP_IN, memory.swapIn / 1024},
        {VIR_DOMAIN_MEMORY_STAT_SWAP_OUT, memory.swapOut / 1024}};
    int given = 0;
    for (auto [tag, value] : values) {
        if (static_cast<unsigned int>(given) < count)
            stats[given++] = {tag, value};
    }
    return given;
}

Result<void> interfaceStats(const DomainCall& call, const char* device, virDomainInterfaceStatsPtr stats) {
    VZ_CHECK(call.domain.running());
    for (const auto& used : call.domain.interfaces()) {
        if (nameOf(used) != device && used.name != device)
            continue;
        VZ_TRY(auto counters, countersOf(call.domain, used));
        auto number = [](uint64_t value) { return static_cast<long long>(value); };
        *stats = {number(counters.rxBytes),   number(counters.rxPackets), number(counters.rxErrors),
                  number(counters.rxDropped), number(counters.txBytes),   number(counters.txPackets),
                  number(counters.txErrors),  number(counters.txDropped)};
        return {};
    }
    return fail(ErrorCode::InvalidArg, "'", device, "' is not a known interface of the container");
}

} // namespace vz::driver
