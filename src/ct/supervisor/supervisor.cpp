// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/supervisor/supervisor.hpp"

#include "base/file.hpp"
#include "ct/end_signals.hpp"
#include "ct/pidfd.hpp"

#include <cerrno>
#include <csignal>
#include <ctime>
#include <fcntl.h>
#include <linux/securebits.h>
#include <sys/epoll.h>

#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

namespace vz::supervisor {

namespace {

uint64_t nowMs() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * 1000 + static_cast<uint64_t>(now.tv_nsec) / 1000000;
}

/** Removes the empty groups that a container left below @p dir; what cannot go is left to it. */
void removeSubgroups(const std::string& dir) {
    auto names = file::list(dir);
    if (!names)
        return;
    for (const auto& name : *names) {
        std::string path = cat(dir, '/', name);
        if (!file::isDirectory(path))
            continue;
        removeSubgroups(path);
        (void)::rmdir(path.c_str());
    }
}

/** A cgroup2 group that hands controllers to its children, as the last init left it, takes no process. */
void releaseControllers(const std::string& dir) {
    std::string path = dir + "/cgroup.subtree_control";
    auto enabled = file::read(path);
    if (!enabled)
        return;
    for (auto name : split(trim(*enabled), ' '))
        if (!name.empty())
            (void)file::writeValue(path, cat('-', name));
}

} // namespace

Supervisor::Supervisor(Loop loop, ct::LaunchSpec spec, UniqueFd daemon, uint32_t launchSerial)
    : loop_(std::move(loop)), spec_(std::move(spec)), daemon_(std::move(daemon)), launchSerial_(launchSerial),
      control_(loop_, *this) {}

Result<void> Supervisor::start(const StartWishes& wishes) {
    using Step = Result<void> (Supervisor::*)();
    static constexpr Step steps[] = {
        &Supervisor::isolate,         &Supervisor::listen,   &Supervisor::makeHeldNamespaces,
        &Supervisor::announceNetwork, &Supervisor::makeRoot, &Supervisor::makeConsoles,
        &Supervisor::makeView,        &Supervisor::boot,
    };
    wishes_ = wishes;
    hold_ = wishes.hold;
    for (auto step : steps)
        VZ_CHECK((this->*step)());
    std::vector<int> fds;
    ct::Message started = greeting(fds);
    started.kind = "started";
    started.serial = launchSerial_;
    VZ_CHECK(ct::sendMessage(daemon_.get(), started, fds));
    control_.adopt(std::move(daemon_));
    if (viewError_)
        control_.broadcast({"failed", 0, ct::errorRecord(*viewError_), {}});
    return {};
}

Result<void> Supervisor::boot() {
    using Step = Result<void> (Supervisor::*)();
    static constexpr Step steps[] = {
        &Supervisor::makeDevices,  &Supervisor::connectConsoles, &Supervisor::makeMounts,
        &Supervisor::awaitNetwork, &Supervisor::startInit,       &Supervisor::awaitExec,
    };
    for (auto step : steps)
        VZ_CHECK((this->*step)());
    ++boots_;
    bootedAtMs_ = nowMs();
    state_ = State::Running;
    watchInit();
    return {};
}

/** The host's mounts are seen as they come and go, but nothing mounted here is seen there. */
Result<void> Supervisor::isolate() {
    ::setsid();
    ::umask(022);
    (void)::chdir("/");
    ::signal(SIGPIPE, SIG_IGN);
    ::prctl(PR_SET_NAME, "vz-supervisor");
    ::prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP); // for FileOwner
    if (::mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) < 0)
        return failErrno(errno, "cannot separate the supervisor's mounts from the host's");
    if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0)
        return failErrno(errno, "cannot mount a /proc for the supervisor");
    VZ_TRY(self_, openPidFd(::getpid()));
    timer_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!timer_)
        return failErrno(errno, "cannot make a timer");
    loop_.watch(timer_.get(), EPOLLIN, this);
    return watchSignals();
}

/** SIGTERM comes from systemd when the host goes down and nobody has shut the container down before. */
Result<void> Supervisor::watchSignals() {
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    ::sigprocmask(SIG_BLOCK, &wanted, nullptr);
    signals_.reset(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_)
        return failErrno(errno, "cannot make a file for signals");
    loop_.watch(signals_.get(), EPOLLIN, this);
    return {};
}

Result<void> Supervisor::listen() {
    VZ_CHECK(file::remove(spec_.runDir + "/exit"));
    return control_.listen(spec_.runDir);
}

Result<void> Supervisor::makeHeldNamespaces() {
    VZ_TRY(held_, makeNamespaces(spec_));
    return {};
}

/** The daemon connects the network while the mounts are being made; awaitNetwork() waits for it. */
Result<void> Supervisor::announceNetwork() {
    if (!wishes_.network)
        return {};
    int handle = held_.net.get();
    UniqueFd own;
    if (handle < 0) {
        VZ_TRY(own, file::open("/proc/self/ns/net", O_RDONLY));
        handle = own.get();
    }
    return ct::sendMessage(daemon_.get(), {"network", 0, {}, {}}, {handle});
}

