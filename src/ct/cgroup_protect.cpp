// SPDX-License-Identifier: LGPL-2.1-or-later
// Memory that is kept for groups other than a container's own: above it, and virtual machines'.
#include "ct/cgroup_protect.hpp"
#include "base/file.hpp"

#include "ct/cgroup_internal.hpp"
#include "ct/counter_facts.hpp"

#include <algorithm>

namespace vz::ct {

namespace {

const CgroupHost::Hierarchy* memoryOf(const CgroupHost& host) {
    for (const auto& hierarchy : host.hierarchies) {
        if (std::ranges::find(hierarchy.controllers, "memory") != hierarchy.controllers.end())
            return &hierarchy;
    }
    return nullptr;
}

/** The path of a process in a hierarchy, from "4:memory:/machine/x" or "0::/machine/x". */
Result<std::string> pathOf(const CgroupHost::Hierarchy& hierarchy, pid_t process) {
    VZ_TRY(auto text, file::read(cat("/proc/", process, "/cgroup")));
    for (auto line : lines(text)) {
        auto first = line.find(':'), second = line.find(':', first + 1);
        if (second == std::string_view::npos)
            continue;
        auto controllers = split(line.substr(first + 1, second - first - 1), ',');
        bool here = hierarchy.v2 ? line.starts_with("0::")
                                 : std::ranges::find(controllers, "memory") != controllers.end();
        if (here)
            return std::string(line.substr(second + 1));
    }
    return std::string();
}

Result<void> keep(const CgroupHost::Hierarchy& hierarchy, const std::string& dir, uint64_t bytes) {
    if (hierarchy.v2)
        return file::writeValue(dir + "/memory.low", cat(bytes));
    return file::writeValue(dir + "/memory.soft_limit_in_bytes", bytes ? cat(bytes) : "-1");
}

} // namespace

Result<void> protectPartition(const CgroupHost& host, const std::string& partition, uint64_t bytes) {
    const auto* hierarchy = memoryOf(host);
    if (!hierarchy || !hierarchy->v2)
        return {};
    if (host.systemd)
        return cgroups::protectSlice(cgroups::sliceOf(partition), bytes);
    auto dir = hierarchy->mountPoint + partition;
    // It goes with the last guest in it.
    return file::exists(dir + "/memory.low") ? keep(*hierarchy, dir, bytes) : Result<void>();
}

bool partitionProtected(const CgroupHost& host, const std::string& partition) {
    const auto* hierarchy = memoryOf(host);
    if (!hierarchy || !hierarchy->v2)
        return false;
    auto dir = host.systemd ? "/" + cgroups::sliceOf(partition) : partition;
    return numberIn(cat(hierarchy->mountPoint, dir, "/memory.low")) != 0;
}

Result<bool> protectGroupOf(const CgroupHost& host, pid_t process, uint64_t bytes) {
    const auto* hierarchy = memoryOf(host);
    if (!hierarchy)
        return false;
    VZ_TRY(auto path, pathOf(*hierarchy, process));
    std::string dir = hierarchy->mountPoint;
    bool own = false;
    for (auto part : split(path, '/')) {
        if (part.empty())
            continue;
        dir += cat("/", part);
        // The names that libvirt gives the group of one machine.
        own = own || part.ends_with(".scope") || part.ends_with(".libvirt-qemu");
        if (own && file::exists(dir + (hierarchy->v2 ? "/memory.low" : "/memory.soft_limit_in_bytes")))
            VZ_CHECK(keep(*hierarchy, dir, bytes));
        if (own && !hierarchy->v2)
            break;
    }
    return own;
}

} // namespace vz::ct
