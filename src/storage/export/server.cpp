// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/server.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "base/rollback.hpp"
#include "storage/ploop/check.hpp"
#include "storage/ploop/gpt.hpp"

#include <algorithm>
#include <cerrno>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

namespace vz::exports {

namespace {

/** Programs such as udev open devices for a moment. */
constexpr std::chrono::seconds detachWait{10}, closeWait{5};

/** A file system in which nothing changes; what is on the device is all there is to it. */
class Frozen {
public:
    explicit Frozen(int fd) {
        if (fd < 0)
            return;
        frozen_ = ::ioctl(fd, FIFREEZE, 0) == 0;
        if (frozen_)
            fd_ = fd;
        else
            failed_ = errno;
    }
    Frozen(const Frozen&) = delete;
    Frozen& operator=(const Frozen&) = delete;
    ~Frozen() {
        if (frozen_)
            (void)::ioctl(fd_, FITHAW, 0);
    }
    /** Not of one that somebody else has frozen, or that cannot be. */
    int failed() const { return failed_ == EBUSY || failed_ == EOPNOTSUPP ? 0 : failed_; }

private:
    int fd_ = -1;
    int failed_ = 0;
    bool frozen_ = false;
};

/** While there is one, what takes long stops where it can. */
class Stopper {
public:
    explicit Stopper(std::atomic<unsigned>& count) : count_(count) { ++count_; }
    Stopper(const Stopper&) = delete;
    Stopper& operator=(const Stopper&) = delete;
    ~Stopper() { --count_; }

private:
    std::atomic<unsigned>& count_;
};

std::string argument(const Texts& texts, size_t number) {
    return number < texts.size() ? texts[number] : std::string();
}

} // namespace

Result<std::unique_ptr<Server>> Server::start(const Options& options) {
    std::unique_ptr<Server> server(new Server(options));
    VZ_CHECK(server->openImage());
    VZ_CHECK(server->exportImage());
    return server;
}

Server::~Server() = default;

Result<void> Server::openImage() {
    if (options_.readOnly || options_.guid != ploop::topGuid) {
        options_.readOnly = true;
        VZ_TRY(image_,
               ploop::Volume::openSnapshot(ploop::hostFiles(), options_.descriptor, options_.guid, true));
        return {};
    }
    ploop::Volume::Options options;
    options.access = ploop::Access::ReadWrite;
    options.direct = true;
    // All entries are checked before the first write; more could not be done by hand.
    options.recover = true;
    // Who had it last may be about to close it.
    options.wait = closeWait;
    VZ_TRY(volume_, ploop::Volume::open(ploop::hostFiles(), options_.descriptor, options));
    // If the process that had it last has died, what it was writing may still be on its way to the disk.
    // fallocate(2) waits for that; there is nothing else to it.
    VZ_CHECK(image().top().file().reserve({0, ploop::sectorSize}));
    // A merge that was cut off is gone on with. If that cannot be now, the chain is as good as it was.
    auto finished = volume_->finishPending(options_.progress);
    if (!finished && finished.error().code() == ErrorCode::OperationAborted)
        return finished;
    if (!finished)
        log::warning("a merge in ", options_.descriptor,
                     " is still to be done: ", finished.error().message());
    return {};
}

Result<void> Server::exportImage() {
    VZ_CHECK(file::makeDirs(runFolder(), 0700));
    attachment_.id = newId();
    attachment_.descriptor = options_.descriptor;
    attachment_.guid = options_.guid;
    attachment_.readOnly = options_.readOnly;
    attachment_.pid = ::getpid();
    Rollback back;
    VZ_TRY(listener_, listenAt(attachment_.socketPath()));
    back.add([&] { removeState(attachment_); });
    BlockExport::Options options;
    options.readOnly = options_.readOnly;
    options.mechanism = options_.mechanism;
    options.device = options_.device;
    options.owner = options_.owner;
    VZ_TRY(export_, BlockExport::start(image(), options));
    back.add([&] { (void)export_->release(); });
    attachment_.device = export_->path();
    attachment_.sequence = export_->device() ? export_->device()->sequence() : 0;
    attachment_.mechanism = export_->mechanism();
    VZ_CHECK(makePartition());
    VZ_CHECK(noteFiles());
    VZ_CHECK(export_->settle());
    export_->onGone([this] {
        std::lock_guard lock(mutex_);
        gone_ = true;
        changed_.notify_all();
    });
    back.dismiss();
    acceptor_ = std::thread([this] { acceptAll(); });
    return {};
}

/** The kernel may be one that cannot read the table. */
Result<void> Server::makePartition() {
    attachment_.partition = attachment_.device;
    if (!export_->device())
        return {};
    VZ_TRY(auto partition, ploop::readTable(image()));
    if (!partition)
        return {};
    attachment_.partition = export_->device()->partitionPath();
    return export_->device()->setPartition({partition->offset, partition->length}, detachWait);
}

/** Writes down which files there are now. */
Result<void> Server::noteFiles() {
    attachment_.files.clear();
    for (size_t i = 0; i < image().levels(); ++i)
        attachment_.files.push_back(image().level(i).path());
    return writeState(attachment_);
}

Result<void> Server::run() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return gone_; });
    lock.unlock();
    // From now on it is not to be found, and who has found it already is told so.
    removeState(attachment_);
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    Result<void> closed;
    {
        std::lock_guard working(work_);
        {
            std::lock_guard exporting(exportMutex_);
            export_.reset();
        }
        closed = volume_ ? volume_->close() : image_->close();
        volume_.reset();
        image_.reset();
    }
    lock.lock();
    closed_ = true;
    if (!closed)
        closeError_ = closed.error();
    changed_.notify_all();
    changed_.wait(lock, [this] { return conversations_ == 0; });
    return closed;
}

