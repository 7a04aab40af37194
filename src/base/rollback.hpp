// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <functional>
#include <utility>
#include <vector>

namespace vz {

/**
 * Undo steps of a piece of work: add one after each step that succeeded, dismiss() when all is done.
 * Destroyed without that, it runs them, last first. An undo step must not throw.
 */
class Rollback {
public:
    Rollback() = default;
    Rollback(const Rollback&) = delete;
    Rollback& operator=(const Rollback&) = delete;
    ~Rollback() {
        while (!steps_.empty()) {
            auto undo = std::move(steps_.back());
            steps_.pop_back();
            undo();
        }
    }

    void add(std::function<void()> undo) { steps_.push_back(std::move(undo)); }
    void dismiss() { steps_.clear(); }

private:
    std::vector<std::function<void()>> steps_;
};

} // namespace vz
