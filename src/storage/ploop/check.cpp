// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/check.hpp"

#include "storage/ploop/buffer.hpp"
#include "storage/ploop/convert.hpp"
#include "storage/ploop/extension.hpp"
#include "storage/ploop/volume.hpp"

#include <algorithm>

namespace vz::ploop {

namespace {

constexpr size_t mostFindings = 200;
constexpr uint64_t partBytes = 1u << 20;
constexpr uint64_t slack = 65536; // as in Delta::scan

class Checker {
public:
    Checker(File& file, const CheckOptions& options) : file_(file), options_(options) {}

    Result<CheckReport> run() {
        VZ_TRY(bytes_, file_.size());
        std::array<std::byte, headerSize> start{};
        VZ_CHECK(file_.read(0, start.data(), start.size()));
        VZ_TRY(header_, decode(start, bytes_));
        places_ = Places(uint64_t(header_.entries) + slack);
        if (header_.clusters() > header_.entries)
            serious("the table of ", header_.entries, " entries is too short for ", header_.clusters(),
                    " clusters");
        if (header_.flags & flagConverting)
            serious("a conversion between versions was cut off");
        VZ_CHECK(checkExtension());
        VZ_CHECK(checkEntries());
        VZ_CHECK(checkBehindTable());
        VZ_CHECK(moveDuplicates());
        VZ_CHECK(checkLeaks());
        VZ_CHECK(finish());
        return std::move(report_);
    }

private:
    template<typename... Parts>
    void note(bool isSerious, bool fixed, const Parts&... parts) {
        report_.serious = report_.serious || (isSerious && !fixed);
        if (report_.findings.size() < mostFindings)
            report_.findings.push_back({cat(parts...), fixed, isSerious});
        else
            ++report_.more;
    }
    template<typename... Parts>
    void serious(const Parts&... parts) {
        note(true, false, parts...);
    }

    Result<void> checkExtension() {
        if (header_.extension == 0)
            return {};
        if (header_.mark != markExtension) {
            note(false, options_.repair, "the header points to a format extension that is no longer valid");
            return {};
        }
        auto extension = readExtension(file_, header_);
        if (!extension) {
            note(false, options_.repair, "the format extension is damaged: ", extension.error().message());
            return {};
        }
        extensionValid_ = true;
        necessary_ = extension->unknownNecessary;
        for (uint64_t sector : extension->clusters) {
            if (sector >= header_.firstBlock && (sector - header_.firstBlock) % header_.clusterSectors == 0)
                places_.take(placeOf(sector));
        }
        return {};
    }

    uint64_t placeOf(uint64_t sector) const { return (sector - header_.firstBlock) / header_.clusterSectors; }
    uint64_t sectorOf(uint64_t place) const { return header_.firstBlock + place * header_.clusterSectors; }

    Result<void> checkEntries() {
        std::vector<uint32_t> block(16384);
        for (uint64_t first = 0; first < header_.entries; first += block.size()) {
            size_t count = std::min<uint64_t>(block.size(), header_.entries - first);
            VZ_CHECK(file_.read(entryOffset(first), block.data(), count * 4));
            if (options_.progress && !options_.progress(first * header_.clusterBytes(), header_.bytes()))
                return fail(ErrorCode::OperationAborted, "stopped on request");
            for (size_t i = 0; i < count; ++i) {
                if (block[i] != 0)
                    VZ_CHECK(checkEntry(first + i, block[i]));
            }
        }
        return {};
    }

    Result<void> checkEntry(uint64_t index, uint32_t entry) {
        if (!header_.valid(entry, bytes_)) {
            VZ_TRY(bool extended, extendFor(entry));
            if (extended) {
                note(true, true, "cluster ", index,
                     " lies at the ragged end of the file, which was completed");
            } else {
                bool drop = options_.repair && options_.force;
                note(true, drop, "cluster ", index, " lies at ", entry, ", which is no place in the file");
                return drop ? setEntry(index, 0) : Result<void>();
            }
        }
        uint64_t place = placeOf(header_.sectorOf(entry));
        if (places_.take(place)) {
            ++report_.allocated;
            return {};
        }
        if (duplicates_.size() >= mostDuplicates) {
            serious("cluster ", index, " shares its place with another one");
            return {};
        }
        duplicates_.emplace_back(index, header_.sectorOf(entry));
        return {};
    }

