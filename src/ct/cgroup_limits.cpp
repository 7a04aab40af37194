// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/file.hpp"
#include "ct/cgroup_internal.hpp"

namespace vz::ct::cgroups {

namespace {

/** libvirt's "unlimited" is 9007199254740991 KiB; so is everything from there on. */
constexpr uint64_t unlimited = 9007199254740991ull * 1024;

Error missing(std::string_view controller, std::string_view setting) {
    return fail(ErrorCode::ConfigUnsupported, "this host has no '", controller, "' cgroup controller, which ",
                setting, " needs");
}

/** Where a controller's files are, or what is missing for @p setting. */
Result<const Place*> need(const std::vector<Place>& places, std::string_view controller,
                          std::string_view setting) {
    if (const auto* place = placeOf(places, controller))
        return place;
    return missing(controller, setting);
}

Result<void> write(const Place& place, std::string_view name, std::string_view value) {
    return file::writeValue(cat(place.limitDir(), "/", name), value);
}

std::string bytes(const Place& place, uint64_t value) {
    if (value >= unlimited)
        return place.v2 ? "max" : "-1";
    return cat(value);
}

Result<void> applySwap(const Place& place, uint64_t memory, uint64_t total) {
    if (total < memory)
        return fail(ErrorCode::InvalidArg, "swap_hard_limit (RAM and swap together, ", total / 1024,
                    " KiB) is lower than hard_limit (", memory / 1024, " KiB)");
    auto name = place.v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes";
    if (!file::exists(cat(place.limitDir(), "/", name)))
        return fail(ErrorCode::ConfigUnsupported,
                    "this kernel does not account swap, which swap_hard_limit needs");
    // cgroup2 counts swap alone.
    uint64_t value = place.v2 && total < unlimited ? total - memory : total;
    return write(place, name, bytes(place, value));
}

Result<void> applyHard(const Place& place, uint64_t memory) {
    return write(place, place.v2 ? "memory.max" : "memory.limit_in_bytes", bytes(place, memory));
}

/** Whether the v1 limit of RAM and swap is below @p total, and so has to be raised before that of RAM. */
Result<bool> raisesSwap(const Place& place, uint64_t total) {
    auto path = place.limitDir() + "/memory.memsw.limit_in_bytes";
    if (place.v2 || !file::exists(path))
        return false;
    VZ_TRY(auto text, file::read(path));
    auto now = parseNumber<uint64_t>(trim(text));
    return now && *now < total;
}

Result<void> applyMemory(const std::vector<Place>& places, const CgroupLimits& limits) {
    if (!limits.memoryBytes && !limits.memorySoftBytes && !limits.memorySwapBytes)
        return {};
    VZ_TRY(const auto* place, need(places, "memory", "<memory>"));
    bool swapFirst = false;
    if (limits.memorySwapBytes) {
        VZ_TRY(swapFirst, raisesSwap(*place, *limits.memorySwapBytes));
    }
    if (limits.memoryBytes && !swapFirst)
        VZ_CHECK(applyHard(*place, *limits.memoryBytes));
    if (limits.memorySwapBytes)
        VZ_CHECK(applySwap(*place, limits.memoryBytes.value_or(0), *limits.memorySwapBytes));
    if (limits.memoryBytes && swapFirst)
        VZ_CHECK(applyHard(*place, *limits.memoryBytes));
    if (limits.memorySoftBytes)
        VZ_CHECK(write(*place, place->v2 ? "memory.high" : "memory.soft_limit_in_bytes",
                       bytes(*place, *limits.memorySoftBytes)));
    return {};
}

Result<void> applyShares(const Place& place, uint64_t shares) {
    uint64_t least = place.v2 ? 1 : 2, most = place.v2 ? 10000 : 262144;
    if (shares < least || shares > most)
        return fail(ErrorCode::InvalidArg, "cpu shares ", shares, " are outside ", least, "...", most,
                    ", which this host's cgroups allow");
    return write(place, place.v2 ? "cpu.weight" : "cpu.shares", cat(shares));
}

Result<void> applyQuota(const Place& place, std::optional<int64_t> quota, std::optional<uint64_t> period) {
    constexpr uint64_t defaultPeriod = 100000;
    bool none = !quota || *quota <= 0;
    if (place.v2)
        return write(place, "cpu.max", cat(none ? "max" : cat(*quota), " ", period.value_or(defaultPeriod)));
    if (period)
        VZ_CHECK(write(place, "cpu.cfs_period_us", cat(*period)));
    return quota ? write(place, "cpu.cfs_quota_us", none ? "-1" : cat(*quota)) : Result<void>();
}

Result<void> applyCpu(const std::vector<Place>& places, const CgroupLimits& limits) {
    if (limits.cpuShares) {
        VZ_TRY(const auto* place, need(places, "cpu", "<cputune><shares>"));
        VZ_CHECK(applyShares(*place, *limits.cpuShares));
    }
    if (limits.cpuQuotaUs || limits.cpuPeriodUs) {
        VZ_TRY(const auto* place, need(places, "cpu", "a limit of CPU time (<vcpu> or <cputune><quota>)"));
        VZ_CHECK(applyQuota(*place, limits.cpuQuotaUs, limits.cpuPeriodUs));
    }
    return {};
}

/** Writes to all groups below @p dir and itself; a v1 cpuset has to be inside its parent's at every moment,
 * so
 * @p wide (old and new together) goes down and @p value comes up. */
Result<void> narrowCpuset(const std::string& dir, const char* name, const std::string& value) {
    VZ_TRY(auto old, file::read(cat(dir, "/", name)));
    auto wide = trim(old).empty() ? value : cat(trim(old), ",", value);
    VZ_CHECK(file::writeValue(cat(dir, "/", name), wide));
    VZ_TRY(auto names, file::list(dir));
    for (const auto& below : names) {
        auto path = cat(dir, "/", below);
        if (!file::isDirectory(path))
            continue;
        if (auto done = narrowCpuset(path, name, value); !done && file::exists(path))
            return done;
    }
    return file::writeValue(cat(dir, "/", name), value);
}

Result<void> applyCpuset(const std::vector<Place>& places, const char* name, const std::string& value) {
    VZ_TRY(const auto* place, need(places, "cpuset", "<vcpu cpuset>"));
    return place->v2 ? write(*place, name, value) : narrowCpuset(place->limitDir(), name, value);
}

} // namespace

Result<void> applyLimits(const std::vector<Place>& places, const CgroupLimits& limits) {
    VZ_CHECK(applyMemory(places, limits));
    VZ_CHECK(applyCpu(places, limits));
    if (limits.cpusetCpus)
        VZ_CHECK(applyCpuset(places, "cpuset.cpus", *limits.cpusetCpus));
    if (limits.cpusetMems)
        VZ_CHECK(applyCpuset(places, "cpuset.mems", *limits.cpusetMems));
    if (limits.pids) {
        VZ_TRY(const auto* place, need(places, "pids", "a limit of processes"));
        VZ_CHECK(write(*place, "pids.max", cat(*limits.pids)));
    }
    return {};
}

} // namespace vz::ct::cgroups
