// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <set>
#include <string>

namespace vz::driver {

/**
 * The names and UUIDs that are being given to guests just now. Containers and virtual machines share them,
 * but no lock of libvirt's spans both: whoever makes or names a guest claims them first, then looks for the
 * guests that have them, and only waits for calls about the same ones. Thread-safe.
 */
class Names {
public:
    /** Holds a name and a UUID; either may be empty. */
    class Claim {
    public:
        Claim(Claim&& other) noexcept;
        Claim& operator=(Claim&&) = delete;
        ~Claim();

    private:
        friend class Names;
        Claim(Names& names, std::set<std::string> held) : names_(&names), held_(std::move(held)) {}
        Names* names_;
        std::set<std::string> held_;
    };

    /** Waits for other calls that hold one of the two. OperationTimeout after @p limit. */
    Result<Claim> claim(const std::string& name, const std::string& uuid, std::chrono::seconds limit);

private:
    bool free(const std::set<std::string>& wanted) const;

    std::mutex mutex_;
    std::condition_variable released_;
    std::set<std::string> held_;
};

} // namespace vz::driver
