// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/container.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "base/process.hpp"
#include "ct/pidfd.hpp"
#include "ct/protocol.hpp"
#include "ct/supervisor_start.hpp"

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <map>
#include <mutex>
#include <sys/epoll.h>

#include <sys/socket.h>

namespace vz::ct {

namespace {

constexpr std::chrono::seconds requestLimit(30);

StopReason reasonFrom(std::string_view name) {
    return name == "shutdown"    ? StopReason::Shutdown
           : name == "destroyed" ? StopReason::Destroyed
                                 : StopReason::Crashed;
}

class LiveContainer : public Container, public std::enable_shared_from_this<LiveContainer> {
public:
    LiveContainer(Reactor& reactor, std::string runDir, Observer observer, SupervisorLink link)
        : reactor_(reactor), runDir_(std::move(runDir)), observer_(std::move(observer)),
          control_(std::move(link.control)), supervisorFd_(std::move(link.supervisor)),
          supervisorPid_(pidOf(supervisorFd_.get())), consoles_(std::move(link.consoles)) {
        setInit(std::move(link.init), link.boots);
    }

    ~LiveContainer() override {
        reactor_.remove(controlWatch_);
        reactor_.remove(deathWatch_);
    }

    /** Begins to listen; not possible in the constructor, as callbacks need the shared pointer. */
    Result<void> watch() {
        std::weak_ptr<LiveContainer> weak = weak_from_this();
        std::lock_guard lock(mutex_); // a callback that comes at once must find the ids
        VZ_TRY(controlWatch_, reactor_.add(control_.get(), EPOLLIN, [weak](uint32_t) {
            if (auto self = weak.lock())
                self->controlReady();
        }));
        VZ_TRY(deathWatch_, reactor_.add(supervisorFd_.get(), EPOLLIN, [weak](uint32_t) {
            if (auto self = weak.lock())
                self->supervisorDied();
        }));
        return {};
    }

    pid_t init() const override {
        std::lock_guard lock(mutex_);
        return initPid_;
    }
    pid_t supervisor() const override { return supervisorPid_; }
    unsigned boots() const override {
        std::lock_guard lock(mutex_);
        return boots_;
    }
    std::string consolePath(size_t index) const override {
        return index < consoles_.size() ? consoles_[index] : std::string();
    }

    Result<UniqueFd> openConsole(size_t index, bool force) override {
        Record body;
        body.add("index", index).add("force", force ? 1 : 0);
        return oneFd(request("open-console", std::move(body)));
    }

    Result<void> signalInit(int signal) override { return plain("signal", Record().add("signal", signal)); }

    Result<void> expectEnd(bool reboot) override {
        return plain("expect", Record().add("reboot", reboot ? 1 : 0));
    }

    Result<void> kill(std::chrono::milliseconds limit) override;

    Result<void> reset() override { return plain("reset", {}); }

    Result<void> setEndActions(EndAction onPoweroff, EndAction onReboot, EndAction onCrash) override {
        Record body;
        body.add("poweroff", static_cast<int>(onPoweroff)).add("reboot", static_cast<int>(onReboot));
        body.add("crash", static_cast<int>(onCrash));
        return plain("actions", std::move(body));
    }

    Result<void> setCounters(const CounterLimits& limits) override {
        return plain("counters", Record().add("limits", std::string_view(encode(limits))));
    }

    Result<void> attachMount(const Mount& mount) override {
        return plain("attach-mount", Record().add("mount", std::string_view(encode(mount))));
    }
    Result<void> detachMount(const std::string& target) override {
        return plain("detach-mount", Record().add("target", std::string_view(target)));
    }
    Result<UniqueFd> openMount(const std::string& target) override {
        return oneFd(request("open-mount", Record().add("target", std::string_view(target))));
    }
    Result<void> attachDevice(const DeviceNode& device) override {
        return plain("attach-device", Record().add("device", std::string_view(encode(device))));
    }
    Result<void> detachDevice(const std::string& path) override {
        return plain("detach-device", Record().add("path", std::string_view(path)));
    }

