// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/view.hpp"

#include "base/cpu_list.hpp"
#include "base/file.hpp"
#include "ct/counter_facts.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <unistd.h>

namespace vz::ct::view {

namespace {

constexpr uint64_t secondNs = 1000000000;

uint64_t ticks(uint64_t ns) {
    static const auto perSecond = static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
    return ns / (secondNs / perSecond);
}

/** The figure of "Key:  123 kB" in bytes. */
uint64_t kilobytes(std::string_view text, std::string_view key) {
    auto value = field(text, key);
    return parseNumber<uint64_t>(value.substr(0, value.find(' '))).value_or(0) * 1024;
}

std::vector<std::string_view> words(std::string_view line) {
    auto parts = split(line, ' ');
    std::erase_if(parts, [](auto part) { return part.empty(); });
    return parts;
}

void readMemory(const std::vector<std::string>& groups, Figures& out) {
    auto host = file::read("/proc/meminfo").valueOr("");
    out.memoryLimit = kilobytes(host, "MemTotal");
    out.swapLimit = kilobytes(host, "SwapTotal");
    bool v1 = true;
    auto group = groupWith(groups, "memory.limit_in_bytes");
    if (group.empty()) {
        v1 = false;
        group = groupWith(groups, "memory.max");
    }
    if (group.empty()) {
        out.memoryUsed = out.memoryLimit - std::min(out.memoryLimit, kilobytes(host, "MemFree"));
        return;
    }
    auto limit = [&](const char* name) -> std::optional<uint64_t> {
        auto text = file::read(cat(group, "/", name));
        return text ? parseNumber<uint64_t>(trim(*text)) : std::nullopt; // none is "max"
    };
    auto ram = limit(v1 ? "memory.limit_in_bytes" : "memory.max");
    out.memoryLimit = std::min(out.memoryLimit, ram.value_or(out.memoryLimit));
    out.memoryUsed =
        std::min(out.memoryLimit, numberIn(group + (v1 ? "/memory.usage_in_bytes" : "/memory.current")));
    if (auto swap = limit(v1 ? "memory.memsw.limit_in_bytes" : "memory.swap.max"))
        out.swapLimit = std::min(out.swapLimit, v1 ? *swap - std::min(*swap, out.memoryLimit) : *swap);
    auto stat = file::read(group + "/memory.stat").valueOr("");
    // v1 has own and hierarchical figures side by side.
    auto value = [&](const std::string& name) { return keyed(stat, v1 ? "total_" + name : name); };
    out.activeAnon = value("active_anon");
    out.inactiveAnon = value("inactive_anon");
    out.activeFile = value("active_file");
    out.inactiveFile = value("inactive_file");
    out.unevictable = value("unevictable");
    out.cache = keyed(stat, v1 ? "total_cache" : "file");
    out.shared = value("shmem");
    out.mapped = keyed(stat, v1 ? "total_mapped_file" : "file_mapped");
    out.dirty = keyed(stat, v1 ? "total_dirty" : "file_dirty");
    out.writeback = keyed(stat, v1 ? "total_writeback" : "file_writeback");
    out.slabReclaimable = v1 ? 0 : keyed(stat, "slab_reclaimable");
    out.slabUnreclaimable = v1 ? 0 : keyed(stat, "slab_unreclaimable");
    out.swapUsed =
        std::min(out.swapLimit, v1 ? keyed(stat, "total_swap") : numberIn(group + "/memory.swap.current"));
}

/** How many CPUs' time the container may use, where it is not kept to some of them; 0: no limit. */
size_t cpusByTime(const std::vector<std::string>& groups) {
    auto group = groupWith(groups, "cpu.cfs_quota_us");
    uint64_t quota = 0, period = 0;
    if (!group.empty()) {
        quota = numberIn(group + "/cpu.cfs_quota_us"); // none is -1
        period = numberIn(group + "/cpu.cfs_period_us");
    } else if (group = groupWith(groups, "cpu.max"); !group.empty()) {
        auto parts = words(trim(file::read(group + "/cpu.max").valueOr("")));
        if (parts.size() == 2) {
            quota = parseNumber<uint64_t>(parts[0]).value_or(0);
            period = parseNumber<uint64_t>(parts[1]).value_or(0);
        }
    }
    return quota && period ? (quota + period - 1) / period : 0;
}

std::vector<unsigned> cpusOf(const std::vector<std::string>& groups) {
    for (const char* name : {"cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus"}) {
        auto group = groupWith(groups, name);
        if (group.empty())
            continue;
        auto cpus = parseCpuList(trim(file::read(cat(group, "/", name)).valueOr("")));
        if (cpus && !cpus->empty())
            return *cpus;
    }
    auto online = file::read("/sys/devices/system/cpu/online").valueOr("0");
    auto cpus = parseCpuList(trim(online)).valueOr({0});
    if (auto most = cpusByTime(groups); most && most < cpus.size())
        cpus.resize(most);
    return cpus;
}

std::vector<uint64_t> numbers(const std::string& path) {
    std::vector<uint64_t> out;
    for (auto word : words(trim(file::read(path).valueOr(""))))
        out.push_back(parseNumber<uint64_t>(word).value_or(0));
    return out;
}

/** When a process was started, after the boot of the host. */
uint64_t startedNs(pid_t process) {
    auto text = file::read(cat("/proc/", process, "/stat")).valueOr("");
    // The second field, the name, may hold anything.
    auto parts = words(std::string_view(text).substr(std::min(text.size(), text.rfind(')') + 1)));
    constexpr size_t startTime = 22 - 3;
    if (parts.size() <= startTime)
        return 0;
    auto perSecond = static_cast<uint64_t>(::sysconf(_SC_CLK_TCK));
    return parseNumber<uint64_t>(parts[startTime]).value_or(0) * (secondNs / perSecond);
}

uint64_t hostUptimeNs() {
    timespec now{};
    ::clock_gettime(CLOCK_BOOTTIME, &now);
    return static_cast<uint64_t>(now.tv_sec) * secondNs + static_cast<uint64_t>(now.tv_nsec);
}

CpuUse since(CpuUse now, CpuUse then) {
    return {now.userNs - std::min(now.userNs, then.userNs),
            now.systemNs - std::min(now.systemNs, then.systemNs)};
}

CpuUse sum(const std::vector<CpuUse>& all) {
    CpuUse total;
    for (const auto& one : all) {
        total.userNs += one.userNs;
        total.systemNs += one.systemNs;
    }
    return total;
}

void readCpuUse(const std::vector<std::string>& groups, const std::vector<CpuUse>& atBoot, Figures& out) {
    auto now = cpuTimes(groups);
    auto at = [](const std::vector<CpuUse>& uses, size_t cpu) {
        return cpu < uses.size() ? uses[cpu] : CpuUse();
    };
    if (now.size() == 1 && out.cpus.size() > 1) {
        // One figure for all: it is shown as if it were spread evenly.
        auto all = since(now[0], at(atBoot, 0));
        auto count = out.cpus.size();
        out.use.assign(count, {all.userNs / count, all.systemNs / count});
        return;
    }
    std::vector<CpuUse> uses;
    for (size_t cpu = 0; cpu < now.size(); ++cpu)
        uses.push_back(since(now[cpu], at(atBoot, cpu)));
    for (unsigned cpu : out.cpus)
        out.use.push_back(uses.size() == 1 ? uses[0] : at(uses, cpu));
}

} // namespace

std::vector<CpuUse> cpuTimes(const std::vector<std::string>& groups) {
    std::vector<CpuUse> out;
    if (auto group = groupWith(groups, "cpuacct.usage_percpu_user"); !group.empty()) {
        auto user = numbers(group + "/cpuacct.usage_percpu_user");
        auto system = numbers(group + "/cpuacct.usage_percpu_sys");
        for (size_t i = 0; i < std::min(user.size(), system.size()); ++i)
            out.push_back({user[i], system[i]});
    } else if (group = groupWith(groups, "cpu.stat"); !group.empty()) {
        auto text = file::read(group + "/cpu.stat").valueOr("");
        out.push_back({keyed(text, "user_usec") * 1000, keyed(text, "system_usec") * 1000});
    }
    return out;
}

Figures figures(const std::vector<std::string>& groups, pid_t init, const std::vector<CpuUse>& atBoot) {
    Figures out;
    readMemory(groups, out);
    out.cpus = cpusOf(groups);
    readCpuUse(groups, atBoot, out);
    auto now = hostUptimeNs();
    out.uptimeNs = now - std::min(now, startedNs(init));
    if (auto group = groupWith(groups, "pids.current"); !group.empty())
        out.processes = numberIn(group + "/pids.current");
    return out;
}

std::string meminfo(const Figures& figures) {
    auto free = figures.memoryLimit - figures.memoryUsed;
    auto reclaimable = figures.activeFile + figures.inactiveFile + figures.slabReclaimable;
    auto cached = figures.cache;
    const std::pair<const char*, uint64_t> rows[] = {
        {"MemTotal", figures.memoryLimit},
        {"MemFree", free},
        {"MemAvailable", std::min(figures.memoryLimit, free + reclaimable)},
        {"Buffers", 0},
        {"Cached", cached},
        {"SwapCached", 0},
        {"Active", figures.activeAnon + figures.activeFile},
        {"Inactive", figures.inactiveAnon + figures.inactiveFile},
        {"Active(anon)", figures.activeAnon},
        {"Inactive(anon)", figures.inactiveAnon},
        {"Active(file)", figures.activeFile},
        {"Inactive(file)", figures.inactiveFile},
        {"Unevictable", figures.unevictable},
        {"Mlocked", 0},
        {"SwapTotal", figures.swapLimit},
        {"SwapFree", figures.swapLimit - figures.swapUsed},
        {"Dirty", figures.dirty},
        {"Writeback", figures.writeback},
        {"AnonPages", figures.activeAnon + figures.inactiveAnon -
                          std::min(figures.shared, figures.activeAnon + figures.inactiveAnon)},
        {"Mapped", figures.mapped},
        {"Shmem", figures.shared},
        {"Slab", figures.slabReclaimable + figures.slabUnreclaimable},
        {"SReclaimable", figures.slabReclaimable},
        {"SUnreclaim", figures.slabUnreclaimable},
        {"CommitLimit", figures.memoryLimit + figures.swapLimit},
        {"Committed_AS", figures.memoryUsed + figures.swapUsed},
    };
    std::string out;
    for (auto [name, bytes] : rows) {
        char line[64];
        std::snprintf(line, sizeof line, "%-16s%8llu kB\n", cat(name, ":").c_str(),
                      static_cast<unsigned long long>(bytes / 1024));
        out += line;
    }
    return out;
}

std::string swaps(const Figures& figures) {
    std::string out = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n";
    if (figures.swapLimit)
        out += cat("none                                    virtual\t\t", figures.swapLimit / 1024, "\t\t",
                   figures.swapUsed / 1024, "\t\t0\n");
    return out;
}

std::string uptime(const Figures& figures) {
    auto used = sum(figures.use);
    auto all = figures.uptimeNs * figures.cpus.size();
    auto idle = all - std::min(all, used.userNs + used.systemNs);
    char line[64];
    std::snprintf(line, sizeof line, "%.2f %.2f\n", static_cast<double>(figures.uptimeNs) / secondNs,
                  static_cast<double>(idle) / secondNs);
    return line;
}

std::string stat(const Figures& figures, std::string_view host) {
    auto row = [](std::string_view name, CpuUse use, uint64_t uptimeNs) {
        auto idle = uptimeNs - std::min(uptimeNs, use.userNs + use.systemNs);
        return cat(name, " ", ticks(use.userNs), " 0 ", ticks(use.systemNs), " ", ticks(idle),
                   " 0 0 0 0 0 0\n");
    };
    std::string out = row("cpu ", sum(figures.use), figures.uptimeNs * figures.cpus.size());
    for (size_t i = 0; i < figures.use.size(); ++i)
        out += row(cat("cpu", i), figures.use[i], figures.uptimeNs);
    // The moment of the container's boot, by the host's and by how much later that was.
    auto later = hostUptimeNs();
    later -= std::min(later, figures.uptimeNs);
    uint64_t boot = keyed(host, "btime") + later / secondNs;
    return out + cat("intr 0\nctxt 0\nbtime ", boot, "\nprocesses ", figures.processes,
                     "\nprocs_running 1\nprocs_blocked 0\nsoftirq 0\n");
}

std::string cpuinfo(const Figures& figures, std::string_view host) {
    std::string out;
    size_t at = 0;
    while (at < host.size()) {
        auto end = host.find("\n\n", at);
        end = end == std::string_view::npos ? host.size() : end + 2;
        auto part = host.substr(at, end - at);
        at = end;
        auto first = part.substr(0, part.find('\n'));
        if (!first.starts_with("processor")) {
            out += part; // what some machines say of all CPUs
            continue;
        }
        auto number = parseNumber<unsigned>(trim(first.substr(first.find(':') + 1)));
        auto mine = std::ranges::find(figures.cpus, number.value_or(~0u));
        if (mine == figures.cpus.end())
            continue;
        out += cat(first.substr(0, first.find(':') + 1), " ", mine - figures.cpus.begin(),
                   part.substr(first.size()));
    }
    return out;
}

std::string onlineCpus(const Figures& figures) {
    auto count = figures.cpus.size();
    return count > 1 ? cat("0-", count - 1, "\n") : "0\n";
}

namespace {

struct DiskUse {
    uint64_t reads = 0, writes = 0, readBytes = 0, writeBytes = 0;
};
using DiskUses = std::map<std::pair<unsigned, unsigned>, DiskUse>;

std::optional<std::pair<unsigned, unsigned>> deviceNumber(std::string_view text) {
    auto parts = split(text, ':');
    if (parts.size() != 2)
        return std::nullopt;
    auto major = parseNumber<unsigned>(parts[0]), minor = parseNumber<unsigned>(parts[1]);
    return major && minor ? std::optional(std::pair(*major, *minor)) : std::nullopt;
}

/** "MAJ:MIN Read 123" lines. */
void addV1(DiskUses& uses, const std::string& path, uint64_t DiskUse::*reads, uint64_t DiskUse::*writes) {
    auto text = file::read(path).valueOr("");
    for (auto line : lines(text)) {
        auto parts = split(line, ' ');
        auto device = parts.size() == 3 ? deviceNumber(parts[0]) : std::nullopt;
        if (!device || (parts[1] != "Read" && parts[1] != "Write"))
            continue;
        uses[*device].*(parts[1] == "Read" ? reads : writes) = parseNumber<uint64_t>(parts[2]).value_or(0);
    }
}

/** "MAJ:MIN rbytes=1 wbytes=2 rios=3 wios=4 ..." lines. */
void addV2(DiskUses& uses, const std::string& path) {
    constexpr std::pair<std::string_view, uint64_t DiskUse::*> keys[] = {{"rbytes=", &DiskUse::readBytes},
                                                                         {"wbytes=", &DiskUse::writeBytes},
                                                                         {"rios=", &DiskUse::reads},
                                                                         {"wios=", &DiskUse::writes}};
    auto text = file::read(path).valueOr("");
    for (auto line : lines(text)) {
        auto parts = words(line);
        auto device = parts.empty() ? std::nullopt : deviceNumber(parts[0]);
        if (!device)
            continue;
        for (auto part : parts) {
            for (auto [key, member] : keys) {
                if (part.starts_with(key))
                    uses[*device].*member = parseNumber<uint64_t>(part.substr(key.size())).value_or(0);
            }
        }
    }
}

std::string nameOfDisk(unsigned major, unsigned minor) {
    auto text = file::read(cat("/sys/dev/block/", major, ":", minor, "/uevent")).valueOr("");
    for (auto line : lines(text)) {
        if (line.starts_with("DEVNAME="))
            return std::string(line.substr(8));
    }
    return {};
}

} // namespace

std::string diskstats(const std::vector<std::string>& groups) {
    DiskUses uses;
    constexpr const char *v1 = "blkio.throttle.io_serviced_recursive", *v2 = "io.stat";
    if (auto group = groupWith(groups, v1); !group.empty()) {
        addV1(uses, cat(group, "/", v1), &DiskUse::reads, &DiskUse::writes);
        addV1(uses, group + "/blkio.throttle.io_service_bytes_recursive", &DiskUse::readBytes,
              &DiskUse::writeBytes);
    } else if (group = groupWith(groups, v2); !group.empty()) {
        addV2(uses, cat(group, "/", v2));
    }
    std::string out;
    for (const auto& [device, use] : uses) {
        auto name = nameOfDisk(device.first, device.second);
        if (name.empty())
            continue;
        char number[32];
        std::snprintf(number, sizeof number, "%4u %7u ", device.first, device.second);
        out += cat(number, name, " ", use.reads, " 0 ", use.readBytes / 512, " 0 ", use.writes, " 0 ",
                   use.writeBytes / 512, " 0 0 0 0 0 0 0 0 0 0\n");
    }
    return out;
}

void LoadAverage::update(uint64_t usedNs, uint64_t nowNs) {
    auto passed = static_cast<double>(nowNs - std::min(nowNs, nowNs_));
    if (passed <= 0)
        return;
    auto rate = static_cast<double>(usedNs - std::min(usedNs, usedNs_)) / passed;
    constexpr double minutes[] = {1, 5, 15};
    for (size_t i = 0; i < 3; ++i) {
        double kept = std::exp(-passed / (minutes[i] * 60 * secondNs));
        averages_[i] = averages_[i] * kept + rate * (1 - kept);
    }
    usedNs_ = usedNs;
    nowNs_ = nowNs;
}

std::string LoadAverage::text(uint64_t running, uint64_t all) const {
    char line[96];
    std::snprintf(line, sizeof line, "%.2f %.2f %.2f %llu/%llu 0\n", averages_[0], averages_[1], averages_[2],
                  static_cast<unsigned long long>(running), static_cast<unsigned long long>(all));
    return line;
}

std::string beancounters(uint64_t id, const std::vector<CounterStatus>& counters) {
    // The order that programs know, with the places that were never used.
    constexpr const char* order[] = {
        "kmemsize",   "lockedpages", "privvmpages",  "shmpages",     "dummy",       "numproc",
        "physpages",  "vmguarpages", "oomguarpages", "numtcpsock",   "numflock",    "numpty",
        "numsiginfo", "tcpsndbuf",   "tcprcvbuf",    "othersockbuf", "dgramrcvbuf", "numothersock",
        "dcachesize", "numfile",     "dummy",        "dummy",        "dummy",       "numiptent"};
    char line[160];
    std::snprintf(line, sizeof line, "%10s  %-12s %20s %20s %20s %20s %20s\n", "uid", "resource", "held",
                  "maxheld", "barrier", "limit", "failcnt");
    std::string out = cat("Version: 2.5\n", line);
    auto lead = cat(id, ":");
    for (const char* name : order) {
        auto found = std::ranges::find_if(
            counters, [&](const auto& counter) { return std::string_view(counter.info->name) == name; });
        static const CounterInfo dummy{"dummy", CounterUnit::Items, false, false, CounterChange::Live};
        static const CounterStatus unused{.info = &dummy};
        const auto& counter = found == counters.end() ? unused : *found;
        std::snprintf(line, sizeof line, "%11s %-12s %20llu %20llu %20llu %20llu %20llu\n", lead.c_str(),
                      name, static_cast<unsigned long long>(counter.held),
                      static_cast<unsigned long long>(counter.maxHeld),
                      static_cast<unsigned long long>(counter.set.barrier),
                      static_cast<unsigned long long>(counter.set.limit),
                      static_cast<unsigned long long>(counter.failures));
        out += line;
        lead.clear();
    }
    return out;
}

uint64_t numberOf(std::string_view name, std::string_view uuid) {
    constexpr uint64_t most = 999999999; // ten places with the colon
    if (auto number = parseNumber<uint64_t>(name); number && *number <= most)
        return *number;
    return parseNumber<uint64_t>(uuid.substr(0, 8), 16).value_or(0) % most + 1;
}

} // namespace vz::ct::view