    /** A cluster that begins in the file and ends beyond it: the file was cut, what is there is its content.
     */
    Result<bool> extendFor(uint32_t entry) {
        uint64_t sector = header_.sectorOf(entry);
        uint64_t end = (sector + header_.clusterSectors) * sectorSize;
        if (!options_.repair || !header_.valid(entry, end) || sector * sectorSize >= bytes_)
            return false;
        VZ_CHECK(file_.resize(end));
        bytes_ = end;
        return true;
    }

    Result<void> setEntry(uint64_t index, uint32_t entry) {
        changed_ = true;
        return file_.write(entryOffset(index), &entry, sizeof entry);
    }

    /** The rest of the table's last cluster must be zero: growing makes entries of it. */
    Result<void> checkBehindTable() {
        uint64_t from = entryOffset(header_.entries), to = header_.firstBlock * sectorSize;
        to = std::min({to, bytes_, from + header_.clusterBytes()});
        if (from >= to)
            return {};
        std::vector<std::byte> part(std::min(to - from, partBytes));
        bool clean = true;
        for (uint64_t at = from; at < to; at += part.size()) {
            size_t size = std::min<uint64_t>(part.size(), to - at);
            VZ_CHECK(file_.read(at, part.data(), size));
            if (allZero(part.data(), size))
                continue;
            clean = false;
            if (!options_.repair)
                break;
            changed_ = true;
            std::fill(part.begin(), part.end(), std::byte(0));
            VZ_CHECK(file_.write(at, part.data(), size));
        }
        if (!clean)
            note(false, options_.repair, "there is something behind the last entry of the table");
        return {};
    }

    Result<void> copy(uint64_t from, uint64_t to) {
        Buffer part(std::min<uint64_t>(header_.clusterBytes(), partBytes));
        for (uint64_t at = 0; at < header_.clusterBytes();) {
            size_t size = std::min<uint64_t>(header_.clusterBytes() - at, partBytes);
            VZ_CHECK(file_.read(from + at, part.data(), size));
            VZ_CHECK(file_.write(to + at, part.data(), size));
            at += size;
        }
        return {};
    }

    /** Two clusters at one place: whose data it is nobody knows, so both get it, and each can be written to.
     */
    Result<void> moveDuplicates() {
        uint64_t end = placeOf(bytes_ / sectorSize);
        if (bytes_ / sectorSize < header_.firstBlock)
            end = 0;
        for (const auto& [index, sector] : duplicates_) {
            note(true, options_.repair, "cluster ", index, " shares its place with another one");
            if (!options_.repair)
                continue;
            uint64_t target = sectorOf(std::max(end, places_.end()));
            VZ_TRY(uint32_t entry, header_.entryFor(target));
            places_.take(placeOf(target));
            bytes_ = std::max(bytes_, (target + header_.clusterSectors) * sectorSize);
            VZ_CHECK(file_.resize(bytes_));
            VZ_CHECK(copy(sector * sectorSize, target * sectorSize));
            VZ_CHECK(file_.flush());
            VZ_CHECK(setEntry(index, entry));
            ++report_.allocated;
        }
        return {};
    }

    /** Places that nothing refers to but that take space. Holes in the file are what discarding leaves, and
     * fine. */
    Result<uint64_t> findLeaks(bool punch) {
        uint64_t leaked = 0, next = 0; // all places below `next` are counted
        for (uint64_t at = header_.firstBlock * sectorSize; at < bytes_;) {
            VZ_TRY(auto data, file_.nextData(at));
            if (!data)
                break;
            at = data->offset + data->length;
            uint64_t from =
                std::max(next, placeOf(std::max(data->offset / sectorSize, uint64_t(header_.firstBlock))));
            for (next = from; sectorOf(next) * sectorSize < at; ++next) {
                if (places_.taken(next))
                    continue;
                ++leaked;
                if (punch)
                    VZ_CHECK(file_.punch({sectorOf(next) * sectorSize, header_.clusterBytes()}));
            }
        }
        return leaked;
    }

