// SPDX-License-Identifier: LGPL-2.1-or-later
// What the daemon may ask of a running container.
#include "ct/supervisor/supervisor.hpp"

#include "base/file.hpp"
#include "ct/beancounters.hpp"
#include "ct/pidfd.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <utility>

namespace vz::supervisor {

namespace {

ct::Message ok() {
    return {"ok", 0, {}, {}};
}

} // namespace

ct::Message Supervisor::greeting(std::vector<int>& fds) {
    ct::Message hello{"hello", 0, {}, {}};
    hello.body.add("boots", boots_).add("running", init_.pid ? 1 : 0);
    hello.body.add("preserved", state_ == State::Preserved ? 1 : 0);
    for (const auto& console : consoles_)
        hello.body.add("console", std::string_view(console->hostPath()));
    fds.push_back(self_.get());
    if (init_.pidFd)
        fds.push_back(init_.pidFd.get());
    return hello;
}

Result<ct::Message> Supervisor::handle(const ct::Message& request) {
    struct Entry {
        const char* kind;
        Result<ct::Message> (Supervisor::*method)(const ct::Record&);
    };
    static constexpr Entry entries[] = {
        {"open-console", &Supervisor::openConsole},
        {"signal", &Supervisor::signal},
        {"expect", &Supervisor::expect},
        {"kill", &Supervisor::kill},
        {"reset", &Supervisor::reset},
        {"actions", &Supervisor::actions},
        {"counters", &Supervisor::counters},
        {"attach-mount", &Supervisor::attachMount},
        {"detach-mount", &Supervisor::detachMount},
        {"attach-device", &Supervisor::attachDevice},
        {"detach-device", &Supervisor::detachDevice},
        {"open-mount", &Supervisor::openMount},
        {"net-namespace", &Supervisor::netNamespace},
        {"namespaces", &Supervisor::namespaces},
    };
    for (const auto& entry : entries)
        if (request.kind == entry.kind)
            return (this->*entry.method)(request.body);
    return fail(ErrorCode::OperationUnsupported, "this container's supervisor does not know the request '",
                request.kind, "'; it is of an older version: restart the container");
}

Result<void> Supervisor::needInit() const {
    if (init_.pid)
        return {};
    return fail(ErrorCode::OperationInvalid, "nothing runs in the container '", spec_.name, "' now");
}

Result<ct::Message> Supervisor::openConsole(const ct::Record& body) {
    auto index = static_cast<size_t>(body.number("index"));
    if (index >= consoles_.size())
        return fail(ErrorCode::InvalidArg, "the container '", spec_.name, "' has no console ", index);
    if (consoles_[index]->hasClient() && !body.number("force"))
        return fail(ErrorCode::ResourceBusy, "console ", index, " of '", spec_.name,
                    "' is in use by another client");
    VZ_TRY(auto stream, consoles_[index]->connectClient());
    ct::Message reply = ok();
    reply.fds.push_back(std::move(stream));
    return reply;
}

Result<ct::Message> Supervisor::signal(const ct::Record& body) {
    VZ_CHECK(needInit());
    auto number = static_cast<int>(body.number("signal"));
    if (::pidfd_send_signal(init_.pidFd.get(), number, nullptr, 0) < 0)
        return failErrno(errno, "cannot send signal ", number, " to the init of '", spec_.name, "'");
    return ok();
}

Result<ct::Message> Supervisor::expect(const ct::Record& body) {
    expected_ = body.number("reboot") ? End::Reboot : End::Shutdown;
    return ok();
}

Result<ct::Message> Supervisor::kill(const ct::Record&) {
    expected_ = End::Destroyed;
    restart_ = false;
    if (!init_.pid)
        finish(End::Destroyed);
    (void)::pidfd_send_signal(init_.pidFd.get(), SIGKILL, nullptr, 0);
    return ok();
}

Result<ct::Message> Supervisor::reset(const ct::Record&) {
    if (expected_ == End::Destroyed)
        return fail(ErrorCode::OperationInvalid, "the container '", spec_.name, "' is being destroyed");
    restart_ = true;
    expected_ = End::Reboot;
    if (init_.pid) {
        (void)::pidfd_send_signal(init_.pidFd.get(), SIGKILL, nullptr, 0);
    } else {
        restart_ = false;
        expected_.reset();
        restartNow();
    }
    return ok();
}

Result<ct::Message> Supervisor::actions(const ct::Record& body) {
    auto action = [&](const char* key) {
        return static_cast<ct::EndAction>(std::clamp<int64_t>(body.number(key), 0, 2));
    };
    spec_.onPoweroff = action("poweroff");
    spec_.onReboot = action("reboot");
    spec_.onCrash = action("crash");
    return ok();
}

Result<ct::Message> Supervisor::counters(const ct::Record& body) {
    VZ_TRY(auto limits, ct::decodeCounters(body.text("limits")));
    auto before = std::exchange(spec_.maxPtys, limits.maxPtys);
    if (auto set = devices_.limitPtys(spec_); !set) {
        spec_.maxPtys = before;
        return std::move(set).takeError();
    }
    spec_.limits = std::move(limits.rlimits);
    // Whose IPC namespace it is has been decided.
    if (limits.sharedMemPages)
        spec_.sharedMemPages = limits.sharedMemPages;
    spec_.oomScoreAdj = limits.oomScoreAdj;
    spec_.counters = std::move(limits.set);
    if (view_)
        view_->setCounters(spec_.counters);
    return ok();
}

Result<ct::Message> Supervisor::attachMount(const ct::Record& body) {
    VZ_TRY(auto mount, ct::decodeMount(body.text("mount")));
    VZ_CHECK(root_.attach(spec_, mount, init_.pid, init_.pidFd.get()));
    spec_.mounts.push_back(std::move(mount));
    return ok();
}

Result<ct::Message> Supervisor::detachMount(const ct::Record& body) {
    std::string target(body.text("target"));
    VZ_CHECK(root_.detach(target, init_.pid, init_.pidFd.get()));
    auto found = std::find_if(spec_.mounts.rbegin(), spec_.mounts.rend(),
                              [&](const ct::Mount& mount) { return mount.target == target; });
    if (found != spec_.mounts.rend())
        spec_.mounts.erase(std::next(found).base());
    return ok();
}

Result<ct::Message> Supervisor::openMount(const ct::Record& body) {
    ct::Message reply = ok();
    VZ_TRY(auto opened, root_.open(std::string(body.text("target"))));
    reply.fds.push_back(std::move(opened));
    return reply;
}

Result<ct::Message> Supervisor::attachDevice(const ct::Record& body) {
    VZ_TRY(auto device, ct::decodeDevice(body.text("device")));
    VZ_CHECK(hold(device));
    if (auto made = devices_.addNode(spec_, device, root_); !made) {
        holders_.erase(device.path);
        return std::move(made).takeError();
    }
    spec_.devices.push_back(std::move(device));
    return ok();
}

Result<ct::Message> Supervisor::detachDevice(const ct::Record& body) {
    auto found = std::find_if(spec_.devices.begin(), spec_.devices.end(),
                              [&](const ct::DeviceNode& device) { return device.path == body.text("path"); });
    if (found == spec_.devices.end())
        return fail(ErrorCode::DeviceMissing, "the container '", spec_.name, "' has no device '",
                    body.text("path"), "'");
    VZ_CHECK(devices_.removeNode(*found, root_));
    holders_.erase(found->path);
    spec_.devices.erase(found);
    return ok();
}

Result<ct::Message> Supervisor::netNamespace(const ct::Record&) {
    ct::Message reply = ok();
    VZ_TRY(auto handle,
           file::open(held_.net ? cat("/proc/self/fd/", held_.net.get()) : "/proc/self/ns/net", O_RDONLY));
    reply.fds.push_back(std::move(handle));
    return reply;
}

Result<ct::Message> Supervisor::namespaces(const ct::Record&) {
    VZ_CHECK(needInit());
    ct::Message reply = ok();
    // The order in which libvirt's clients enter them: the user namespace gives the right to the others, but
    // to an IPC namespace that is the host's to administer only before it.
    std::vector<const char*> names{"user", "ipc", "uts", "net", "cgroup", "pid", "mnt"};
    if (spec_.sharedMemPages)
        std::swap(names[0], names[1]);
    for (const char* name : names) {
        if (std::string_view(name) == "user" && !held_.user)
            continue;
        VZ_TRY(auto handle, file::open(cat("/proc/", init_.pid, "/ns/", name), O_RDONLY));
        reply.fds.push_back(std::move(handle));
    }
    return reply;
}

} // namespace vz::supervisor
