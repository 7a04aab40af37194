// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory of containers: virsh setmem, setmaxmem, memtune.
#include "driver/tuning.hpp"
#include "driver/typed_params.hpp"

namespace vz::driver {

namespace {

using Amount = std::optional<uint64_t> domain::Definition::*;

struct MemoryTunable {
    KnownParam param;
    const char* path;
    Amount member;
};

constexpr MemoryTunable memoryTunables[] = {
    {{VIR_DOMAIN_MEMORY_HARD_LIMIT, VIR_TYPED_PARAM_ULLONG},
     "memtune/hard_limit",
     &domain::Definition::hardLimitKiB},
    {{VIR_DOMAIN_MEMORY_SOFT_LIMIT, VIR_TYPED_PARAM_ULLONG},
     "memtune/soft_limit",
     &domain::Definition::softLimitKiB},
    {{VIR_DOMAIN_MEMORY_MIN_GUARANTEE, VIR_TYPED_PARAM_ULLONG},
     "memtune/min_guarantee",
     &domain::Definition::minGuaranteeKiB},
    {{VIR_DOMAIN_MEMORY_SWAP_HARD_LIMIT, VIR_TYPED_PARAM_ULLONG},
     "memtune/swap_hard_limit",
     &domain::Definition::swapHardLimitKiB},
};

/** The most that a container may have; what it has now is not above it. */
Result<domain::Edits> maximumEdits(const domain::Definition& definition, unsigned long kib) {
    domain::Edits edits{{"memory", cat(kib)}};
    if (definition.memoryKiB > kib)
        edits.push_back({"currentMemory", cat(kib)});
    return edits;
}

Result<domain::Edits> currentEdits(const domain::Definition& definition, unsigned long kib) {
    if (kib > definition.maxMemoryKiB)
        return fail(ErrorCode::InvalidArg, "cannot set memory to ", kib,
                    " KiB: the most this container may have is ", definition.maxMemoryKiB,
                    " KiB (virsh setmaxmem)");
    if (definition.hardLimitKiB)
        return fail(ErrorCode::OperationInvalid, "<memtune><hard_limit> limits this container to ",
                    *definition.hardLimitKiB,
                    " KiB: change that (virsh memtune --hard-limit), or take it away (-1)");
    return domain::Edits{{"currentMemory", cat(kib)}};
}

} // namespace

Result<void> setMemoryFlags(const DomainCall& call, unsigned long kib, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags | VIR_DOMAIN_MEM_MAXIMUM, "virDomainSetMemoryFlags"));
    if (kib == 0)
        return fail(ErrorCode::InvalidArg, "memory has to be more than 0");
    bool maximum = flags & VIR_DOMAIN_MEM_MAXIMUM;
    return tune(call, flags & tuningFlags, [&](const auto& definition) {
        return maximum ? maximumEdits(definition, kib) : currentEdits(definition, kib);
    });
}

Result<void> setMemory(const DomainCall& call, unsigned long kib) {
    return setMemoryFlags(call, kib, VIR_DOMAIN_AFFECT_LIVE);
}

Result<void> setMaxMemory(const DomainCall& call, unsigned long kib) {
    return setMemoryFlags(call, kib, VIR_DOMAIN_MEM_MAXIMUM);
}

Result<void> setMemoryParameters(const DomainCall& call, virTypedParameterPtr params, int count,
                                 unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags, "virDomainSetMemoryParameters"));
    domain::Edits edits;
    VZ_CHECK(eachParam(
        params, count, memoryTunables, [&](const MemoryTunable& tunable, const virTypedParameter& param) {
            bool none = param.value.ul >= VIR_DOMAIN_MEMORY_PARAM_UNLIMITED;
            edits.push_back({tunable.path, none ? std::nullopt : std::optional(cat(param.value.ul))});
        }));
    return tune(call, flags, [&](const auto&) { return edits; });
}

Result<void> getMemoryParameters(const DomainCall& call, virTypedParameterPtr params, int* count,
                                 unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags | VIR_TYPED_PARAM_STRING_OKAY, "virDomainGetMemoryParameters"));
    VZ_TRY(auto config, configFor(call, flags & tuningFlags));
    ParamSlots slots(params, count);
    for (const auto& tunable : memoryTunables) {
        bool guarantee = tunable.member == &domain::Definition::minGuaranteeKiB;
        auto value = config.definition().*tunable.member;
        slots.add(tunable.param.name, static_cast<unsigned long long>(
                                          value.value_or(guarantee ? 0 : VIR_DOMAIN_MEMORY_PARAM_UNLIMITED)));
    }
    return {};
}

} // namespace vz::driver
