// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/snapshot_tree.hpp"

#include <libvirt/libvirt.h>

#include <algorithm>
#include <tuple>

namespace vz::domain {

namespace {

/** One group of filter bits: all bits of a group that are not set, or some that fit. */
bool fits(unsigned int flags, unsigned int group, unsigned int own) {
    return (flags & group) == 0 || (flags & own) != 0;
}

bool passes(const Snapshot& snapshot, bool leaf, unsigned int flags) {
    constexpr unsigned int metadata =
        VIR_DOMAIN_SNAPSHOT_LIST_METADATA | VIR_DOMAIN_SNAPSHOT_LIST_NO_METADATA;
    constexpr unsigned int leaves = VIR_DOMAIN_SNAPSHOT_LIST_LEAVES | VIR_DOMAIN_SNAPSHOT_LIST_NO_LEAVES;
    constexpr unsigned int states = VIR_DOMAIN_SNAPSHOT_LIST_INACTIVE | VIR_DOMAIN_SNAPSHOT_LIST_ACTIVE |
                                    VIR_DOMAIN_SNAPSHOT_LIST_DISK_ONLY;
    constexpr unsigned int places = VIR_DOMAIN_SNAPSHOT_LIST_INTERNAL | VIR_DOMAIN_SNAPSHOT_LIST_EXTERNAL;
    bool off = snapshot.state == SnapshotState::Shutoff;
    return fits(flags, metadata, VIR_DOMAIN_SNAPSHOT_LIST_METADATA) &&
           fits(flags, leaves, leaf ? VIR_DOMAIN_SNAPSHOT_LIST_LEAVES : VIR_DOMAIN_SNAPSHOT_LIST_NO_LEAVES) &&
           fits(flags, states,
                off ? VIR_DOMAIN_SNAPSHOT_LIST_INACTIVE : VIR_DOMAIN_SNAPSHOT_LIST_DISK_ONLY) &&
           fits(flags, places, VIR_DOMAIN_SNAPSHOT_LIST_INTERNAL);
}

bool older(const SnapshotRef& left, const SnapshotRef& right) {
    return std::tie(left->created, left->name) < std::tie(right->created, right->name);
}

} // namespace

SnapshotRef SnapshotTree::find(const std::string& name) const {
    auto found = all_.find(name);
    return found == all_.end() ? nullptr : found->second;
}

Result<SnapshotRef> SnapshotTree::get(const std::string& name) const {
    if (auto found = find(name))
        return found;
    return fail(ErrorCode::NoSnapshot, "no domain snapshot with matching name '", name, "'");
}

void SnapshotTree::setCurrent(const std::string& name) {
    current_ = all_.contains(name) ? name : std::string();
}

std::vector<SnapshotRef> SnapshotTree::childrenOf(const std::string& name) const {
    std::vector<SnapshotRef> children;
    for (const auto& [_, snapshot] : all_) {
        if (snapshot->parent == name)
            children.push_back(snapshot);
    }
    std::sort(children.begin(), children.end(), older);
    return children;
}

std::vector<SnapshotRef> SnapshotTree::descendantsOf(const std::string& name) const {
    auto found = childrenOf(name);
    for (size_t i = 0; i < found.size(); ++i) {
        auto next = childrenOf(found[i]->name);
        found.insert(found.end(), next.begin(), next.end());
    }
    return found;
}

std::vector<std::string> SnapshotTree::list(const std::string& from, unsigned int flags) const {
    // The lowest bit means "only the roots" of a domain, and "all descendants" of a snapshot.
    static_assert(VIR_DOMAIN_SNAPSHOT_LIST_ROOTS == 1 && VIR_DOMAIN_SNAPSHOT_LIST_DESCENDANTS == 1);
    bool deep = from.empty() != ((flags & VIR_DOMAIN_SNAPSHOT_LIST_ROOTS) != 0);
    std::vector<std::string> names;
    for (const auto& one : deep ? descendantsOf(from) : childrenOf(from)) {
        if (passes(*one, childrenOf(one->name).empty(), flags))
            names.push_back(one->name);
    }
    return names;
}

bool SnapshotTree::descends(const std::string& name, const std::string& from) const {
    for (auto one = find(name); one; one = find(one->parent)) {
        if (one->name == from)
            return true;
    }
    return false;
}

Result<void> SnapshotTree::checkRedefinition(const Snapshot& changed, const std::string& uuid,
                                             unsigned int flags) const {
    const auto& name = changed.name;
    if (changed.parent == name)
        return fail(ErrorCode::InvalidArg, "cannot set snapshot ", name, " as its own parent");
    if (!changed.parent.empty() && !find(changed.parent))
        return fail(ErrorCode::InvalidArg, "parent ", changed.parent, " for snapshot ", name, " not found");
    if (!changed.parent.empty() && descends(changed.parent, name))
        return fail(ErrorCode::InvalidArg, "parent ", changed.parent, " would create cycle to ", name);
    for (const auto* config : {&changed.domain, &changed.inactive}) {
        if (*config && (*config)->definition().uuid != uuid)
            return fail(ErrorCode::InvalidArg, "definition for snapshot ", name, " must use uuid ", uuid);
        if (*config && (*config)->definition().guestType != GuestType::Container)
            return fail(ErrorCode::InvalidArg, "definition for snapshot ", name, " must be of a container");
    }
    if ((flags & VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY) && changed.state != SnapshotState::Disks)
        return fail(ErrorCode::InvalidArg, "disk-only flag for snapshot ", name,
                    " requires disk-snapshot state");
    auto before = find(name);
    if (before && before->state != changed.state)
        return fail(ErrorCode::InvalidArg, "cannot change between online and offline state in snapshot ",
                    name);
    if (before && before->domain && !changed.domain)
        return fail(ErrorCode::InvalidArg, "the <domain> of snapshot ", name, " cannot be left out");
    return {};
}

void SnapshotTree::put(Snapshot snapshot) {
    auto name = snapshot.name;
    all_[name] = std::make_shared<const Snapshot>(std::move(snapshot));
}

std::vector<SnapshotRef> SnapshotTree::remove(const std::string& name) {
    auto gone = find(name);
    if (!gone)
        return {};
    std::vector<SnapshotRef> changed;
    for (const auto& child : childrenOf(name)) {
        Snapshot moved = *child;
        moved.parent = gone->parent;
        changed.push_back(all_[child->name] = std::make_shared<const Snapshot>(std::move(moved)));
    }
    all_.erase(name);
    if (current_ == name)
        current_ = gone->parent;
    return changed;
}

SnapshotTree SnapshotTree::make(std::vector<Snapshot> found, const std::string& current,
                                std::vector<std::string>& orphans) {
    SnapshotTree tree;
    for (auto& one : found)
        tree.put(std::move(one));
    for (auto& [name, snapshot] : tree.all_) {
        // A way up that is longer than there are snapshots never ends.
        size_t steps = 0;
        auto up = snapshot;
        while (up && !up->parent.empty() && ++steps <= tree.all_.size())
            up = tree.find(up->parent);
        bool lost = steps > tree.all_.size() || (!snapshot->parent.empty() && !tree.find(snapshot->parent));
        if (!lost)
            continue;
        Snapshot alone = *snapshot;
        alone.parent.clear();
        snapshot = std::make_shared<const Snapshot>(std::move(alone));
        orphans.push_back(name);
    }
    tree.setCurrent(current);
    return tree;
}

} // namespace vz::domain
