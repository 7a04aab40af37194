// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "storage/ploop/io.hpp"

#include <array>
#include <functional>
#include <map>
#include <random>
#include <set>

namespace vz::test {

/**
 * A disk in memory whose power can be cut. What was not flushed survives a cut in part: of the writes to a
 * file any of them, in sectors; of the changes to a folder those up to any point in time.
 */
class TestDisk final : public ploop::FileSystem {
public:
    static constexpr size_t pageSize = 4096;
    using Page = std::array<std::byte, pageSize>;

    struct Content {
        std::map<uint64_t, Page> pages;
        uint64_t size = 0;
    };
    struct Change {
        enum Kind { Write, Punch, Resize } kind;
        uint64_t offset = 0, length = 0;
        std::vector<std::byte> data;
    };
    struct Inode {
        Content now, durable;
        std::vector<Change> unflushed;
    };
    using InodePtr = std::shared_ptr<Inode>;
    using Names = std::map<std::string, InodePtr>;

    TestDisk() = default;
    /** A deep copy of what is durable, as after a clean shutdown. */
    explicit TestDisk(const TestDisk& other, int);

    /** All operations after that many changes fail; -1: none. */
    void stopAfter(long changes) {
        left_ = changes;
        changes_ = 0;
        dead_ = false;
    }
    long changes() const { return changes_; }
    bool dead() const { return dead_; }
    /** The power comes back; what the disk has is up to @p random. All open files must be closed before. */
    void powerCut(std::mt19937& random);
    /** Makes all durable. */
    void settle();
    /** Writes fail with ENOSPC as soon as the files take that many bytes. */
    void setCapacity(uint64_t bytes) { capacity_ = bytes; }
    uint64_t used() const;
    InodePtr inode(const std::string& path) { return names_.at(path); }
    const Names& names() const { return names_; }

    Result<ploop::FilePtr> open(const std::string& path, ploop::Access access, bool direct) override;
    Result<ploop::FilePtr> create(const std::string& path, unsigned mode) override;
    Result<void> rename(const std::string& from, const std::string& to) override;
    Result<void> link(const std::string& from, const std::string& to) override;
    Result<void> remove(const std::string& path) override;
    Result<void> flushFolder(const std::string& folder) override;
    Result<std::vector<std::string>> list(const std::string& folder) override;
    bool exists(const std::string& path) override { return names_.contains(path); }
    bool isFolder(const std::string&) override { return false; }
    void copyOwner(const std::string&, const std::string&) override {}

private:
    friend class TestFile;
    /** Counts a change; the error of a machine without power if there is to be none. */
    Result<void> change();
    Result<void> changeNames(const std::function<void(Names&)>& how);
    bool fits(const Inode& inode, uint64_t offset, uint64_t length) const;

    Names names_, durableNames_;
    std::vector<std::function<void(Names&)>> unflushed_;
    long left_ = -1, changes_ = 0;
    bool dead_ = false;
    uint64_t capacity_ = UINT64_MAX;
};

} // namespace vz::test
