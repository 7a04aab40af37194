// SPDX-License-Identifier: LGPL-2.1-or-later
// CPUs of containers: virsh setvcpus, vcpupin, emulatorpin, schedinfo, numatune.
#include "driver/tuning.hpp"
#include "driver/typed_params.hpp"

namespace vz::driver {

namespace {

constexpr unsigned int stringsOkay = VIR_TYPED_PARAM_STRING_OKAY;

struct CpuTunable {
    KnownParam param;
    const char* path;
    long long (*get)(const domain::Definition&);
    long long none = 0; ///< what stands for "not set"
};

/** 0 is a priority. */
constexpr long long noPriority = -1;

template<typename T>
long long number(const std::optional<T>& value) {
    return static_cast<long long>(value.value_or(0));
}

/** Those in <vz:container> are OpenVZ's own; the others are libvirt's. */
constexpr CpuTunable schedulerTunables[] = {
    {{VIR_DOMAIN_SCHEDULER_CPU_SHARES, VIR_TYPED_PARAM_ULLONG},
     "cputune/shares",
     [](const domain::Definition& d) { return number(d.cpuShares); }},
    {{VIR_DOMAIN_SCHEDULER_VCPU_PERIOD, VIR_TYPED_PARAM_ULLONG},
     "cputune/period",
     [](const domain::Definition& d) { return number(d.vcpuTime.periodUs); }},
    {{VIR_DOMAIN_SCHEDULER_VCPU_QUOTA, VIR_TYPED_PARAM_LLONG},
     "cputune/quota",
     [](const domain::Definition& d) { return number(d.vcpuTime.quotaUs); }},
    {{VIR_DOMAIN_SCHEDULER_GLOBAL_PERIOD, VIR_TYPED_PARAM_ULLONG},
     "cputune/global_period",
     [](const domain::Definition& d) { return number(d.globalTime.periodUs); }},
    {{VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA, VIR_TYPED_PARAM_LLONG},
     "cputune/global_quota",
     [](const domain::Definition& d) { return number(d.globalTime.quotaUs); }},
    {{"cpuunits", VIR_TYPED_PARAM_ULLONG},
     "vz:cpu/units",
     [](const domain::Definition& d) { return number(d.extension.cpuUnits); }},
    {{"cpulimit", VIR_TYPED_PARAM_ULLONG},
     "vz:cpu/limit",
     [](const domain::Definition& d) { return number(d.extension.cpuLimitPercent); }},
    {{"ioprio", VIR_TYPED_PARAM_LLONG},
     "vz:io/prio",
     [](const domain::Definition& d) {
         return d.extension.ioPriority ? number(d.extension.ioPriority) : noPriority;
     },
     noPriority},
    {{"iolimit", VIR_TYPED_PARAM_ULLONG},
     "vz:io/limit",
     [](const domain::Definition& d) { return number(d.extension.ioBytes); }},
    {{"iopslimit", VIR_TYPED_PARAM_ULLONG},
     "vz:io/iops",
     [](const domain::Definition& d) { return number(d.extension.ioOps); }},
};

long long valueOf(const virTypedParameter& param) {
    return param.type == VIR_TYPED_PARAM_LLONG ? param.value.l : static_cast<long long>(param.value.ul);
}

constexpr std::string_view numaModes[] = {"strict", "preferred", "interleave", "restrictive"};

/** Pins of vcpus that the container does not have are refused, as by QEMU's driver. */
Result<void> checkVcpu(const domain::Definition& definition, unsigned vcpu) {
    if (vcpu < definition.vcpus)
        return {};
    return fail(ErrorCode::InvalidArg, "vcpu ", vcpu, " is out of range: the container has ",
                definition.vcpus);
}

} // namespace

Result<void> setVcpusFlags(const DomainCall& call, unsigned int count, unsigned int flags) {
    constexpr unsigned int known = VIR_DOMAIN_VCPU_LIVE | VIR_DOMAIN_VCPU_CONFIG | VIR_DOMAIN_VCPU_MAXIMUM;
    VZ_CHECK(allowFlags(flags, known, "virDomainSetVcpusFlags"));
    if (count == 0)
        return fail(ErrorCode::InvalidArg, "a container needs at least one vcpu");
    bool maximum = flags & VIR_DOMAIN_VCPU_MAXIMUM;
    return tune(call, flags & tuningFlags, [&](const auto& definition) -> Result<domain::Edits> {
        if (maximum)
            return domain::Edits{{"vcpu", cat(count)},
                                 {"vcpu@current", cat(std::min(count, definition.vcpus))}};
        if (count > definition.maxVcpus)
            return fail(ErrorCode::InvalidArg,
                        "requested vcpus is greater than max allowable vcpus for the "
                        "domain: ",
                        count, " > ", definition.maxVcpus);
        return domain::Edits{{"vcpu@current", cat(count)}};
    });
}

Result<void> setVcpus(const DomainCall& call, unsigned int count) {
    return setVcpusFlags(call, count, VIR_DOMAIN_AFFECT_LIVE);
}

Result<void> pinVcpuFlags(const DomainCall& call, unsigned int vcpu, unsigned char* map, int length,
                          unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags, "virDomainPinVcpuFlags"));
    VZ_TRY(auto list, cpuList(call.driver, map, length));
    return tune(call, flags, [&](const auto& definition) -> Result<domain::Edits> {
        VZ_CHECK(checkVcpu(definition, vcpu));
        return domain::Edits{{cat("cputune/vcpupin[vcpu=", vcpu, "]@cpuset"), list}};
    });
}

Result<void> pinVcpu(const DomainCall& call, unsigned int vcpu, unsigned char* map, int length) {
    return pinVcpuFlags(call, vcpu, map, length, VIR_DOMAIN_AFFECT_LIVE);
}

