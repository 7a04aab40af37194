// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "ct/protocol.hpp"
#include "ct/supervisor/loop.hpp"

#include <string>
#include <vector>

namespace vz::supervisor {

/** The socket for the daemon, and the connections over it. Only root is served; who sends garbage is cut off.
 */
class Control : Loop::Handler {
public:
    /** What the control socket asks of its owner. */
    struct Owner {
        /** The greeting of a new connection, with descriptors to send along. */
        virtual ct::Message greeting(std::vector<int>& fds) = 0;
        /** Carries out a request; its answer goes back over the same connection. */
        virtual Result<ct::Message> handle(const ct::Message& request) = 0;

    protected:
        ~Owner() = default;
    };

    Control(Loop& loop, Owner& owner) : loop_(loop), owner_(owner) {}

    /** Makes RUNDIR/control.sock. */
    Result<void> listen(const std::string& runDir);
    /** Serves an existing connection, which needs no greeting any more. */
    void adopt(UniqueFd connection);
    /** Sends news to all connections. */
    void broadcast(const ct::Message& news, const std::vector<int>& fds = {});

private:
    void ready(int fd, uint32_t events) override;
    void acceptOne();
    void serve(int fd);
    void drop(int fd);

    Loop& loop_;
    Owner& owner_;
    UniqueFd listener_;
    std::vector<UniqueFd> connections_;
};

} // namespace vz::supervisor
