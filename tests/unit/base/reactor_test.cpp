// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/reactor.hpp"

#include <atomic>
#include <catch2/catch.hpp>
#include <future>
#include <sys/epoll.h>
#include <sys/eventfd.h>

using namespace vz;

TEST_CASE("a callback runs when its descriptor is ready, and not after remove()") {
    auto reactor = Reactor::create();
    REQUIRE(reactor);
    UniqueFd event(::eventfd(0, EFD_CLOEXEC));
    std::promise<uint64_t> got;
    auto id = (*reactor)->add(event.get(), EPOLLIN, [&](uint32_t) {
        eventfd_t value = 0;
        ::eventfd_read(event.get(), &value);
        got.set_value(value);
    });
    REQUIRE(id);
    ::eventfd_write(event.get(), 7);
    CHECK(got.get_future().get() == 7);
    (*reactor)->remove(*id);
    ::eventfd_write(event.get(), 1);
}

TEST_CASE("remove() waits for the callback under way") {
    auto reactor = Reactor::create();
    REQUIRE(reactor);
    UniqueFd event(::eventfd(1, EFD_CLOEXEC));
    std::promise<void> entered;
    std::atomic<bool> left = false, once = false;
    auto id = (*reactor)->add(event.get(), EPOLLIN, [&](uint32_t) {
        if (once.exchange(true))
            return;
        entered.set_value();
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        left = true;
    });
    REQUIRE(id);
    entered.get_future().wait();
    (*reactor)->remove(*id);
    CHECK(left);
}

TEST_CASE("a callback may remove itself") {
    auto reactor = Reactor::create();
    REQUIRE(reactor);
    UniqueFd event(::eventfd(1, EFD_CLOEXEC));
    std::promise<Reactor::Id> known;
    auto shared = known.get_future().share();
    std::promise<void> done;
    auto id = (*reactor)->add(event.get(), EPOLLIN, [&](uint32_t) {
        (*reactor)->remove(shared.get());
        done.set_value();
    });
    REQUIRE(id);
    known.set_value(*id);
    done.get_future().wait();
}
