// SPDX-License-Identifier: LGPL-2.1-or-later
#pragma once

#include "driver/methods.hpp"

#include <initializer_list>
#include <string>

/** What the methods that change resources of containers share: each is an edit of the XML. */
namespace vz::driver {

constexpr unsigned int tuningFlags = VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG;

/** Makes the edits for one config, which may be the live or the persistent one. */
using MakeEdits = std::function<Result<domain::Edits>(const domain::Definition&)>;

/**
 * Changes the live config, the persistent one or both, as the AFFECT bits of @p flags say; what runs changes
 * with it. Takes the modify job. All or nothing: everything is made and checked before anything takes effect.
 */
Result<void> tune(const DomainCall& call, unsigned int flags, const MakeEdits& make);

/** The config that a call without an effect is about. */
Result<domain::Config> configFor(const DomainCall& call, unsigned int flags);

/** A typed parameter that a call knows: its name, its type (VIR_TYPED_PARAM_*). */
struct KnownParam {
    const char* name;
    int type;
};

/** ArgumentUnsupported for a parameter that is not in @p known, InvalidArg for one of another type or given
 * twice: as libvirt's other drivers. */
Result<void> checkParams(virTypedParameterPtr params, int count, std::span<const KnownParam> known);

/** Checks a client's parameters by a table, and gives each to @p use with its row; rows have a KnownParam @c
 * param. */
template<typename Table, typename Use>
Result<void> eachParam(virTypedParameterPtr params, int count, const Table& table, Use use) {
    std::vector<KnownParam> known;
    for (const auto& row : table)
        known.push_back(row.param);
    VZ_CHECK(checkParams(params, count, known));
    for (int i = 0; i < count; ++i) {
        for (const auto& row : table) {
            if (std::string_view(params[i].field) == row.param.name)
                use(row, params[i]);
        }
    }
    return {};
}

/** A CPU map as libvirt's API has it, as a list; InvalidArg if no CPU of the host is in it. */
Result<std::string> cpuList(const Driver& driver, const unsigned char* map, int length);
/** The other way; an empty list means all CPUs of the host. */
Result<void> setCpuMap(const Driver& driver, const std::string& list, unsigned char* map, int length);

} // namespace vz::driver
