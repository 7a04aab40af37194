// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/limits.hpp"

#include "base/cpu_list.hpp"
#include "driver/container_domain.hpp"
#include "driver/io_limits.hpp"
#include "driver/registry.hpp"

#include <algorithm>
#include <limits>
#include <set>

namespace vz::driver {

namespace {

using Cpus = std::set<unsigned>;

Cpus hostCpus(const Driver& driver) {
    Cpus cpus;
    for (const auto& cell : driver.capabilities().topology.cells) {
        for (const auto& cpu : cell.cpus)
            cpus.insert(cpu.id);
    }
    return cpus;
}

Result<Cpus> parse(const std::string& text) {
    VZ_TRY(auto numbers, parseCpuList(text));
    return Cpus(numbers.begin(), numbers.end());
}

/** What the pins of a container leave to it: pins of single vcpus count together. */
Result<Cpus> allowedCpus(const domain::Definition& definition, const Cpus& host) {
    auto general = host;
    const auto& text = definition.emulatorPin.empty() ? definition.vcpuCpuset : definition.emulatorPin;
    if (!text.empty()) {
        VZ_TRY(general, parse(text));
    }
    if (definition.pins.empty())
        return general;
    Cpus all;
    for (unsigned vcpu = 0; vcpu < definition.vcpus; ++vcpu) {
        auto pin = definition.pins.find(vcpu);
        if (pin == definition.pins.end()) {
            all.insert(general.begin(), general.end());
            continue;
        }
        VZ_TRY(auto pinned, parse(pin->second));
        all.insert(pinned.begin(), pinned.end());
    }
    return all;
}

/** How many running containers were given each CPU; those that may use all do not count. */
std::map<unsigned, unsigned> users(Driver& driver, const std::string& exceptUuid) {
    std::map<unsigned, unsigned> counts;
    for (const auto& domain : driver.registry().all()) {
        if (domain->uuid() == exceptUuid)
            continue;
        if (auto cpus = parse(domain->cpus())) {
            for (unsigned cpu : *cpus)
                ++counts[cpu];
        }
    }
    return counts;
}

/** The smallest share of CPU time that any of the settings leaves. */
void setBandwidth(const domain::Definition& definition, bool countedByCpus, const HostTopology& host,
                  ct::CgroupLimits& limits) {
    constexpr uint64_t usualPeriod = 100000;
    constexpr int64_t leastQuota = 1000; // the kernel takes none below
    double least = std::numeric_limits<double>::infinity();
    auto take = [&](std::optional<int64_t> quota, uint64_t period) {
        if (!quota || *quota <= 0)
            return;
        double share = static_cast<double>(*quota) / static_cast<double>(period);
        if (share >= least)
            return;
        least = share;
        limits.cpuQuotaUs = quota;
        limits.cpuPeriodUs = period;
    };
    take(definition.vcpuTime.quotaUs, definition.vcpuTime.periodUs.value_or(usualPeriod));
    take(definition.globalTime.quotaUs, definition.globalTime.periodUs.value_or(usualPeriod));
    if (auto percent = definition.extension.cpuLimitPercent)
        take(static_cast<int64_t>(*percent * usualPeriod / 100), usualPeriod);
    if (auto mhz = definition.extension.cpuLimitMHz; mhz && host.cpuMHz)
        take(std::max<int64_t>(static_cast<int64_t>(*mhz * usualPeriod / host.cpuMHz), leastQuota),
             usualPeriod);
    // Where the number of CPUs cannot be limited itself, their time is.
    if (!countedByCpus && definition.vcpus < host.cpuCount())
        take(static_cast<int64_t>(usualPeriod * definition.vcpus), usualPeriod);
    if (!limits.cpuQuotaUs && definition.vcpuTime.periodUs)
        limits.cpuPeriodUs = definition.vcpuTime.periodUs;
}

/** The RAM that a container may have. */
uint64_t ramOf(const domain::Definition& definition) {
    ct::CgroupLimits limits;
    limits.memoryBytes = definition.hardLimitKiB.value_or(definition.memoryKiB) * 1024;
    ct::tighten(limits, definition.extension.beancounters);
    return *limits.memoryBytes;
}

/** What is new is set; what is no longer there is set to its default. */
template<typename T>
std::optional<T> change(const std::optional<T>& from, const std::optional<T>& to, const T& absent) {
    if (from == to)
        return std::nullopt;
    return to ? *to : absent;
}

} // namespace

Result<std::string> chooseCpus(Driver& driver, const domain::Definition& definition,
                               const std::string& present) {
    auto host = hostCpus(driver);
    VZ_TRY(auto allowed, allowedCpus(definition, host));
    Cpus usable;
    std::ranges::set_intersection(allowed, host, std::inserter(usable, usable.end()));
    if (usable.empty())
        return fail(ErrorCode::ConfigUnsupported,
                    "none of the CPUs that the container is pinned to is there: ", "the host has ",
                    formatCpuList({host.begin(), host.end()}));
    if (!driver.cgroupHost().has("cpuset") || (usable == host && definition.vcpus >= host.size()))
        return std::string();
    if (definition.vcpus >= usable.size())
        return formatCpuList({usable.begin(), usable.end()});
    auto counts = users(driver, definition.uuid);
    VZ_TRY(auto kept, parse(present));
    std::vector<unsigned> order(usable.begin(), usable.end());
    std::ranges::stable_sort(order, {},
                             [&](unsigned cpu) { return std::pair(!kept.contains(cpu), counts[cpu]); });
    order.resize(definition.vcpus);
    std::ranges::sort(order);
    return formatCpuList(order);
}

Result<ct::CgroupLimits> limitsOf(Driver& driver, const domain::Definition& definition,
                                  const std::string& cpus, const std::vector<domain::UsedDisk>& disks) {
    ct::CgroupLimits limits;
    limits.memoryBytes = definition.hardLimitKiB.value_or(definition.memoryKiB) * 1024;
    if (definition.softLimitKiB)
        limits.memorySoftBytes = *definition.softLimitKiB * 1024;
    if (definition.swapHardLimitKiB)
        limits.memorySwapBytes = *definition.swapHardLimitKiB * 1024;
    if (definition.minGuaranteeKiB)
        limits.memoryLowBytes = *definition.minGuaranteeKiB * 1024;
    if (const auto& guarantee = definition.extension.guarantee)
        limits.memoryLowBytes = std::max(
            limits.memoryLowBytes.value_or(0),
            guaranteedBytes(*guarantee, ramOf(definition), driver.settings().autoGuaranteeContainers));
    if (definition.extension.cpuUnits)
        limits.cpuUnits = definition.extension.cpuUnits;
    else
        limits.cpuShares = definition.cpuShares;
    bool countedByCpus = driver.cgroupHost().has("cpuset");
    if (definition.extension.cpuLimitMHz && !driver.capabilities().topology.cpuMHz)
        return fail(ErrorCode::ConfigUnsupported,
                    "the frequency of this host's CPUs is not known, so <vz:mhz> cannot "
                    "hold: use <vz:limit>, which is in percent of one CPU");
    setBandwidth(definition, countedByCpus, driver.capabilities().topology, limits);
    if (!cpus.empty())
        limits.cpusetCpus = cpus;
    if (!definition.numaNodes.empty())
        limits.cpusetMems = definition.numaNodes;
    limits.blockWeight = blockWeight(definition);
    VZ_TRY(limits.blockDevices, blockLimits(definition, disks));
    ct::tighten(limits, definition.extension.beancounters);
    return limits;
}

Result<Guarantees::Guest> guaranteeOf(const Driver& driver, const domain::Definition& definition) {
    Guarantees::Guest guest{
        definition.name,
        definition.partition.empty() ? driver.settings().cgroupPartition : definition.partition, 0};
    ct::CgroupLimits counters;
    ct::tighten(counters, definition.extension.beancounters); // vmguarpages
    guest.bytes =
        std::max(counters.memoryLowBytes.value_or(0), definition.minGuaranteeKiB.value_or(0) * 1024);
    if (const auto& guarantee = definition.extension.guarantee) {
        auto ram = ramOf(definition);
        auto bytes = guaranteedBytes(*guarantee, ram, driver.settings().autoGuaranteeContainers);
        if (bytes > ram)
            return fail(ErrorCode::InvalidArg, "<vz:guarantee> (", bytes >> 20, " MiB) is more than the ",
                        ram >> 20, " MiB that the container may have");
        guest.bytes = std::max(guest.bytes, bytes);
    }
    return guest;
}

ct::CgroupLimits changes(const ct::CgroupLimits& from, const ct::CgroupLimits& to) {
    ct::CgroupLimits out;
    out.memorySoftBytes = change(from.memorySoftBytes, to.memorySoftBytes, ct::unlimitedBytes);
    out.memorySwapBytes = change(from.memorySwapBytes, to.memorySwapBytes, ct::unlimitedBytes);
    out.memoryLowBytes = change(from.memoryLowBytes, to.memoryLowBytes, uint64_t(0));
    // The limits of RAM and of RAM and swap are set in an order that depends on both.
    if (from.memoryBytes != to.memoryBytes || out.memorySwapBytes) {
        out.memoryBytes = to.memoryBytes;
        if (!out.memorySwapBytes)
            out.memorySwapBytes = to.memorySwapBytes;
        // On cgroup2 the way to a lower limit leads over this one.
        out.memorySoftBytes = to.memorySoftBytes.value_or(ct::unlimitedBytes);
    }
    // On v1 they are one file.
    if (out.memorySoftBytes && !out.memoryLowBytes)
        out.memoryLowBytes = to.memoryLowBytes;
    if (from.cpuUnits != to.cpuUnits || from.cpuShares != to.cpuShares) {
        out.cpuShares = to.cpuShares;
        out.cpuUnits = to.cpuUnits.value_or(1000);
    }
    if (from.cpuQuotaUs != to.cpuQuotaUs || from.cpuPeriodUs != to.cpuPeriodUs) {
        out.cpuQuotaUs = to.cpuQuotaUs.value_or(-1);
        out.cpuPeriodUs = to.cpuPeriodUs.value_or(100000);
    }
    out.cpusetCpus = change(from.cpusetCpus, to.cpusetCpus, std::string());
    out.cpusetMems = change(from.cpusetMems, to.cpusetMems, std::string());
    out.pids = change(from.pids, to.pids, ct::Beancounter::unlimited);
    out.sockets = change(from.sockets, to.sockets, ct::SocketLimits());
    out.blockWeight = change(from.blockWeight, to.blockWeight, 100u);
    for (auto gone : from.blockDevices) {
        bool stays = std::ranges::any_of(to.blockDevices, [&](const auto& limit) {
            return limit.major == gone.major && limit.minor == gone.minor;
        });
        if (!stays)
            out.blockDevices.push_back({.major = gone.major, .minor = gone.minor});
    }
    for (const auto& limit : to.blockDevices) {
        if (std::ranges::find(from.blockDevices, limit) == from.blockDevices.end())
            out.blockDevices.push_back(limit);
    }
    return out;
}

} // namespace vz::driver
