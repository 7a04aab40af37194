// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/job.hpp"

#include <condition_variable>
#include <functional>
#include <mutex>
#include <optional>

namespace vz::driver {

using Clock = std::chrono::steady_clock;

namespace {

struct Holder {
    std::string api;
    Clock::time_point start;
};

std::string describe(const Holder& holder) {
    auto held = std::chrono::duration_cast<std::chrono::seconds>(Clock::now() - holder.start);
    return cat(holder.api, " for ", held.count(), "s");
}

} // namespace

struct ScopedJob::State {
    std::mutex mutex;
    std::condition_variable freed;
    std::optional<Holder> job;
    std::optional<Holder> async;
    unsigned allowed = 0; // JobType bits, while there is an asynchronous job

    bool lets(JobType type) const { return !async || (allowed & static_cast<unsigned>(type)) != 0; }

    /** Waits for @p free to hold, under @p lock. */
    Result<void> wait(std::unique_lock<std::mutex>& lock, std::chrono::milliseconds limit,
                      const std::function<bool()>& free) {
        if (freed.wait_until(lock, Clock::now() + limit, free))
            return {};
        std::string holders = job ? describe(*job) : std::string();
        if (async)
            holders += cat(job ? ", and " : "", "asynchronous ", describe(*async));
        return fail(ErrorCode::OperationTimeout, "cannot acquire state change lock (held by ", holders, ")");
    }
};

ScopedJob& ScopedJob::operator=(ScopedJob&& other) noexcept {
    if (this != &other) {
        end();
        state_ = std::move(other.state_);
        async_ = other.async_;
    }
    return *this;
}

void ScopedJob::end() {
    auto state = std::move(state_);
    if (!state)
        return;
    {
        std::lock_guard lock(state->mutex);
        (async_ ? state->async : state->job).reset();
    }
    // All of them: who waits for what differs, and the one woken first may not be the one let through.
    state->freed.notify_all();
}

Result<ScopedJob> ScopedJob::nested(const char* api, std::chrono::milliseconds limit) {
    if (!state_ || !async_)
        return fail(ErrorCode::InternalError, "a step of an asynchronous job was begun for ", api,
                    " without such a job");
    std::unique_lock lock(state_->mutex);
    VZ_CHECK(state_->wait(lock, limit, [this] { return !state_->job; }));
    state_->job = Holder{api, Clock::now()};
    return ScopedJob(state_, false);
}

JobLock::JobLock() : state_(std::make_shared<ScopedJob::State>()) {}

Result<ScopedJob> JobLock::begin(const char* api, std::chrono::milliseconds limit, JobType type) {
    auto state = state_; // the guest may be forgotten while we wait
    std::unique_lock lock(state->mutex);
    VZ_CHECK(state->wait(lock, limit, [&] { return !state->job && state->lets(type); }));
    state->job = Holder{api, Clock::now()};
    return ScopedJob(state, false);
}

Result<ScopedJob> JobLock::beginAsync(const char* api, std::chrono::milliseconds limit, unsigned allowed) {
    auto state = state_;
    std::unique_lock lock(state->mutex);
    VZ_CHECK(state->wait(lock, limit, [&] { return !state->job && !state->async; }));
    state->async = Holder{api, Clock::now()};
    state->allowed = allowed;
    return ScopedJob(state, true);
}

ControlState JobLock::control() const {
    std::lock_guard lock(state_->mutex);
    const auto& holder = state_->job ? state_->job : state_->async;
    if (!holder)
        return {};
    return {.busy = true,
            .since = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - holder->start),
            .api = holder->api};
}

} // namespace vz::driver
