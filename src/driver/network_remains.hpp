// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"
#include "domain/store.hpp"

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace vz::driver {

/**
 * Ports of networks and bindings of filters of containers that ended without a daemon. Their drivers can be
 * asked only when clients are served; until then, whatever happens to the daemon, they are on disk:
 * FOLDER/UUID/state.xml. Not for two threads at a time.
 */
class NetworkRemains {
public:
    explicit NetworkRemains(std::string folder) : folder_(std::move(folder)) {}

    /** What earlier daemons did not come to. */
    void load();
    /** Takes ports and filters out of @p interfaces, of the container @p uuid that is gone. */
    void take(const std::string& uuid, std::vector<domain::UsedInterface>& interfaces);
    /** Gives all back; what cannot be is kept for the next daemon. @p isUsed: whether a container that runs
     * has the filter of that host end, as names are used again. */
    void giveBack(const std::function<bool(const std::string& hostName)>& isUsed);

private:
    void save(const std::string& uuid) const;

    const std::string folder_;
    std::map<std::string, std::vector<domain::UsedInterface>> left_; ///< by UUID
};

} // namespace vz::driver
