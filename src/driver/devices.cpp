// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/methods.hpp"

namespace vz::driver {

namespace {

constexpr unsigned int affectFlags = VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG;

} // namespace

Result<void> attachDevice(const DomainCall& call, const char* xml) {
    return attachDeviceFlags(call, xml, VIR_DOMAIN_AFFECT_LIVE);
}

Result<void> attachDeviceFlags(const DomainCall& call, const char* xml, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, affectFlags, "virDomainAttachDeviceFlags"));
    VZ_TRY(auto job, call.modify());
    VZ_TRY(auto affected, affects(call.domain, flags));
    // The config is checked first and written last, so that a failure changes neither.
    std::optional<domain::Config> config;
    if (affected.config) {
        domain::Config::Device added{};
        VZ_TRY(config, call.domain.config().withDevice(call.driver.parser(), xml, false, &added));
    }
    if (affected.live)
        VZ_CHECK(call.domain.attachLive(xml));
    return config ? call.domain.setConfig(*std::move(config)) : Result<void>();
}

Result<void> detachDevice(const DomainCall& call, const char* xml) {
    return detachDeviceFlags(call, xml, VIR_DOMAIN_AFFECT_LIVE);
}

namespace {

/** @p find: from a config to the device that is meant. */
template<typename Find>
Result<void> detach(const DomainCall& call, unsigned int flags, Find find) {
    VZ_CHECK(allowFlags(flags, affectFlags, call.api));
    VZ_TRY(auto job, call.modify());
    VZ_TRY(auto affected, affects(call.domain, flags));
    std::optional<domain::Config> config;
    if (affected.config) {
        auto before = call.domain.config();
        VZ_TRY(auto device, find(before));
        VZ_TRY(config, before.withoutDevice(call.driver.parser(), device));
    }
    if (affected.live) {
        VZ_TRY(auto device, find(call.domain.current()));
        VZ_CHECK(call.domain.detachLive(device));
    }
    return config ? call.domain.setConfig(*std::move(config)) : Result<void>();
}

} // namespace

Result<void> detachDeviceFlags(const DomainCall& call, const char* xml, unsigned int flags) {
    return detach(call, flags,
                  [&](const domain::Config& config) { return config.findDevice(call.driver.parser(), xml); });
}

Result<void> detachDeviceAlias(const DomainCall& call, const char* alias, unsigned int flags) {
    return detach(call, flags, [&](const domain::Config& config) { return config.findDeviceByAlias(alias); });
}

Result<void> updateDeviceFlags(const DomainCall& call, const char* xml, unsigned int flags) {
    VZ_CHECK(allowFlags(flags, affectFlags, "virDomainUpdateDeviceFlags"));
    VZ_TRY(auto job, call.modify());
    VZ_TRY(auto affected, affects(call.domain, flags));
    const auto& parser = call.driver.parser();
    std::optional<domain::Config> config;
    if (affected.config) {
        auto before = call.domain.config();
        VZ_TRY(auto device, before.findDevice(parser, xml));
        VZ_TRY(config, before.withUpdatedDevice(parser, device, xml));
    }
    if (affected.live)
        VZ_CHECK(call.domain.updateLive(xml));
    return config ? call.domain.setConfig(*std::move(config)) : Result<void>();
}

} // namespace vz::driver
