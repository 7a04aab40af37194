// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/file.hpp"
#include "ct/cgroup_internal.hpp"
#include "ct/counter_facts.hpp"

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

} // namespace

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
