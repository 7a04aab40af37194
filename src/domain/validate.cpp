// SPDX-License-Identifier: LGPL-2.1-or-later
#include "domain/validate.hpp"

#include "domain/validate_devices.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <map>

namespace vz::domain {

namespace {

constexpr size_t nameLimit = 200; // with ".xml" and writeAtomic's suffix it stays below NAME_MAX

/** libvirt 9.0.0 prints these values without escaping them, so they could turn into elements. */
Result<void> checkPlain(const std::string& value, std::string_view what) {
    if (value.find_first_of("<>&'\"\r") != std::string::npos)
        return fail(ErrorCode::XmlError, what, " may not contain any of < > & ' \" or carriage returns: '",
                    value, "'");
    return {};
}

Result<void> checkAliases(xmlNode* devices) {
    for (auto* device : xml::children(devices)) {
        auto alias = xml::attribute(xml::child(device, "alias"), "name");
        VZ_CHECK(checkPlain(alias, cat("the <alias> name of a <", xml::name(device), ">")));
    }
    return {};
}

Result<void> checkOneOf(xmlNode* domain, const char* element,
                        std::initializer_list<std::string_view> values) {
    auto* node = xml::child(domain, element);
    auto value = xml::text(node);
    if (!node || std::find(values.begin(), values.end(), value) != values.end())
        return {};
    std::string known;
    for (auto each : values)
        known += cat(known.empty() ? "" : ", ", each);
    return unsupported("<", element, ">", value, "</", element, "> is not supported for containers: use ",
                       known);
}

Result<void> checkFeatures(xmlNode* domain) {
    for (const char* name : {"suspend-to-mem", "suspend-to-disk"}) {
        if (xml::attribute(xml::path(domain, {"pm", name}), "enabled") == "yes")
            return unsupported("<", name,
                               " enabled='yes'> in <pm> is not supported for containers: remove it");
    }
    auto offset = xml::attribute(xml::child(domain, "clock"), "offset");
    if (!offset.empty() && offset != "utc" && offset != "localtime")
        return unsupported("<clock offset='", offset,
                           "'> is not supported for containers, which share the host's clock: use utc");
    return {};
}

Result<void> checkEndActions(xmlNode* domain) {
    for (const char* element : {"on_poweroff", "on_reboot", "on_crash"})
        VZ_CHECK(checkOneOf(domain, element, {"destroy", "restart", "preserve"}));
    return checkOneOf(domain, "on_lockfailure", {"ignore"});
}

Result<void> checkOs(const Definition& definition) {
    utsname host;
    if (::uname(&host) < 0)
        return failErrno(errno, "cannot ask for the host's architecture");
    // The kernel's names and libvirt's are the same for what a 64-bit host can be.
    if (!definition.arch.empty() && definition.arch != host.machine)
        return unsupported("<type arch='", definition.arch,
                           "'> is not supported: a container runs on the host's ", "kernel, which is ",
                           host.machine);
    if (definition.init.front() != '/')
        return unsupported("<init>", definition.init,
                           "</init> has to be an absolute path inside the container");
    if (!definition.initDir.empty() && definition.initDir.front() != '/')
        return unsupported("<initdir>", definition.initDir,
                           "</initdir> has to be an absolute path inside the container");
    for (const auto& variable : definition.initEnv) {
        if (variable.front() == '=')
            return fail(ErrorCode::XmlError, "an <initenv> has no name");
    }
    return {};
}

/** Ranges of one map must not overlap on either side, and have to fit into 32 bits. */
Result<void> checkIdMap(std::vector<ct::IdRange> ranges, std::string_view element) {
    auto overlap = [&](uint32_t ct::IdRange::*start) -> Result<void> {
        std::sort(ranges.begin(), ranges.end(),
                  [&](const auto& a, const auto& b) { return a.*start < b.*start; });
        uint64_t free = 0;
        for (const auto& range : ranges) {
            if (range.count == 0)
                return fail(ErrorCode::XmlError, "<", element, " count='0'> in <idmap> maps nothing");
            if (range.*start < free)
                return fail(ErrorCode::XmlError, "the <", element, "> ranges in <idmap> overlap at ",
                            range.*start);
            free = uint64_t(range.*start) + range.count;
            // (uint32_t)-1 is "no id" for the kernel.
            if (free > UINT32_MAX)
                return fail(ErrorCode::XmlError, "the <", element, "> range in <idmap> from ", range.*start,
                            " with count ", range.count, " goes beyond the largest id");
        }
        return {};
    };
    VZ_CHECK(overlap(&ct::IdRange::host));
    VZ_CHECK(overlap(&ct::IdRange::inside));
    if (!ranges.empty() && ranges.front().inside != 0)
        return unsupported("<idmap> has to map the root user: no <", element, "> range starts at 0");
    return {};
}

Result<void> checkResources(xmlNode* domain, const Definition& definition) {
    if (definition.maxMemoryKiB == 0)
        return fail(ErrorCode::XmlError, "<memory> has to be more than 0");
    auto placement = xml::attribute(xml::child(domain, "vcpu"), "placement");
    if (placement == "auto")
        return unsupported("<vcpu placement='auto'> is not supported for containers: give a cpuset");
    if (!definition.numaMode.empty() && definition.numaMode != "strict" &&
        definition.numaMode != "restrictive")
        return unsupported("<memory mode='", definition.numaMode,
                           "'> in <numatune> is not supported for containers: use strict or restrictive");
    if (!definition.numaMode.empty() && definition.numaNodes.empty())
        return unsupported("<memory> in <numatune> needs a nodeset: containers have no automatic placement");
    if (definition.hardLimitKiB && definition.swapHardLimitKiB &&
        *definition.swapHardLimitKiB < *definition.hardLimitKiB)
        return fail(ErrorCode::InvalidArg, "<swap_hard_limit> (RAM and swap together, ",
                    *definition.swapHardLimitKiB, " KiB) is lower than <hard_limit> (",
                    *definition.hardLimitKiB, " KiB)");
    const auto& partition = definition.partition;
    bool climbs = (partition + "/").find("/../") != std::string::npos;
    if (!partition.empty() && (partition.front() != '/' || climbs))
        return fail(ErrorCode::XmlError, "<partition>", partition,
                    "</partition> has to be an absolute path without '..'");
    return {};
}

Result<void> checkNetworkSettings(const NetworkSettings& network) {
    for (const auto& server : network.nameservers) {
        in6_addr address;
        if (::inet_pton(AF_INET, server.c_str(), &address) != 1 &&
            ::inet_pton(AF_INET6, server.c_str(), &address) != 1)
            return fail(ErrorCode::XmlError, "'", server, "' in <vz:nameservers> is no IP address");
    }
    return {};
}

Result<void> checkLabel(const Definition& definition) {
    if (!definition.label)
        return {};
    const auto& label = *definition.label;
    if (!label.model.empty() && label.model != "apparmor" && label.model != "none")
        return unsupported("<seclabel model='", label.model, "'> is not supported: use apparmor or none");
    if (label.type == "static" && label.label.empty() && label.model != "none")
        return fail(ErrorCode::XmlError, "<seclabel type='static'> needs a <label> (the name of a profile)");
    return {};
}

} // namespace

Result<void> checkName(const std::string& name) {
    if (name.empty() || name.size() > nameLimit)
        return fail(ErrorCode::XmlError, "a domain name has to have 1 to ", nameLimit, " bytes, not ",
                    name.size());
    bool control =
        std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
    if (name.front() == '.' || control || name.find('/') != std::string::npos)
        return fail(ErrorCode::XmlError, "the domain name '", name,
                    "' cannot be used: no '/', no leading '.' and no control characters");
    return {};
}

Result<void> checkCounts(xmlNode* domain) {
    constexpr unsigned cpuLimit = 16384; // the longest CPU list libvirt can hold (VIR_DOMAIN_CPUMASK_LEN)
    constexpr unsigned threadLimit = 4096;
    auto check = [](xmlNode* element, unsigned least, unsigned limit) -> Result<void> {
        auto text = xml::text(element);
        auto value = parseNumber<unsigned>(trim(text));
        if (element && (!value || *value < least || *value > limit))
            return fail(ErrorCode::XmlError, "<", xml::name(element), "> has to be a number from ", least,
                        " to ", limit, ", not '", text, "'");
        return {};
    };
    VZ_CHECK(check(xml::child(domain, "vcpu"), 1, cpuLimit));
    return check(xml::child(domain, "iothreads"), 0, threadLimit);
}

Result<void> checkRaw(xmlNode* domain) {
    auto* os = xml::child(domain, "os");
    for (auto* variable : xml::children(os, "initenv"))
        VZ_CHECK(checkPlain(xml::attribute(variable, "name"), "the name of an <initenv>"));
    for (const char* name : {"inituser", "initgroup"})
        VZ_CHECK(checkPlain(xml::text(xml::child(os, name)), cat("<", name, ">")));
    VZ_CHECK(checkAliases(xml::child(domain, "devices")));
    auto* privnet = xml::path(domain, {"features", "privnet"});
    if (privnet && xml::hasAttribute(privnet, "state") && xml::attribute(privnet, "state") != "on")
        return unsupported("<privnet state='", xml::attribute(privnet, "state"),
                           "'> is not supported: a container always has a network namespace of its own");
    return checkRawDevices(xml::child(domain, "devices"));
}

Result<void> checkValues(xmlNode* domain, const Definition& definition) {
    VZ_CHECK(checkOs(definition));
    VZ_CHECK(checkIdMap(definition.uidMap, "uid"));
    VZ_CHECK(checkIdMap(definition.gidMap, "gid"));
    VZ_CHECK(checkFeatures(domain));
    VZ_CHECK(checkEndActions(domain));
    VZ_CHECK(checkResources(domain, definition));
    VZ_CHECK(ct::checkBeancounters(definition.extension.beancounters));
    VZ_CHECK(checkNetworkSettings(definition.extension.network));
    VZ_CHECK(checkLabel(definition));
    return checkDevices(xml::child(domain, "devices"), definition);
}

} // namespace vz::domain
