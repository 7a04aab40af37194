// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/process.hpp"

#include "base/file.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>

namespace vz::process {

namespace {

class SpawnActions {
public:
    SpawnActions() { ::posix_spawn_file_actions_init(&actions_); }
    SpawnActions(const SpawnActions&) = delete;
    SpawnActions& operator=(const SpawnActions&) = delete;
    ~SpawnActions() { ::posix_spawn_file_actions_destroy(&actions_); }
    posix_spawn_file_actions_t* get() { return &actions_; }

private:
    posix_spawn_file_actions_t actions_;
};

std::vector<char*> pointers(const std::vector<std::string>& texts) {
    std::vector<char*> out;
    for (const auto& text : texts)
        out.push_back(const_cast<char*>(text.c_str()));
    out.push_back(nullptr);
    return out;
}

/** All signals at their default and none blocked: a library's masks must not reach the child. */
void cleanSignals(posix_spawnattr_t* attributes) {
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    ::posix_spawnattr_setsigdefault(attributes, &all);
    ::posix_spawnattr_setsigmask(attributes, &none);
    ::posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
}

} // namespace

Result<pid_t> spawn(const Command& command) {
    // Move the descriptors out of the target numbers first, so that no dup2 overwrites one still needed.
    int highest = 2;
    for (auto [target, source] : command.fds)
        highest = std::max(highest, target);
    SpawnActions actions;
    std::vector<UniqueFd> moved;
    for (int standard = 0; standard <= 2; ++standard) {
        if (std::none_of(command.fds.begin(), command.fds.end(),
                         [&](auto& fd) { return fd.first == standard; }))
            ::posix_spawn_file_actions_addopen(actions.get(), standard, "/dev/null", O_RDWR, 0);
    }
    for (auto [target, source] : command.fds) {
        moved.emplace_back(::fcntl(source, F_DUPFD_CLOEXEC, highest + 1));
        if (!moved.back())
            return failErrno(errno, "cannot duplicate a descriptor for ", command.argv.at(0));
        ::posix_spawn_file_actions_adddup2(actions.get(), moved.back().get(), target);
    }
    ::posix_spawn_file_actions_addclosefrom_np(actions.get(), highest + 1);

    posix_spawnattr_t attributes;
    ::posix_spawnattr_init(&attributes);
    cleanSignals(&attributes);
    pid_t pid = -1;
    auto argv = pointers(command.argv);
    auto environment = pointers(command.environment);
    int failed = ::posix_spawn(&pid, argv[0], actions.get(), &attributes, argv.data(), environment.data());
    ::posix_spawnattr_destroy(&attributes);
    if (failed)
        return failErrno(failed, "cannot start ", command.argv.at(0));
    return pid;
}

Result<int> wait(pid_t pid) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR)
            return failErrno(errno, "cannot wait for process ", pid);
    }
    return status;
}

namespace {

struct Pipe {
    UniqueFd read, write;
};

Result<Pipe> makePipe() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0)
        return failErrno(errno, "cannot make a pipe");
    return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

/** Takes what is there; closes the descriptor at its end. */
void drain(UniqueFd& fd, std::string& into) {
    char buffer[4096];
    ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got > 0)
        into.append(buffer, static_cast<size_t>(got));
    else if (got == 0 || errno != EINTR)
        fd.reset();
}

} // namespace

Result<Finished> run(Command command, std::string_view input, std::chrono::milliseconds limit) {
    VZ_TRY(auto in, makePipe());
    VZ_TRY(auto out, makePipe());
    VZ_TRY(auto err, makePipe());
    command.fds.insert(command.fds.end(), {{0, in.read.get()}, {1, out.write.get()}, {2, err.write.get()}});
    VZ_TRY(pid_t pid, spawn(command));
    in.read.reset();
    out.write.reset();
    err.write.reset();
    ::fcntl(in.write.get(), F_SETFL, O_NONBLOCK);

    Finished finished{};
    bool late = false;
    auto end = std::chrono::steady_clock::now() + limit;
    while (out.read || err.read) {
        if (input.empty())
            in.write.reset();
        auto left = std::chrono::ceil<std::chrono::milliseconds>(end - std::chrono::steady_clock::now());
        if (left.count() <= 0) {
            late = true;
            ::kill(pid, SIGKILL);
            break;
        }
        pollfd polls[] = {
            {in.write.get(), POLLOUT, 0}, {out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}};
        if (::poll(polls, 3, static_cast<int>(left.count())) <= 0)
            continue;
        if (polls[0].revents) {
            ssize_t done = ::write(in.write.get(), input.data(), input.size());
            input.remove_prefix(done > 0 ? static_cast<size_t>(done) : 0);
            if (done < 0 && errno != EAGAIN && errno != EINTR)
                input = {};
        }
        if (polls[1].revents)
            drain(out.read, finished.output);
        if (polls[2].revents)
            drain(err.read, finished.errors);
    }
    VZ_TRY(int status, wait(pid));
    if (late)
        return fail(ErrorCode::OperationTimeout, command.argv.at(0), " did not end within ", limit.count(),
                    " ms");
    finished.status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    return finished;
}

} // namespace vz::process
