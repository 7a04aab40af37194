// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/domain_snapshots.hpp"

#include "base/log.hpp"

namespace vz::driver {

DomainSnapshots::DomainSnapshots(const abi::DomainXml& parser, std::string folder)
    : store_(parser, std::move(folder)) {
    auto loaded = store_.load();
    if (loaded)
        tree_ = *std::move(loaded);
    else
        log::error("snapshots cannot be read: ", loaded.error().message());
}

domain::SnapshotTree DomainSnapshots::tree() const {
    std::lock_guard lock(mutex_);
    return tree_;
}

Result<void> DomainSnapshots::put(const domain::Snapshot& snapshot) {
    VZ_CHECK(store_.save(snapshot));
    std::lock_guard lock(mutex_);
    tree_.put(snapshot);
    return {};
}

Result<void> DomainSnapshots::setCurrent(const std::string& name) {
    VZ_CHECK(store_.setCurrent(name));
    std::lock_guard lock(mutex_);
    tree_.setCurrent(name);
    return {};
}

// On the disk the children go first: whatever is left of this, each has a parent that is there.
Result<void> DomainSnapshots::remove(const std::string& name) {
    auto changed = tree();
    auto before = changed.current();
    for (const auto& child : changed.remove(name))
        VZ_CHECK(store_.save(*child));
    if (changed.current() != before)
        VZ_CHECK(store_.setCurrent(changed.current()));
    VZ_CHECK(store_.remove(name));
    std::lock_guard lock(mutex_);
    tree_ = std::move(changed);
    return {};
}

Result<void> DomainSnapshots::forgetAll() {
    {
        std::lock_guard lock(mutex_);
        tree_ = {};
    }
    return store_.removeAll();
}

} // namespace vz::driver