Result<bool> Server::claimed() {
    std::lock_guard lock(exportMutex_);
    return export_ ? export_->claimed() : Result<bool>(false);
}

Result<void> Server::release() {
    std::lock_guard lock(exportMutex_);
    return export_ ? export_->release() : Result<void>();
}

void Server::endIfUnused() {
    auto unused = [this] {
        auto used = claimed();
        return used && !*used;
    };
    // Nothing is stopped for a device that stays.
    if (!unused())
        return;
    Stopper stop(stoppers_);
    std::lock_guard working(work_);
    if (unused())
        (void)release();
}

void Server::leaveToUsers() {
    (void)release();
}

void Server::acceptAll() {
    for (;;) {
        UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!socket && errno == EINVAL)
            return; // shut down
        if (!socket) {
            // Too many files, or no memory: that passes.
            if (errno != EINTR && errno != ECONNABORTED)
                std::this_thread::sleep_for(std::chrono::milliseconds(100));
            continue;
        }
        std::lock_guard lock(mutex_);
        ++conversations_;
        try {
            std::thread([this, socket = std::move(socket)]() mutable {
                converse(std::move(socket));
                std::lock_guard lock(mutex_);
                --conversations_;
                changed_.notify_all();
            }).detach();
        } catch (const std::system_error&) {
            --conversations_; // no thread to be had: who asked sees the end of the connection
        }
    }
}

void Server::converse(UniqueFd socket) {
    // Who connects has something to say.
    timeval limit{10, 0};
    (void)::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    (void)::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    auto packet = receivePacket(socket.get());
    if (!packet || !*packet)
        return; // a look whether we are there
    auto done = [&]() -> Result<Texts> {
        try {
            return serve(socket.get(), **packet);
        } catch (const std::exception& error) {
            return fail(ErrorCode::NoMemory, "unexpected failure: ", error.what());
        }
    }();
    Texts answer{"ok"};
    if (done)
        answer.insert(answer.end(), done->begin(), done->end());
    else
        answer = errorTexts(done.error());
    (void)sendPacket(socket.get(), answer);
}

Result<void> Server::requireLive() const {
    if (!volume_)
        return fail(ErrorCode::OperationInvalid, attachment_.descriptor, " is attached for reading only");
    if (!export_->live())
        return fail(ErrorCode::OperationUnsupported, attachment_.descriptor, " is on a plain loop device, ",
                    attachment_.device, ", which leads past us: detach it first, or attach it by 'fuse'");
    return {};
}

bool Server::gone() {
    std::lock_guard lock(mutex_);
    return gone_;
}

Result<Texts> Server::serve(int socket, const Packet& request) {
    const auto& texts = request.texts;
    if (texts[0] == "detach")
        return detach();
    std::unique_lock working(work_);
    {
        std::unique_lock state(mutex_);
        if (gone_) {
            working.unlock();
            changed_.wait(state, [this] { return closed_; });
            return Error(ErrorCode::OperationInvalid, cat(attachment_.descriptor, " is no longer attached"),
                         ENOTCONN);
        }
    }
    // Who hangs up wants it no more; who is stopped for a while (Ctrl-Z) misses some of it.
    auto progress = [&](uint64_t done, uint64_t total) {
        if (stoppers_ > 0 || gone())
            return false;
        auto sent = sendPacket(socket, {"progress", cat(done), cat(total)}, -1, MSG_DONTWAIT);
        return sent || sent.error().systemError() == EAGAIN;
    };
    auto done = perform(request, progress);
    // Also what failed in the end may have changed which files there are.
    if (texts[0] != "check")
        VZ_CHECK(noteFiles());
    return done;
}

Result<Texts> Server::perform(const Packet& request, const ploop::Progress& progress) {
    const auto& texts = request.texts;
    if (texts[0] == "resize")
        return resize(texts);
    if (texts[0] == "check")
        return check();
    VZ_CHECK(requireLive());
    if (texts[0] == "snapshot")
        return snapshot(request);
    if (texts[0] == "delete") {
        if (argument(texts, 1) == volume_->descriptor().top)
            return fail(ErrorCode::OperationInvalid, attachment_.descriptor, " is in use as ",
                        attachment_.device, ": its present state cannot be deleted");
        VZ_CHECK(volume_->remove(argument(texts, 1), progress));
        return Texts{};
    }
    if (texts[0] == "merge")
        return merge(texts, progress);
    if (texts[0] == "compact") {
        VZ_CHECK(image().compact(progress, argument(texts, 1) != "moves"));
        return Texts{};
    }
    return fail(ErrorCode::InvalidArg, "the request '", texts[0], "' is not known");
}

