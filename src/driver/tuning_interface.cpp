// SPDX-License-Identifier: LGPL-2.1-or-later
// Bandwidth of a container's interfaces: virsh domiftune.
#include "driver/tuning.hpp"
#include "driver/typed_params.hpp"

#include <algorithm>
#include <strings.h>

namespace vz::driver {

namespace {

using Direction = std::optional<domain::NetRate> domain::NetBandwidth::*;

struct InterfaceTunable {
    KnownParam param;
    const char* element;
    const char* attribute;
    Direction direction;
    uint64_t domain::NetRate::*member;
};

using Bandwidth = domain::NetBandwidth;
using Rate = domain::NetRate;

constexpr InterfaceTunable interfaceTunables[] = {
    {{VIR_DOMAIN_BANDWIDTH_IN_AVERAGE, VIR_TYPED_PARAM_UINT},
     "inbound",
     "average",
     &Bandwidth::inbound,
     &Rate::average},
    {{VIR_DOMAIN_BANDWIDTH_IN_PEAK, VIR_TYPED_PARAM_UINT},
     "inbound",
     "peak",
     &Bandwidth::inbound,
     &Rate::peak},
    {{VIR_DOMAIN_BANDWIDTH_IN_BURST, VIR_TYPED_PARAM_UINT},
     "inbound",
     "burst",
     &Bandwidth::inbound,
     &Rate::burst},
    {{VIR_DOMAIN_BANDWIDTH_IN_FLOOR, VIR_TYPED_PARAM_UINT},
     "inbound",
     "floor",
     &Bandwidth::inbound,
     &Rate::floor},
    {{VIR_DOMAIN_BANDWIDTH_OUT_AVERAGE, VIR_TYPED_PARAM_UINT},
     "outbound",
     "average",
     &Bandwidth::outbound,
     &Rate::average},
    {{VIR_DOMAIN_BANDWIDTH_OUT_PEAK, VIR_TYPED_PARAM_UINT},
     "outbound",
     "peak",
     &Bandwidth::outbound,
     &Rate::peak},
    {{VIR_DOMAIN_BANDWIDTH_OUT_BURST, VIR_TYPED_PARAM_UINT},
     "outbound",
     "burst",
     &Bandwidth::outbound,
     &Rate::burst},
};

/** By its name on the host or its MAC address, as in libvirt's other drivers. */
Result<const domain::Interface*> findInterface(const domain::Definition& definition, const char* device) {
    auto found = std::ranges::find_if(definition.interfaces, [&](const auto& interface) {
        return interface.targetDev == device || ::strcasecmp(interface.mac.c_str(), device) == 0;
    });
    if (found == definition.interfaces.end())
        return fail(ErrorCode::InvalidArg, "the domain '", definition.name, "' has no interface '", device,
                    "'");
    return &*found;
}

/** What a client says about a direction replaces all of it; an average of 0 takes the limit away. */
Result<Bandwidth> readWanted(virTypedParameterPtr params, int count) {
    Bandwidth given;
    VZ_CHECK(eachParam(params, count, interfaceTunables,
                       [&](const InterfaceTunable& tunable, const virTypedParameter& param) {
                           auto& rate = given.*tunable.direction;
                           if (!rate)
                               rate.emplace();
                           (*rate).*tunable.member = param.value.ui;
                       }));
    for (const auto& rate : {given.inbound, given.outbound}) {
        if (rate && !rate->average && (rate->peak || rate->burst))
            return fail(ErrorCode::InvalidArg, "a peak or burst needs an average");
    }
    return given;
}

/** The edits of one <bandwidth>, which may be the network's own in a live config. */
void addEdits(domain::Edits& edits, const std::string& prefix, const Bandwidth& wanted) {
    for (const auto& tunable : interfaceTunables) {
        const auto& rate = wanted.*tunable.direction;
        if (!rate)
            continue;
        bool kept = rate->average || rate->floor;
        auto value = kept ? (*rate).*tunable.member : 0;
        edits.push_back({cat(prefix, "/bandwidth/", tunable.element, "@", tunable.attribute),
                         value ? std::optional(cat(value)) : std::nullopt});
    }
}

} // namespace

Result<void> setInterfaceParameters(const DomainCall& call, const char* device, virTypedParameterPtr params,
                                    int count, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags, "virDomainSetInterfaceParameters"));
    VZ_TRY(auto wanted, readWanted(params, count));
    // The name on the host is in the live config only.
    auto current = call.domain.current();
    VZ_TRY(const auto* meant, findInterface(current.definition(), device));
    auto mac = meant->mac;
    return tune(call, flags, [&](const domain::Definition& definition) -> Result<domain::Edits> {
        VZ_TRY(const auto* interface, findInterface(definition, mac.c_str()));
        if (wanted.inbound && wanted.inbound->floor && interface->type == "network" &&
            !interface->portId.empty())
            return fail(ErrorCode::OperationUnsupported, "inbound.floor is what the network of ", mac,
                        " was asked for when it was plugged in: change the persistent config (--config)");
        domain::Edits edits;
        auto prefix = cat("devices/interface[mac@address=", mac, "]");
        addEdits(edits, prefix, wanted);
        if (!interface->portId.empty())
            addEdits(edits, prefix + "/actual", wanted);
        return edits;
    });
}

Result<void> getInterfaceParameters(const DomainCall& call, const char* device, virTypedParameterPtr params,
                                    int* count, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, tuningFlags | VIR_TYPED_PARAM_STRING_OKAY, "virDomainGetInterfaceParameters"));
    VZ_TRY(auto config, configFor(call, flags & tuningFlags));
    auto live = call.domain.current();
    VZ_TRY(const auto* meant, findInterface(live.definition(), device));
    VZ_TRY(const auto* interface, findInterface(config.definition(), meant->mac.c_str()));
    ParamSlots slots(params, count);
    for (const auto& tunable : interfaceTunables) {
        const auto& rate = interface->bandwidth.*tunable.direction;
        slots.add(tunable.param.name, static_cast<unsigned int>(rate ? (*rate).*tunable.member : 0));
    }
    return {};
}

} // namespace vz::driver
