// SPDX-License-Identifier: LGPL-2.1-or-later
#include "base/file.hpp"
#include "storage/ploop/io.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <thread>

namespace vz::ploop {

namespace {

/** What every device and file system accepts for O_DIRECT. */
constexpr uint64_t directAlignment = 4096;

/** QEMU's numbers of the permissions: 100 + n is "I use it", 200 + n is "nobody else may". */
enum Permission { consistentRead = 0, writeData = 1, writeUnchanged = 2, changeSize = 3, permissions = 5 };
constexpr off_t usedFrom = 100, refusedFrom = 200, longOperation = 300;

struct LockPlan {
    std::array<off_t, 8> held;       ///< bytes to hold, ended by 0
    std::array<Range, 4> mustBeFree; ///< bytes nobody else may hold, ended by length 0
};

constexpr LockPlan readerPlan{{usedFrom + consistentRead, refusedFrom + writeData, refusedFrom + changeSize},
                              {{{usedFrom + writeData, 1},
                                {usedFrom + changeSize, 1},
                                {refusedFrom + consistentRead, 1},
                                {longOperation, permissions}}}};
constexpr LockPlan writerPlan{
    {usedFrom + consistentRead, usedFrom + writeData, usedFrom + changeSize, refusedFrom, refusedFrom + 1,
     refusedFrom + 2, refusedFrom + 3, refusedFrom + 4},
    {{{usedFrom, permissions}, {refusedFrom, permissions}, {longOperation, permissions}}}};

/** What a writer holds and a reader does not. */
constexpr LockPlan onlyWriterPlan{{usedFrom + writeData, usedFrom + changeSize, refusedFrom + consistentRead,
                                   refusedFrom + writeUnchanged, refusedFrom + permissions - 1},
                                  {}};

struct flock lockOn(short type, uint64_t offset, uint64_t length) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(offset);
    lock.l_len = static_cast<off_t>(length);
    return lock;
}

class HostFile final : public File {
public:
    HostFile(std::string path, UniqueFd fd, UniqueFd direct)
        : File(std::move(path)), fd_(std::move(fd)), direct_(std::move(direct)) {}

    Result<void> read(uint64_t offset, void* into, size_t size) override {
        auto* to = static_cast<std::byte*>(into);
        while (size > 0) {
            ssize_t got = ::pread(fdFor(offset, to, size), to, size, static_cast<off_t>(offset));
            if (got < 0 && errno == EINTR)
                continue;
            if (got < 0)
                return failErrno(errno, "cannot read ", size, " bytes at ", offset, " of ", path());
            if (got == 0) {
                std::memset(to, 0, size);
                return {};
            }
            advance(to, offset, size, got);
        }
        return {};
    }

    Result<void> write(uint64_t offset, const void* data, size_t size) override {
        auto* from = static_cast<const std::byte*>(data);
        while (size > 0) {
            ssize_t done = ::pwrite(fdFor(offset, from, size), from, size, static_cast<off_t>(offset));
            if (done < 0 && errno == EINTR)
                continue;
            if (done < 0)
                return failErrno(errno, "cannot write ", size, " bytes at ", offset, " of ", path());
            advance(from, offset, size, done);
        }
        return {};
    }

    Result<void> flush() override {
        if (::fdatasync(fd_.get()) < 0)
            return failErrno(errno, "cannot flush ", path());
        return {};
    }

    Result<uint64_t> size() override {
        // Not fstat(2): it tells nothing about block devices.
        off_t end = ::lseek(fd_.get(), 0, SEEK_END);
        if (end < 0)
            return failErrno(errno, "cannot find the size of ", path());
        return static_cast<uint64_t>(end);
    }

    Result<void> resize(uint64_t bytes) override {
        if (bytes > INT64_MAX || ::ftruncate(fd_.get(), static_cast<off_t>(bytes)) < 0)
            return failErrno(bytes > INT64_MAX ? EFBIG : errno, "cannot make ", path(), " ", bytes,
                             " bytes long");
        return {};
    }

    Result<void> punch(Range range) override {
        if (::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                        static_cast<off_t>(range.offset), static_cast<off_t>(range.length)) == 0)
            return {};
        if (errno != EOPNOTSUPP && errno != ENODEV)
            return failErrno(errno, "cannot clear ", range.length, " bytes at ", range.offset, " of ",
                             path());
        return writeZeros(range);
    }

    Result<void> reserve(Range range) override {
        int failed;
        do {
            failed = ::posix_fallocate(fd_.get(), static_cast<off_t>(range.offset),
                                       static_cast<off_t>(range.length));
        } while (failed == EINTR);
        if (failed)
            return failErrno(failed, "cannot reserve ", range.length, " bytes for ", path());
        return {};
    }

