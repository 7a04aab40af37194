// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "../temporary_dir.hpp"

#include "base/file.hpp"
#include "base/reactor.hpp"
#include "ct/container.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <fcntl.h>
#include <mutex>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

namespace vz::test {

/** Reads until @p word came, the end, or 10 seconds. */
inline std::string readUntil(int fd, std::string_view word) {
    std::string got;
    char buffer[4096];
    pollfd poll{fd, POLLIN, 0};
    while (got.find(word) == got.npos && ::poll(&poll, 1, 10000) > 0) {
        ssize_t size = ::read(fd, buffer, sizeof buffer);
        if (size <= 0)
            break;
        got.append(buffer, static_cast<size_t>(size));
    }
    return got;
}

/** Groups made by hand in every hierarchy, with a part for the container; removed at the end. */
class HandMadeCgroups {
public:
    explicit HandMadeCgroups(uint32_t owner) {
        for (const char* name : {"memory", "cpu", "cpuacct", "cpuset", "devices", "freezer", "blkio", "pids",
                                 "systemd", "unified"}) {
            std::string base = cat("/sys/fs/cgroup/", name);
            if (!file::exists(base + "/cgroup.procs"))
                continue;
            std::string unit = cat(base, "/vztest-", ::getpid());
            for (const char* part : {"", "/supervisor", "/payload"}) {
                REQUIRE(file::makeDirs(unit + part));
                if (std::string_view(name) == "cpuset")
                    for (const char* key : {"/cpuset.cpus", "/cpuset.mems"})
                        REQUIRE(
                            file::writeValue(unit + part + key, trim(file::read(base + key).valueOr("0"))));
            }
            for (const char* entry :
                 {"", "/cgroup.procs", "/tasks", "/cgroup.threads", "/cgroup.subtree_control"})
                (void)::chown(cat(unit, "/payload", entry).c_str(), owner, owner);
            units_.push_back(unit);
        }
    }
    ~HandMadeCgroups() {
        for (const auto& unit : units_)
            removeGroup(unit);
    }
    void fill(ct::LaunchSpec& spec) const {
        for (const auto& unit : units_) {
            spec.supervisorCgroups.push_back(unit + "/supervisor");
            spec.payloadCgroups.push_back(unit + "/payload");
        }
    }

private:
    static void removeGroup(const std::string& dir) {
        for (const auto& name : file::list(dir).valueOr({}))
            if (file::isDirectory(dir + "/" + name))
                removeGroup(dir + "/" + name);
        ::rmdir(dir.c_str());
    }
    std::vector<std::string> units_;
};

/** A busybox root, a run folder, and one container at a time; all gone at the end. */
class Rig {
public:
    Rig() : reactor_(std::move(*Reactor::create())) {
        root_ = dir_ / "root";
        for (const char* name : {"bin", "sbin", "tmp", "etc", "run", "srv"})
            REQUIRE(file::makeDirs(cat(root_, "/", name)));
        auto busybox = file::read("/bin/busybox");
        REQUIRE(busybox);
        REQUIRE(file::writeAtomic(root_ + "/bin/busybox", *busybox, 0755));
        for (const char* name :
             {"sh",       "id",     "hostname", "tty",    "cat",  "ls",    "wc",    "grep",
              "mount",    "umount", "ip",       "mknod",  "stat", "touch", "sleep", "reboot",
              "poweroff", "dd",     "head",     "setsid", "ln",   "true"})
            REQUIRE(::symlink("busybox", cat(root_, "/bin/", name).c_str()) == 0);
        options.supervisorPath = VZ_SUPERVISOR;
    }

    ~Rig() {
        if (container_ && container_->init() > 0)
            (void)container_->kill(std::chrono::seconds(5));
        container_.reset();
    }

    std::string dir() const { return dir_.path(); }
    const std::string& root() const { return root_; }
    Reactor& reactor() { return *reactor_; }

