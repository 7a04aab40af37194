// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/guarantees.hpp"

#include "base/log.hpp"
#include "ct/cgroup_protect.hpp"

#include <algorithm>
#include <unistd.h>
#include <vector>

namespace vz::driver {

namespace {

constexpr uint64_t mib = 1 << 20;

/** "/a/b": "/a" and "/a/b". */
std::vector<std::string> prefixes(const std::string& partition) {
    std::vector<std::string> out;
    std::string path;
    for (auto part : split(partition, '/')) {
        if (part.empty())
            continue;
        path += cat("/", part);
        out.push_back(path);
    }
    return out;
}

} // namespace

uint64_t hostMemory() {
    return static_cast<uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
}

uint64_t guaranteedBytes(const domain::MemoryGuarantee& guarantee, uint64_t limit, unsigned autoPercent) {
    using Kind = domain::MemoryGuarantee::Kind;
    if (guarantee.kind == Kind::Bytes)
        return guarantee.amount;
    auto percent = guarantee.kind == Kind::Auto ? autoPercent : guarantee.amount;
    auto whole = std::min(limit, hostMemory());
    return whole / 100 * percent + whole % 100 * percent / 100; // does not overflow
}

Result<void> Guarantees::reserve(const std::string& uuid, const Guest& guest) {
    std::lock_guard lock(lock_);
    uint64_t others = 0;
    size_t count = 0;
    for (const auto& [id, other] : guests_) {
        if (id != uuid && other.bytes) {
            others += other.bytes; // never above the host's memory, but for guests that ran before
            ++count;
        }
    }
    auto all = hostMemory();
    if (guest.bytes && (guest.bytes > all || others > all - guest.bytes))
        return fail(ErrorCode::OperationFailed, "'", guest.name, "' cannot be guaranteed ", guest.bytes / mib,
                    " MiB of memory: the host has ", all / mib, " MiB, of which ", others / mib,
                    " MiB are guaranteed to ", count, " other running guests", largest(uuid),
                    "; lower a guarantee (<vz:memory>, <min_guarantee>, <vz:vmguarpages>), or stop a guest");
    set(uuid, &guest);
    return {};
}

/** " (most to 'x': 512 MiB)" */
std::string Guarantees::largest(const std::string& exceptUuid) const {
    const Guest* most = nullptr;
    for (const auto& [id, other] : guests_) {
        if (id != exceptUuid && other.bytes && (!most || other.bytes > most->bytes))
            most = &other;
    }
    return most ? cat(" (most of it to '", most->name, "': ", most->bytes / mib, " MiB)") : std::string();
}

void Guarantees::restore(const std::string& uuid, const Guest& guest) {
    std::lock_guard lock(lock_);
    set(uuid, &guest);
}

void Guarantees::release(const std::string& uuid) {
    std::lock_guard lock(lock_);
    set(uuid, nullptr);
}

void Guarantees::settle(const std::string& partition) {
    std::lock_guard lock(lock_);
    for (const auto& each : prefixes(partition)) {
        if (!partitions_.contains(each) && ct::partitionProtected(host_, each))
            partitions_[each] = UINT64_MAX; // unknown
    }
    set({}, nullptr);
}

uint64_t Guarantees::of(const std::string& uuid) const {
    std::lock_guard lock(lock_);
    auto found = guests_.find(uuid);
    return found == guests_.end() ? 0 : found->second.bytes;
}

void Guarantees::set(const std::string& uuid, const Guest* guest) {
    if (guest && guest->bytes)
        guests_[uuid] = *guest;
    else
        guests_.erase(uuid);
    // The control groups above the guests follow.
    std::map<std::string, uint64_t> sums;
    for (const auto& [partition, bytes] : partitions_)
        sums[partition] = 0;
    for (const auto& [id, each] : guests_) {
        for (const auto& partition : prefixes(each.partition))
            sums[partition] += each.bytes;
    }
    for (const auto& [partition, bytes] : sums) {
        if (auto known = partitions_.find(partition); known != partitions_.end() && known->second == bytes)
            continue;
        if (auto told = ct::protectPartition(host_, partition, bytes); !told)
            log::warning("guarantees of memory below ", partition, " may not hold: ", told.error().message());
    }
    std::erase_if(sums, [](const auto& each) { return each.second == 0; });
    partitions_ = std::move(sums);
}

} // namespace vz::driver
