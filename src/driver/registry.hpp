// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace vz::driver {

class ContainerDomain;
using DomainRef = std::shared_ptr<ContainerDomain>;

/** All domains by name and UUID. Look-ups only hold the registry's own lock, never wait for a domain.
 * Thread-safe. */
class Registry {
public:
    DomainRef byUuid(const std::string& uuid) const;
    DomainRef byName(const std::string& name) const;
    DomainRef byId(int id) const;
    std::vector<DomainRef> all() const;

    /** Adds a new domain. OperationFailed if its name or UUID is taken by another. */
    Result<void> add(const DomainRef& domain);
    void remove(const DomainRef& domain);
    /** Gives @p domain another name in the index. OperationFailed if that is taken. */
    Result<void> rename(const DomainRef& domain, const std::string& from, const std::string& to);

private:
    mutable std::mutex mutex_;
    std::map<std::string, DomainRef> byUuid_;
    std::map<std::string, DomainRef> byName_;
};

} // namespace vz::driver
