// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/id_ranges.hpp"

#include "base/file.hpp"
#include "ct/id_map.hpp"

#include <algorithm>
#include <cerrno>
#include <fcntl.h>
#include <sys/file.h>

namespace vz::ct {

namespace {

constexpr uint32_t rangeSize = 65536;

struct Span {
    uint64_t first;
    uint64_t count;
    bool overlaps(uint64_t otherFirst, uint64_t otherCount) const {
        return first < otherFirst + otherCount && otherFirst < first + count;
    }
};

struct Assignment {
    std::string uuid;
    Span span;
};

Result<UniqueFd> lock(const std::string& file) {
    VZ_TRY(auto fd, file::open(cat(file, ".lock"), O_RDWR | O_CREAT, 0600));
    while (::flock(fd.get(), LOCK_EX) < 0)
        if (errno != EINTR)
            return failErrno(errno, "cannot lock ", file);
    return fd;
}

Result<std::vector<Assignment>> load(const std::string& file) {
    std::vector<Assignment> assignments;
    if (!file::exists(file))
        return assignments;
    VZ_TRY(auto text, file::read(file));
    for (auto line : lines(text)) {
        if (trim(line).empty() || line.starts_with('#'))
            continue;
        auto parts = split(line, ' ');
        auto first = parts.size() == 3 ? parseNumber<uint32_t>(parts[1]) : std::nullopt;
        auto count = parts.size() == 3 ? parseNumber<uint32_t>(parts[2]) : std::nullopt;
        // Guessing here could give two containers the same ids.
        if (!first || !count)
            return fail(ErrorCode::OperationFailed, file, " has a line that is not 'uuid first count': '",
                        line, "'; correct or remove it");
        assignments.push_back({std::string(parts[0]), {*first, *count}});
    }
    return assignments;
}

Result<void> store(const std::string& file, const std::vector<Assignment>& assignments) {
    std::string text = "# Host ids of containers: uuid, first id, count\n";
    for (const auto& one : assignments)
        text += cat(one.uuid, " ", one.span.first, " ", one.span.count, "\n");
    return file::writeAtomic(file, text);
}

/** Ids others use: @p firstField is the column of the first id; the next column is the count if @p counted.
 */
void addTaken(std::vector<Span>& taken, const char* path, size_t firstField, bool counted) {
    auto text = file::read(path);
    if (!text)
        return; // a host without /etc/subuid has given no ranges away
    for (auto line : lines(*text)) {
        auto parts = split(line, ':');
        if (parts.size() <= firstField + (counted ? 1 : 0))
            continue;
        auto first = parseNumber<uint32_t>(parts[firstField]);
        auto count =
            counted ? parseNumber<uint32_t>(trim(parts[firstField + 1])) : std::optional<uint32_t>(1);
        if (first && count)
            taken.push_back({*first, *count});
    }
}

std::vector<Span> takenByHost() {
    std::vector<Span> taken;
    addTaken(taken, "/etc/subuid", 1, true);
    addTaken(taken, "/etc/subgid", 1, true);
    addTaken(taken, "/etc/passwd", 2, false);
    addTaken(taken, "/etc/passwd", 3, false);
    addTaken(taken, "/etc/group", 2, false);
    return taken;
}

} // namespace

IdRanges::IdRanges(std::string file, uint32_t first, uint32_t last)
    : file_(std::move(file)), first_(first), last_(last) {}

Result<IdRange> IdRanges::rangeOf(const std::string& uuid) {
    std::lock_guard guard(mutex_);
    VZ_TRY(auto held, lock(file_));
    VZ_TRY(auto assignments, load(file_));
    for (const auto& one : assignments)
        if (one.uuid == uuid)
            return IdRange{0, static_cast<uint32_t>(one.span.first), static_cast<uint32_t>(one.span.count)};
    auto taken = takenByHost();
    for (const auto& one : assignments)
        taken.push_back(one.span);
    for (uint64_t first = first_; first + rangeSize <= last_;) {
        auto other = std::find_if(taken.begin(), taken.end(),
                                  [&](const Span& span) { return span.overlaps(first, rangeSize); });
        if (other == taken.end()) {
            assignments.push_back({uuid, {first, rangeSize}});
            VZ_CHECK(store(file_, assignments));
            return IdRange{0, static_cast<uint32_t>(first), rangeSize};
        }
        // The next whole step behind what is in the way, so that ranges stay at round numbers.
        uint64_t steps = (other->first + other->count - first + rangeSize - 1) / rangeSize;
        first += steps * rangeSize;
    }
    return fail(ErrorCode::OperationFailed, "all host ids from ", first_, " to ", last_,
                " are in use: undefine containers, or widen the range in vz.conf");
}

Result<void> IdRanges::release(const std::string& uuid) {
    std::lock_guard guard(mutex_);
    VZ_TRY(auto held, lock(file_));
    VZ_TRY(auto assignments, load(file_));
    auto removed = std::erase_if(assignments, [&](const Assignment& one) { return one.uuid == uuid; });
    return removed ? store(file_, assignments) : Result<void>();
}

Result<bool> canIdMap(const std::string& path) {
    // The numbers do not matter, only that the file system accepts a mapping.
    std::vector<IdRange> any{{0, 0x10000000, rangeSize}};
    VZ_TRY(auto userNamespace, makeUserNamespace(any, any));
    auto clone = cloneIdMapped(path, userNamespace.get());
    if (clone)
        return true;
    int error = clone.error().systemError();
    if (error == EINVAL || error == ENOSYS || error == EOPNOTSUPP)
        return false;
    return std::move(clone).takeError();
}

} // namespace vz::ct
