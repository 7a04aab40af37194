// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/tuning.hpp"

#include "base/cpu_list.hpp"
#include "base/log.hpp"

#include <set>

namespace vz::driver {

Result<void> tune(const DomainCall& call, unsigned int flags, const MakeEdits& make) {
    VZ_TRY(auto job, call.modify());
    VZ_TRY(auto affected, affects(call.domain, flags));
    const auto& parser = call.driver.parser();
    auto changed = [&](const domain::Config& config) -> Result<domain::Config> {
        VZ_TRY(auto edits, make(config.definition()));
        return config.edited(parser, edits);
    };
    std::optional<domain::Config> config;
    auto before = call.domain.current();
    if (affected.config) {
        VZ_TRY(config, changed(call.domain.config()));
    }
    if (affected.live) {
        VZ_TRY(auto live, changed(before));
        VZ_CHECK(call.domain.tune(std::move(live)));
    }
    if (!config)
        return {};
    auto saved = call.domain.setConfig(*std::move(config));
    if (!saved && affected.live) {
        if (auto undone = call.domain.tune(std::move(before)); !undone)
            log::warning("limits of ", call.domain.uuid(), " stay changed: ", undone.error().message());
    }
    return saved;
}

Result<domain::Config> configFor(const DomainCall& call, unsigned int flags) {
    VZ_TRY(auto affected, affects(call.domain, flags));
    if (affected.live && affected.config)
        return fail(ErrorCode::InvalidArg, "flags for the live and the persistent config exclude each other "
                                           "in a query");
    return affected.live ? call.domain.current() : call.domain.config();
}

Result<void> checkParams(virTypedParameterPtr params, int count, std::span<const KnownParam> known) {
    std::set<std::string_view> seen;
    for (int i = 0; i < count; ++i) {
        std::string_view name = params[i].field;
        auto found = std::ranges::find_if(known, [&](const auto& each) { return name == each.name; });
        if (found == known.end())
            return fail(ErrorCode::ArgumentUnsupported, "parameter '", name,
                        "' not supported for containers");
        if (params[i].type != found->type)
            return fail(ErrorCode::InvalidArg, "parameter '", name, "' has type ", params[i].type,
                        ", expected ", found->type);
        if (!seen.insert(name).second)
            return fail(ErrorCode::InvalidArg, "parameter '", name, "' occurs multiple times");
    }
    return {};
}

Result<std::string> cpuList(const Driver& driver, const unsigned char* map, int length) {
    std::vector<unsigned> cpus;
    bool outside = false;
    unsigned limit = maxVcpus(driver.capabilities());
    for (unsigned cpu = 0; cpu < static_cast<unsigned>(length) * 8; ++cpu) {
        if (!VIR_CPU_USED(map, cpu))
            continue;
        // A map of all CPUs is rounded up to whole bytes by some clients.
        if (cpu < limit)
            cpus.push_back(cpu);
        else
            outside = true;
    }
    if (cpus.empty())
        return fail(ErrorCode::InvalidArg,
                    outside ? "none of the CPUs in the map is there: the host has "
                            : "the CPU map is empty: give at least one of the host's ",
                    limit, " CPUs");
    return formatCpuList(cpus);
}

Result<void> setCpuMap(const Driver& driver, const std::string& list, unsigned char* map, int length) {
    std::memset(map, 0, static_cast<size_t>(length));
    VZ_TRY(auto cpus, parseCpuList(list));
    if (cpus.empty()) {
        for (unsigned cpu = 0; cpu < maxVcpus(driver.capabilities()); ++cpu)
            cpus.push_back(cpu);
    }
    for (unsigned cpu : cpus) {
        if (cpu < static_cast<unsigned>(length) * 8)
            VIR_USE_CPU(map, cpu);
    }
    return {};
}

} // namespace vz::driver
