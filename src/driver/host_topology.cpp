// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/host_topology.hpp"

#include "base/cpu_list.hpp"
#include "base/file.hpp"

#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

namespace vz::driver {

namespace {

Result<std::vector<unsigned>> readList(const std::string& path) {
    VZ_TRY(auto text, file::read(path));
    auto numbers = parseCpuList(text);
    if (!numbers)
        return std::move(numbers).takeError().within(path);
    return numbers;
}

/** The id in a topology file. Old kernels have no die_id, and firmware that tells nothing gives -1: both 0.
 */
unsigned readId(const std::string& path) {
    auto text = file::read(path);
    return text ? parseNumber<unsigned>(trim(*text)).value_or(0) : 0;
}

HostCpu readCpu(const std::string& sysRoot, unsigned id) {
    std::string folder = cat(sysRoot, "/devices/system/cpu/cpu", id, "/topology");
    auto siblings = file::read(folder + "/thread_siblings_list");
    return HostCpu{.id = id,
                   .socket = readId(folder + "/physical_package_id"),
                   .die = readId(folder + "/die_id"),
                   .core = readId(folder + "/core_id"),
                   .siblings = siblings ? std::string(trim(*siblings)) : cat(id)};
}

std::vector<HostCpu> readCpus(const std::string& sysRoot, const std::vector<unsigned>& ids) {
    std::vector<HostCpu> cpus;
    for (unsigned id : ids)
        cpus.push_back(readCpu(sysRoot, id));
    return cpus;
}

Result<uint64_t> readTotalMemory(const std::string& path, std::string_view key) {
    VZ_TRY(auto text, file::read(path));
    auto value = field(text, key);
    auto memory = parseNumber<uint64_t>(value.substr(0, value.find(' ')));
    if (!memory)
        return fail(ErrorCode::OperationFailed, path, " has no amount of memory behind '", key, ":'");
    return *memory;
}

/** Page sizes of a cell: the huge ones set aside in @p folder, and the system's own for the rest. */
std::vector<HostPages> readPages(const std::string& folder, uint64_t memoryKiB) {
    constexpr std::string_view prefix = "hugepages-", suffix = "kB";
    std::map<unsigned, uint64_t> counts;
    uint64_t small = memoryKiB;
    for (const auto& name : file::list(folder).valueOr({})) {
        std::string_view size = name;
        if (!size.starts_with(prefix) || !size.ends_with(suffix))
            continue;
        size.remove_prefix(prefix.size());
        size.remove_suffix(suffix.size());
        auto sizeKiB = parseNumber<unsigned>(size);
        auto count = file::read(cat(folder, "/", name, "/nr_hugepages"));
        auto number = count ? parseNumber<uint64_t>(trim(*count)) : std::nullopt;
        if (!sizeKiB || !number)
            continue;
        counts[*sizeKiB] = *number;
        small -= std::min(small, *sizeKiB * *number);
    }
    auto pageKiB = static_cast<unsigned>(::sysconf(_SC_PAGESIZE) / 1024);
    counts[pageKiB] = small / pageKiB;

    std::vector<HostPages> pages;
    for (auto [sizeKiB, count] : counts)
        pages.push_back({sizeKiB, count});
    return pages;
}

/** The kernel writes one value per online node, in their order. */
std::vector<HostDistance> readDistances(const std::string& path, const std::vector<unsigned>& nodes) {
    std::vector<HostDistance> distances;
    auto text = file::read(path);
    if (!text)
        return distances;
    auto values = split(trim(*text), ' ');
    for (size_t i = 0; i < std::min(values.size(), nodes.size()); ++i) {
        if (auto value = parseNumber<unsigned>(values[i]))
            distances.push_back({nodes[i], *value});
    }
    return distances;
}

Result<HostCell> readCell(const std::string& sysRoot, unsigned id, const std::vector<unsigned>& nodes) {
    std::string folder = cat(sysRoot, "/devices/system/node/node", id);
    VZ_TRY(auto memory, readTotalMemory(folder + "/meminfo", cat("Node ", id, " MemTotal")));
    VZ_TRY(auto cpus, readList(folder + "/cpulist"));
    return HostCell{.id = id,
                    .memoryKiB = memory,
                    .pages = readPages(folder + "/hugepages", memory),
                    .distances = readDistances(folder + "/distance", nodes),
                    .cpus = readCpus(sysRoot, cpus)};
}

Result<HostCell> readWholeHost(const std::string& sysRoot, const std::string& procRoot) {
    VZ_TRY(auto memory, readTotalMemory(procRoot + "/meminfo", "MemTotal"));
    VZ_TRY(auto cpus, readList(sysRoot + "/devices/system/cpu/online"));
    return HostCell{.id = 0,
                    .memoryKiB = memory,
                    .pages = readPages(sysRoot + "/kernel/mm/hugepages", memory),
                    .distances = {},
                    .cpus = readCpus(sysRoot, cpus)};
}

/** The size of the largest set in a map of sets; 1 if there is none. */
template<typename Map>
unsigned largest(const Map& sets) {
    size_t most = 1;
    for (const auto& [key, members] : sets)
        most = std::max(most, members.size());
    return static_cast<unsigned>(most);
}

/** What all CPUs can do, in virtual machines what they do. */
unsigned readMHz(const std::string& sysRoot, const std::string& procRoot) {
    if (auto most = file::read(sysRoot + "/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq"))
        return parseNumber<unsigned>(trim(*most)).value_or(0) / 1000;
    auto text = file::read(procRoot + "/cpuinfo");
    if (!text)
        return 0;
    unsigned most = 0;
    for (auto line : lines(*text)) {
        auto colon = line.find(':');
        if (!line.starts_with("cpu MHz") || colon == std::string_view::npos)
            continue;
        auto value = trim(line.substr(colon + 1));
        most = std::max(most, parseNumber<unsigned>(value.substr(0, value.find('.'))).value_or(0));
    }
    return most;
}

} // namespace

unsigned HostTopology::cpuCount() const {
    size_t count = 0;
    for (const auto& cell : cells)
        count += cell.cpus.size();
    return static_cast<unsigned>(count);
}

CpuCounts HostTopology::cpuCounts() const {
    using Cell = unsigned;
    using Socket = std::tuple<Cell, unsigned>;
    using Die = std::tuple<Cell, unsigned, unsigned>;
    using Core = std::tuple<Cell, unsigned, unsigned, unsigned>;
    std::map<Cell, std::set<unsigned>> sockets;
    std::map<Socket, std::set<unsigned>> dies;
    std::map<Die, std::set<unsigned>> cores;
    std::map<Core, std::set<unsigned>> threads;
    for (const auto& cell : cells) {
        for (const auto& cpu : cell.cpus) {
            sockets[cell.id].insert(cpu.socket);
            dies[{cell.id, cpu.socket}].insert(cpu.die);
            cores[{cell.id, cpu.socket, cpu.die}].insert(cpu.core);
            threads[{cell.id, cpu.socket, cpu.die, cpu.core}].insert(cpu.id);
        }
    }
    CpuCounts counts{largest(sockets), largest(dies), largest(cores), largest(threads)};
    // Cells of memory alone have no sockets, so only those with CPUs count.
    if (sockets.size() * counts.sockets * counts.dies * counts.cores * counts.threads == cpuCount())
        return counts;
    return {.sockets = 1, .dies = 1, .cores = std::max(1u, cpuCount()), .threads = 1};
}

Result<HostTopology> readHostTopology(const std::string& sysRoot, const std::string& procRoot) {
    HostTopology topology;
    topology.cpuMHz = readMHz(sysRoot, procRoot);
    std::string online = sysRoot + "/devices/system/node/online";
    if (!file::exists(online)) {
        VZ_TRY(auto cell, readWholeHost(sysRoot, procRoot));
        topology.cells.push_back(std::move(cell));
        return topology;
    }
    VZ_TRY(auto nodes, readList(online));
    for (unsigned id : nodes) {
        VZ_TRY(auto cell, readCell(sysRoot, id, nodes));
        topology.cells.push_back(std::move(cell));
    }
    if (topology.cells.empty())
        return fail(ErrorCode::OperationFailed, online, " lists no NUMA node");
    return topology;
}

} // namespace vz::driver