Result<void> Supervisor::awaitNetwork() {
    if (!wishes_.network)
        return {};
    wishes_.network = false;
    return waitForGo();
}

Result<void> Supervisor::waitForGo() {
    VZ_TRY(auto answer, ct::receiveMessage(daemon_.get()));
    if (!answer || answer->kind != "go")
        return fail(ErrorCode::OperationAborted, "the start was given up");
    return {};
}

Result<void> Supervisor::makeRoot() {
    std::string place = spec_.runDir + "/root";
    VZ_CHECK(file::makeDirs(place, 0700));
    VZ_CHECK(root_.create(spec_, held_.user.get(), place));
    return root_.makeMountPoints(spec_);
}

Result<void> Supervisor::makeConsoles() {
    for (const auto& console : spec_.consoles) {
        VZ_TRY(auto made, Console::create(loop_, console));
        consoles_.push_back(std::move(made));
    }
    return {};
}

/** A host that has no FUSE shows itself: the container runs all the same. */
Result<void> Supervisor::makeView() {
    auto made = View::create(loop_, spec_, spec_.runDir + "/view");
    if (made)
        view_ = *std::move(made);
    else
        viewError_ =
            std::move(made).takeError().within("the container sees the host's /proc/meminfo and the like");
    return {};
}

Result<void> Supervisor::hold(const ct::DeviceNode& device) {
    if (!device.hold || holders_.contains(device.path))
        return {};
    VZ_TRY(auto holder, file::open(*device.hold, O_RDONLY));
    holders_.emplace(device.path, std::move(holder));
    return {};
}

Result<void> Supervisor::makeDevices() {
    for (const auto& device : spec_.devices)
        VZ_CHECK(hold(device));
    return devices_.create(spec_, root_);
}

Result<void> Supervisor::connectConsoles() {
    terminals_.clear();
    for (size_t i = 0; i < consoles_.size(); ++i) {
        VZ_TRY(auto terminal, devices_.addConsole(spec_, i));
        terminals_.push_back(terminal.number);
        consoles_[i]->connectGuest(std::move(terminal));
    }
    return {};
}

Result<void> Supervisor::makeMounts() {
    if (boots_ == 0 || !root_.mounted())
        VZ_CHECK(root_.mountAll(spec_));
    return boots_ == 0 ? root_.seal(spec_) : Result<void>();
}

Result<void> Supervisor::startInit() {
    InitOptions options;
    options.userNs = held_.user.get();
    options.netNs = held_.net.get();
    options.root = root_.place();
    options.hold = hold_;
    if (view_) {
        VZ_TRY(options.view, view_->mounts());
    }
    if (terminals_.size() > 1) {
        std::string list = "container_ttys=";
        for (size_t i = 1; i < terminals_.size(); ++i)
            list += cat(i > 1 ? " " : "", "pts/", terminals_[i]);
        options.extraEnvironment.push_back(std::move(list));
    }
    VZ_TRY(init_, forkInit(spec_, options));
    if (view_)
        view_->booted(init_.pid);
    return {};
}

/** Waits until init was executed or, if that is wished, is held just before. */
Result<void> Supervisor::awaitExec() {
    auto message = ct::receiveMessage(init_.channel.get());
    bool held = message && *message && (*message)->kind == "held";
    if (held) {
        hold_ = false;
        VZ_CHECK(ct::sendMessage(daemon_.get(), {"held", 0, {}, {}}, {init_.pidFd.get()}));
        VZ_CHECK(waitForGo());
        return ct::sendMessage(init_.channel.get(), {"go", 0, {}, {}});
    }
    bool failed = !message || *message;
    if (!failed) {
        init_.channel.reset();
        return {};
    }
    (void)::pidfd_send_signal(init_.pidFd.get(), SIGKILL, nullptr, 0);
    waitFor(init_.pid);
    init_ = {};
    if (!message)
        return std::move(message).takeError();
    return ct::errorFrom((*message)->body);
}

void Supervisor::watchInit() {
    loop_.watch(init_.pidFd.get(), EPOLLIN, this);
    if (init_.channel)
        loop_.watch(init_.channel.get(), EPOLLIN, this);
}

void Supervisor::run() {
    for (;;)
        loop_.runOnce();
}

void Supervisor::ready(int fd, uint32_t) {
    if (fd == init_.pidFd.get())
        initEnded();
    else if (fd == init_.channel.get())
        readInitChannel();
    else if (fd == timer_.get()) {
        uint64_t times;
        if (::read(timer_.get(), &times, sizeof times) > 0)
            restartNow();
    } else if (fd == signals_.get()) {
        signalfd_siginfo info;
        if (::read(signals_.get(), &info, sizeof info) > 0)
            hostWantsEnd();
    }
}

