// SPDX-License-Identifier: LGPL-2.1-or-later
// Making, finding, freezing and removing the groups of a container.
#include "base/file.hpp"
#include "base/log.hpp"
#include "base/rollback.hpp"
#include "ct/cgroup_internal.hpp"
#include "ct/counter_facts.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <thread>
#include <unistd.h>

namespace vz::ct {

namespace cgroups {

bool Place::has(std::string_view controller) const {
    return std::find(controllers.begin(), controllers.end(), controller) != controllers.end();
}

const Place* placeOf(const std::vector<Place>& places, std::string_view controller) {
    for (const auto& place : places) {
        if (place.has(controller))
            return &place;
    }
    return nullptr;
}

const Place* unifiedOf(const std::vector<Place>& places) {
    for (const auto& place : places) {
        if (place.v2)
            return &place;
    }
    return nullptr;
}

} // namespace cgroups

using cgroups::Place;

namespace {

using Clock = std::chrono::steady_clock;

/** Partition folders that we made carry this mark, so that we remove no one else's. */
constexpr const char* ownMark = "trusted.libvirt-vz";

/** One step of a short wait for the kernel to finish (a freeze, the last zombie); false when the time is up.
 */
bool waitStep(Clock::time_point end, std::chrono::microseconds& pause) {
    if (Clock::now() >= end)
        return false;
    std::this_thread::sleep_for(pause);
    pause = std::min<std::chrono::microseconds>(pause * 2, std::chrono::milliseconds(20));
    return true;
}

/** v1 cpusets are born empty and take no process so; they inherit by hand. */
Result<void> fillCpuset(const std::string& dir) {
    for (const char* name : {"/cpuset.cpus", "/cpuset.mems"}) {
        VZ_TRY(auto own, file::read(dir + name));
        if (!trim(own).empty())
            continue;
        VZ_TRY(auto above, file::read(dir.substr(0, dir.rfind('/')) + name));
        VZ_CHECK(file::writeValue(dir + name, trim(above)));
    }
    return {};
}

/** True if it was not there yet. */
Result<bool> makeDir(const Place& place, const std::string& dir) {
    bool made = ::mkdir(dir.c_str(), 0755) == 0;
    if (!made && errno != EEXIST)
        return failErrno(errno, "cannot make the cgroup ", dir);
    // One that was there may be a partition that another start has made just now and not filled yet.
    if (!place.v2 && place.has("cpuset"))
        VZ_CHECK(fillCpuset(dir));
    return made;
}

/** Lets the children of a cgroup2 group have all controllers that it has. */
Result<void> enableControllers(const std::string& dir) {
    VZ_TRY(auto available, file::read(dir + "/cgroup.controllers"));
    VZ_TRY(auto enabled, file::read(dir + "/cgroup.subtree_control"));
    auto has = split(trim(enabled), ' ');
    for (auto name : split(trim(available), ' ')) {
        if (std::find(has.begin(), has.end(), name) != has.end())
            continue;
        if (auto done = file::writeValue(dir + "/cgroup.subtree_control", cat("+", name)); !done)
            log::info("cgroup controller ", name, " stays off: ", done.error().message());
    }
    return {};
}

/** rmdir of a group and all below it; EBUSY while a zombie is left is waited out. */
Result<void> removeGroup(const std::string& dir, Clock::time_point end) {
    if (::rmdir(dir.c_str()) == 0 || errno == ENOENT)
        return {};
    if (errno == EBUSY || errno == ENOTEMPTY) {
        if (auto names = file::list(dir)) {
            for (const auto& name : *names) {
                if (auto below = cat(dir, "/", name); file::isDirectory(below))
                    VZ_CHECK(removeGroup(below, end));
            }
        }
    }
    std::chrono::microseconds pause(200);
    while (::rmdir(dir.c_str()) < 0 && errno != ENOENT) {
        if (errno != EBUSY || !waitStep(end, pause))
            return failErrno(errno, "cannot remove the cgroup ", dir);
    }
    return {};
}

class Tree final : public Cgroup {
public:
    Tree(CgroupHost host, bool ownPartition) : host_(std::move(host)), ownPartition_(ownPartition) {}

    Result<void> make(const Config& config, pid_t supervisor);
    Result<void> load(const std::string& saved);
    Result<void> killAll();

