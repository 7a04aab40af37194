// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/cgroup.hpp"
#include "ct/container.hpp"
#include "domain/config.hpp"
#include "domain/store.hpp"
#include "driver/domain_snapshots.hpp"
#include "driver/job.hpp"
#include "libvirt/objects.hpp"
#include "storage/ploop/image.hpp"

#include <libvirt/libvirt.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

namespace vz::driver {

class DiskLeases;
class InterfacePlugger;
struct InterfacePlace;
class Driver;

/**
 * One container as libvirt sees it: its persistent config, and while it is active its live config, the handle
 * of its supervisor and its cgroups. Queries take a short lock. What changes the domain is called with its
 * modify job held (see job.hpp); news from the supervisor arrive on the driver's worker and need no job. Lock
 * order: job, then lock_, then the driver's and the registry's own locks.
 */
class ContainerDomain : public std::enable_shared_from_this<ContainerDomain> {
public:
    ContainerDomain(Driver& driver, domain::Config config, bool persistent);
    ~ContainerDomain();

    const std::string& uuid() const { return uuid_; }
    std::string name() const;
    int id() const { return id_; } ///< host pid of init, -1 if inactive
    bool active() const { return id_ > 0; }
    bool persistent() const;
    bool updated() const;
    std::pair<int, int> state() const; ///< virDomainState and its reason
    JobLock& jobs() { return jobs_; }
    abi::Events::Subject subject() const;

    /** The config the next start uses. */
    domain::Config config() const;
    /** The live config if active, else config(). */
    domain::Config current() const;
    /** The handles of the running container; OperationInvalid if it is not running. */
    Result<std::shared_ptr<ct::Container>> running() const;
    Result<std::shared_ptr<ct::Cgroup>> cgroup() const;
    /** The images and devices that it uses; OperationInvalid if it is not running. */
    Result<std::vector<domain::UsedDisk>> disks() const;

    // Lifecycle; the caller holds the modify job.
    struct StartMode {
        bool paused = false;
        virConnectPtr autodestroyOwner = nullptr;
        int event = VIR_DOMAIN_EVENT_STARTED_BOOTED;
        bool forSnapshot() const { return event == VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT; }
    };
    Result<void> start(const StartMode& mode);
    /** Starts this one time from @p config (virDomainCreateXML over a defined domain). */
    Result<void> startOnce(domain::Config config, const StartMode& mode);
    Result<void> shutdown();
    Result<void> reboot();
    Result<void> reset();
    Result<void> destroy(bool graceful);
    Result<void> suspend();
    Result<void> resume();

    // Definition; the caller holds the modify job.
    /** Replaces the persistent config (written to disk); a transient domain becomes persistent. */
    Result<void> define(domain::Config config);
    /** Removes the persistent config; an active domain becomes transient. */
    Result<void> undefine();
    Result<void> rename(const std::string& name);
    bool autostart() const;
    Result<void> setAutostart(bool on);
    /** Replaces the config on disk and in memory by an edited one. */
    Result<void> setConfig(domain::Config config);
    /** Replaces the live config by an edited one. */
    Result<void> setLive(domain::Config config, bool done = false);

    // Devices of the running container; the caller holds the modify job.
    Result<void> attachLive(const std::string& xml);
    Result<void> detachLive(const domain::Config::Device& device);
    Result<void> updateLive(const std::string& xml);
    /** After a restart of the daemon: makes live XML, interfaces and ports agree again. */
    Result<void> settleInterfaces();
    std::vector<domain::UsedInterface> interfaces() const;

    /** The CPUs that the running container was given, as a list; empty: all, or not running. */
    std::string cpus() const;
    /** Puts the resources of an edited live config in force; as before after an error. */
    Result<void> tune(domain::Config config);

    Result<void> setEndActions(const domain::Definition& definition);

    // Snapshots (container_snapshots.cpp); the caller holds the modify job, or an asynchronous one.
    DomainSnapshots& snapshots() { return snapshots_; }
    const DomainSnapshots& snapshots() const { return snapshots_; }
    /** Makes it; @p flags: VIR_DOMAIN_SNAPSHOT_CREATE_*. Its name. */
    Result<std::string> createSnapshot(const domain::SnapshotRequest& request, unsigned int flags);
    /** Takes a whole document as metadata of a snapshot that was made before. */
    Result<std::string> redefineSnapshot(domain::Snapshot snapshot, unsigned int flags);
    Result<void> revertTo(const std::string& name, unsigned int flags);
    Result<void> deleteSnapshot(const std::string& name, unsigned int flags);
    /** Finishes or undoes what a daemon that was killed has left half done; may take long. */
    Result<void> settleSnapshots(const ploop::Progress& progress = {});
    /** Whether there is something for it to do. */
    bool hasUnsettledSnapshots() const;

    /** The connection this domain dies with, or null. */
    virConnectPtr autodestroyOwner() const;

