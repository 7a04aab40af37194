// SPDX-License-Identifier: LGPL-2.1-or-later
// Disk I/O: shares of it, and limits for single disks of the host.
#include "base/file.hpp"
#include "ct/cgroup_internal.hpp"

#include <cerrno>

namespace vz::ct::cgroups {

namespace {

Result<const Place*> need(const std::vector<Place>& places) {
    for (const char* name : {"blkio", "io"}) {
        if (const auto* place = placeOf(places, name))
            return place;
    }
    return fail(ErrorCode::ConfigUnsupported,
                "this host has no cgroup controller for block I/O, which <blkiotune> needs");
}

/** The file of a hierarchy that takes weights: bfq's on both kinds, or io.weight where there is no bfq; its
 * name. */
Result<std::string> weightFile(const Place& place, const char* suffix) {
    std::vector<std::string> names;
    if (place.v2)
        names = {"io.bfq.weight", "io.weight"};
    else
        names = {cat("blkio.bfq.weight", suffix), cat("blkio.weight", suffix)};
    for (const auto& name : names) {
        if (file::exists(cat(place.limitDir(), "/", name)))
            return name;
    }
    return fail(ErrorCode::ConfigUnsupported, "this host's kernel has no weights for block I/O (no ",
                names.front(), "): load the I/O scheduler bfq, or remove the weight");
}

Result<void> writeWeight(const Place& place, const std::string& name, const std::string& value) {
    for (const auto& dir : place.weightDirs())
        VZ_CHECK(file::writeValue(cat(dir, "/", name), value));
    return {};
}

Result<void> applyWeight(const Place& place, unsigned weight) {
    VZ_TRY(auto name, weightFile(place, ""));
    bool bfq = name.find("bfq") != std::string::npos;
    unsigned most = bfq ? 1000 : 10000;
    if (weight < 1 || weight > most)
        return fail(ErrorCode::InvalidArg, "the I/O weight ", weight, " is not in 1...", most,
                    ", which this host's kernel allows");
    return writeWeight(place, name, cat(weight));
}

Result<void> applyDeviceWeight(const Place& place, const BlockLimit& limit) {
    auto device = cat(limit.major, ":", limit.minor);
    auto name = weightFile(place, "_device");
    if (limit.weight == 0) {
        // There is none to take back where there is no such file, or the disk has another scheduler.
        auto reset =
            name ? writeWeight(place, *name, cat(device, place.v2 ? " default" : " 0")) : Result<void>();
        return !reset && reset.error().systemError() == EOPNOTSUPP ? Result<void>() : std::move(reset);
    }
    if (!name)
        return std::move(name).takeError();
    return writeWeight(place, *name, cat(device, " ", limit.weight));
}

/** v1 throttles each group by itself: a limit above does not hold for processes below. */
Result<void> writeBelow(const std::string& dir, const std::string& name, const std::string& value) {
    VZ_CHECK(file::writeValue(cat(dir, "/", name), value));
    VZ_TRY(auto names, file::list(dir));
    for (const auto& below : names) {
        auto path = cat(dir, "/", below);
        if (!file::isDirectory(path))
            continue;
        if (auto done = writeBelow(path, name, value); !done && file::exists(path))
            return done;
    }
    return {};
}

std::string perSecond(uint64_t value) {
    return value ? cat(value) : "max";
}

Result<void> applyThrottle(const Place& place, const BlockLimit& limit) {
    auto device = cat(limit.major, ":", limit.minor);
    if (place.v2)
        return file::writeValue(
            place.limitDir() + "/io.max",
            cat(device, " rbps=", perSecond(limit.readBytes), " wbps=", perSecond(limit.writeBytes),
                " riops=", perSecond(limit.readOps), " wiops=", perSecond(limit.writeOps)));
    const std::pair<const char*, uint64_t> files[] = {{"read_bps_device", limit.readBytes},
                                                      {"write_bps_device", limit.writeBytes},
                                                      {"read_iops_device", limit.readOps},
                                                      {"write_iops_device", limit.writeOps}};
    for (auto [name, value] : files)
        VZ_CHECK(writeBelow(place.limitDir(), cat("blkio.throttle.", name), cat(device, " ", value)));
    return {};
}

} // namespace

Result<void> applyBlock(const std::vector<Place>& places, const CgroupLimits& limits) {
    if (!limits.blockWeight && limits.blockDevices.empty())
        return {};
    VZ_TRY(const auto* place, need(places));
    if (limits.blockWeight)
        VZ_CHECK(applyWeight(*place, *limits.blockWeight));
    for (const auto& device : limits.blockDevices) {
        VZ_CHECK(applyThrottle(*place, device));
        VZ_CHECK(applyDeviceWeight(*place, device));
    }
    return {};
}

} // namespace vz::ct::cgroups