/** "snapshot [GUID]", with a descriptor of something in the file system that is on the device. */
Result<Texts> Server::snapshot(const Packet& request) {
    std::optional<ploop::Guid> guid;
    if (request.texts.size() > 1)
        guid = request.texts[1];
    Frozen frozen(request.fd.get());
    if (frozen.failed())
        return failErrno(frozen.failed(), "cannot freeze the file system");
    VZ_TRY(auto made, volume_->snapshot(guid));
    return Texts{made};
}

/** "merge GUID", or "merge" for the whole chain. */
Result<Texts> Server::merge(const Texts& arguments, const ploop::Progress& progress) {
    if (arguments.size() > 1) {
        VZ_CHECK(volume_->merge(arguments[1], progress));
        return Texts{};
    }
    while (volume_->descriptor().shot(ploop::topGuid)->parent != ploop::noGuid)
        VZ_CHECK(volume_->merge(ploop::topGuid, progress));
    return Texts{};
}

/** "resize BYTES [table]": with "table" the last partition grows, too. */
Result<Texts> Server::resize(const Texts& arguments) {
    auto bytes = parseNumber<uint64_t>(argument(arguments, 1));
    if (!bytes || !volume_)
        return fail(ErrorCode::InvalidArg,
                    "the size makes no sense, or the image is attached for reading only");
    if (!image().top().plain())
        VZ_CHECK(requireLive());
    uint64_t cluster = image().clusterBytes();
    *bytes += (cluster - *bytes % cluster) % cluster;
    if (*bytes < image().bytes())
        return fail(ErrorCode::InvalidArg, attachment_.descriptor, " has ",
                    image().bytes() / ploop::sectorSize,
                    " sectors: it cannot be made smaller while it is a device");
    // Each step is done again if an earlier attempt has left it out.
    if (*bytes > image().bytes() || volume_->descriptor().sectors * ploop::sectorSize != *bytes)
        VZ_CHECK(volume_->resize(*bytes));
    if (export_->live() || image().top().plain())
        VZ_CHECK(export_->resized());
    if (argument(arguments, 2) != "table")
        return Texts{};
    if (!export_->device())
        return Texts{}; // of a virtual machine: partitions are its business
    const auto& device = *export_->device();
    // What the kernel has cached of the whole device is older than what we write past it.
    VZ_CHECK(device.dropCache());
    VZ_CHECK(ploop::growTable(image()));
    VZ_CHECK(image().flush());
    VZ_CHECK(device.dropCache());
    VZ_TRY(auto partition, ploop::readTable(image()));
    if (partition)
        VZ_CHECK(device.setPartition({partition->offset, partition->length}, detachWait));
    return Texts{};
}

/** Looks through the tables of the files while requests wait: whether it is serious, how many clusters there
 * are, and all findings. */
Result<Texts> Server::check() {
    if (!volume_)
        return fail(ErrorCode::OperationInvalid, attachment_.descriptor, " is attached for reading only");
    ploop::CheckOptions options;
    options.open = true;
    bool serious = false;
    uint64_t allocated = 0;
    Texts findings;
    VZ_CHECK(image().still([&]() -> Result<void> {
        for (size_t i = 0; i < image().levels(); ++i) {
            const auto& level = image().level(i);
            if (level.plain())
                continue;
            VZ_TRY(auto report, ploop::checkDelta(ploop::hostFiles(), level.path(), options));
            serious = serious || report.serious;
            allocated += report.allocated;
            for (const auto& finding : report.findings)
                findings.push_back(cat(level.path(), ": ", finding.text));
        }
        return {};
    }));
    Texts answer{serious ? "bad" : "good", cat(allocated)};
    constexpr size_t mostFindings = 100; // of what fits into a packet
    findings.resize(std::min(findings.size(), mostFindings));
    answer.insert(answer.end(), findings.begin(), findings.end());
    return answer;
}

Result<Texts> Server::detach() {
    auto requireUnused = [this]() -> Result<void> {
        VZ_TRY(bool used, claimed());
        if (used)
            return fail(ErrorCode::ResourceBusy, attachment_.device, " is in use");
        return {};
    };
    VZ_CHECK(requireUnused());
    Stopper stop(stoppers_);
    {
        std::lock_guard working(work_);
        VZ_CHECK(requireUnused());
        VZ_CHECK(release());
    }
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, detachWait, [this] { return closed_; }))
        return fail(ErrorCode::ResourceBusy, attachment_.device,
                    " is still open in some program; it goes away when that ends");
    if (closeError_)
        return *closeError_;
    return Texts{};
}

} // namespace vz::exports
