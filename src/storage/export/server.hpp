// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/export/registry.hpp"
#include "storage/export/wire.hpp"
#include "storage/ploop/volume.hpp"

#include <atomic>
#include <condition_variable>
#include <functional>
#include <list>
#include <mutex>
#include <thread>

namespace vz::exports {

/** What vz-ploopd is: one image, open, as a block device, and a socket for work on it. */
class Server {
public:
    struct Options {
        std::string descriptor; ///< real path
        ploop::Guid guid;
        bool readOnly = false;
        Mechanism mechanism = Mechanism::Best;
        std::string device; ///< to use; empty: any that is free; the socket's path for Mechanism::Nbd
        SocketOwner owner;  ///< of that
        std::string name;   ///< see BlockExport::Options
        bool held = false;  ///< the device goes with its last user, to begin with takeHolder()
        /** Whether a merge that was cut off is to be gone on with before all else; asked now and then. */
        ploop::Progress progress;
    };

    /** Opens the image, makes the device and listens. */
    static Result<std::unique_ptr<Server>> start(const Options& options);
    ~Server();
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;

    const Attachment& attachment() const { return attachment_; }
    /** The device, opened, if it is held; else nothing. */
    UniqueFd takeHolder() { return std::move(holder_); }
    /** Serves until the device has gone; then closes the image. */
    Result<void> run();
    /** Takes the device away if nobody uses it; may be called from any thread. */
    void endIfUnused();
    /** Takes it away as soon as nobody uses it. */
    void leaveToUsers();

private:
    explicit Server(const Options& options) : options_(options) {}
    Result<void> openImage();
    Result<void> openVolume();
    Result<void> openFile(bool plain);
    Result<void> exportImage();
    Result<void> makePartition();
    void acceptAll();
    void converse(UniqueFd socket);
    void workAlone(int socket);
    bool answer(int socket, const std::function<Result<Texts>()>& body);
    Result<Texts> serve(int socket, Packet& request);
    Result<Texts> work(int socket, Packet& request);
    Result<void> requireAttached(std::unique_lock<std::mutex>& working);
    Result<void> requireLive() const;
    Error onPlainLoop() const;
    Result<Texts> snapshot(Packet& request);
    Result<Texts> resize(const Texts& arguments);
    Result<Texts> merge(const Texts& arguments, const ploop::Progress& progress);
    Result<Texts> check();
    Result<Texts> detach();
    Result<Texts> waitUntilClosed();
    bool gone();
    Result<bool> claimed();
    Result<void> release();
    Result<Texts> perform(Packet& request, const ploop::Progress& progress);
    Result<void> noteFiles();
    ploop::Image& image() { return volume_ ? volume_->image() : *image_; }

    Options options_;
    Attachment attachment_;
    std::unique_ptr<ploop::Volume> volume_; ///< or, for reading, or of a file without a descriptor,
    std::unique_ptr<ploop::Image> image_;
    std::unique_ptr<BlockExport> export_; ///< until it has gone and work_ and exportMutex_ were to be had
    UniqueFd listener_;
    UniqueFd holder_;
    std::thread acceptor_;

    std::mutex work_;                    ///< held for one request that changes the image
    std::atomic<unsigned> stoppers_ = 0; ///< who wants what takes long to stop
    std::mutex exportMutex_;             ///< after work_, before mutex_
    std::mutex mutex_;                   ///< of all below
    std::condition_variable changed_;
    bool gone_ = false;   ///< the device
    bool closed_ = false; ///< the image
    std::optional<Error> closeError_;
    unsigned conversations_ = 0;
};

} // namespace vz::exports
