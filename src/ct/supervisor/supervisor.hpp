// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/supervisor/console.hpp"
#include "ct/supervisor/control.hpp"
#include "ct/supervisor/devices.hpp"
#include "ct/supervisor/loop.hpp"
#include "ct/supervisor/namespaces.hpp"
#include "ct/supervisor/root_tree.hpp"
#include "ct/supervisor/view.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace vz::supervisor {

/** What the daemon wants of a start. */
struct StartWishes {
    bool network = false; ///< wait for go{} once the network namespace exists
    bool hold = false;    ///< wait for go{} just before init is executed, then do not wait for that
};

/**
 * One container: PID 1 of the outer pid namespace, so that whatever ends this process ends everything inside.
 * start() is the ordered list of steps, run() the time after it.
 */
class Supervisor : Control::Owner, Loop::Handler {
public:
    Supervisor(Loop loop, ct::LaunchSpec spec, UniqueFd daemon, uint32_t launchSerial);

    /** Starts the container and tells the daemon; on an error (told, too) the process has to end. */
    Result<void> start(const StartWishes& wishes);
    /** Serves until the container has ended for good. */
    [[noreturn]] void run();

private:
    enum class State : uint8_t { Running, Waiting, Preserved }; // Waiting: before a delayed start
    enum class End : uint8_t { Shutdown, Reboot, Crash, Destroyed };

    // Steps of the first start only
    Result<void> isolate();
    Result<void> watchSignals();
    Result<void> listen();
    Result<void> makeHeldNamespaces();
    Result<void> announceNetwork();
    Result<void> makeRoot();
    Result<void> makeConsoles();
    Result<void> makeView();
    Result<void> awaitNetwork();
    // Steps of every boot
    Result<void> makeDevices();
    Result<void> connectConsoles();
    Result<void> makeMounts();
    Result<void> startInit();
    Result<void> awaitExec();

    Result<void> boot();
    Result<void> reboot();
    void clearForReboot();
    Result<void> waitForGo();
    void watchInit();

    // What happens later
    void ready(int fd, uint32_t events) override;
    void readInitChannel();
    void initEnded();
    void hostWantsEnd();
    void act(End end);
    void restartLater();
    void restartNow();
    [[noreturn]] void finish(End end);
    void news(const char* kind, std::string_view reason, const std::vector<int>& fds = {});

    // Requests
    ct::Message greeting(std::vector<int>& fds) override;
    Result<ct::Message> handle(const ct::Message& request) override;
    Result<ct::Message> openConsole(const ct::Record& body);
    Result<ct::Message> signal(const ct::Record& body);
    Result<ct::Message> expect(const ct::Record& body);
    Result<ct::Message> kill(const ct::Record& body);
    Result<ct::Message> reset(const ct::Record& body);
    Result<ct::Message> actions(const ct::Record& body);
    Result<ct::Message> counters(const ct::Record& body);
    Result<ct::Message> attachMount(const ct::Record& body);
    Result<ct::Message> detachMount(const ct::Record& body);
    Result<ct::Message> openMount(const ct::Record& body);
    Result<ct::Message> attachDevice(const ct::Record& body);
    Result<ct::Message> detachDevice(const ct::Record& body);
    Result<ct::Message> netNamespace(const ct::Record& body);
    Result<ct::Message> namespaces(const ct::Record& body);
    Result<void> needInit() const;
    Result<void> hold(const ct::DeviceNode& device);

    Loop loop_;
    ct::LaunchSpec spec_;
    UniqueFd daemon_; // during the start; then one of control_'s
    uint32_t launchSerial_;
    StartWishes wishes_;
    Control control_;

    HeldNamespaces held_;
    RootTree root_;
    DeviceTree devices_;
    std::map<std::string, UniqueFd> holders_; ///< by the path of the node inside
    std::vector<std::unique_ptr<Console>> consoles_;
    std::vector<unsigned> terminals_; // numbers of the consoles' terminals inside
    std::unique_ptr<View> view_;      ///< none: the host is seen
    std::optional<Error> viewError_;  ///< why
    UniqueFd self_;
    UniqueFd timer_;
    UniqueFd signals_;

    State state_ = State::Running;
    InitProcess init_;
    bool hold_ = false;
    unsigned boots_ = 0;
    uint64_t bootedAtMs_ = 0;
    unsigned delayMs_ = 0;
    std::optional<End> expected_; // what the next end of init is, whatever its status
    bool restart_ = false;        // whatever the actions say
};

} // namespace vz::supervisor