    Result<UniqueFd> networkNamespace() override { return oneFd(request("net-namespace", {})); }

    Result<Namespaces> namespaces() override {
        VZ_TRY(auto reply, request("namespaces", {}));
        return Namespaces{std::move(reply.fds)};
    }

private:
    struct Answer {
        bool there = false;
        Message message;
    };

    void setInit(UniqueFd fd, unsigned boots) {
        pid_t pid = fd ? pidOf(fd.get()) : 0;
        initPid_ = pid > 0 ? pid : 0;
        boots_ = boots;
    }

    Result<Message> request(const char* kind, Record body, std::chrono::milliseconds limit = requestLimit);

    Result<void> plain(const char* kind, Record body) {
        VZ_TRY([[maybe_unused]] auto reply, request(kind, std::move(body)));
        return {};
    }

    static Result<UniqueFd> oneFd(Result<Message> reply) {
        if (!reply)
            return std::move(reply).takeError();
        if (reply->fds.size() != 1)
            return fail(ErrorCode::InternalError, "the supervisor answered without a descriptor");
        return std::move(reply->fds[0]);
    }

    Error goneError() const {
        return fail(ErrorCode::OperationInvalid, "the container is no longer running");
    }

    void controlReady();
    /** Takes one message; false when there is none (any more). */
    bool takeMessage();
    void takeNews(Message message);
    void supervisorDied();

    Reactor& reactor_;
    const std::string runDir_;
    const Observer observer_;
    UniqueFd control_;
    const UniqueFd supervisorFd_;
    const pid_t supervisorPid_;
    const std::vector<std::string> consoles_;
    Reactor::Id controlWatch_ = 0;
    Reactor::Id deathWatch_ = 0;

