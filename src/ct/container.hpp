// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/reactor.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "ct/launch_spec.hpp"

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace vz::ct {

/** Why a container is no longer running. */
enum class StopReason : uint8_t {
    Shutdown,  ///< its init powered off or ended by itself
    Destroyed, ///< we killed it on request
    Crashed,   ///< its init was killed or failed, or the supervisor is gone
};

/** News from a supervisor; called on the reactor thread, never under a lock of Container. They may come
 * before start() or adopt() has returned, and must not make requests to a Container (answers come on that
 * thread). */
struct Observer {
    /** Init was started again (reboot): it has a new host pid. */
    std::function<void(pid_t init)> rebooted;
    /** Init has ended and onPoweroff/onReboot/onCrash = Preserve keeps the supervisor; nothing runs inside.
     */
    std::function<void(StopReason)> preserved;
    /** The supervisor is dying, and with it all inside; but v1 tasks that are frozen die only when they are
     * thawed. */
    std::function<void()> dying;
    /** The container is gone: nothing of it runs any more. Called once. Cgroups and the run folder remain. */
    std::function<void(StopReason)> stopped;
};

/** Handles into a running container's namespaces, for setns(2). */
struct Namespaces {
    std::vector<UniqueFd> fds; ///< in the order of entering: user (if any), ipc, uts, net, cgroup, pid, mnt;
                               ///< ipc first if it is not the user namespace's own
};

/**
 * The daemon's side of one running container: talks to its vz-supervisor on a local socket.
 * Thread-safe. The container keeps running when this object ends.
 */
class Container {
public:
    /** What start needs besides the description. */
    struct StartOptions {
        std::string supervisorPath; ///< absolute path of vz-supervisor
        /** Called when the supervisor process exists and before it does anything, with its host pid:
         *  makes the cgroups (under systemd: the scope) and may fill spec.supervisorCgroups / payloadCgroups.
         */
        std::function<Result<void>(pid_t supervisor, LaunchSpec& spec)> prepare;
        /** Called when the network namespace exists and before init runs: @p netns is a handle to it. */
        std::function<Result<void>(int netns)> network;
        /** Called when init is held just before exec (the pid is its host pid): a paused start freezes here.
         *  If it is set, start() does not wait for the exec, which a frozen init does only when thawed: an
         * exec that fails then is a crash (logged, stopped()). Leave it empty for a start that is not paused.
         */
        std::function<Result<void>(pid_t init)> beforeInit;
        std::chrono::milliseconds limit = std::chrono::seconds(30);
    };

    /** Starts a container; returns when its init was executed (or is frozen just before). On failure nothing
     *  of it runs, and the error is the supervisor's own ("cannot mount X: ..."). */
    static Result<std::shared_ptr<Container>> start(Reactor& reactor, LaunchSpec spec,
                                                    const StartOptions& options, Observer observer);

    /** Finds a running container again through @p runDir; NoDomain if no supervisor is there (any more). */
    static Result<std::shared_ptr<Container>> adopt(Reactor& reactor, const std::string& runDir,
                                                    Observer observer);

    /** How a container that is gone ended, from the record in its run folder; Crashed if it left none. */
    static StopReason lastEnd(const std::string& runDir);

    virtual ~Container() = default;

    virtual pid_t init() const = 0;       ///< host pid of init, 0 if none runs; changes at reboot
    virtual pid_t supervisor() const = 0; ///< host pid of the supervisor
    virtual unsigned boots() const = 0;   ///< number of starts by this supervisor, 1 = never rebooted
    /** Host pty path of console @p index ("/dev/pts/7"). */
    virtual std::string consolePath(size_t index) const = 0;

    /** One end of a byte stream to a console. ResourceBusy if someone is connected and not @p force. */
    virtual Result<UniqueFd> openConsole(size_t index, bool force) = 0;

    /** Sends a signal to init (host pidfd, no race with pid reuse). */
    virtual Result<void> signalInit(int signal) = 0;
    /** Announces that the next end of init is wanted: as a stop (false) or a reboot (true), whatever its exit
     *  status; also if that end comes much later. */
    virtual Result<void> expectEnd(bool reboot) = 0;
    /** Kills the container and waits until its supervisor is gone, too; stopped() is called with Destroyed on
     * the reactor thread at about the same time. Thaw a cgroup v1 freezer before: its processes do not die
     * frozen. A supervisor that does not react within @p limit is killed itself, and all with it. */
    virtual Result<void> kill(std::chrono::milliseconds limit) = 0;
    /** Kills init and starts it again (virDomainReset). */
    virtual Result<void> reset() = 0;

    virtual Result<void> setEndActions(EndAction onPoweroff, EndAction onReboot, EndAction onCrash) = 0;

    /** What it gets at its reboots, and at once the number of terminals and what it sees. */
    virtual Result<void> setCounters(const CounterLimits& limits) = 0;

    /** Mounts into the running container (hotplug); survives its reboots. detachMount(): ResourceBusy while
     *  something inside uses it, DeviceMissing if nothing was mounted there by us. */
    virtual Result<void> attachMount(const Mount& mount) = 0;
    virtual Result<void> detachMount(const std::string& target) = 0;
    /** What is mounted at @p target ("/": the root), opened: for ioctl(2) on its file system. */
    virtual Result<UniqueFd> openMount(const std::string& target) = 0;
    virtual Result<void> attachDevice(const DeviceNode& device) = 0;
    virtual Result<void> detachDevice(const std::string& path) = 0;

    /** A handle to the container's network namespace. */
    virtual Result<UniqueFd> networkNamespace() = 0;
    virtual Result<Namespaces> namespaces() = 0;
};

} // namespace vz::ct
