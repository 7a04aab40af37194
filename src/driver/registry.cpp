// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/registry.hpp"

#include "driver/container_domain.hpp"

#include <algorithm>

namespace vz::driver {

static DomainRef find(const std::map<std::string, DomainRef>& index, const std::string& key) {
    auto found = index.find(key);
    return found == index.end() ? nullptr : found->second;
}

DomainRef Registry::byUuid(const std::string& uuid) const {
    std::lock_guard lock(mutex_);
    return find(byUuid_, uuid);
}

DomainRef Registry::byName(const std::string& name) const {
    std::lock_guard lock(mutex_);
    return find(byName_, name);
}

DomainRef Registry::byId(int id) const {
    for (auto& domain : all()) {
        if (id > 0 && domain->id() == id)
            return domain;
    }
    return nullptr;
}

std::vector<DomainRef> Registry::all() const {
    std::lock_guard lock(mutex_);
    std::vector<DomainRef> domains;
    for (auto& [name, domain] : byName_)
        domains.push_back(domain);
    return domains;
}

Result<void> Registry::add(const DomainRef& domain) {
    // A domain's lock comes before ours: no domain is asked for its name while ours is held.
    auto name = domain->name();
    const auto& uuid = domain->uuid();
    std::lock_guard lock(mutex_);
    if (auto other = find(byName_, name))
        return fail(ErrorCode::OperationFailed, "domain '", name, "' already exists with uuid ",
                    other->uuid());
    if (auto other = find(byUuid_, uuid)) {
        auto named = std::ranges::find(byName_, other, [](const auto& entry) { return entry.second; });
        return fail(ErrorCode::OperationFailed, "domain '", named == byName_.end() ? "" : named->first,
                    "' is already defined with uuid ", uuid);
    }
    byName_[name] = domain;
    byUuid_[uuid] = domain;
    return {};
}

void Registry::remove(const DomainRef& domain) {
    std::lock_guard lock(mutex_);
    std::erase_if(byName_, [&](auto& entry) { return entry.second == domain; });
    std::erase_if(byUuid_, [&](auto& entry) { return entry.second == domain; });
}

Result<void> Registry::rename(const DomainRef& domain, const std::string& from, const std::string& to) {
    std::lock_guard lock(mutex_);
    if (auto other = find(byName_, to))
        return fail(ErrorCode::OperationFailed, "domain '", to, "' already exists with uuid ", other->uuid());
    byName_.erase(from);
    byName_[to] = domain;
    return {};
}

} // namespace vz::driver
