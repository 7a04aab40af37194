// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/log.hpp"
#include "ct/guest_facts.hpp"
#include "driver/client_memory.hpp"
#include "driver/methods.hpp"

#include <cstdio>

namespace vz::driver {

namespace {

/** CPU time and memory of a running container; zeros for what cannot be read. */
ct::CpuTime cpuTime(const ContainerDomain& domain) {
    auto group = domain.cgroup();
    if (!group)
        return {};
    return (*group)->cpuTime().valueOr({});
}

Result<domain::Config> chosen(const DomainCall& call, unsigned int flags) {
    VZ_TRY(auto affected, affects(call.domain, flags));
    return affected.live ? call.domain.current() : call.domain.config();
}

} // namespace

Result<Affects> affects(const ContainerDomain& domain, unsigned int flags) {
    bool live = flags & VIR_DOMAIN_AFFECT_LIVE, config = flags & VIR_DOMAIN_AFFECT_CONFIG;
    bool active = domain.active();
    if (!live && !config)
        (active ? live : config) = true;
    if (live && !active)
        return notRunning();
    if (config && !domain.persistent())
        return fail(ErrorCode::OperationInvalid, "transient domains do not have any persistent config");
    return Affects{live, config};
}

Result<std::string> getOsType(const DomainCall&) {
    return std::string("exe");
}

Result<void> getInfo(const DomainCall& call, virDomainInfoPtr info) {
    auto config = call.domain.current();
    const auto& definition = config.definition();
    *info = {};
    info->state = static_cast<unsigned char>(call.domain.state().first);
    info->maxMem = definition.maxMemoryKiB;
    info->memory = definition.memoryKiB;
    info->nrVirtCpu = static_cast<unsigned short>(definition.vcpus);
    info->cpuTime = cpuTime(call.domain).totalNs;
    if (auto group = call.domain.cgroup()) {
        if (auto memory = (*group)->memory())
            info->memory = memory->used / 1024;
    }
    return {};
}

Result<void> getState(const DomainCall& call, int* state, int* reason, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainGetState"));
    auto [now, why] = call.domain.state();
    *state = now;
    if (reason)
        *reason = why;
    return {};
}

Result<void> getControlInfo(const DomainCall& call, virDomainControlInfoPtr info, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainGetControlInfo"));
    VZ_CHECK(call.domain.running());
    auto control = call.domain.jobs().control();
    *info = {};
    info->state = control.busy ? VIR_DOMAIN_CONTROL_JOB : VIR_DOMAIN_CONTROL_OK;
    info->stateTime = static_cast<unsigned long long>(control.since.count());
    return {};
}

Result<int> isActive(const DomainCall& call) {
    return call.domain.active();
}

Result<int> isPersistent(const DomainCall& call) {
    return call.domain.persistent();
}

Result<int> isUpdated(const DomainCall& call) {
    return call.domain.updated();
}

Result<int> hasManagedSaveImage(const DomainCall&, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, 0, "virDomainHasManagedSaveImage"));
    return 0; // nothing makes one
}

Result<unsigned long long> getMaxMemory(const DomainCall& call) {
    return call.domain.current().definition().maxMemoryKiB;
}

Result<int> getVcpusFlags(const DomainCall& call, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, VIR_DOMAIN_VCPU_LIVE | VIR_DOMAIN_VCPU_CONFIG | VIR_DOMAIN_VCPU_MAXIMUM,
                        "virDomainGetVcpusFlags"));
    VZ_TRY(auto config, chosen(call, flags & (VIR_DOMAIN_VCPU_LIVE | VIR_DOMAIN_VCPU_CONFIG)));
    const auto& definition = config.definition();
    return static_cast<int>(flags & VIR_DOMAIN_VCPU_MAXIMUM ? definition.maxVcpus : definition.vcpus);
}

Result<int> getMaxVcpus(const DomainCall& call) {
    return static_cast<int>(call.domain.current().definition().maxVcpus);
}

Result<int> getVcpus(const DomainCall& call, virVcpuInfoPtr info, int maxInfo, unsigned char* maps,
                     int mapLength) {
    VZ_CHECK(call.domain.running());
    auto config = call.domain.current();
    int count = std::min(static_cast<int>(config.definition().vcpus), maxInfo);
    // A VCPU of a container is a share of the host's CPUs, not a thread: time is shared out evenly, and the
    // host CPU it is on is not a fact that exists.
    auto total = cpuTime(call.domain).totalNs;
    for (int i = 0; info && i < count; ++i) {
        info[i] = {};
        info[i].number = static_cast<unsigned int>(i);
        info[i].state = VIR_VCPU_RUNNING;
        info[i].cpuTime = total / static_cast<unsigned>(std::max(count, 1));
        info[i].cpu = VIR_VCPU_INFO_CPU_UNAVAILABLE;
    }
    if (maps) {
        std::memset(maps, 0, static_cast<size_t>(mapLength) * static_cast<size_t>(count));
        for (int i = 0; i < count; ++i) {
            for (unsigned cpu = 0; cpu < maxVcpus(call.driver.capabilities()); ++cpu)
                VIR_USE_CPU(VIR_GET_CPUMAP(maps, mapLength, i), cpu);
        }
    }
    return count;
}

Result<void> getSecurityLabel(const DomainCall& call, virSecurityLabelPtr label) {
    *label = {};
    auto container = call.domain.running();
    if (!container)
        return {};
    auto text = ct::apparmorLabel((*container)->init());
    // "profile (enforce)" as the kernel writes it
    label->enforcing = text.ends_with("(enforce)");
    std::snprintf(label->label, sizeof label->label, "%s", text.substr(0, text.find(" (")).c_str());
    return {};
}

Result<int> getSecurityLabelList(const DomainCall& call, virSecurityLabelPtr* labels) {
    auto* label = allocate<virSecurityLabel>();
    *labels = label;
    VZ_CHECK(getSecurityLabel(call, label));
    return 1;
}

} // namespace vz::driver
