// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/nbd_device_export.hpp"

#include "base/log.hpp"
#include "storage/export/nbd_connection.hpp"
#include "storage/export/nbd_device.hpp"
#include "storage/export/nbd_guard.hpp"

#include <algorithm>
#include <cerrno>
#include <exception>
#include <linux/nbd.h>
#include <mutex>
#include <sys/socket.h>
#include <thread>
#include <vector>

namespace vz::exports {

namespace {

/** More connections than this bring nothing; threads are for requests that wait for the disk. */
constexpr unsigned mostConnections = 4, threadsInAll = 16;

class NbdDeviceExport final : public BlockExport {
public:
    explicit NbdDeviceExport(ploop::Image& image) : BlockExport(image) {}

    ~NbdDeviceExport() override {
        held_.reset();
        for (const auto& end : ends_)
            ::shutdown(end.get(), SHUT_RDWR);
        for (auto& thread : threads_)
            thread.join();
    }

    Result<void> start(const Options& options) {
        unsigned connections = std::clamp(std::thread::hardware_concurrency(), 1u, mostConnections);
        std::vector<UniqueFd> peers;
        for (unsigned i = 0; i < connections; ++i) {
            int ends[2];
            if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
                return failErrno(errno, "cannot make a socket");
            ends_.emplace_back(ends[0]);
            peers.emplace_back(ends[1]);
        }
        auto sequence = NbdDevice::newSequence();
        VZ_TRY(guard_, NbdGuard::start(sequence));
        VZ_CHECK(serve({options.readOnly, ""}));
        NbdDevice::Options device;
        device.bytes = image_.bytes();
        // What one connection has flushed is flushed for all.
        device.flags =
            static_cast<uint16_t>(NbdConnection::exportFlags(options.readOnly) | NBD_FLAG_CAN_MULTI_CONN);
        device.readOnly = options.readOnly;
        device.device = options.device;
        VZ_TRY(device_, NbdDevice::attach(peers, device, sequence, held_));
        return {};
    }

    const BlockDevice* device() const override { return device_ ? &*device_ : nullptr; }
    Mechanism mechanism() const override { return Mechanism::NbdDevice; }
    Result<void> resized() override { return device_->refresh(image_.bytes()); }

    void onGone(std::function<void()> gone) override {
        std::unique_lock lock(mutex_);
        gone_ = std::move(gone);
        tellIfGone(lock);
    }

private:
    Result<void> serve(const NbdConnection::Options& options) {
        auto workers = std::max<unsigned>(threadsInAll / static_cast<unsigned>(ends_.size()), 1);
        open_ = ends_.size();
        try {
            for (const auto& end : ends_)
                threads_.emplace_back([this, options, workers, fd = end.get()] {
                    try {
                        NbdConnection(image_, fd, options).serve(workers);
                    } catch (const std::exception& failure) {
                        log::error("a connection had to be left: ", failure.what());
                    }
                    std::unique_lock lock(mutex_);
                    --open_;
                    tellIfGone(lock);
                });
        } catch (const std::system_error&) {
            return fail(ErrorCode::SystemError, "no thread to be had for a network block device");
        }
        return {};
    }

    /** Calls back without the lock. */
    void tellIfGone(std::unique_lock<std::mutex>& lock) {
        if (open_ > 0 || !gone_)
            return;
        auto gone = std::exchange(gone_, nullptr);
        lock.unlock();
        gone();
    }

    NbdGuard guard_; ///< ends after the connections
    std::vector<UniqueFd> ends_;
    std::vector<std::thread> threads_;
    std::optional<NbdDevice> device_;
    std::mutex mutex_; ///< of all below
    size_t open_ = 0;  ///< connections
    std::function<void()> gone_;
};

} // namespace

Result<std::unique_ptr<BlockExport>> startNbdDevice(ploop::Image& image,
                                                    const BlockExport::Options& options) {
    auto made = std::make_unique<NbdDeviceExport>(image);
    VZ_CHECK(made->start(options));
    return std::unique_ptr<BlockExport>(std::move(made));
}

} // namespace vz::exports
