// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/worker.hpp"

#include "base/log.hpp"
#include "base/rollback.hpp"

#include <csignal>
#include <system_error>

namespace vz::driver {

Worker::Worker(unsigned most) : most_(most) {
    std::lock_guard lock(mutex_);
    addThread();
}

void Worker::addThread() {
    // The daemon's signals belong to its own threads.
    sigset_t all, before;
    sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);
    Rollback back;
    back.add([&] { ::pthread_sigmask(SIG_SETMASK, &before, nullptr); });
    threads_.emplace_back([this] { run(); });
    ++idle_;
}

Worker::~Worker() {
    std::vector<std::thread> threads;
    {
        std::lock_guard lock(mutex_);
        ending_ = true;
        threads.swap(threads_);
    }
    changed_.notify_all();
    for (auto& thread : threads)
        thread.join();
}

void Worker::post(std::function<void()> task) {
    {
        std::lock_guard lock(mutex_);
        tasks_.push_back(std::move(task));
        if (tasks_.size() > idle_ && threads_.size() < most_ && !ending_) {
            try {
                addThread();
            } catch (const std::system_error& failure) {
                log::warning("no other thread for work in the background: ", failure.what());
            }
        }
    }
    changed_.notify_one();
}

void Worker::run() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [this] { return ending_ || !tasks_.empty(); });
        if (tasks_.empty())
            return;
        auto task = std::move(tasks_.front());
        tasks_.pop_front();
        --idle_;
        lock.unlock();
        task();
        task = nullptr; // what it holds goes before the next one is waited for
        lock.lock();
        ++idle_;
    }
}

} // namespace vz::driver
