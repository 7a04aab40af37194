// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/nbd_device_export.hpp"

#include "base/log.hpp"
#include "storage/export/nbd_connection.hpp"
#include "storage/export/nbd_device.hpp"
#include "storage/export/nbd_guard.hpp"

#include <cerrno>
#include <exception>
#include <mutex>
#include <optional>
#include <sys/socket.h>
#include <system_error>
#include <thread>
#include <utility>

namespace vz::exports {

namespace {

/** For requests that wait for the disk. */
constexpr unsigned deviceWorkers = 16;

/**
 * There is one connection. With more, some answers might never be taken: the driver has a task per connection
 * that only ends with it, and where the kernel is too slow in making threads for them, its workqueue's one
 * emergency thread (WQ_MEM_RECLAIM) takes all of these tasks, of which it begins the first (seen on 6.1).
 */
class NbdDeviceExport final : public BlockExport {
public:
    explicit NbdDeviceExport(ploop::Image& image) : BlockExport(image) {}

    ~NbdDeviceExport() override {
        held_.reset();
        if (end_)
            ::shutdown(end_.get(), SHUT_RDWR);
        if (thread_.joinable())
            thread_.join();
    }

    Result<void> start(const Options& options) {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
            return failErrno(errno, "cannot make a socket");
        end_.reset(ends[0]);
        UniqueFd peer(ends[1]);
        auto sequence = NbdDevice::newSequence();
        VZ_TRY(guard_, NbdGuard::start(sequence));
        VZ_CHECK(serve({options.readOnly, ""}));
        NbdDevice::Options device;
        device.bytes = image_.bytes();
        device.flags = NbdConnection::exportFlags(options.readOnly);
        device.device = options.device;
        VZ_TRY(device_, NbdDevice::attach(peer, device, sequence, held_));
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
        try {
            thread_ = std::thread([this, options] {
                try {
                    NbdConnection(image_, end_.get(), options).serve(deviceWorkers);
                } catch (const std::exception& failure) {
                    log::error("a connection had to be left: ", failure.what());
                }
                std::unique_lock lock(mutex_);
                ended_ = true;
                tellIfGone(lock);
            });
        } catch (const std::system_error&) {
            return fail(ErrorCode::SystemError, "no thread to be had for a network block device");
        }
        return {};
    }

    /** Calls back without the lock. */
    void tellIfGone(std::unique_lock<std::mutex>& lock) {
        if (!ended_ || !gone_)
            return;
        auto gone = std::exchange(gone_, nullptr);
        lock.unlock();
        gone();
    }

    NbdGuard guard_; ///< ends after the connection
    UniqueFd end_;   ///< ours
    std::thread thread_;
    std::optional<NbdDevice> device_;
    std::mutex mutex_; ///< of all below
    bool ended_ = false;
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
