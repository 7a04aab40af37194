// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/export/server.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "base/rollback.hpp"
#include "storage/export/freezer.hpp"
#include "storage/ploop/check.hpp"
#include "storage/ploop/gpt.hpp"
#include "storage/ploop/locate.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/socket.h>

namespace vz::exports {

namespace {

/** Programs such as udev open devices for a moment. */
constexpr std::chrono::seconds detachWait{10}, closeWait{5};

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
    VZ_TRY(auto found, ploop::locate(ploop::hostFiles(), options_.descriptor));
    if (found.kind == ploop::Located::Kind::Image)
        return openVolume();
    if (found.kind != ploop::Located::Kind::Raw && found.kind != ploop::Located::Kind::Delta)
        return fail(ErrorCode::OperationUnsupported, options_.descriptor,
                    " is neither a ploop nor a raw image");
    return openFile(found.kind == ploop::Located::Kind::Raw);
}

/** A file without a descriptor: there are no other states of it. */
Result<void> Server::openFile(bool plain) {
    if (options_.guid != ploop::topGuid)
        return fail(ErrorCode::NoSnapshot, options_.descriptor, " has no snapshots");
    ploop::Image::Options options;
    options.access = options_.readOnly ? ploop::Access::ReadOnly : ploop::Access::ReadWrite;
    options.direct = true;
    options.recover = true;
    options.wait = closeWait;
    VZ_TRY(image_, ploop::Image::open(ploop::hostFiles(), {{options_.descriptor, plain}}, options));
    return {};
}

Result<void> Server::openVolume() {
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
    options.name = options_.name;
    VZ_TRY(export_, BlockExport::start(image(), options));
    back.add([&] {
        (void)export_->release();
        (void)export_->takeHolder(); // the last user, whom the end of the export waits for
    });
    attachment_.device = export_->path();
    attachment_.sequence = export_->device() ? export_->device()->sequence() : 0;
    attachment_.mechanism = export_->mechanism();
    VZ_CHECK(makePartition());
    VZ_CHECK(noteFiles());
    if (options_.held)
        holder_ = export_->takeHolder();
    else
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
    attachment_.partition = export_->device()->partitionPath(partition->number);
    return export_->device()->setPartition({partition->offset, partition->length}, detachWait,
                                           partition->number);
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
    // From now on it is not to be found; who has found it already may wait until it is closed.
    (void)file::remove(attachment_.statePath());
    Result<void> closed;
    {
        std::lock_guard working(work_);
        {
            std::lock_guard exporting(exportMutex_);
            // Who cuts the FUSE connection off leaves the device behind, which can do nothing any more.
            (void)export_->release();
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
    lock.unlock();
    removeState(attachment_);
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    lock.lock();
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
    while (UniqueFd socket = acceptNext(listener_.get())) {
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
    if ((*packet)->texts[0] == "begin")
        workAlone(socket.get());
    else
        answer(socket.get(), [&] { return serve(socket.get(), **packet); });
}

/**
 * "begin": nobody else works on the image while there are requests on this connection, of which "freeze" with
 * a descriptor of something in the file system on it lets nothing change there. All that ends with "end", and
 * when the other side hangs up or is silent for too long, whatever may have happened to it.
 */
void Server::workAlone(int socket) {
    std::unique_lock working(work_, std::try_to_lock);
    Freezer frozen;
    auto begun = [&]() -> Result<Texts> {
        if (!working)
            return fail(ErrorCode::ResourceBusy, attachment_.descriptor, " is being worked on: try later");
        VZ_CHECK(requireAttached(working));
        return Texts{};
    };
    bool ready = answer(socket, begun);
    while (ready) {
        auto packet = receivePacket(socket);
        if (!packet || !*packet)
            return;
        if ((*packet)->texts[0] == "end") {
            frozen = {};
            working.unlock();
            answer(socket, [] { return Texts{}; });
            return;
        }
        answer(socket, [&]() -> Result<Texts> {
            if ((*packet)->texts[0] != "freeze")
                return work(socket, **packet);
            frozen = {};
            VZ_TRY(frozen, Freezer::freeze(std::move((*packet)->fd)));
            if (frozen.failed())
                return failErrno(frozen.failed(), "cannot freeze the file system");
            return Texts{frozen.still() ? "frozen" : "not"};
        });
    }
}

/** Sends what @p body gives; whether that is no error. */
bool Server::answer(int socket, const std::function<Result<Texts>()>& body) {
    auto done = [&]() -> Result<Texts> {
        try {
            return body();
        } catch (const std::exception& error) {
            return fail(ErrorCode::NoMemory, "unexpected failure: ", error.what());
        }
    }();
    Texts texts{"ok"};
    if (done)
        texts.insert(texts.end(), done->begin(), done->end());
    else
        texts = errorTexts(done.error());
    return sendPacket(socket, texts) && done;
}

Error Server::onPlainLoop() const {
    return fail(ErrorCode::OperationUnsupported, attachment_.descriptor, " is on a plain loop device, ",
                attachment_.device, ", which leads past us: detach it first, or attach it by 'fuse'");
}

Result<void> Server::requireLive() const {
    if (!volume_ && !options_.readOnly)
        return fail(
            ErrorCode::OperationUnsupported, attachment_.descriptor,
            " is a file without a DiskDescriptor.xml, which has no snapshots: restore-descriptor makes one");
    if (!volume_)
        return fail(ErrorCode::OperationInvalid, attachment_.descriptor, " is attached for reading only");
    if (!export_->live())
        return onPlainLoop();
    return {};
}

bool Server::gone() {
    std::lock_guard lock(mutex_);
    return gone_;
}

Result<Texts> Server::serve(int socket, Packet& request) {
    const auto& texts = request.texts;
    if (texts[0] == "detach")
        return detach();
    if (texts[0] == "wait")
        return waitUntilClosed();
    std::unique_lock working(work_);
    VZ_CHECK(requireAttached(working));
    return work(socket, request);
}

/** If it is not, that is told when the image is closed; @p working is unlocked then. */
Result<void> Server::requireAttached(std::unique_lock<std::mutex>& working) {
    std::unique_lock state(mutex_);
    if (!gone_)
        return {};
    working.unlock();
    changed_.wait(state, [this] { return closed_; });
    return Error(ErrorCode::OperationInvalid, cat(attachment_.descriptor, " is no longer attached"),
                 ENOTCONN);
}

/** A request that needs the image to itself. */
Result<Texts> Server::work(int socket, Packet& request) {
    const auto& texts = request.texts;
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

Result<Texts> Server::perform(Packet& request, const ploop::Progress& progress) {
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
Result<Texts> Server::snapshot(Packet& request) {
    std::optional<ploop::Guid> guid;
    if (request.texts.size() > 1)
        guid = request.texts[1];
    VZ_TRY(auto frozen, Freezer::freeze(std::move(request.fd)));
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
    if (!bytes || options_.readOnly)
        return fail(ErrorCode::InvalidArg,
                    "the size makes no sense, or the image is attached for reading only");
    bool plain = image().top().plain();
    if (!plain && !export_->live())
        return onPlainLoop();
    uint64_t cluster = plain && !volume_ ? ploop::sectorSize : image().clusterBytes();
    *bytes += (cluster - *bytes % cluster) % cluster;
    if (*bytes < image().bytes())
        return fail(ErrorCode::InvalidArg, attachment_.descriptor, " has ",
                    image().bytes() / ploop::sectorSize,
                    " sectors: it cannot be made smaller while it is a device");
    // Each step is done again if an earlier attempt has left it out.
    if (!volume_)
        VZ_CHECK(image().resize(*bytes));
    else if (*bytes > image().bytes() || volume_->descriptor().sectors * ploop::sectorSize != *bytes)
        VZ_CHECK(volume_->resize(*bytes));
    VZ_CHECK(export_->resized());
    if (argument(arguments, 2) != "table")
        return Texts{};
    if (!export_->device())
        return Texts{}; // of a virtual machine: partitions are its business
    const auto& device = *export_->device();
    // What the kernel has cached of the whole device is older than what we write past it.
    VZ_CHECK(device.dropCache());
    VZ_TRY(auto last, ploop::growTable(image()));
    VZ_CHECK(image().flush());
    VZ_CHECK(device.dropCache());
    if (last)
        VZ_CHECK(device.setPartition({last->offset, last->length}, detachWait, last->number));
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

/** Who asks hangs up when it has waited long enough. */
Result<Texts> Server::waitUntilClosed() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return closed_; });
    if (closeError_)
        return *closeError_;
    return Texts{};
}

} // namespace vz::exports
