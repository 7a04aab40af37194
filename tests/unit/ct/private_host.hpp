// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/unique_fd.hpp"

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <sched.h>
#include <thread>

namespace vz::test {

/** A network namespace that nobody is in. */
inline UniqueFd newNetns() {
    UniqueFd made;
    std::thread([&] {
        if (::unshare(CLONE_NEWNET) == 0)
            made.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    }).join();
    return made;
}

/** The calling thread is in a network namespace of its own, which plays the host, while this lives. */
class PrivateHost {
public:
    PrivateHost() : before_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
        REQUIRE(::unshare(CLONE_NEWNET) == 0);
    }
    ~PrivateHost() { (void)::setns(before_.get(), CLONE_NEWNET); }

private:
    UniqueFd before_;
};

} // namespace vz::test