    Result<void> checkLeaks() {
        VZ_TRY(report_.leaked, findLeaks(false));
        if (report_.leaked > 0)
            note(false, options_.repair, report_.leaked, " clusters of the file are not in use");
        // An entry that was left although it is wrong may mean data at the end of the file.
        if (!options_.repair || report_.serious)
            return {};
        if (report_.leaked > 0)
            VZ_CHECK(findLeaks(true));
        if (uint64_t end = sectorOf(places_.end()) * sectorSize; end != bytes_) {
            changed_ = true;
            return file_.resize(end);
        }
        return {};
    }

    Result<void> finish() {
        if (header_.mark == markOpen && !options_.open)
            note(true, options_.repair && !report_.serious, "the file was not closed");
        if (!options_.repair || report_.serious || (report_.findings.empty() && !changed_))
            return {};
        VZ_CHECK(file_.flush());
        Header closed = header_;
        bool keep = extensionValid_ && (!changed_ || necessary_);
        closed.mark = keep ? markExtension : markClosed;
        closed.extension = keep ? header_.extension : 0;
        closed.flags = report_.allocated ? closed.flags & ~flagEmpty : closed.flags;
        auto bytes = encode(closed);
        VZ_CHECK(file_.write(0, bytes.data(), bytes.size()));
        return file_.flush();
    }

    static constexpr size_t mostDuplicates = 100000;

    File& file_;
    const CheckOptions& options_;
    CheckReport report_;
    uint64_t bytes_ = 0;
    Header header_;
    Places places_;
    std::vector<std::pair<uint64_t, uint64_t>> duplicates_; // index, sector
    bool extensionValid_ = false, necessary_ = false, changed_ = false;
};

void append(CheckReport& all, CheckReport one, const std::string& path) {
    for (auto& finding : one.findings) {
        finding.text = cat(path, ": ", finding.text);
        all.findings.push_back(std::move(finding));
    }
    all.more += one.more;
    all.allocated += one.allocated;
    all.leaked += one.leaked;
    all.serious = all.serious || one.serious;
}

} // namespace

Result<CheckReport> checkDelta(FileSystem& files, const std::string& path, const CheckOptions& options) {
    if (options.repair)
        VZ_CHECK(finishVersionChange(files, path));
    VZ_TRY(auto file, files.open(path, options.repair ? Access::ReadWrite : Access::ReadOnly));
    if (!options.open)
        VZ_CHECK(file->lock(options.repair ? Lock::Writer : Lock::Reader, std::chrono::milliseconds(0)));
    auto report = Checker(*file, options).run();
    if (!report)
        return std::move(report).takeError().within(path);
    return report;
}

Result<CheckReport> checkVolume(FileSystem& files, const std::string& descriptor, const CheckOptions& options,
                                bool all) {
    VZ_TRY(auto model, Volume::read(files, descriptor));
    CheckReport report;
    for (const auto& delta : model.deltas) {
        std::string path =
            delta.file.starts_with('/') ? delta.file : cat(folderOf(descriptor), "/", delta.file);
        bool base = model.shot(delta.guid)->parent == noGuid;
        if (base && delta.plain) {
            VZ_TRY(auto file, files.open(path, Access::ReadOnly));
            continue;
        }
        CheckOptions own = options;
        own.repair = options.repair && (all || delta.guid == model.top);
        VZ_TRY(auto one, checkDelta(files, path, own));
        append(report, std::move(one), path);
    }
    Volume::Options opening;
    opening.access = options.repair ? Access::ReadWrite : Access::ReadOnly;
    auto volume = Volume::open(files, descriptor, opening);
    if (!volume) {
        report.findings.push_back({volume.error().message(), false, true});
        report.serious = true;
        return report;
    }
    if (auto sectors = (*volume)->image().bytes() / sectorSize; !options.repair && sectors != model.sectors)
        report.findings.push_back(
            {cat(descriptor, " says ", model.sectors, " sectors, the top has ", sectors)});
    VZ_TRY(auto orphans, (*volume)->orphans());
    for (const auto& path : orphans) {
        bool removed = options.repair && options.force;
        if (removed)
            VZ_CHECK(files.remove(path));
        report.findings.push_back({cat(path, " belongs to no snapshot"), removed});
    }
    return report;
}

} // namespace vz::ploop
