// SPDX-License-Identifier: LGPL-2.1-or-later
#include "driver/machine_guarantee.hpp"

#include "base/file.hpp"
#include "base/log.hpp"
#include "base/xml.hpp"
#include "domain/extension.hpp"
#include "libvirt/objects.hpp"

namespace vz::driver {

namespace {

constexpr const char* defaultPartition = "/machine"; // of QEMU's driver, too

/** Of <machine>; strict, as no schema is asked before. */
Result<std::optional<domain::MemoryGuarantee>> readMachine(xmlNode* element) {
    auto wrong = [](const auto&... parts) {
        return fail(
            ErrorCode::XmlError, "the metadata of namespace ", kMachineUri, " ", parts...,
            ": it is <machine><memory><guarantee type='auto|percent|bytes'>N</guarantee></memory></machine>");
    };
    for (auto* group : xml::children(element)) {
        if (xml::name(group) != "memory")
            return wrong("has no element <", xml::name(group), ">");
        for (auto* setting : xml::children(group)) {
            if (xml::name(setting) != "guarantee")
                return wrong("has no element <", xml::name(setting), ">");
            auto type = xml::attribute(setting, "type");
            auto number = parseNumber<uint64_t>(trim(xml::text(setting)));
            bool good = type == "auto" || (type == "bytes" && number) ||
                        (type == "percent" && number && *number <= 100);
            if (!good)
                return wrong("has a <guarantee> of type '", type, "' with '", xml::text(setting), "'");
        }
        return domain::readGuarantee(group);
    }
    return std::optional<domain::MemoryGuarantee>();
}

struct Machine {
    std::string uuid;
    Guarantees::Guest guest;
};

Result<Machine> machineOf(const Driver& driver, const std::string& innerXml) {
    VZ_TRY(auto doc, xml::parse(innerXml));
    auto* domain = xml::root(doc);
    Machine machine;
    machine.uuid = xml::text(xml::child(domain, "uuid"));
    machine.guest.name = xml::text(xml::child(domain, "name"));
    machine.guest.partition = xml::text(xml::path(domain, {"resource", "partition"}));
    if (machine.guest.partition.empty())
        machine.guest.partition = defaultPartition;
    // libvirt prints KiB.
    auto limit = parseNumber<uint64_t>(xml::text(xml::child(domain, "memory"))).value_or(0) * 1024;
    for (auto* element : xml::children(xml::child(domain, "metadata"))) {
        if (!element->ns || kMachineUri != reinterpret_cast<const char*>(element->ns->href))
            continue;
        VZ_TRY(auto guarantee, readMachine(element));
        if (guarantee)
            machine.guest.bytes = guaranteedBytes(*guarantee, limit, driver.settings().autoGuaranteeMachines);
        if (machine.guest.bytes > limit)
            return fail(ErrorCode::InvalidArg, "'", machine.guest.name, "' is guaranteed ",
                        machine.guest.bytes >> 20, " MiB of memory, which is more than the ", limit >> 20,
                        " MiB that it may have");
    }
    return machine;
}

Result<Machine> machineOf(const Driver& driver, virDomainPtr machine, unsigned int flags) {
    abi::AsDaemon asDaemon;
    VZ_TRY(auto text, abi::takeText(::virDomainGetXMLDesc(machine, flags), "the machine cannot be read"));
    return machineOf(driver, text);
}

/** Tells the kernel. A machine that QEMU's driver has put in no group of its own has none to be told of. */
void protect(Driver& driver, virDomainPtr machine, uint64_t bytes) {
    auto text = file::read(cat("/run/libvirt/qemu/", ::virDomainGetName(machine), ".pid"), 64);
    auto pid = text ? parseNumber<pid_t>(trim(*text)) : std::nullopt;
    if (!pid)
        return;
    auto kept = ct::protectGroupOf(driver.cgroupHost(), *pid, bytes);
    if (!kept)
        log::warning("memory guaranteed to '", ::virDomainGetName(machine),
                     "' may be reclaimed: ", kept.error().message());
    else if (!*kept && bytes)
        log::warning("memory guaranteed to '", ::virDomainGetName(machine),
                     "' may be reclaimed: its QEMU is in no control group of its own");
}

} // namespace

Result<MachinePromise> MachinePromise::make(Driver& driver, const std::string& innerXml) {
    // A look at the text keeps machines without a guarantee, which most are, from costing anything.
    if (innerXml.find(kMachineUri) == std::string::npos)
        return MachinePromise();
    VZ_TRY(auto machine, machineOf(driver, innerXml));
    VZ_CHECK(driver.guarantees().reserve(machine.uuid, machine.guest));
    return MachinePromise(driver, machine.uuid);
}

void noteMachineGuarantee(Driver& driver, virDomainPtr machine, int lifecycleType) {
    if (lifecycleType != VIR_DOMAIN_EVENT_STARTED && lifecycleType != VIR_DOMAIN_EVENT_STOPPED)
        return;
    char uuid[VIR_UUID_STRING_BUFLEN] = "";
    (void)::virDomainGetUUIDString(machine, uuid);
    if (lifecycleType == VIR_DOMAIN_EVENT_STOPPED)
        return driver.guarantees().release(uuid);
    auto known = machineOf(driver, machine, 0);
    if (!known || !known->guest.bytes)
        return;
    driver.guarantees().restore(uuid, known->guest);
    protect(driver, machine, known->guest.bytes);
}

void noteRunningMachines(Driver& driver, const abi::InnerConnection& inner) {
    auto machines = driver.machines().list(inner, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
    if (!machines)
        return;
    for (auto& machine : *machines)
        noteMachineGuarantee(driver, machine.get(), VIR_DOMAIN_EVENT_STARTED);
}

Result<Passed<int>> setMachineGuarantee(const MachineCall& call, const char* value, const char* key,
                                        unsigned int flags) {
    std::optional<domain::MemoryGuarantee> wanted;
    if (value) {
        VZ_TRY(auto doc, xml::parse(value));
        VZ_TRY(wanted, readMachine(xml::root(doc)));
    }
    auto set = [&] {
        return forwardDomain<"domainSetMetadata", &virDomainSetMetadata>(
            call, int(VIR_DOMAIN_METADATA_ELEMENT), value, key, std::string(kMachineUri).c_str(), flags);
    };
    bool live = ::virDomainIsActive(call.domain.get()) == 1 &&
                (flags & VIR_DOMAIN_AFFECT_LIVE || !(flags & VIR_DOMAIN_AFFECT_CONFIG));
    if (!live)
        return set();
    VZ_TRY(auto before, machineOf(call.driver, call.domain.get(), 0));
    auto after = before;
    virDomainInfo info{};
    if (::virDomainGetInfo(call.domain.get(), &info) < 0)
        return fail(ErrorCode::OperationFailed, "the machine cannot be asked for its memory");
    auto limit = uint64_t(info.maxMem) * 1024;
    after.guest.bytes =
        wanted ? guaranteedBytes(*wanted, limit, call.driver.settings().autoGuaranteeMachines) : 0;
    if (after.guest.bytes > limit)
        return fail(ErrorCode::InvalidArg, "a guarantee of ", after.guest.bytes >> 20,
                    " MiB is more than the ", limit >> 20, " MiB of memory that the machine may have");
    VZ_CHECK(call.driver.guarantees().reserve(after.uuid, after.guest));
    auto answer = set();
    if (!answer || detail::failed((*answer).value))
        call.driver.guarantees().restore(before.uuid, before.guest);
    else
        protect(call.driver, call.domain.get(), after.guest.bytes);
    return answer;
}

} // namespace vz::driver