    Result<std::optional<Range>> nextData(uint64_t from) override {
        off_t begin = ::lseek(fd_.get(), static_cast<off_t>(from), SEEK_DATA);
        if (begin < 0 && errno == ENXIO)
            return std::optional<Range>();
        off_t end = begin < 0 ? begin : ::lseek(fd_.get(), begin, SEEK_HOLE);
        if (end < 0)
            return failErrno(errno, "cannot look for data in ", path());
        return std::optional(Range{static_cast<uint64_t>(begin), static_cast<uint64_t>(end - begin)});
    }

    Result<uint64_t> allocatedBytes() override {
        struct stat info;
        if (::fstat(fd_.get(), &info) < 0)
            return failErrno(errno, "cannot look at ", path());
        return static_cast<uint64_t>(info.st_blocks) * 512;
    }

    Result<void> lock(Lock kind, std::chrono::milliseconds wait) override {
        const auto& plan = kind == Lock::Reader ? readerPlan : writerPlan;
        // Readers' locks cannot be waited for: they do not conflict with what we hold, only with what we look
        // at.
        constexpr auto pause = std::chrono::milliseconds(20);
        auto end = std::chrono::steady_clock::now() + wait;
        for (;;) {
            VZ_TRY(bool done, tryLock(plan));
            if (done)
                return {};
            if (std::chrono::steady_clock::now() + pause > end)
                return fail(ErrorCode::ResourceBusy, path(), " is in use by another process");
            std::this_thread::sleep_for(pause);
        }
    }

    Result<void> shareLock(const File& other) override {
        const auto* plan = static_cast<const HostFile&>(other).held_;
        if (plan)
            VZ_CHECK(
                setLocks(*plan, F_RDLCK)); // nobody can have what stands in the way: the other one holds it
        held_ = plan;
        return {};
    }

    int descriptor() const override { return direct_ ? direct_.get() : fd_.get(); }
    int lockDescriptor() const override { return fd_.get(); }

private:
    template<typename Byte>
    static void advance(Byte*& at, uint64_t& offset, size_t& size, ssize_t done) {
        at += done;
        offset += static_cast<uint64_t>(done);
        size -= static_cast<size_t>(done);
    }

    int fdFor(uint64_t offset, const void* memory, size_t size) const {
        bool aligned = ((offset | size | reinterpret_cast<uintptr_t>(memory)) & (directAlignment - 1)) == 0;
        return aligned && direct_ ? direct_.get() : fd_.get();
    }

    Result<void> writeZeros(Range range) {
        VZ_TRY(uint64_t end, size());
        static constexpr std::array<std::byte, 65536> zeros{};
        for (uint64_t at = range.offset, last = std::min(end, range.offset + range.length); at < last;) {
            size_t part = std::min<uint64_t>(zeros.size(), last - at);
            VZ_CHECK(write(at, zeros.data(), part));
            at += part;
        }
        return {};
    }

    Result<bool> isFree(const LockPlan& plan) {
        for (const auto& range : plan.mustBeFree) {
            if (range.length == 0)
                break;
            auto lock = lockOn(F_WRLCK, range.offset, range.length);
            if (::fcntl(fd_.get(), F_OFD_GETLK, &lock) < 0)
                return failErrno(errno, "cannot look at the locks of ", path());
            if (lock.l_type != F_UNLCK)
                return false;
        }
        return true;
    }

    Result<void> setLocks(const LockPlan& plan, short type) {
        for (off_t byte : plan.held) {
            if (byte == 0)
                break;
            auto lock = lockOn(type, static_cast<uint64_t>(byte), 1);
            if (::fcntl(fd_.get(), F_OFD_SETLK, &lock) < 0)
                return failErrno(errno, "cannot lock ", path());
        }
        return {};
    }

    /** Takes back what was set for @p plan, except what was held before. */
    Result<void> backOff(const LockPlan& plan) {
        VZ_CHECK(setLocks(plan, F_UNLCK));
        return held_ ? setLocks(*held_, F_RDLCK) : Result<void>();
    }

    /** Sets the locks, looks whether anybody else has what they exclude, and takes them back if so. */
    Result<bool> tryLock(const LockPlan& plan) {
        VZ_TRY(bool before, isFree(plan));
        if (!before)
            return false;
        if (auto set = setLocks(plan, F_RDLCK); !set) {
            if (set.error().systemError() == EAGAIN || set.error().systemError() == EACCES) {
                VZ_CHECK(backOff(plan));
                return false;
            }
            return std::move(set).takeError();
        }
        VZ_TRY(bool after, isFree(plan));
        if (!after) {
            VZ_CHECK(backOff(plan));
            return false;
        }
        // Whoever was the writer is so no longer.
        if (&plan == &readerPlan)
            VZ_CHECK(setLocks(onlyWriterPlan, F_UNLCK));
        held_ = &plan;
        return true;
    }