    std::string save() const override;
    std::vector<std::string> supervisorDirs() const override;
    std::vector<std::string> payloadDirs() const override;
    std::string view() const override;
    Result<void> delegate(uint32_t uid, uint32_t gid) override;
    Result<void> apply(const CgroupLimits& limits) override;
    Result<void> allowDevice(const DeviceRule& rule) override;
    Result<void> denyDevice(const DeviceRule& rule) override;
    Result<void> freeze(bool frozen, std::chrono::milliseconds limit) override;
    Result<bool> frozen() const override;
    Result<std::vector<pid_t>> processes() const override;
    Result<CpuTime> cpuTime() const override { return cgroups::cpuTime(places_); }
    Result<std::vector<uint64_t>> cpuTimes() const override { return cgroups::cpuTimes(places_); }
    Result<MemoryUse> memory() const override { return cgroups::memoryUse(places_); }
    Result<BlockUse> block() const override { return cgroups::blockUse(places_); }
    CounterFacts counterFacts() const override;
    Result<void> remove() override;

private:
    void setPlaces(const std::string& unit);
    Result<void> clearLeftovers();
    Result<void> makePartition(const Place& place);
    Result<void> makePlace(const Place& place, pid_t supervisor);
    Result<void> refreshDevices();
    void dropPartition(const Place& place);
    Result<void> removeScope(Clock::time_point end);

