// SPDX-License-Identifier: LGPL-2.1-or-later
// Disk I/O of containers: virsh blkiotune, blkdeviotune.
#include "driver/blocks.hpp"
#include "driver/tuning.hpp"
#include "driver/typed_params.hpp"

namespace vz::driver {

namespace {

/** A list "PATH,VALUE,PATH,VALUE": which file of <device> it is for. */
struct DeviceTunable {
    KnownParam param;
    const char* element;
    uint64_t (*get)(const domain::BlockDeviceTune&);
};

using Tune = domain::BlockDeviceTune;

constexpr DeviceTunable deviceTunables[] = {
    {{VIR_DOMAIN_BLKIO_DEVICE_WEIGHT, VIR_TYPED_PARAM_STRING},
     "weight",
     [](const Tune& tune) { return uint64_t(tune.weight); }},
    {{VIR_DOMAIN_BLKIO_DEVICE_READ_IOPS, VIR_TYPED_PARAM_STRING},
     "read_iops_sec",
     [](const Tune& tune) { return tune.readOps; }},
    {{VIR_DOMAIN_BLKIO_DEVICE_WRITE_IOPS, VIR_TYPED_PARAM_STRING},
     "write_iops_sec",
     [](const Tune& tune) { return tune.writeOps; }},
    {{VIR_DOMAIN_BLKIO_DEVICE_READ_BPS, VIR_TYPED_PARAM_STRING},
     "read_bytes_sec",
     [](const Tune& tune) { return tune.readBytes; }},
    {{VIR_DOMAIN_BLKIO_DEVICE_WRITE_BPS, VIR_TYPED_PARAM_STRING},
     "write_bytes_sec",
     [](const Tune& tune) { return tune.writeBytes; }},
};

/** What a client asks for one disk. */
struct DiskThrottleChange {
    domain::DiskThrottle values;
    bool bytes = false, ops = false; ///< which kinds it names
};

/** A limit of one disk; those of a kind are set together, as by QEMU's driver: what is not named goes. */
struct DiskTunable {
    KnownParam param;
    bool bytes; ///< else requests
    uint64_t domain::DiskThrottle::*value;
};

using Throttle = domain::DiskThrottle;

constexpr DiskTunable diskTunables[] = {
    {{VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC, VIR_TYPED_PARAM_ULLONG}, true, &Throttle::totalBytes},
    {{VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC, VIR_TYPED_PARAM_ULLONG}, true, &Throttle::readBytes},
    {{VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC, VIR_TYPED_PARAM_ULLONG}, true, &Throttle::writeBytes},
    {{VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC, VIR_TYPED_PARAM_ULLONG}, false, &Throttle::totalOps},
    {{VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC, VIR_TYPED_PARAM_ULLONG}, false, &Throttle::readOps},
    {{VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC, VIR_TYPED_PARAM_ULLONG}, false, &Throttle::writeOps},
};

Result<const domain::Disk*> diskOf(const domain::Definition& definition, const char* name) {
    auto target = targetOf(definition, name);
    if (target.empty())
        return noDisk(name);
    auto found = std::ranges::find(definition.disks, target, &domain::Disk::target);
    if (found == definition.disks.end())
        return fail(ErrorCode::OperationUnsupported, name,
                    " is a <filesystem>, which has no limits of its own: use iolimit and iopslimit of "
                    "'virsh schedinfo' for all images of the container, or make it a <disk>");
    return &*found;
}

domain::Edits throttleEdits(const std::string& target, const DiskThrottleChange& wanted) {
    domain::Edits edits;
    for (const auto& tunable : diskTunables) {
        if (!(tunable.bytes ? wanted.bytes : wanted.ops))
            continue;
        auto value = wanted.values.*tunable.value;
        edits.push_back({cat("devices/disk[target@dev=", target, "]/iotune/", tunable.param.name),
                         value ? std::optional(cat(value)) : std::nullopt});
    }
    return edits;
}

Result<void> addDeviceEdits(std::string_view text, const DeviceTunable& tunable, domain::Edits& edits) {
    auto parts = split(text, ',');
    if (parts.size() % 2)
        return fail(ErrorCode::InvalidArg, "'", text, "' for ", tunable.param.name,
                    " is not a list of a device and a value each: /dev/sda,100");
    for (size_t i = 0; i < parts.size(); i += 2) {
        auto value = parseNumber<uint64_t>(parts[i + 1]);
        // The path becomes a part of an XML path: those signs are none of a device's name.
        if (!value || !parts[i].starts_with('/') || parts[i].find_first_of("[]<>&") != parts[i].npos)
            return fail(ErrorCode::InvalidArg, "'", parts[i], ",", parts[i + 1], "' for ", tunable.param.name,
                        " is not the absolute path of a device and a number");
        edits.push_back({cat("blkiotune/device[path=", parts[i], "]/", tunable.element),
                         *value ? std::optional(cat(*value)) : std::nullopt});
    }
    return {};
}

} // namespace

Result<void> setBlkioParameters(const DomainCall& call, virTypedParameterPtr params, int count,
                                unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags, "virDomainSetBlkioParameters"));
    std::vector<KnownParam> known{{VIR_DOMAIN_BLKIO_WEIGHT, VIR_TYPED_PARAM_UINT}};
    for (const auto& tunable : deviceTunables)
        known.push_back(tunable.param);
    VZ_CHECK(checkParams(params, count, known));
    domain::Edits edits;
    for (int i = 0; i < count; ++i) {
        std::string_view name = params[i].field;
        if (name == VIR_DOMAIN_BLKIO_WEIGHT)
            edits.push_back({"blkiotune/weight",
                             params[i].value.ui ? std::optional(cat(params[i].value.ui)) : std::nullopt});
        for (const auto& tunable : deviceTunables) {
            if (name == tunable.param.name)
                VZ_CHECK(addDeviceEdits(params[i].value.s, tunable, edits));
        }
    }
    return tune(call, flags, [&](const auto&) { return edits; });
}

