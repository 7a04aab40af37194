// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/file.hpp"
#include "base/mount_table.hpp"
#include "ct/cgroup.hpp"

#include <algorithm>

namespace vz::ct {

namespace {

/** Controllers among the options of a v1 superblock. */
std::vector<std::string> controllersOf(std::string_view options) {
    static constexpr std::string_view notControllers[] = {
        "rw", "ro", "xattr", "clone_children", "noprefix", "cpuset_v2_mode"};
    std::vector<std::string> out;
    for (auto option : split(options, ',')) {
        bool other = option.starts_with("release_agent=") ||
                     std::find(std::begin(notControllers), std::end(notControllers), option) !=
                         std::end(notControllers);
        if (!other)
            out.emplace_back(option);
    }
    return out;
}

void addHierarchy(CgroupHost& host, const MountEntry& mount) {
    bool v2 = mount.type == "cgroup2";
    if (mount.root != "/" || (!v2 && mount.type != "cgroup"))
        return;
    CgroupHost::Hierarchy hierarchy{mount.point, {}, v2};
    bool known = std::any_of(host.hierarchies.begin(), host.hierarchies.end(), [&](const auto& other) {
        return other.mountPoint == hierarchy.mountPoint || (v2 && other.v2);
    });
    if (known)
        return;
    if (!v2)
        hierarchy.controllers = controllersOf(mount.options);
    else if (auto controllers = file::read(hierarchy.mountPoint + "/cgroup.controllers")) {
        for (auto name : split(trim(*controllers), ' '))
            hierarchy.controllers.emplace_back(name);
    }
    host.hierarchies.push_back(std::move(hierarchy));
}

} // namespace

Result<CgroupHost> CgroupHost::probe() {
    VZ_TRY(auto mounts, file::read("/proc/self/mountinfo"));
    return probe(mounts, file::isDirectory("/run/systemd/system")); // sd_booted(3)
}

Result<CgroupHost> CgroupHost::probe(std::string_view mountInfo, bool systemd) {
    CgroupHost host;
    host.systemd = systemd;
    for (const auto& mount : parseMountTable(mountInfo))
        addHierarchy(host, mount);
    if (host.hierarchies.empty())
        return fail(ErrorCode::ConfigUnsupported, "no cgroup hierarchy is mounted; containers need one");
    bool v1 = false, v2 = false;
    for (const auto& hierarchy : host.hierarchies)
        (hierarchy.v2 ? v2 : v1) = true;
    host.layout = v1 && v2 ? Layout::Hybrid : v2 ? Layout::V2 : Layout::V1;
    return host;
}

bool CgroupHost::has(std::string_view controller) const {
    return std::any_of(hierarchies.begin(), hierarchies.end(), [&](const Hierarchy& hierarchy) {
        return std::find(hierarchy.controllers.begin(), hierarchy.controllers.end(), controller) !=
               hierarchy.controllers.end();
    });
}

} // namespace vz::ct
