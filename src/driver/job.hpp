// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <chrono>
#include <memory>
#include <string>

namespace vz::driver {

/** What a job does to its guest; bits of the mask an asynchronous job lets through. */
enum class JobType : unsigned {
    Query = 1,   ///< asks the guest itself and changes nothing
    Destroy = 2, ///< ends it
    Abort = 4,   ///< ends the asynchronous job
    Modify = 8,  ///< everything else that changes it
};

constexpr unsigned operator|(JobType left, JobType right) {
    return static_cast<unsigned>(left) | static_cast<unsigned>(right);
}
constexpr unsigned operator|(unsigned left, JobType right) {
    return left | static_cast<unsigned>(right);
}

/** Types that may run beside an asynchronous job. */
constexpr unsigned defaultAsyncMask = JobType::Query | JobType::Destroy | JobType::Abort;

/** Whether a guest can be worked on now, for virDomainGetControlInfo. */
struct ControlState {
    bool busy = false;                  ///< VIR_DOMAIN_CONTROL_JOB, else ..._OK
    std::chrono::milliseconds since{0}; ///< how long the job has been running; 0 if not busy
    std::string api;                    ///< who holds it
};

class JobLock;

/** A job under way, which ends with this object. May be moved to and ended on another thread. */
class ScopedJob {
public:
    ScopedJob(ScopedJob&& other) noexcept = default;
    ScopedJob& operator=(ScopedJob&& other) noexcept;
    ~ScopedJob() { end(); }

    /** Ends it early. */
    void end();

    /**
     * For the holder of an asynchronous job: takes the guest for one step of it. Waits for jobs that the mask
     * let through, as JobLock::begin() does. InternalError if this is no asynchronous job (any more).
     */
    Result<ScopedJob> nested(const char* api, std::chrono::milliseconds limit);

private:
    friend class JobLock;
    struct State;
    ScopedJob(std::shared_ptr<State> state, bool async) : state_(std::move(state)), async_(async) {}

    std::shared_ptr<State> state_; // null: ended or moved from
    bool async_ = false;
};

/**
 * The jobs of one guest, as libvirt's own drivers have them: one modifier at a time, and at most one
 * asynchronous job (migration, save) that lasts long and takes the guest only in steps. Readers of what the
 * driver knows need no job. Jobs keep what they need alive, so a guest may be forgotten while one is held or
 * waited for; who waited has to look whether the guest is still there. A job is not re-entrant: a second one
 * on the same thread waits for the first. Thread-safe. Waiting holds no lock of the caller's, who must hold
 * none of his own either.
 */
class JobLock {
public:
    JobLock();

    /**
     * Waits at most @p limit until no other job, and no asynchronous job that does not let @p type through,
     * is under way. OperationTimeout tells who holds the guest since when. @p api: name of the public API.
     */
    Result<ScopedJob> begin(const char* api, std::chrono::milliseconds limit, JobType type = JobType::Modify);

    /**
     * Begins an asynchronous job: like begin(), and then the guest is free again for types in @p allowed.
     */
    Result<ScopedJob> beginAsync(const char* api, std::chrono::milliseconds limit,
                                 unsigned allowed = defaultAsyncMask);

    /** Never waits for a job. */
    ControlState control() const;

private:
    std::shared_ptr<ScopedJob::State> state_;
};

} // namespace vz::driver
