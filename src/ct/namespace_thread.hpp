// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <cerrno>
#include <optional>
#include <sched.h>
#include <thread>

namespace vz::ct {

/** Runs @p work on a thread of its own that has entered @p ns; the caller's thread stays where it is. */
template<typename Work>
auto inNamespace(int ns, int type, Work work) -> decltype(work()) {
    std::optional<decltype(work())> result;
    std::thread([&] {
        if (::setns(ns, type) < 0)
            result.emplace(failErrno(errno, "cannot enter a namespace of the container"));
        else
            result = work(); // emplace() of a socket is taken for an error by gcc 12 at -O2
    }).join();
    return *std::move(result);
}

} // namespace vz::ct
