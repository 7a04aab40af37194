// SPDX-License-Identifier: LGPL-2.1-or-later
#include "test_disk.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vz::test {

using ploop::Range;

namespace {

constexpr size_t sector = 512;

void put(TestDisk::Content& content, uint64_t offset, const std::byte* data, uint64_t size) {
    content.size = std::max(content.size, offset + size);
    while (size > 0) {
        uint64_t inner = offset % TestDisk::pageSize,
                 part = std::min<uint64_t>(size, TestDisk::pageSize - inner);
        std::memcpy(content.pages[offset / TestDisk::pageSize].data() + inner, data, part);
        data += part;
        offset += part;
        size -= part;
    }
}

void clear(TestDisk::Content& content, uint64_t offset, uint64_t length) {
    uint64_t end = offset + length;
    for (auto page = content.pages.lower_bound(offset / TestDisk::pageSize);
         page != content.pages.end() && page->first * TestDisk::pageSize < end;) {
        uint64_t start = page->first * TestDisk::pageSize;
        uint64_t from = std::max(offset, start), to = std::min(end, start + TestDisk::pageSize);
        if (to - from == TestDisk::pageSize) {
            page = content.pages.erase(page);
        } else {
            std::memset(page->second.data() + (from - start), 0, to - from);
            ++page;
        }
    }
}

void apply(TestDisk::Content& content, const TestDisk::Change& change) {
    switch (change.kind) {
    case TestDisk::Change::Write:
        put(content, change.offset, change.data.data(), change.data.size());
        break;
    case TestDisk::Change::Punch:
        clear(content, change.offset, change.length);
        break;
    case TestDisk::Change::Resize:
        if (change.length < content.size)
            clear(content, change.length, content.size - change.length);
        content.size = change.length;
        break;
    }
}

/** Some of the sectors of a write. */
void applyPartly(TestDisk::Content& content, const TestDisk::Change& change, std::mt19937& random) {
    if (change.kind != TestDisk::Change::Write)
        return apply(content, change);
    for (size_t at = 0; at < change.data.size();) {
        size_t part = std::min<uint64_t>(sector - (change.offset + at) % sector, change.data.size() - at);
        if (random() % 2)
            put(content, change.offset + at, change.data.data() + at, part);
        at += part;
    }
}

Error noPower() {
    return Error(ErrorCode::SystemError, "the power is off", EIO);
}

} // namespace

class TestFile final : public ploop::File {
public:
    TestFile(TestDisk& disk, std::string path, TestDisk::InodePtr inode, bool writable)
        : File(std::move(path)), disk_(disk), inode_(std::move(inode)), writable_(writable) {}

    Result<void> read(uint64_t offset, void* into, size_t size) override {
        if (disk_.dead_)
            return noPower();
        auto* to = static_cast<std::byte*>(into);
        while (size > 0) {
            uint64_t inner = offset % TestDisk::pageSize;
            size_t part = std::min<size_t>(size, TestDisk::pageSize - inner);
            auto page = inode_->now.pages.find(offset / TestDisk::pageSize);
            if (page == inode_->now.pages.end())
                std::memset(to, 0, part);
            else
                std::memcpy(to, page->second.data() + inner, part);
            to += part;
            offset += part;
            size -= part;
        }
        return {};
    }
    Result<void> write(uint64_t offset, const void* from, size_t size) override {
        auto* data = static_cast<const std::byte*>(from);
        return alter({TestDisk::Change::Write, offset, size, {data, data + size}}, true);
    }
    Result<void> flush() override {
        VZ_CHECK(disk_.change());
        inode_->durable = inode_->now;
        inode_->unflushed.clear();
        return {};
    }
    Result<uint64_t> size() override {
        if (disk_.dead_)
            return noPower();
        return inode_->now.size;
    }
    Result<void> resize(uint64_t bytes) override {
        return alter({TestDisk::Change::Resize, 0, bytes, {}}, false);
    }
    Result<void> punch(Range range) override {
        return alter({TestDisk::Change::Punch, range.offset, range.length, {}}, false);
    }
    Result<void> reserve(Range range) override {
        if (!disk_.fits(*inode_, range.offset, range.length))
            return failErrno(ENOSPC, "cannot reserve");
        return alter(
            {TestDisk::Change::Resize, 0, std::max(inode_->now.size, range.offset + range.length), {}},
            false);
    }
    Result<std::optional<Range>> nextData(uint64_t from) override {
        auto page = inode_->now.pages.lower_bound(from / TestDisk::pageSize);
        if (page == inode_->now.pages.end())
            return std::optional<Range>();
        uint64_t begin = std::max(from, page->first * TestDisk::pageSize);
        return std::optional(Range{begin, (page->first + 1) * TestDisk::pageSize - begin});
    }
    Result<uint64_t> allocatedBytes() override { return inode_->now.pages.size() * TestDisk::pageSize; }
    Result<void> lock(ploop::Lock, std::chrono::milliseconds) override { return {}; }
    Result<void> shareLock(const ploop::File&) override { return {}; }

private:
    Result<void> alter(TestDisk::Change change, bool takesSpace) {
        if (!writable_)
            return failErrno(EBADF, "cannot write to ", path());
        if (takesSpace && !disk_.fits(*inode_, change.offset, change.length))
            return failErrno(ENOSPC, "cannot write to ", path());
        VZ_CHECK(disk_.change());
        apply(inode_->now, change);
        inode_->unflushed.push_back(std::move(change));
        return {};
    }