/** An orderly end for good; an init that listens to no signal has nothing to save. */
void Supervisor::hostWantsEnd() {
    spec_.onPoweroff = ct::EndAction::Destroy;
    restart_ = false;
    if (!init_.pid)
        finish(End::Shutdown);
    if (expected_ != End::Destroyed)
        expected_ = End::Shutdown;
    auto end = ct::endSignals(init_.pid);
    int number = end && end->poweroff ? end->poweroff : SIGKILL;
    (void)::pidfd_send_signal(init_.pidFd.get(), number, nullptr, 0);
}

/** After a held start: init was executed (the end), or says why not; then its end follows. */
void Supervisor::readInitChannel() {
    auto message = ct::receiveMessage(init_.channel.get(), MSG_DONTWAIT);
    if (!message && message.error().systemError() == EAGAIN)
        return;
    if (message && *message) {
        Error error = ct::errorFrom((*message)->body);
        ct::Message note{"failed", 0, ct::errorRecord(error), {}};
        control_.broadcast(note);
    }
    loop_.forget(init_.channel.get());
    init_.channel.reset();
}

void Supervisor::initEnded() {
    int status = 0;
    if (::waitpid(init_.pid, &status, WNOHANG) != init_.pid)
        return;
    loop_.forget(init_.pidFd.get());
    if (init_.channel)
        loop_.forget(init_.channel.get());
    init_ = {};
    for (auto& console : consoles_)
        console->disconnectGuest();
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    // reboot(2) in a pid namespace is told as a death by one of these two signals.
    End end = End::Crash;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGHUP)
        end = End::Reboot;
    else if ((WIFSIGNALED(status) && WTERMSIG(status) == SIGINT) ||
             (WIFEXITED(status) && WEXITSTATUS(status) == 0))
        end = End::Shutdown;
    if (expected_)
        end = *expected_;
    expected_.reset();
    act(end);
}

namespace {

const char* reasonName(int end) {
    constexpr const char* names[] = {"shutdown", "reboot", "crashed", "destroyed"};
    return names[end];
}

} // namespace

void Supervisor::act(End end) {
    ct::EndAction action = end == End::Shutdown ? spec_.onPoweroff
                           : end == End::Reboot ? spec_.onReboot
                           : end == End::Crash  ? spec_.onCrash
                                                : ct::EndAction::Destroy;
    if (std::exchange(restart_, false))
        action = ct::EndAction::Restart;
    if (action == ct::EndAction::Destroy)
        finish(end);
    if (action == ct::EndAction::Restart)
        return restartLater();
    state_ = State::Preserved;
    news("preserved", reasonName(static_cast<int>(end)));
}

/** At once, unless it ended so soon that starting it again and again would only heat the host. */
void Supervisor::restartLater() {
    bool soon = nowMs() - bootedAtMs_ < 1000;
    delayMs_ = !soon ? 0 : delayMs_ == 0 ? 100 : std::min(delayMs_ * 2, 5000u);
    state_ = State::Waiting;
    if (delayMs_ == 0)
        return restartNow();
    itimerspec when{};
    when.it_value.tv_sec = delayMs_ / 1000;
    when.it_value.tv_nsec = static_cast<long>(delayMs_ % 1000) * 1000000;
    ::timerfd_settime(timer_.get(), 0, &when, nullptr);
}

void Supervisor::restartNow() {
    if (state_ == State::Running)
        return;
    auto done = reboot();
    if (done) {
        ct::Message message{"rebooted", 0, {}, {}};
        message.body.add("boots", boots_);
        return control_.broadcast(message, {init_.pidFd.get()});
    }
    control_.broadcast({"failed", 0, ct::errorRecord(done.error()), {}});
    bootedAtMs_ = nowMs();
    act(End::Crash);
}

Result<void> Supervisor::reboot() {
    clearForReboot();
    return boot();
}

void Supervisor::clearForReboot() {
    for (const auto& dir : spec_.payloadCgroups) {
        removeSubgroups(dir);
        releaseControllers(dir);
    }
    bool again = root_.incomplete();
    for (const auto& mount : spec_.mounts)
        again = again || mount.kind == ct::Mount::Kind::Tmpfs || mount.target.starts_with("/dev");
    if (again)
        root_.unmountAll();
    for (const auto& device : spec_.devices)
        if (!device.path.starts_with("/dev/"))
            (void)devices_.removeNode(device, root_);
    devices_.remove(root_);
}

void Supervisor::finish(End end) {
    // A reboot that destroys (on_reboot) is a wanted end like a shutdown.
    if (end == End::Reboot)
        end = End::Shutdown;
    const char* reason = reasonName(static_cast<int>(end));
    (void)file::writeAtomic(spec_.runDir + "/exit", reason);
    consoles_.clear();
    news("stopped", reason);
    ::_exit(0);
}

void Supervisor::news(const char* kind, std::string_view reason, const std::vector<int>& fds) {
    ct::Message message{kind, 0, {}, {}};
    message.body.add("reason", reason);
    control_.broadcast(message, fds);
}

} // namespace vz::supervisor
