// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/file.hpp"
#include "ct/cgroup_internal.hpp"

#include <unistd.h>

namespace vz::ct::cgroups {

namespace {

Result<uint64_t> readNumber(const Place& place, std::string_view name) {
    auto path = cat(place.limitDir(), "/", name);
    VZ_TRY(auto text, file::read(path));
    if (auto value = parseNumber<uint64_t>(trim(text)))
        return *value;
    return fail(ErrorCode::InternalError, path, " has '", trim(text), "' where a number should be");
}

/** The number behind a key in a "key value" file; 0 if the kernel does not tell it. */
uint64_t keyed(std::string_view text, std::string_view key) {
    for (auto line : lines(text)) {
        if (line.starts_with(key) && line.substr(key.size()).starts_with(' '))
            return parseNumber<uint64_t>(trim(line.substr(key.size()))).value_or(0);
    }
    return 0;
}

/** Sum of "MAJ:MIN Read 123" lines. */
void addBlkio(const Place& place, const char* name, uint64_t& reads, uint64_t& writes) {
    auto text = file::read(cat(place.limitDir(), "/", name));
    if (!text)
        return;
    for (auto line : lines(*text)) {
        auto parts = split(line, ' ');
        if (parts.size() != 3)
            continue;
        auto value = parseNumber<uint64_t>(parts[2]).value_or(0);
        if (parts[1] == "Read")
            reads += value;
        else if (parts[1] == "Write")
            writes += value;
    }
}

Result<BlockUse> ioStat(const Place& place) {
    BlockUse use;
    VZ_TRY(auto text, file::read(place.limitDir() + "/io.stat"));
    for (auto line : lines(text)) {
        for (auto field : split(line, ' ')) {
            auto parts = split(field, '=');
            auto value = parts.size() == 2 ? parseNumber<uint64_t>(parts[1]).value_or(0) : 0;
            if (parts[0] == "rbytes")
                use.readBytes += value;
            else if (parts[0] == "wbytes")
                use.writeBytes += value;
            else if (parts[0] == "rios")
                use.readOps += value;
            else if (parts[0] == "wios")
                use.writeOps += value;
        }
    }
    return use;
}

/** A number that is 0 where the kernel has no such file. */
uint64_t numberOr0(const Place& place, std::string_view name) {
    return readNumber(place, name).valueOr(0);
}

bool hasFile(const Place& place, std::string_view name) {
    return file::exists(cat(place.limitDir(), "/", name));
}

bool hostHasSwap() {
    auto swaps = file::read("/proc/swaps");
    return swaps && lines(*swaps).size() > 1; // the first line is a heading
}

/**
 * Kernels count a refused fork in the group of the process (v1, v2 before 6.11) or in all groups up to the
 * one with the limit. What was counted in groups that are gone is lost.
 */
uint64_t refusedForks(const std::string& dir) {
    auto events = file::read(dir + "/pids.events");
    uint64_t own = events ? keyed(*events, "max") : 0, below = 0;
    auto names = file::list(dir);
    if (!names)
        return own;
    for (const auto& name : *names) {
        if (auto path = cat(dir, "/", name); file::isDirectory(path))
            below += refusedForks(path);
    }
    return std::max(own, below);
}

void addPids(const Place& place, CounterFacts& facts) {
    facts.hasPids = hasFile(place, "pids.max");
    facts.pids = numberOr0(place, "pids.current");
    facts.pidsPeak = numberOr0(place, "pids.peak");
    facts.pidsFailures = refusedForks(place.limitDir());
}

void addMemoryV1(const Place& place, CounterFacts& facts) {
    facts.memoryFile = "memory.limit_in_bytes";
    facts.memory = numberOr0(place, "memory.usage_in_bytes");
    facts.memoryPeak = numberOr0(place, "memory.max_usage_in_bytes");
    facts.memoryFailures = numberOr0(place, "memory.failcnt");
    if (hasFile(place, "memory.memsw.limit_in_bytes") && hostHasSwap())
        facts.swapFile = "memory.memsw.limit_in_bytes";
    if (hasFile(place, "memory.kmem.usage_in_bytes"))
        facts.kernelFile = "memory.kmem.usage_in_bytes";
    facts.kernel = numberOr0(place, "memory.kmem.usage_in_bytes");
    facts.kernelPeak = numberOr0(place, "memory.kmem.max_usage_in_bytes");
    facts.guaranteeFile = "memory.soft_limit_in_bytes, at best effort";
    if (auto stat = file::read(place.limitDir() + "/memory.stat")) {
        facts.shared = keyed(*stat, "total_shmem");
        facts.swap = keyed(*stat, "total_swap");
    }
}

void addMemoryV2(const Place& place, CounterFacts& facts) {
    facts.memoryFile = "memory.max";
    facts.memory = numberOr0(place, "memory.current");
    facts.memoryPeak = numberOr0(place, "memory.peak");
    if (hasFile(place, "memory.swap.max") && hostHasSwap())
        facts.swapFile = "memory.swap.max";
    facts.swap = numberOr0(place, "memory.swap.current");
    facts.swapPeak = numberOr0(place, "memory.swap.peak");
    facts.guaranteeFile = "memory.low";
    if (auto events = file::read(place.limitDir() + "/memory.events")) {
        facts.memoryFailures = keyed(*events, "max");
        facts.swapFailures = keyed(*events, "oom");
    }
    if (auto stat = file::read(place.limitDir() + "/memory.stat")) {
        facts.shared = keyed(*stat, "shmem");
        facts.kernel = keyed(*stat, "kernel");
        facts.reclaimableSlab = keyed(*stat, "slab_reclaimable");
        facts.kernelFile = facts.slabFile = "memory.stat";
    }
}

} // namespace

CounterFacts counterFacts(const std::vector<Place>& places) {
    CounterFacts facts;
    if (const auto* place = placeOf(places, "pids"))
        addPids(*place, facts);
    if (const auto* place = placeOf(places, "memory"))
        place->v2 ? addMemoryV2(*place, facts) : addMemoryV1(*place, facts);
    addSockets(places, facts);
    return facts;
}

Result<CpuTime> cpuTime(const std::vector<Place>& places) {
    CpuTime time;
    if (const auto* place = placeOf(places, "cpuacct")) {
        VZ_TRY(time.totalNs, readNumber(*place, "cpuacct.usage"));
        VZ_TRY(auto stat, file::read(place->limitDir() + "/cpuacct.stat"));
        uint64_t tick = 1000000000u / static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
        time.userNs = keyed(stat, "user") * tick;
        time.systemNs = keyed(stat, "system") * tick;
        return time;
    }
    const auto* place = unifiedOf(places);
    if (!place)
        return fail(ErrorCode::OperationUnsupported, "this host accounts no CPU time of cgroups");
    VZ_TRY(auto stat, file::read(place->limitDir() + "/cpu.stat"));
    time.totalNs = keyed(stat, "usage_usec") * 1000;
    time.userNs = keyed(stat, "user_usec") * 1000;
    time.systemNs = keyed(stat, "system_usec") * 1000;
    return time;
}

Result<std::vector<uint64_t>> cpuTimes(const std::vector<Place>& places) {
    const auto* place = placeOf(places, "cpuacct");
    if (!place)
        return fail(ErrorCode::OperationUnsupported,
                    "cgroup v2 tells the CPU time of a container in total only (start_cpu -1)");
    VZ_TRY(auto text, file::read(place->limitDir() + "/cpuacct.usage_percpu"));
    std::vector<uint64_t> times;
    for (auto number : split(trim(text), ' '))
        times.push_back(parseNumber<uint64_t>(number).value_or(0));
    return times;
}

Result<MemoryUse> memoryUse(const std::vector<Place>& places) {
    const auto* place = placeOf(places, "memory");
    if (!place)
        return fail(ErrorCode::OperationUnsupported, "this host has no memory cgroup controller");
    MemoryUse use;
    VZ_TRY(use.used, readNumber(*place, place->v2 ? "memory.current" : "memory.usage_in_bytes"));
    VZ_TRY(auto stat, file::read(place->limitDir() + "/memory.stat"));
    // v1 has own and hierarchical figures side by side.
    auto value = [&](const char* v1, const char* v2) { return keyed(stat, place->v2 ? v2 : v1); };
    use.cache = value("total_cache", "file");
    use.minorFaults = value("total_pgfault", "pgfault");
    use.majorFaults = value("total_pgmajfault", "pgmajfault");
    use.minorFaults -= std::min(use.minorFaults, use.majorFaults);
    auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
    use.swapIn = value("total_pswpin", "pswpin") * page;
    use.swapOut = value("total_pswpout", "pswpout") * page;
    use.swap = place->v2 ? readNumber(*place, "memory.swap.current").valueOr(0) : keyed(stat, "total_swap");
    return use;
}

Result<BlockUse> blockUse(const std::vector<Place>& places) {
    if (const auto* place = placeOf(places, "blkio")) {
        BlockUse use;
        addBlkio(*place, "blkio.throttle.io_service_bytes_recursive", use.readBytes, use.writeBytes);
        addBlkio(*place, "blkio.throttle.io_serviced_recursive", use.readOps, use.writeOps);
        return use;
    }
    if (const auto* place = placeOf(places, "io"))
        return ioStat(*place);
    return fail(ErrorCode::OperationUnsupported, "this host accounts no block I/O of cgroups");
}

} // namespace vz::ct::cgroups
