// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/worker.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <future>
#include <string>

using vz::driver::Worker;

TEST_CASE("a worker of one thread does all in order, and what is queued before it ends") {
    std::string done;
    {
        Worker worker;
        for (char each = 'a'; each <= 'e'; ++each)
            worker.post([&done, each] { done += each; });
    }
    CHECK(done == "abcde");
}

TEST_CASE("tasks that wait do not keep others while there are threads") {
    std::promise<void> release;
    std::shared_future<void> released = release.get_future();
    std::promise<void> third;
    auto thirdDone = third.get_future();
    Worker worker(3);
    worker.post([released] { released.wait(); });
    worker.post([released] { released.wait(); });
    worker.post([&third] { third.set_value(); });
    CHECK(thirdDone.wait_for(std::chrono::seconds(20)) == std::future_status::ready);
    release.set_value();
}