    CgroupHost host_;
    bool ownPartition_; ///< false under systemd, which owns the slices
    std::vector<Place> places_;
    std::vector<DeviceRule> devices_;
};

void Tree::setPlaces(const std::string& unit) {
    places_.clear();
    for (const auto& hierarchy : host_.hierarchies) {
        bool named = std::any_of(hierarchy.controllers.begin(), hierarchy.controllers.end(),
                                 [](const auto& name) { return name.starts_with("name="); });
        places_.push_back(
            {hierarchy.v2, hierarchy.v2 || named, hierarchy.controllers, hierarchy.mountPoint, unit});
    }
}

Result<void> Tree::clearLeftovers() {
    VZ_TRY(auto pids, processes());
    if (!pids.empty())
        return fail(ErrorCode::ResourceBusy, "process ", pids.front(), " still runs in the cgroup ",
                    places_.front().unitDir(), " of an earlier container of this name");
    for (const auto& place : places_)
        VZ_CHECK(removeGroup(place.unitDir(), Clock::now() + std::chrono::seconds(2)));
    return {};
}

Result<void> Tree::makePartition(const Place& place) {
    auto dir = place.mountPoint;
    auto parents = split(std::string_view(place.unit).substr(1), '/');
    parents.pop_back();
    if (place.v2)
        VZ_CHECK(enableControllers(dir));
    for (auto name : parents) {
        dir += cat("/", name);
        VZ_TRY(bool made, makeDir(place, dir));
        if (made)
            (void)::setxattr(dir.c_str(), ownMark, "1", 1, 0);
        if (place.v2)
            VZ_CHECK(enableControllers(dir));
    }
    return {};
}

Result<void> Tree::makePlace(const Place& place, pid_t supervisor) {
    if (ownPartition_ || !place.tracking) {
        // The last container of a partition removes it, perhaps just now: then it is made again.
        for (int tries = 0;; ++tries) {
            auto made = makePartition(place);
            if (made) {
                auto unit = makeDir(place, place.unitDir());
                if (unit)
                    break;
                made = std::move(unit).takeError();
            }
            int reason = made.error().systemError(); // reading a file of a removed group gives ENODEV
            if ((reason != ENOENT && reason != ENODEV) || tries == 5)
                return made;
        }
    }
    if (place.tracking) {
        VZ_TRY(bool made, makeDir(place, place.supervisorDir()));
        (void)made;
        // A cgroup2 group with processes in it cannot hand controllers to its children.
        if (place.v2 && !ownPartition_)
            VZ_CHECK(file::writeValue(place.supervisorDir() + "/cgroup.procs", cat(supervisor)));
    }
    if (place.v2)
        VZ_CHECK(enableControllers(place.unitDir()));
    VZ_TRY(bool limits, makeDir(place, place.limitDir()));
    // Only a group without children can be closed as a whole; what it may use is opened by apply().
    if (limits && !place.v2 && place.has("devices"))
        VZ_CHECK(file::writeValue(place.limitDir() + "/devices.deny", "a"));
    if (place.v2)
        VZ_CHECK(enableControllers(place.limitDir()));
    VZ_TRY(bool payload, makeDir(place, place.payloadDir()));
    (void)payload;
    return {};
}

Result<void> Tree::make(const Config& config, pid_t supervisor) {
    auto name = cgroups::escapeName("vz-" + config.name);
    if (host_.systemd) {
        VZ_TRY(auto unit,
               cgroups::startScope(name + ".scope", cgroups::sliceOf(config.partition),
                                   cat("Container ", config.name, " (", config.uuid, ")"), supervisor));
        setPlaces(unit);
    } else {
        setPlaces(cat(config.partition, "/", name));
        VZ_CHECK(clearLeftovers());
    }
    Rollback undo;
    undo.add([this] { (void)remove(); });
    for (const auto& place : places_)
        VZ_CHECK(makePlace(place, supervisor));
    undo.dismiss();
    return {};
}

std::string Tree::save() const {
    std::vector<std::string> rules;
    for (const auto& rule : devices_)
        rules.push_back(cgroups::formatRule(rule));
    return cat("1 ", ownPartition_ ? "plain" : "systemd", " ", join(rules, ","), " ", places_.front().unit);
}

Result<void> Tree::load(const std::string& saved) {
    auto parts = split(saved, ' ');
    if (parts.size() < 4 || parts[0] != "1" || !parts[3].starts_with('/'))
        return fail(ErrorCode::InternalError, "the saved cgroup '", saved, "' is not understood");
    ownPartition_ = parts[1] == "plain";
    for (auto text : split(parts[2], ',')) {
        if (auto rule = cgroups::parseRule(text))
            devices_.push_back(*rule);
    }
    setPlaces(std::string(parts[3]));
    return {};
}

std::vector<std::string> Tree::supervisorDirs() const {
    std::vector<std::string> dirs;
    for (const auto& place : places_) {
        if (place.tracking)
            dirs.push_back(place.supervisorDir());
    }
    return dirs;
}

std::vector<std::string> Tree::payloadDirs() const {
    std::vector<std::string> dirs;
    for (const auto& place : places_)
        dirs.push_back(place.payloadDir());
    return dirs;
}

std::string Tree::view() const {
    if (host_.layout == CgroupHost::Layout::V2)
        return "unified";
    bool named = cgroups::placeOf(places_, "name=systemd");
    return named ? "hybrid" : "none";
}

Result<void> Tree::delegate(uint32_t uid, uint32_t gid) {
    for (const auto& place : places_) {
        // Groups that are made below would have none of the limits: v1's do not reach down.
        if (!place.v2 && place.has("blkio"))
            continue;
        auto dir = place.payloadDir();
        if (::chown(dir.c_str(), uid, gid) < 0)
            return failErrno(errno, "cannot hand the cgroup ", dir, " to id ", uid);
        for (const char* name : {"cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"}) {
            auto path = cat(dir, "/", name);
            if (::chown(path.c_str(), uid, gid) < 0 && errno != ENOENT)
                return failErrno(errno, "cannot hand ", path, " to id ", uid);
        }
    }
    return {};
}

Result<void> Tree::apply(const CgroupLimits& limits) {
    VZ_CHECK(cgroups::applyLimits(places_, limits));
    if (limits.devices.empty())
        return {};
    devices_ = limits.devices;
    return refreshDevices();
}

Result<void> Tree::refreshDevices() {
    if (const auto* place = cgroups::placeOf(places_, "devices"))
        return cgroups::setDevices(*place, devices_);
    for (const auto& place : places_) {
        if (place.v2)
            return cgroups::setDeviceProgram(place.limitDir(), devices_);
    }
    return fail(
        ErrorCode::ConfigUnsupported,
        "this host has no devices cgroup controller and no cgroup2 tree: devices cannot be restricted");
}

Result<void> Tree::allowDevice(const DeviceRule& rule) {
    devices_.push_back(rule);
    if (const auto* place = cgroups::placeOf(places_, "devices"))
        return cgroups::allowDevice(*place, rule);
    return refreshDevices();
}

Result<void> Tree::denyDevice(const DeviceRule& rule) {
    auto text = cgroups::formatRule(rule);
    std::erase_if(devices_, [&](const auto& other) { return cgroups::formatRule(other) == text; });
    if (const auto* place = cgroups::placeOf(places_, "devices"))
        return cgroups::denyDevice(*place, rule);
    return refreshDevices();
}

Result<void> Tree::freeze(bool wanted, std::chrono::milliseconds limit) {
    const auto* place = cgroups::placeOf(places_, "freezer");
    std::string path, value = wanted ? "FROZEN" : "THAWED";
    if (place)
        path = place->limitDir() + "/freezer.state";
    for (const auto& other : places_) {
        if (!place && other.v2) {
            path = other.limitDir() + "/cgroup.freeze";
            value = wanted ? "1" : "0";
        }
    }
    if (path.empty())
        return fail(ErrorCode::ConfigUnsupported,
                    "this host has no freezer cgroup: containers cannot be paused");
    auto end = Clock::now() + limit;
    std::chrono::microseconds pause(100);
    for (;;) {
        // Written again each time: a v1 freeze can be stuck until it is asked for anew.
        VZ_CHECK(file::writeValue(path, value));
        VZ_TRY(bool now, frozen());
        if (now == wanted)
            return {};
        if (!waitStep(end, pause))
            return fail(ErrorCode::OperationTimeout, "the container could not be ",
                        wanted ? "frozen" : "thawed", " within ", limit.count(), " ms");
    }
}

Result<bool> Tree::frozen() const {
    if (const auto* place = cgroups::placeOf(places_, "freezer")) {
        VZ_TRY(auto state, file::read(place->limitDir() + "/freezer.state"));
        return trim(state) == "FROZEN";
    }
    for (const auto& place : places_) {
        if (!place.v2)
            continue;
        VZ_TRY(auto events, file::read(place.limitDir() + "/cgroup.events"));
        for (auto line : lines(events)) {
            if (line == "frozen 1")
                return true;
        }
    }
    return false;
}

Result<std::vector<pid_t>> Tree::processes() const {
    std::vector<pid_t> pids;
    VZ_CHECK(collectProcesses(places_.front().limitDir(), pids));
    return pids;
}

CounterFacts Tree::counterFacts() const {
    std::vector<std::string> dirs;
    for (const auto& place : places_)
        dirs.push_back(place.limitDir());
    return ct::counterFacts(dirs);
}

Result<void> Tree::killAll() {
    (void)freeze(false, std::chrono::seconds(2));
    auto end = Clock::now() + std::chrono::seconds(5);
    std::chrono::microseconds pause(200);
    for (;;) {
        // A supervisor too: it would start its container again.
        std::vector<pid_t> pids;
        for (const auto& place : places_)
            VZ_CHECK(collectProcesses(place.unitDir(), pids));
        if (pids.empty())
            return {};
        for (pid_t pid : pids)
            ::kill(pid, SIGKILL);
        if (!waitStep(end, pause))
            return fail(ErrorCode::OperationTimeout, "process ", pids.front(),
                        " of a dead container cannot be killed");
    }
}

void Tree::dropPartition(const Place& place) {
    auto dir = place.unitDir();
    for (;;) {
        dir.resize(dir.rfind('/'));
        char mark;
        if (dir.size() <= place.mountPoint.size() || ::getxattr(dir.c_str(), ownMark, &mark, 1) < 0)
            return;
        if (::rmdir(dir.c_str()) < 0)
            return; // others use it
    }
}

/** systemd removes the groups of its scopes itself: it would take one that is gone for one that still runs.
 */
Result<void> Tree::removeScope(Clock::time_point end) {
    for (const auto& place : places_) {
        if (!place.tracking)
            continue;
        VZ_CHECK(removeGroup(place.limitDir(), end));
        VZ_CHECK(removeGroup(place.supervisorDir(), end));
    }
    const auto& unit = places_.front().unit;
    auto scope = unit.substr(unit.rfind('/') + 1);
    VZ_TRY(bool known, cgroups::stopScope(scope));
    std::chrono::microseconds pause(500);
    for (const auto& place : places_) {
        while (place.tracking && file::exists(place.unitDir())) {
            // systemd tries once, perhaps while our groups were still there, and then forgets the scope.
            if (!known) {
                VZ_CHECK(removeGroup(place.unitDir(), end));
                break;
            }
            if (!waitStep(end, pause))
                return fail(ErrorCode::OperationTimeout, "systemd does not remove the cgroup ",
                            place.unitDir());
            VZ_TRY(known, cgroups::stopScope(scope));
        }
    }
    return {};
}

Result<void> Tree::remove() {
    auto end = Clock::now() + std::chrono::seconds(5);
    Result<void> result;
    for (const auto& place : places_) {
        if (!ownPartition_ && place.tracking)
            continue;
        auto removed = removeGroup(place.unitDir(), end);
        if (removed)
            dropPartition(place);
        else
            result = std::move(removed);
    }
    if (!ownPartition_) {
        if (auto removed = removeScope(end); !removed)
            result = std::move(removed);
    }
    return result;
}

} // namespace

Result<std::unique_ptr<Cgroup>> Cgroup::create(const CgroupHost& host, const Config& config,
                                               pid_t supervisor) {
    auto tree = std::make_unique<Tree>(host, !host.systemd);
    VZ_CHECK(tree->make(config, supervisor));
    return std::unique_ptr<Cgroup>(std::move(tree));
}

Result<std::unique_ptr<Cgroup>> Cgroup::open(const CgroupHost& host, const std::string& saved) {
    auto tree = std::make_unique<Tree>(host, true);
    VZ_CHECK(tree->load(saved));
    return std::unique_ptr<Cgroup>(std::move(tree));
}

Result<void> Cgroup::removeLeftovers(const CgroupHost& host, const std::string& saved) {
    Tree tree(host, true);
    VZ_CHECK(tree.load(saved));
    VZ_CHECK(tree.killAll());
    return tree.remove();
}

} // namespace vz::ct
