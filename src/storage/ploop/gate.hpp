// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <utility>

namespace vz::ploop {

/**
 * Requests pass through; who changes what they rely on closes it, which waits until none is inside. Passing
 * costs two atomic additions. Only one thread at a time may close it: the callers see to that.
 */
class Gate {
public:
    void enter() {
        while (state_.fetch_add(1, std::memory_order_acquire) & closed) {
            leave();
            wait();
        }
    }
    /** False instead of waiting. */
    bool tryEnter() {
        if (!(state_.fetch_add(1, std::memory_order_acquire) & closed))
            return true;
        leave();
        return false;
    }
    void leave() {
        if (state_.fetch_sub(1, std::memory_order_release) == (closed | 1))
            state_.notify_all();
    }
    void close() {
        uint32_t now = state_.fetch_or(closed, std::memory_order_acquire) | closed;
        while (now != closed) {
            state_.wait(now, std::memory_order_acquire);
            now = state_.load(std::memory_order_acquire);
        }
    }
    void open() {
        state_.fetch_and(~closed, std::memory_order_release);
        state_.notify_all();
    }

private:
    void wait() {
        uint32_t now = state_.load(std::memory_order_acquire);
        while (now & closed) {
            state_.wait(now, std::memory_order_acquire);
            now = state_.load(std::memory_order_acquire);
        }
    }

    static constexpr uint32_t closed = 1u << 31;
    std::atomic<uint32_t> state_ = 0;
};

/** One request inside a gate. */
class Pass {
public:
    explicit Pass(Gate& gate) : gate_(&gate) { gate_->enter(); }
    /** Nothing if the gate is closed; for threads that must go on, as others wait for their requests. */
    static std::optional<Pass> tryEnter(Gate& gate) {
        if (!gate.tryEnter())
            return {};
        return Pass(gate, Inside());
    }
    Pass(Pass&& other) noexcept : gate_(std::exchange(other.gate_, nullptr)) {}
    Pass& operator=(Pass&&) = delete;
    ~Pass() {
        if (gate_)
            gate_->leave();
    }

private:
    struct Inside {};
    Pass(Gate& gate, Inside) : gate_(&gate) {}

    Gate* gate_;
};

/** Keeps a gate closed. */
class Closed {
public:
    explicit Closed(Gate& gate) : gate_(&gate) { gate_->close(); }
    Closed(const Closed&) = delete;
    Closed& operator=(const Closed&) = delete;
    ~Closed() { gate_->open(); }

private:
    Gate* gate_;
};

} // namespace vz::ploop
