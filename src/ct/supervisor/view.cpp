// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/view.hpp"

#include "base/file.hpp"
#include "ct/beancounters.hpp"
#include "ct/protocol.hpp"
#include "ct/supervisor/view_server.hpp"

#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace vz::supervisor {

namespace {

/** One that dies again and again is not worth the host's time. */
constexpr unsigned maxStarts = 16;

} // namespace

Result<std::unique_ptr<View>> View::create(Loop& loop, const ct::LaunchSpec& spec, const std::string& place) {
    std::unique_ptr<View> view(new View(loop, spec, place));
    VZ_CHECK(view->mount());
    VZ_CHECK(view->startServer());
    return view;
}

View::~View() {
    loop_.forget(server_.get());
}

Result<void> View::mount() {
    VZ_TRY(fuse_, file::open("/dev/fuse", O_RDWR | O_NONBLOCK));
    VZ_CHECK(file::makeDirs(place_, 0700));
    VZ_TRY(auto made, newMount("fuse",
                               {{"source", "vz-view"},
                                {"subtype", "vz-view"},
                                {"fd", cat(fuse_.get())},
                                {"rootmode", "40555"},
                                {"user_id", "0"},
                                {"group_id", "0"},
                                {"allow_other", ""},
                                {"default_permissions", ""}},
                               MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
    return placeMount(made.get(), place_);
}

Result<void> View::startServer() {
    VZ_TRY(auto channel, ct::makeChannel());
    ++starts_;
    pid_ = ::fork();
    if (pid_ < 0)
        return failErrno(errno, "cannot start a process for the container's view of itself");
    if (pid_ == 0)
        serveView(spec_, fuse_.get(), channel.second.get());
    channel_ = std::move(channel.first);
    VZ_TRY(server_, openPidFd(pid_));
    loop_.watch(server_.get(), EPOLLIN, this);
    tellInit();
    return {};
}

/** The server has died. Who waits for its answer goes on waiting; all others get one from the next. */
void View::ready(int, uint32_t) {
    if (::waitpid(pid_, nullptr, WNOHANG) == 0)
        return;
    loop_.forget(server_.get());
    server_.reset();
    if (starts_ < maxStarts)
        (void)startServer();
    if (!server_)
        fuse_.reset(); // the files say so, rather than that their readers wait
}

void View::tellInit() {
    if (!init_)
        return;
    ct::Message message{"booted", 0, {}, {}};
    message.body.add("pid", init_);
    (void)ct::sendMessage(channel_.get(), message, {}, MSG_DONTWAIT);
}

void View::booted(pid_t init) {
    init_ = init;
    tellInit();
}

void View::setCounters(const std::vector<ct::CounterSetting>& counters) {
    ct::CounterLimits limits;
    limits.set = counters;
    ct::Message message{"counters", 0, {}, {}};
    message.body.add("limits", std::string_view(ct::encode(limits)));
    (void)ct::sendMessage(channel_.get(), message, {}, MSG_DONTWAIT);
}

Result<std::vector<ViewMount>> View::mounts() const {
    std::vector<ViewMount> out;
    for (const auto& each : viewFiles) {
        VZ_TRY(auto mount, cloneMount(AT_FDCWD, cat(place_, "/", each.name), false));
        out.push_back({std::move(mount), each.target, each.otherwise ? each.otherwise : ""});
    }
    return out;
}

} // namespace vz::supervisor
