// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/file.hpp"
#include "ct/cgroup_internal.hpp"

#include <algorithm>
#include <cerrno>

namespace vz::ct::cgroups {

namespace {

/** The kernel's pids are 32-bit numbers (PID_MAX_LIMIT is 4194304). */
constexpr uint64_t pidsUnlimited = 1 << 22;

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
    if (value >= unlimitedBytes)
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
    uint64_t value = place.v2 && total < unlimitedBytes ? total - memory : total;
    return write(place, name, bytes(place, value));
}

Error stillUsed(uint64_t used, uint64_t wanted) {
    return fail(ErrorCode::OperationFailed, "the container uses ", used / 1024,
                " KiB of memory, of which not enough can be reclaimed to limit it to ", wanted / 1024,
                " KiB: end something in it, or choose a higher limit");
}

/** How much is asked to be reclaimed in one write, so that each is short. */
constexpr uint64_t reclaimSlice = 64 << 20;

/**
 * cgroup2 accepts any limit and kills what does not fit: so the group is first made to shrink below it.
 * memory.high keeps it from growing meanwhile.
 */
Result<void> shrink(const Place& place, uint64_t wanted) {
    auto current = [&]() -> Result<uint64_t> {
        VZ_TRY(auto text, file::read(place.limitDir() + "/memory.current"));
        return parseNumber<uint64_t>(trim(text)).value_or(0);
    };
    VZ_TRY(uint64_t used, current());
    if (used <= wanted)
        return {};
    VZ_TRY(auto high, file::read(place.limitDir() + "/memory.high"));
    VZ_CHECK(write(place, "memory.high", cat(wanted)));
    for (;;) {
        uint64_t before = used;
        // EAGAIN tells that less than that could be had; what counts is what is used after it.
        (void)write(place, "memory.reclaim", cat(std::min(used - wanted, reclaimSlice)));
        VZ_TRY(used, current());
        if (used <= wanted || used >= before)
            break;
    }
    if (auto restored = write(place, "memory.high", trim(high)); !restored)
        return restored;
    return used <= wanted ? Result<void>() : stillUsed(used, wanted);
}

Result<void> applyHard(const Place& place, uint64_t memory) {
    if (place.v2) {
        VZ_CHECK(shrink(place, memory));
        return write(place, "memory.max", bytes(place, memory));
    }
    auto written = write(place, "memory.limit_in_bytes", bytes(place, memory));
    if (!written && written.error().systemError() == EBUSY) {
        auto used = file::read(place.limitDir() + "/memory.usage_in_bytes");
        return stillUsed(used ? parseNumber<uint64_t>(trim(*used)).value_or(0) : 0, memory);
    }
    return written;
}

/** What is kept for the container. v1 has no such thing; its soft limit is what is reclaimed down to first.
 */
Result<void> applyLow(const Place& place, const CgroupLimits& limits) {
    if (place.v2) {
        // What is kept for a group is kept from its parent, too.
        VZ_CHECK(file::writeValue(place.unitDir() + "/memory.low", cat(*limits.memoryLowBytes)));
        return write(place, "memory.low", cat(*limits.memoryLowBytes));
    }
    if (limits.memorySoftBytes.value_or(unlimitedBytes) < unlimitedBytes)
        return {};
    bool none = *limits.memoryLowBytes == 0;
    return write(place, "memory.soft_limit_in_bytes", none ? "-1" : cat(*limits.memoryLowBytes));
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
    if (!limits.memoryBytes && !limits.memorySoftBytes && !limits.memorySwapBytes && !limits.memoryLowBytes)
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
    if (limits.memoryLowBytes)
        VZ_CHECK(applyLow(*place, limits));
    return {};
}

Result<void> writeWeight(const Place& place, uint64_t weight) {
    for (const auto& dir : place.weightDirs())
        VZ_CHECK(file::writeValue(cat(dir, place.v2 ? "/cpu.weight" : "/cpu.shares"), cat(weight)));
    return {};
}

Result<void> applyShares(const Place& place, uint64_t shares) {
    uint64_t least = place.v2 ? 1 : 2, most = place.v2 ? 10000 : 262144;
    if (shares < least || shares > most)
        return fail(ErrorCode::InvalidArg, "cpu shares ", shares, " are outside ", least, "...", most,
                    ", which this host's cgroups allow");
    return writeWeight(place, shares);
}

/** OpenVZ's units: 1000 is the share of a group by default, on either kind of hierarchy. */
Result<void> applyUnits(const Place& place, uint64_t units) {
    if (place.v2)
        return writeWeight(place, std::clamp<uint64_t>(units / 10, 1, 10000));
    return writeWeight(place, std::clamp<uint64_t>(units * 1024 / 1000, 2, 262144));
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
    } else if (limits.cpuUnits) {
        VZ_TRY(const auto* place, need(places, "cpu", "<vz:units>"));
        VZ_CHECK(applyUnits(*place, *limits.cpuUnits));
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

Result<void> applyCpuset(const std::vector<Place>& places, const char* name, std::string value) {
    VZ_TRY(const auto* place, need(places, "cpuset", "the choice of CPUs or NUMA nodes"));
    if (value.empty()) {
        // A write of nothing would not reach the kernel. In version 1, and in 6.1 with processes, no group
        // may be without a choice: then it is all that the unit has.
        if (place->v2 && write(*place, name, "\n"))
            return {};
        VZ_TRY(value, file::read(cat(place->unitDir(), "/", name, place->v2 ? ".effective" : "")));
    }
    value = std::string(trim(value));
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
    VZ_CHECK(applyBlock(places, limits));
    if (limits.sockets) {
        const auto* place = unifiedOf(places);
        limitSockets(place ? place->limitDir() : std::string(), places.front().unit, *limits.sockets);
    }
    if (limits.pids) {
        VZ_TRY(const auto* place, need(places, "pids", "a limit of processes"));
        VZ_CHECK(write(*place, "pids.max", *limits.pids < pidsUnlimited ? cat(*limits.pids) : "max"));
    }
    return {};
}

} // namespace vz::ct::cgroups
