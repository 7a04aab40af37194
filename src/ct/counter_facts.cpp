// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/counter_facts.hpp"

#include "base/file.hpp"
#include "ct/cgroup_internal.hpp"

#include <algorithm>
#include <cerrno>

namespace vz::ct {

uint64_t keyed(std::string_view text, std::string_view key) {
    for (auto line : lines(text)) {
        if (line.starts_with(key) && line.substr(key.size()).starts_with(' '))
            return parseNumber<uint64_t>(trim(line.substr(key.size()))).value_or(0);
    }
    return 0;
}

uint64_t numberIn(const std::string& path) {
    auto text = file::read(path);
    return text ? parseNumber<uint64_t>(trim(*text)).value_or(0) : 0;
}

std::string groupWith(const std::vector<std::string>& groups, std::string_view name) {
    for (const auto& group : groups) {
        if (file::exists(cat(group, "/", name)))
            return group;
    }
    return {};
}

namespace {

bool hasFile(const std::string& group, std::string_view name) {
    return file::exists(cat(group, "/", name));
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

void addPids(const std::string& group, CounterFacts& facts) {
    facts.hasPids = true;
    facts.pids = numberIn(group + "/pids.current");
    facts.pidsPeak = numberIn(group + "/pids.peak");
    facts.pidsFailures = refusedForks(group);
}

void addMemoryV1(const std::string& group, CounterFacts& facts) {
    facts.memoryFile = "memory.limit_in_bytes";
    facts.memory = numberIn(group + "/memory.usage_in_bytes");
    facts.memoryPeak = numberIn(group + "/memory.max_usage_in_bytes");
    facts.memoryFailures = numberIn(group + "/memory.failcnt");
    if (hasFile(group, "memory.memsw.limit_in_bytes") && hostHasSwap())
        facts.swapFile = "memory.memsw.limit_in_bytes";
    if (hasFile(group, "memory.kmem.usage_in_bytes"))
        facts.kernelFile = "memory.kmem.usage_in_bytes";
    facts.kernel = numberIn(group + "/memory.kmem.usage_in_bytes");
    facts.kernelPeak = numberIn(group + "/memory.kmem.max_usage_in_bytes");
    facts.guaranteeFile = "memory.soft_limit_in_bytes, at best effort";
    if (auto stat = file::read(group + "/memory.stat")) {
        facts.shared = keyed(*stat, "total_shmem");
        facts.swap = keyed(*stat, "total_swap");
    }
}

void addMemoryV2(const std::string& group, CounterFacts& facts) {
    facts.memoryFile = "memory.max";
    facts.memory = numberIn(group + "/memory.current");
    facts.memoryPeak = numberIn(group + "/memory.peak");
    if (hasFile(group, "memory.swap.max") && hostHasSwap())
        facts.swapFile = "memory.swap.max";
    facts.swap = numberIn(group + "/memory.swap.current");
    facts.swapPeak = numberIn(group + "/memory.swap.peak");
    facts.guaranteeFile = "memory.low";
    if (auto events = file::read(group + "/memory.events")) {
        facts.memoryFailures = keyed(*events, "max");
        facts.swapFailures = keyed(*events, "oom");
    }
    if (auto stat = file::read(group + "/memory.stat")) {
        facts.shared = keyed(*stat, "shmem");
        facts.kernel = keyed(*stat, "kernel");
        facts.reclaimableSlab = keyed(*stat, "slab_reclaimable");
        facts.kernelFile = facts.slabFile = "memory.stat";
    }
}

} // namespace

CounterFacts counterFacts(const std::vector<std::string>& groups) {
    CounterFacts facts;
    if (auto group = groupWith(groups, "pids.max"); !group.empty())
        addPids(group, facts);
    if (auto group = groupWith(groups, "memory.limit_in_bytes"); !group.empty())
        addMemoryV1(group, facts);
    else if (group = groupWith(groups, "memory.max"); !group.empty())
        addMemoryV2(group, facts);
    // Only groups of cgroup2 have this file.
    if (auto group = groupWith(groups, "cgroup.controllers"); !group.empty())
        cgroups::addSockets(group, facts);
    return facts;
}

Result<void> collectProcesses(const std::string& dir, std::vector<pid_t>& pids) {
    auto content = file::read(dir + "/cgroup.procs");
    if (!content) {
        int error = content.error().systemError();
        if (error == ENOENT || error == ENODEV || error == EOPNOTSUPP)
            return {};
        return std::move(content).takeError();
    }
    for (auto line : lines(*content)) {
        if (auto pid = parseNumber<pid_t>(line); pid && *pid > 0)
            pids.push_back(*pid);
    }
    auto names = file::list(dir);
    if (!names)
        return {}; // it went away meanwhile
    for (const auto& name : *names) {
        if (auto below = cat(dir, "/", name);
            name.find('.') == std::string::npos || file::isDirectory(below)) {
            if (file::isDirectory(below))
                VZ_CHECK(collectProcesses(below, pids));
        }
    }
    return {};
}

} // namespace vz::ct
