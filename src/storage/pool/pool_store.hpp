// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <string>
#include <vector>

namespace vz::storage {

/**
 * Pools on the disk: CONFIG/NAME.xml is the definition of a persistent one, a link of that name in
 * CONFIG/autostart marks it for autostart, and RUN/NAME.xml is the definition in force of an active one, for
 * the next daemon. Thread-safe for different names.
 */
class PoolStore {
public:
    PoolStore(std::string configDir, std::string runDir)
        : config_(std::move(configDir)), run_(std::move(runDir)) {}

    /** Makes the folders. */
    Result<void> prepare() const;

    struct Entry {
        std::string name, xml;
    };
    Result<std::vector<Entry>> definitions() const { return load(config_); }
    Result<std::vector<Entry>> active() const { return load(run_); }

    Result<void> saveDefinition(const std::string& name, const std::string& xml) const;
    /** Definition and autostart link. */
    Result<void> removeDefinition(const std::string& name) const;
    Result<void> saveActive(const std::string& name, const std::string& xml) const;
    Result<void> removeActive(const std::string& name) const;

    bool autostart(const std::string& name) const;
    Result<void> setAutostart(const std::string& name, bool on) const;
    /** True for the first call since the host's boot. */
    Result<bool> firstSinceBoot() const;

private:
    static Result<std::vector<Entry>> load(const std::string& folder);
    std::string definitionPath(const std::string& name) const;
    std::string linkPath(const std::string& name) const;

    std::string config_, run_;
};

} // namespace vz::storage