    mutable std::mutex mutex_; // guards what follows; never held while observer_ is called
    std::condition_variable changed_;
    pid_t initPid_ = 0;
    unsigned boots_ = 0;
    uint32_t serial_ = 0;
    std::map<uint32_t, Answer*> waiting_;
    bool connected_ = true;
    bool gone_ = false;
    bool killed_ = false;
    std::optional<StopReason> told_; // by the supervisor, before it ended
};

Result<Message> LiveContainer::request(const char* kind, Record body, std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    if (gone_)
        return goneError();
    if (!connected_)
        return fail(ErrorCode::OperationFailed, "the connection to the container's supervisor (process ",
                    supervisorPid_, ") is lost; restart libvirtd to find it again");
    Answer answer;
    uint32_t serial = ++serial_;
    waiting_[serial] = &answer;
    auto sent = sendMessage(control_.get(), {kind, serial, std::move(body), {}});
    bool ready = sent && changed_.wait_for(lock, limit, [&] { return answer.there || gone_ || !connected_; });
    waiting_.erase(serial);
    if (answer.there) {
        if (answer.message.kind == "error")
            return errorFrom(answer.message.body);
        return std::move(answer.message);
    }
    if (!sent && !gone_)
        return std::move(sent).takeError();
    if (gone_ || ready)
        return goneError();
    return fail(ErrorCode::OperationTimeout, "the container's supervisor (process ", supervisorPid_,
                ") did not answer '", kind, "' within ", limit.count(), " ms");
}

Result<void> LiveContainer::kill(std::chrono::milliseconds limit) {
    auto deadline = std::chrono::steady_clock::now() + limit;
    {
        std::lock_guard lock(mutex_);
        if (gone_)
            return goneError();
        killed_ = true;
    }
    auto asked = request("kill", {}, limit); // whatever it answers, the end of the supervisor counts
    std::unique_lock lock(mutex_);
    if (asked && changed_.wait_until(lock, deadline, [&] { return gone_; }))
        return {};
    // It does not react: without its first process the outer pid namespace ends.
    (void)::pidfd_send_signal(supervisorFd_.get(), SIGKILL, nullptr, 0);
    if (changed_.wait_for(lock, std::chrono::seconds(5), [&] { return gone_; }))
        return {};
    return fail(ErrorCode::OperationTimeout,
                "the container's processes do not end after SIGKILL (supervisor ", supervisorPid_,
                "); they are probably frozen, or wait for storage");
}

bool LiveContainer::takeMessage() {
    auto message = receiveMessage(control_.get(), MSG_DONTWAIT);
    if (!message && message.error().systemError() == EAGAIN)
        return false;
    if (!message || !*message) {
        std::lock_guard lock(mutex_);
        connected_ = false;
        changed_.notify_all();
        return false;
    }
    takeNews(std::move(**message));
    return true;
}

void LiveContainer::takeNews(Message message) {
    std::unique_lock lock(mutex_);
    if (message.serial) {
        auto waiting = waiting_.find(message.serial);
        if (waiting != waiting_.end()) {
            waiting->second->message = std::move(message);
            waiting->second->there = true;
            changed_.notify_all();
        }
        return;
    }
    std::string_view reason = message.body.text("reason");
    if (message.kind == "rebooted" && message.fds.size() == 1) {
        setInit(std::move(message.fds[0]), static_cast<unsigned>(message.body.number("boots")));
        pid_t pid = initPid_;
        lock.unlock();
        if (observer_.rebooted)
            observer_.rebooted(pid);
    } else if (message.kind == "preserved") {
        initPid_ = 0;
        lock.unlock();
        if (observer_.preserved)
            observer_.preserved(reasonFrom(reason));
    } else if (message.kind == "stopped") {
        told_ = reasonFrom(reason);
    } else if (message.kind == "failed") {
        log::warning("container supervisor ", supervisorPid_, ": ", errorFrom(message.body).message());
    }
}

void LiveContainer::controlReady() {
    takeMessage();
    Reactor::Id watch = 0;
    {
        std::lock_guard lock(mutex_);
        if (!connected_)
            watch = std::exchange(controlWatch_, 0);
    }
    if (!watch)
        return;
    reactor_.remove(watch);
    // A process that ends loses its program before its connections.
    if (!file::readLink(cat("/proc/", supervisorPid_, "/exe")) && observer_.dying)
        observer_.dying();
}

/** The supervisor's death is what counts: the kernel has ended everything inside before. */
void LiveContainer::supervisorDied() {
    Reactor::Id control, death;
    {
        std::lock_guard lock(mutex_);
        if (gone_)
            return;
        control = std::exchange(controlWatch_, 0);
        death = std::exchange(deathWatch_, 0);
    }
    while (takeMessage()) {
    }
    reactor_.remove(control);
    reactor_.remove(death);
    StopReason reason;
    {
        std::lock_guard lock(mutex_);
        reason = told_ ? *told_ : lastEnd(runDir_);
        if (killed_ && reason == StopReason::Crashed)
            reason = StopReason::Destroyed;
        gone_ = true;
        initPid_ = 0;
        changed_.notify_all();
    }
    if (observer_.stopped)
        observer_.stopped(reason);
}

Result<std::shared_ptr<Container>> watched(Reactor& reactor, const std::string& runDir, Observer observer,
                                           SupervisorLink link) {
    auto container = std::make_shared<LiveContainer>(reactor, runDir, std::move(observer), std::move(link));
    VZ_CHECK(container->watch());
    return std::shared_ptr<Container>(std::move(container));
}

} // namespace

Result<std::shared_ptr<Container>> Container::start(Reactor& reactor, LaunchSpec spec,
                                                    const StartOptions& options, Observer observer) {
    VZ_TRY(auto link, startSupervisor(spec, options));
    return watched(reactor, spec.runDir, std::move(observer), std::move(link));
}

Result<std::shared_ptr<Container>> Container::adopt(Reactor& reactor, const std::string& runDir,
                                                    Observer observer) {
    VZ_TRY(auto link, findSupervisor(runDir));
    return watched(reactor, runDir, std::move(observer), std::move(link));
}

StopReason Container::lastEnd(const std::string& runDir) {
    return reasonFrom(file::read(runDir + "/exit", 64).valueOr(""));
}

} // namespace vz::ct