    TestDisk& disk_;
    TestDisk::InodePtr inode_;
    bool writable_;
};

TestDisk::TestDisk(const TestDisk& other, int) {
    std::map<Inode*, InodePtr> copies; // a file may have two names
    for (const auto& [name, inode] : other.durableNames_) {
        auto& copy = copies[inode.get()];
        if (!copy) {
            copy = std::make_shared<Inode>();
            copy->now = copy->durable = inode->durable;
        }
        names_[name] = durableNames_[name] = copy;
    }
}

Result<void> TestDisk::change() {
    if (dead_)
        return noPower();
    if (left_ == 0) {
        dead_ = true;
        return noPower();
    }
    left_ -= left_ > 0;
    ++changes_;
    return {};
}

Result<void> TestDisk::changeNames(const std::function<void(Names&)>& how) {
    VZ_CHECK(change());
    how(names_);
    unflushed_.push_back(how);
    return {};
}

void TestDisk::settle() {
    for (auto& [name, inode] : names_) {
        inode->durable = inode->now;
        inode->unflushed.clear();
    }
    durableNames_ = names_;
    unflushed_.clear();
}

void TestDisk::powerCut(std::mt19937& random) {
    size_t kept = random() % (unflushed_.size() + 1);
    for (size_t i = 0; i < kept; ++i)
        unflushed_[i](durableNames_);
    unflushed_.clear();
    names_ = durableNames_;
    std::set<Inode*> done;
    // Everything, nothing and anything between are each worth a try.
    unsigned chance = std::array{0u, 50u, 90u, 100u}[random() % 4];
    for (auto& [name, inode] : names_) {
        if (!done.insert(inode.get()).second)
            continue;
        for (const auto& change : inode->unflushed) {
            if (random() % 100 >= chance)
                continue;
            if (chance < 100 && random() % 3 == 0)
                applyPartly(inode->durable, change, random);
            else
                apply(inode->durable, change);
        }
        inode->unflushed.clear();
        inode->now = inode->durable;
    }
    dead_ = false;
    left_ = -1;
}

uint64_t TestDisk::used() const {
    uint64_t bytes = 0;
    for (const auto& [name, inode] : names_)
        bytes += inode->now.pages.size() * pageSize;
    return bytes;
}

bool TestDisk::fits(const Inode& inode, uint64_t offset, uint64_t length) const {
    if (capacity_ == UINT64_MAX)
        return true;
    uint64_t more = 0;
    for (uint64_t page = offset / pageSize; page * pageSize < offset + length; ++page)
        more += inode.now.pages.contains(page) ? 0 : pageSize;
    return more == 0 || used() + more <= capacity_;
}

Result<ploop::FilePtr> TestDisk::open(const std::string& path, ploop::Access access, bool) {
    if (dead_)
        return noPower();
    auto found = names_.find(path);
    if (found == names_.end())
        return failErrno(ENOENT, "cannot open ", path);
    return ploop::FilePtr(
        std::make_unique<TestFile>(*this, path, found->second, access == ploop::Access::ReadWrite));
}

Result<ploop::FilePtr> TestDisk::create(const std::string& path, unsigned) {
    if (names_.contains(path))
        return Error(ErrorCode::StorageVolExist, path + " exists already", EEXIST);
    auto inode = std::make_shared<Inode>();
    VZ_CHECK(changeNames([=](Names& names) { names[path] = inode; }));
    return ploop::FilePtr(std::make_unique<TestFile>(*this, path, inode, true));
}

Result<void> TestDisk::rename(const std::string& from, const std::string& to) {
    if (!dead_ && !names_.contains(from))
        return failErrno(ENOENT, "cannot rename ", from);
    return changeNames([=](Names& names) {
        if (auto found = names.find(from); found != names.end()) {
            auto inode = found->second;
            names.erase(found);
            names[to] = inode;
        }
    });
}

Result<void> TestDisk::link(const std::string& from, const std::string& to) {
    if (!dead_ && (!names_.contains(from) || names_.contains(to)))
        return failErrno(names_.contains(to) ? EEXIST : ENOENT, "cannot link ", from);
    return changeNames([=](Names& names) {
        if (auto found = names.find(from); found != names.end())
            names[to] = InodePtr(found->second);
    });
}

Result<void> TestDisk::remove(const std::string& path) {
    if (!dead_ && !names_.contains(path))
        return {};
    return changeNames([=](Names& names) { names.erase(path); });
}

Result<void> TestDisk::flushFolder(const std::string&) {
    VZ_CHECK(change());
    durableNames_ = names_;
    unflushed_.clear();
    return {};
}

Result<std::vector<std::string>> TestDisk::list(const std::string& folder) {
    std::vector<std::string> found;
    for (const auto& [name, inode] : names_) {
        if (ploop::folderOf(name) == folder)
            found.push_back(ploop::nameOf(name));
    }
    return found;
}

} // namespace vz::test