Result<void> setBlockIoTune(const DomainCall& call, const char* disk, virTypedParameterPtr params, int count,
                            unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags, "virDomainSetBlockIoTune"));
    DiskThrottleChange wanted;
    VZ_CHECK(eachParam(params, count, diskTunables,
                       [&](const DiskTunable& tunable, const virTypedParameter& param) {
                           wanted.values.*tunable.value = param.value.ul;
                           (tunable.bytes ? wanted.bytes : wanted.ops) = true;
                       }));
    return tune(call, flags, [&](const auto& definition) -> Result<domain::Edits> {
        VZ_TRY(const auto* found, diskOf(definition, disk));
        return throttleEdits(found->target, wanted);
    });
}

Result<void> getBlockIoTune(const DomainCall& call, const char* disk, virTypedParameterPtr params, int* count,
                            unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags | VIR_TYPED_PARAM_STRING_OKAY, "virDomainGetBlockIoTune"));
    VZ_TRY(auto config, configFor(call, flags & tuningFlags));
    domain::DiskThrottle throttle;
    // A client may ask for the number of parameters without naming a disk.
    if (disk) {
        VZ_TRY(const auto* found, diskOf(config.definition(), disk));
        throttle = found->throttle;
    }
    ParamSlots slots(params, count);
    for (const auto& tunable : diskTunables)
        slots.add(tunable.param.name, static_cast<unsigned long long>(throttle.*tunable.value));
    return {};
}

Result<void> getBlkioParameters(const DomainCall& call, virTypedParameterPtr params, int* count,
                                unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags | VIR_TYPED_PARAM_STRING_OKAY, "virDomainGetBlkioParameters"));
    VZ_TRY(auto config, configFor(call, flags & tuningFlags));
    const auto& definition = config.definition();
    ParamSlots slots(params, count);
    slots.add(VIR_DOMAIN_BLKIO_WEIGHT, definition.blockWeight.value_or(0));
    for (const auto& tunable : deviceTunables) {
        std::string list;
        for (const auto& device : definition.blockDevices) {
            if (auto value = tunable.get(device))
                list += cat(list.empty() ? "" : ",", device.path, ",", value);
        }
        slots.add(tunable.param.name, list);
    }
    return {};
}

} // namespace vz::driver
