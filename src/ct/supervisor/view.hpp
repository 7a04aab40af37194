// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/supervisor/loop.hpp"
#include "ct/supervisor/namespaces.hpp"

#include <memory>

namespace vz::supervisor {

/**
 * What the container sees of itself instead of its host: some files of /proc and /sys, which a FUSE file
 * system makes at the moment they are read (ct/view.hpp). A process of its own serves it, in the supervisor's
 * pid namespace and so never longer than that: the supervisor itself looks at files of the container, which
 * may be these. The supervisor keeps the connection, so that a server that died has a successor.
 */
class View : Loop::Handler {
public:
    /** Mounts the file system at @p place (a folder that is made) of this mount namespace and starts the
     * server. */
    static Result<std::unique_ptr<View>> create(Loop& loop, const ct::LaunchSpec& spec,
                                                const std::string& place);
    ~View();
    View(const View&) = delete;
    View& operator=(const View&) = delete;

    /** Mounts of the files, to be placed by the next init. */
    Result<std::vector<ViewMount>> mounts() const;
    /** That init is there. */
    void booted(pid_t init);
    /** What the beancounters are set to now. */
    void setCounters(const std::vector<ct::CounterSetting>& counters);

private:
    View(Loop& loop, const ct::LaunchSpec& spec, std::string place)
        : loop_(loop), spec_(spec), place_(std::move(place)) {}
    Result<void> mount();
    Result<void> startServer();
    void ready(int fd, uint32_t events) override;
    void tellInit();

    Loop& loop_;
    const ct::LaunchSpec& spec_; ///< the supervisor's
    std::string place_;
    UniqueFd fuse_;
    UniqueFd channel_;
    UniqueFd server_; ///< pidfd
    pid_t pid_ = 0;
    pid_t init_ = 0;
    unsigned starts_ = 0;
};

} // namespace vz::supervisor
