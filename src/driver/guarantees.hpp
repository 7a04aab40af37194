// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/cgroup.hpp"
#include "domain/definition.hpp"

#include <map>
#include <mutex>
#include <string>

namespace vz::driver {

/**
 * The memory that running guests of both kinds were promised. All of it together is never more than the host
 * has: who wants more is refused. Thread-safe.
 */
class Guarantees {
public:
    struct Guest {
        std::string name;
        std::string partition; ///< of its control group: "/machine"
        uint64_t bytes = 0;
    };

    explicit Guarantees(const ct::CgroupHost& host) : host_(host) {}

    /** Promises @p guest that much instead of what it had; OperationFailed, telling who has how much, if that
     * is too much, and all as it was. One that is promised nothing is never refused. */
    Result<void> reserve(const std::string& uuid, const Guest& guest);
    /** The same for a guest that has it already: it runs. */
    void restore(const std::string& uuid, const Guest& guest);
    void release(const std::string& uuid);
    /** After restore() of all that runs: takes back what a partition was told of guests that ended while no
     * daemon ran. */
    void settle(const std::string& partition);
    /** What a guest was promised. */
    uint64_t of(const std::string& uuid) const;

private:
    void set(const std::string& uuid, const Guest* guest); ///< lock_ held
    std::string largest(const std::string& exceptUuid) const;

    const ct::CgroupHost& host_;
    mutable std::mutex lock_;
    std::map<std::string, Guest> guests_;
    std::map<std::string, uint64_t> partitions_; ///< what each was told
};

/** Memory of this host in bytes. */
uint64_t hostMemory();

/** What <vz:memory> asks for, of a guest that may have @p limit bytes; @p autoPercent is what 'auto' means.
 */
uint64_t guaranteedBytes(const domain::MemoryGuarantee& guarantee, uint64_t limit, unsigned autoPercent);

} // namespace vz::driver
