// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/unique_fd.hpp"
#include "storage/export/wire.hpp"
#include "storage/ploop/image.hpp"

#include <functional>
#include <mutex>
#include <thread>

namespace vz::exports {

/**
 * An image at a UNIX socket, for one client at a time that speaks NBD: QEMU, or the kernel's nbd driver
 * (protocol: the NetworkBlockDevice project's doc/proto.md; fixed newstyle, simple replies). Flush, FUA, trim
 * and write-zeroes are the image's own.
 */
class NbdServer {
public:
    struct Options {
        bool readOnly = false;
        std::string socket;
        SocketOwner owner;
        std::string name; ///< of the export; empty: whatever a client asks for is the image
    };

    /** @p image must live longer than the object. */
    static Result<std::unique_ptr<NbdServer>> start(ploop::Image& image, const Options& options);
    /** Hangs up. */
    ~NbdServer();
    NbdServer(const NbdServer&) = delete;
    NbdServer& operator=(const NbdServer&) = delete;

    const std::string& socket() const { return options_.socket; }
    bool connected() const;
    /** From now on the last client's leaving is the end; at once if there is none. */
    void leave();
    /** Calls @p gone, on some thread, when it has come to its end. */
    void onGone(std::function<void()> gone);

private:
    NbdServer(ploop::Image& image, Options options) : image_(image), options_(std::move(options)) {}
    bool makeRoom(int next);
    void acceptAll();
    void serve(UniqueFd socket);
    void endIfLeft(std::unique_lock<std::mutex>& lock);

    ploop::Image& image_;
    const Options options_;
    UniqueFd listener_;
    ino_t identity_ = 0; ///< of the socket in its folder
    std::thread acceptor_;
    std::thread client_;

    mutable std::mutex mutex_; ///< of all below
    int socket_ = -1;          ///< of the client; -1 if there is none
    bool left_ = false;
    bool ended_ = false;
    std::function<void()> gone_;
};

} // namespace vz::exports
