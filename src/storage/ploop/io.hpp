// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "base/result.hpp"

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

/**
 * All that the ploop library does to a disk goes through these two interfaces, so that a test can stand in
 * for the disk and cut the power after any step. hostFiles() is the real one.
 */
namespace vz::ploop {

/** A part of a file or disk, in bytes. */
struct Range {
    uint64_t offset, length;
    bool operator==(const Range&) const = default;
};

/**
 * What a holder of an image file lets others do. The locks lie on the bytes that QEMU uses for the same
 * purpose (block/file-posix.c) and that the reference ploop tool uses (200-204, 300-304), so each of the
 * three sees the others.
 */
enum class Lock {
    Reader, ///< many readers, no writer
    Writer, ///< nobody else
};

enum class Access { ReadOnly, ReadWrite };

/** An open file. All methods may be called from several threads. Errors name the file. */
class File {
public:
    virtual ~File() = default;
    /** Reads @p size bytes; what lies beyond the end of the file reads as zeros. */
    virtual Result<void> read(uint64_t offset, void* into, size_t size) = 0;
    virtual Result<void> write(uint64_t offset, const void* from, size_t size) = 0;
    /** What was written, and the size, is on the disk when this returns. */
    virtual Result<void> flush() = 0;
    virtual Result<uint64_t> size() = 0;
    virtual Result<void> resize(uint64_t bytes) = 0;
    /** The range reads as zeros afterwards; its space is given back where the file system can. */
    virtual Result<void> punch(Range range) = 0;
    /** Space for the range is there afterwards; the file grows if it ends before. Data stays. */
    virtual Result<void> reserve(Range range) = 0;
    /** The next part from @p from on that may hold other than zeros; nothing if only zeros follow. */
    virtual Result<std::optional<Range>> nextData(uint64_t from) = 0;
    /** Space that the file takes on the disk. */
    virtual Result<uint64_t> allocatedBytes() = 0;
    /** Held until the file is closed. ResourceBusy if others still hold it after @p wait. */
    virtual Result<void> lock(Lock kind, std::chrono::milliseconds wait) = 0;
    /** Holds, from now on as well, the lock that @p other has, which is the same file opened another time. */
    virtual Result<void> shareLock(const File& other) = 0;
    /** For callers that do their own I/O on mapped ranges (see Image::map); -1 if there is none. */
    virtual int descriptor() const { return -1; }

    /** The descriptor that holds the locks: they last as long as any copy of it is open; -1 if there is none.
     */
    virtual int lockDescriptor() const { return -1; }

    const std::string& path() const { return path_; }

protected:
    explicit File(std::string path) : path_(std::move(path)) {}

private:
    std::string path_;
};

using FilePtr = std::unique_ptr<File>;

/** A place for files. Paths as for open(2). */
class FileSystem {
public:
    virtual ~FileSystem() = default;
    /** A symbolic link is not followed (InvalidArg): who may write to an image's folder must not lead us out
     * of it. @p direct asks for O_DIRECT; where that is not possible the page cache is used. */
    virtual Result<FilePtr> open(const std::string& path, Access access, bool direct = false) = 0;
    /** Makes a new file of mode 0600 or as given; StorageVolExist if there is something of that name. */
    virtual Result<FilePtr> create(const std::string& path, unsigned mode = 0600) = 0;
    virtual Result<void> rename(const std::string& from, const std::string& to) = 0;
    /** A second name for a file; a free one. */
    virtual Result<void> link(const std::string& from, const std::string& to) = 0;
    /** A new file with the content of another, whose data it shares until one of them is written to, flushed;
     * false, and no file, where that is not possible. */
    virtual Result<bool> share([[maybe_unused]] const std::string& from,
                               [[maybe_unused]] const std::string& to) {
        return false;
    }
    /** A missing file is fine. */
    virtual Result<void> remove(const std::string& path) = 0;
    /** Creations, renames and removals in the folder are on the disk when this returns. */
    virtual Result<void> flushFolder(const std::string& folder) = 0;
    virtual Result<std::vector<std::string>> list(const std::string& folder) = 0;
    virtual bool exists(const std::string& path) = 0;
    virtual bool isFolder(const std::string& path) = 0;
    /** Gives @p path owner and mode of @p like, as far as the process may. */
    virtual void copyOwner(const std::string& like, const std::string& path) = 0;
};

FileSystem& hostFiles();

/** The folder part of a path ("." if there is none), and the rest. */
std::string folderOf(const std::string& path);
std::string nameOf(const std::string& path);

} // namespace vz::ploop
