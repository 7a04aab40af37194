// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/host_counters.hpp"

#include "base/rollback.hpp"

#include <unistd.h>

namespace vz::ct {

namespace {

/** Limits so high that nothing in an empty group could tell them from none. */
Beancounters allLimited() {
    constexpr uint64_t high = 1 << 20;
    Beancounters set;
    for (const auto& info : counters())
        set[info.name] = {high, info.noLimit ? Beancounter::unlimited : high};
    set.erase("oomguarpages"); // of processes, and there are none
    return set;
}

} // namespace

Result<std::vector<CounterStatus>> hostCounters(const CgroupHost& host) {
    auto plain = host;
    plain.systemd = false; // a scope would need a process
    VZ_TRY(
        auto group,
        Cgroup::create(plain, {.name = "probe", .partition = cat("/vz-probe-", ::getpid()), .uuid = {}}, 0));
    Rollback end;
    end.add([&] { (void)group->remove(); });
    auto set = allLimited();
    CgroupLimits limits;
    limits.sockets = socketLimits(set);
    VZ_CHECK(group->apply(limits));
    return counterStatus(set, group->counterFacts(), {}, 0, true);
}

} // namespace vz::ct