    /** Takes over the running container of this run folder after a restart of the daemon. */
    Result<void> adopt(const domain::RuntimeState& state);

    /** How it ended while no daemon ran. */
    void endedWhileAway(ct::StopReason reason);

    std::string runDir() const;

private:
    struct Live {
        domain::Config config;
        domain::Config::LiveFacts facts;
        std::shared_ptr<ct::Container> container;
        std::shared_ptr<ct::Cgroup> cgroup;
        std::vector<domain::UsedDisk> disks;
        /** Its network namespace if it has an interface of the host, which is to come back from there. */
        std::shared_ptr<UniqueFd> netns;
        virConnectPtr autodestroyOwner = nullptr;
        std::optional<domain::Config> tuning; ///< whose limits are just being set
        bool destroying = false;
        bool forSnapshot = false; ///< its end is part of a snapshot or revert
        bool finishing = false;   ///< its remains are being removed
    };

    /** Counts a new run; news that come before it is active wait for that. */
    unsigned beginRun();
    ct::Observer observer(unsigned run);
    Result<void> launch(unsigned run, const StartMode& mode, Live& live);
    void becomeActive(Live live, bool paused, int reason);
    void onDying(unsigned run);
    void onStopped(unsigned run, ct::StopReason reason);
    void finishStop(unsigned run, ct::StopReason reason);
    void onRebooted(unsigned run, pid_t init);
    void onPreserved(unsigned run, ct::StopReason reason);
    void waitUntilStopped(std::chrono::milliseconds limit);
    unsigned
    setDestroying(bool on); ///< the run that it is               ///< how the end that follows is to be told
    void setState(int state, int reason);      ///< lock_ held
    domain::RuntimeState runtimeState() const; ///< lock_ held
    Result<void> saveRuntime();
    Result<void> setTuning(std::optional<domain::Config> config);
    Result<void> changeInterfaces(const domain::Config& from, domain::Config to);
    /** What a daemon that died in the midst of tune() has set goes back to what it was. */
    Result<void> undoTuning(const Live& live, const domain::RuntimeState& state);
    Result<void> stopForSnapshot();
    bool ending() const; ///< it was active, and is not for long, or any more
    Result<domain::Snapshot> describeSnapshot(const domain::SnapshotRequest& request, bool active) const;
    Result<void> makeStates(const domain::Snapshot& snapshot, bool metadata, bool quiesce);
    Result<void> switchStates(const domain::Snapshot& snapshot);
    Result<void> removeStates(const domain::Snapshot& snapshot);
    Result<void> removeSnapshots(const std::vector<domain::SnapshotRef>& gone, bool metadataOnly);
    Result<void> adoptConfigOf(const domain::Snapshot& snapshot);
    void thawDisks() const;
    /** What a device that comes or goes changes beside the XML. */
    struct LiveParts {
        domain::Config::LiveFacts facts;
        std::vector<domain::UsedDisk> disks;
    };
    Result<LiveParts> liveParts() const;
    Result<void> setLiveParts(LiveParts parts);
    /** @p changed has the device already; it learns what is known only when it is plugged in. */
    Result<void> attachDevice(domain::Config& changed, const domain::Config::Device& device,
                              LiveParts& parts);
    Result<void> detachDevice(const domain::Config& config, const domain::Config::Device& device,
                              LiveParts& parts);
    Result<void> attachDisk(DiskLeases& leases, LiveParts& parts);
    /** Goes from limits of disks that were in force to others. */
    Result<void> limitDisks(const std::vector<ct::BlockLimit>& before,
                            const std::vector<ct::BlockLimit>& now);
    Result<void> detachDisk(const std::string& name, LiveParts& parts);
    InterfacePlace interfacePlace(int netns) const;
    /** A handle to keep if @p used has an interface of the host; else null. */
    static std::shared_ptr<UniqueFd> keptNetwork(const std::vector<domain::UsedInterface>& used, int netns);
    /** Runs @p work with a plugger for the running container that writes @p parts down. */
    Result<void> withPlugger(domain::Config& config, LiveParts& parts,
                             const std::function<Result<void>(InterfacePlugger&)>& work);

    Driver& driver_;
    const std::string uuid_;
    JobLock jobs_;
    std::atomic<int> id_ = -1;
    unsigned run_ = 0; ///< counts the starts; under lock_

    mutable std::mutex lock_;
    std::condition_variable stopped_; // id_ went to -1
    domain::Config config_;
    bool persistent_;
    bool updated_ = false;
    bool autostart_ = false;
    int state_ = VIR_DOMAIN_SHUTOFF;
    int reason_ = VIR_DOMAIN_SHUTOFF_UNKNOWN;
    bool starting_ = false;
    std::optional<ct::StopReason> endedWhileStarting_;
    std::optional<Live> live_;
    DomainSnapshots snapshots_; ///< has a lock of its own
};

/** "domain is not running", as libvirt says it. */
Error notRunning();

} // namespace vz::driver