    /** A description whose init is a shell with that script. */
    ct::LaunchSpec shell(const std::string& script) {
        ct::LaunchSpec spec;
        spec.name = "test";
        spec.runDir = dir_ / cat("run", ++runs_);
        REQUIRE(file::makeDirs(spec.runDir, 0700));
        spec.argv = {"/bin/sh", "-c", script};
        spec.environment = {"PATH=/bin:/sbin", "container=vz", "TERM=linux"};
        spec.root = {ct::Mount::Kind::Bind, root_, "/", "", false, true};
        spec.devices = {{"/dev/null", 'c', 1, 3}, {"/dev/tty", 'c', 5, 0}};
        spec.uids = {{0, 100000, 65536}};
        spec.gids = {{0, 100000, 65536}};
        spec.capabilities = ~uint64_t{0};
        spec.consoles = {{dir_ / "console.log", false}};
        return spec;
    }

    Result<std::shared_ptr<ct::Container>> tryStart(const ct::LaunchSpec& spec) {
        {
            std::lock_guard lock(mutex_);
            stopped_.reset();
        }
        VZ_TRY(container_, ct::Container::start(*reactor_, spec, options, observer()));
        return container_;
    }

    std::shared_ptr<ct::Container> start(const ct::LaunchSpec& spec) {
        auto started = tryStart(spec);
        if (!started)
            FAIL(started.error().message());
        return container_;
    }

    std::shared_ptr<ct::Container> container() { return container_; }
    void dropContainer() { container_.reset(); }
    std::shared_ptr<ct::Container> adopt(const std::string& runDir) {
        auto found = ct::Container::adopt(*reactor_, runDir, observer());
        if (!found)
            FAIL(found.error().message());
        container_ = *found;
        return container_;
    }

    std::optional<ct::StopReason> waitStopped(std::chrono::seconds limit = std::chrono::seconds(10)) {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, limit, [&] { return stopped_.has_value(); });
        return stopped_;
    }
    bool waitPreserved() {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::seconds(10), [&] { return preserved_; });
    }
    bool waitReboots(unsigned count) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, std::chrono::seconds(30), [&] { return reboots_ >= count; });
    }
    unsigned reboots() {
        std::lock_guard lock(mutex_);
        return reboots_;
    }

    std::string log() { return file::read(dir_ / "console.log").valueOr(""); }
    /** Whether @p word appears in the log behind what an earlier wait has seen. */
    bool waitLog(std::string_view word) {
        for (int i = 0; i < 1000; ++i) {
            auto at = log().find(word, seen_);
            if (at != std::string::npos) {
                seen_ = at + word.size();
                return true;
            }
            ::usleep(10000);
        }
        return false;
    }

    /** What a command shell started as init prints for @p command. */
    std::string command(const std::string& command) {
        auto console = container_->openConsole(0, true);
        REQUIRE(console);
        REQUIRE(file::writeAll(console->get(), command + "\n"));
        std::string output = readUntil(console->get(), "\nend-");
        seen_ = log().size();
        return output.substr(std::min(output.size(), command.size())); // without the echo
    }

    UniqueFd connectRaw(const std::string& runDir) {
        UniqueFd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::string path = runDir + "/control.sock";
        std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
        if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0)
            socket.reset();
        return socket;
    }

    ct::Container::StartOptions options;

private:
    ct::Observer observer() {
        ct::Observer observer;
        observer.rebooted = [this](pid_t) {
            std::lock_guard lock(mutex_);
            ++reboots_;
            changed_.notify_all();
        };
        observer.preserved = [this](ct::StopReason) {
            std::lock_guard lock(mutex_);
            preserved_ = true;
            changed_.notify_all();
        };
        observer.stopped = [this](ct::StopReason reason) {
            std::lock_guard lock(mutex_);
            stopped_ = reason;
            changed_.notify_all();
        };
        return observer;
    }

    TemporaryDir dir_;
    std::string root_;
    unsigned runs_ = 0;
    size_t seen_ = 0;
    std::mutex mutex_;
    std::condition_variable changed_;
    std::optional<ct::StopReason> stopped_;
    unsigned reboots_ = 0;
    bool preserved_ = false;
    std::unique_ptr<Reactor> reactor_; // its thread ends before what the callbacks use
    std::shared_ptr<ct::Container> container_;
};

} // namespace vz::test