    const LockPlan* held_ = nullptr; ///< lock() is for one thread at a time
    UniqueFd fd_;
    UniqueFd direct_; ///< the same file with O_DIRECT, for aligned requests; may be absent
};

class HostFileSystem final : public FileSystem {
public:
    Result<FilePtr> open(const std::string& path, Access access, bool direct) override {
        int flags = access == Access::ReadOnly ? O_RDONLY : O_RDWR;
        auto opened = file::open(path, flags | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
        if (!opened && opened.error().systemError() == ELOOP)
            return Error(ErrorCode::InvalidArg,
                         cat(path, " is a symbolic link, which is not followed: the files of an image are in "
                                   "one folder; name the file itself"),
                         ELOOP);
        VZ_TRY(auto fd, std::move(opened));
        struct stat info;
        if (::fstat(fd.get(), &info) < 0)
            return failErrno(errno, "cannot look at ", path);
        if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode))
            return fail(ErrorCode::InvalidArg, path, " is neither a file nor a block device");
        UniqueFd directFd;
        if (direct) {
            // By the first descriptor, so that it is the same file even if the name is being replaced.
            directFd.reset(::open(cat("/proc/self/fd/", fd.get()).c_str(), flags | O_DIRECT | O_CLOEXEC));
        }
        return FilePtr(std::make_unique<HostFile>(path, std::move(fd), std::move(directFd)));
    }

    Result<FilePtr> create(const std::string& path, unsigned mode) override {
        auto fd = file::open(path, O_RDWR | O_CREAT | O_EXCL, mode);
        if (!fd && fd.error().systemError() == EEXIST)
            return Error(ErrorCode::StorageVolExist, cat(path, " exists already"), EEXIST);
        if (!fd)
            return std::move(fd).takeError();
        return FilePtr(std::make_unique<HostFile>(path, *std::move(fd), UniqueFd()));
    }

    Result<void> rename(const std::string& from, const std::string& to) override {
        if (::rename(from.c_str(), to.c_str()) < 0)
            return failErrno(errno, "cannot rename ", from, " to ", to);
        return {};
    }

    Result<void> link(const std::string& from, const std::string& to) override {
        if (::link(from.c_str(), to.c_str()) < 0)
            return failErrno(errno, "cannot link ", from, " to ", to);
        return {};
    }

    Result<bool> share(const std::string& from, const std::string& to) override {
        VZ_TRY(auto source, file::open(from, O_RDONLY | O_NOFOLLOW));
        VZ_TRY(auto target, file::open(to, O_WRONLY | O_CREAT | O_EXCL, 0600));
        int failed = 0;
        if (::ioctl(target.get(), FICLONE, source.get()) < 0)
            failed = errno;
        else if (::fsync(target.get()) == 0)
            return true;
        else
            failed = errno;
        (void)file::remove(to);
        for (int impossible : {EOPNOTSUPP, EXDEV, EINVAL, ENOTTY, ENOSYS}) {
            if (failed == impossible)
                return false;
        }
        return failErrno(failed, "cannot share the data of ", from);
    }

    Result<void> remove(const std::string& path) override { return file::remove(path); }

    Result<void> flushFolder(const std::string& folder) override {
        VZ_TRY(auto fd, file::open(folder, O_RDONLY | O_DIRECTORY));
        if (::fsync(fd.get()) < 0)
            return failErrno(errno, "cannot flush the folder ", folder);
        return {};
    }

    Result<std::vector<std::string>> list(const std::string& folder) override { return file::list(folder); }
    bool exists(const std::string& path) override { return file::exists(path); }
    bool isFolder(const std::string& path) override { return file::isDirectory(path); }

    void copyOwner(const std::string& like, const std::string& path) override {
        struct stat info;
        if (::stat(like.c_str(), &info) < 0)
            return;
        // By a descriptor: the folder may be somebody's who puts a link there meanwhile.
        auto fd = file::open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        // Not allowed for everybody, and then not needed: the file belongs to who made it.
        if (fd && ::fchown(fd->get(), info.st_uid, info.st_gid) == 0)
            (void)::fchmod(fd->get(), info.st_mode & 07777);
    }
};

} // namespace

FileSystem& hostFiles() {
    static HostFileSystem files;
    return files;
}

std::string folderOf(const std::string& path) {
    auto slash = path.rfind('/');
    if (slash == std::string::npos)
        return ".";
    return slash == 0 ? "/" : path.substr(0, slash);
}

std::string nameOf(const std::string& path) {
    auto slash = path.rfind('/');
    return slash == std::string::npos ? path : path.substr(slash + 1);
}

} // namespace vz::ploop