Result<int> getVcpuPinInfo(const DomainCall& call, int count, unsigned char* maps, int length,
                           unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags, "virDomainGetVcpuPinInfo"));
    VZ_TRY(auto config, configFor(call, flags));
    const auto& definition = config.definition();
    int given = std::min(count, static_cast<int>(definition.vcpus));
    for (int i = 0; i < given; ++i) {
        auto pin = definition.pins.find(static_cast<unsigned>(i));
        const auto& list = pin == definition.pins.end() ? definition.vcpuCpuset : pin->second;
        VZ_CHECK(setCpuMap(call.driver, list, VIR_GET_CPUMAP(maps, length, i), length));
    }
    return given;
}

Result<void> pinEmulator(const DomainCall& call, unsigned char* map, int length, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags, "virDomainPinEmulator"));
    VZ_TRY(auto list, cpuList(call.driver, map, length));
    return tune(call, flags, [&](const auto&) {
        return domain::Edits{{"cputune/emulatorpin@cpuset", list}};
    });
}

Result<int> getEmulatorPinInfo(const DomainCall& call, unsigned char* map, int length, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags, "virDomainGetEmulatorPinInfo"));
    VZ_TRY(auto config, configFor(call, flags));
    const auto& definition = config.definition();
    const auto& list = definition.emulatorPin.empty() ? definition.vcpuCpuset : definition.emulatorPin;
    VZ_CHECK(setCpuMap(call.driver, list, map, length));
    return 1;
}

Result<std::string> getSchedulerType(const DomainCall&, int* count) {
    if (count)
        *count = static_cast<int>(std::size(schedulerTunables));
    return std::string("posix");
}

Result<void> getSchedulerParametersFlags(const DomainCall& call, virTypedParameterPtr params, int* count,
                                         unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags | stringsOkay, "virDomainGetSchedulerParametersFlags"));
    VZ_TRY(auto config, configFor(call, flags & tuningFlags));
    ParamSlots slots(params, count);
    for (const auto& tunable : schedulerTunables) {
        auto value = tunable.get(config.definition());
        if (tunable.param.type == VIR_TYPED_PARAM_LLONG)
            slots.add(tunable.param.name, value);
        else
            slots.add(tunable.param.name, static_cast<unsigned long long>(value));
    }
    return {};
}

Result<void> getSchedulerParameters(const DomainCall& call, virTypedParameterPtr params, int* count) {
    return getSchedulerParametersFlags(call, params, count, 0);
}

Result<void> setSchedulerParametersFlags(const DomainCall& call, virTypedParameterPtr params, int count,
                                         unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags, "virDomainSetSchedulerParametersFlags"));
    domain::Edits edits;
    VZ_CHECK(eachParam(params, count, schedulerTunables,
                       [&](const CpuTunable& tunable, const virTypedParameter& param) {
                           auto value = valueOf(param);
                           bool none = value == tunable.none;
                           edits.push_back({tunable.path, none ? std::nullopt : std::optional(cat(value))});
                       }));
    return tune(call, flags, [&](const auto&) { return edits; });
}

Result<void> setSchedulerParameters(const DomainCall& call, virTypedParameterPtr params, int count) {
    return setSchedulerParametersFlags(call, params, count, 0);
}

Result<void> setNumaParameters(const DomainCall& call, virTypedParameterPtr params, int count,
                               unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags, "virDomainSetNumaParameters"));
    constexpr KnownParam known[] = {{VIR_DOMAIN_NUMA_MODE, VIR_TYPED_PARAM_INT},
                                    {VIR_DOMAIN_NUMA_NODESET, VIR_TYPED_PARAM_STRING}};
    VZ_CHECK(checkParams(params, count, known));
    std::optional<std::string> mode, nodes;
    for (int i = 0; i < count; ++i) {
        if (params[i].type == VIR_TYPED_PARAM_STRING) {
            nodes = params[i].value.s;
            continue;
        }
        auto number = static_cast<size_t>(params[i].value.i);
        if (number >= std::size(numaModes))
            return fail(ErrorCode::InvalidArg, "unknown NUMA mode ", params[i].value.i);
        mode = numaModes[number];
    }
    return tune(call, flags, [&](const auto& definition) -> Result<domain::Edits> {
        auto running = call.domain.active();
        if (mode && running && (flags & VIR_DOMAIN_AFFECT_LIVE || !flags) && !definition.numaMode.empty() &&
            *mode != definition.numaMode)
            return fail(ErrorCode::OperationInvalid, "can't change numatune mode for running domain");
        if (nodes && nodes->empty())
            return domain::Edits{{"numatune/memory@nodeset", {}}, {"numatune/memory@mode", {}}};
        domain::Edits edits;
        if (mode || definition.numaMode.empty())
            edits.push_back({"numatune/memory@mode", mode.value_or("strict")});
        if (nodes)
            edits.push_back({"numatune/memory@nodeset", *nodes});
        return edits;
    });
}

Result<void> getNumaParameters(const DomainCall& call, virTypedParameterPtr params, int* count,
                               unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags | stringsOkay, "virDomainGetNumaParameters"));
    VZ_TRY(auto config, configFor(call, flags & tuningFlags));
    const auto& definition = config.definition();
    auto mode = std::ranges::find(numaModes, definition.numaMode);
    bool set = mode != std::end(numaModes);
    ParamSlots slots(params, count);
    slots.add(VIR_DOMAIN_NUMA_NODESET, definition.numaNodes);
    slots.add(VIR_DOMAIN_NUMA_MODE, static_cast<int>(set ? mode - std::begin(numaModes) : 0));
    return {};
}

} // namespace vz::driver
