// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/job.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <future>
#include <optional>
#include <regex>
#include <thread>
#include <vector>

using namespace vz;
using namespace vz::driver;
using namespace std::chrono_literals;

namespace {

constexpr auto longEnough = 60s; // never waited for
constexpr auto atOnce = 0ms;

/** Begins on another thread; the future has the job when it was had. */
std::future<Result<ScopedJob>> beginElsewhere(JobLock& lock, const char* api) {
    return std::async(std::launch::async, [&lock, api] { return lock.begin(api, longEnough); });
}

/** The message without how many seconds it was, which a busy machine decides. */
std::string withoutSeconds(const Error& error) {
    return std::regex_replace(error.message(), std::regex(" for [0-9]+s"), " for Ns");
}

} // namespace

TEST_CASE("a second modifier waits for the first, and is told who holds the guest") {
    JobLock lock;
    auto first = lock.begin("domainCreate", atOnce);
    REQUIRE(first);
    auto second = lock.begin("domainDestroy", atOnce);
    REQUIRE_FALSE(second);
    CHECK(second.error().code() == ErrorCode::OperationTimeout);
    CHECK(withoutSeconds(second.error()) == "cannot acquire state change lock (held by domainCreate for Ns)");
    first->end();
    CHECK(lock.begin("domainDestroy", atOnce));
}

TEST_CASE("a waiter gets the job when it ends") {
    JobLock lock;
    std::optional<Result<ScopedJob>> first(lock.begin("domainCreate", atOnce));
    REQUIRE(*first);
    auto waiting = beginElsewhere(lock, "domainSuspend");
    CHECK(lock.control().api == "domainCreate");
    first.reset();
    auto second = waiting.get();
    REQUIRE(second);
    CHECK(lock.control().api == "domainSuspend");
}

TEST_CASE("a moved job ends once, with its last owner") {
    JobLock lock;
    auto job = lock.begin("domainCreate", atOnce);
    REQUIRE(job);
    {
        ScopedJob owner = *std::move(job);
        job->end(); // moved from: nothing to end
        CHECK_FALSE(lock.begin("domainDestroy", atOnce));
        std::thread([moved = std::move(owner)]() mutable { moved.end(); }).join();
    }
    auto next = lock.begin("domainDestroy", atOnce);
    REQUIRE(next);
    JobLock other;
    auto elsewhere = other.begin("domainCreate", atOnce);
    REQUIRE(elsewhere);
    *next = *std::move(elsewhere);
    CHECK_FALSE(lock.control().busy);
    CHECK(other.control().busy);
}

TEST_CASE("beside an asynchronous job only what it lets through runs") {
    JobLock lock;
    auto save = lock.beginAsync("domainSave", atOnce);
    REQUIRE(save);
    auto modify = lock.begin("domainSetMemory", atOnce);
    REQUIRE_FALSE(modify);
    CHECK(withoutSeconds(modify.error()) ==
          "cannot acquire state change lock (held by asynchronous domainSave for Ns)");
    CHECK_FALSE(lock.beginAsync("domainMigrate", atOnce));

    for (auto type : {JobType::Query, JobType::Destroy, JobType::Abort}) {
        auto job = lock.begin("domainDestroy", atOnce, type);
        REQUIRE(job);
        auto another = lock.begin("domainAbortJob", atOnce, type);
        REQUIRE_FALSE(another);
        CHECK(withoutSeconds(another.error()) ==
              "cannot acquire state change lock (held by domainDestroy for Ns, "
              "and asynchronous domainSave for Ns)");
        CHECK_FALSE(save->nested("domainSave", atOnce));
        CHECK(lock.control().api == "domainDestroy");
    }
    CHECK(lock.control().api == "domainSave");
    save->end();
    CHECK(lock.begin("domainSetMemory", atOnce));
}

TEST_CASE("an asynchronous job waits for a modifier and takes the guest in steps") {
    JobLock lock;
    {
        auto modify = lock.begin("domainSetMemory", atOnce);
        REQUIRE(modify);
        CHECK_FALSE(lock.beginAsync("domainSave", atOnce));
        CHECK_FALSE(modify->nested("domainSave", atOnce));
    }
    auto save = lock.beginAsync("domainSave", atOnce, defaultAsyncMask | JobType::Modify);
    REQUIRE(save);
    {
        auto step = save->nested("domainSave", atOnce);
        REQUIRE(step);
        CHECK_FALSE(lock.begin("domainDestroy", atOnce, JobType::Destroy));
    }
    CHECK(lock.begin("domainSetMemory", atOnce));
    auto waiting =
        std::async(std::launch::async, [&] { return lock.beginAsync("domainMigrate", longEnough); });
    save->end();
    CHECK(waiting.get());
    auto ended = save->nested("domainSave", atOnce);
    REQUIRE_FALSE(ended);
    CHECK(ended.error().code() == ErrorCode::InternalError);
}

TEST_CASE("control information tells a job and how long it has been there") {
    JobLock lock;
    CHECK_FALSE(lock.control().busy);
    auto job = lock.begin("domainCreate", atOnce);
    REQUIRE(job);
    auto first = lock.control();
    CHECK(first.busy);
    CHECK(first.since >= 0ms);
    CHECK(lock.control().since >= first.since);
    job->end();
    CHECK_FALSE(lock.control().busy);
    CHECK(lock.control().since == 0ms);
}

TEST_CASE("a guest may be forgotten while jobs are held and waited for") {
    auto lock = std::make_unique<JobLock>();
    auto held = lock->begin("domainUndefine", atOnce);
    REQUIRE(held);
    lock.reset();
    held->end();
}

TEST_CASE("many threads never hold one guest together") {
    JobLock lock;
    unsigned guarded = 0; // not atomic on purpose: the job is what guards it
    std::atomic<unsigned> failures = 0;
    std::promise<void> start;
    auto go = start.get_future().share();
    std::vector<std::thread> threads;
    for (int thread = 0; thread < 8; ++thread) {
        threads.emplace_back([&, go, asynchronous = thread == 0] {
            go.wait();
            for (int round = 0; round < 200; ++round) {
                if (asynchronous) {
                    auto save = lock.beginAsync("domainSave", longEnough);
                    auto step = save ? save->nested("domainSave", longEnough) : std::move(save);
                    step ? void(++guarded) : void(++failures);
                } else {
                    auto job = lock.begin("domainSetMemory", longEnough, JobType::Modify);
                    job ? void(++guarded) : void(++failures);
                }
                (void)lock.control();
            }
        });
    }
    start.set_value();
    for (auto& thread : threads)
        thread.join();
    CHECK(failures == 0);
    CHECK(guarded == 8 * 200);
}
