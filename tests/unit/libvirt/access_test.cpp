// SPDX-License-Identifier: LGPL-2.1-or-later

// libvirt.so has, for each API, the check that its own drivers make. Here these checks run with an access
// manager of ours that writes down what it is asked, and the result is compared with src/libvirt/access.tsv.

#include "libvirt/access.hpp"

#include "base/text.hpp"
#include "libvirt/driver_table.hpp"
#include "libvirt/objects.hpp"
#include "libvirt/storage.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <map>
#include <set>

namespace abi = vz::abi;

namespace {

/** What the access manager was asked: object and permission. */
using Asked = std::set<std::string>;
Asked asked; // The C functions below have no other way to tell.
int answer = 1;

extern "C" {

const char* virAccessPermConnectTypeToString(int permission);
const char* virAccessPermDomainTypeToString(int permission);
const char* virAccessPermNodeDeviceTypeToString(int permission);
const char* virAccessPermStoragePoolTypeToString(int permission);
const char* virAccessPermStorageVolTypeToString(int permission);

#define VZ_EXPORT __attribute__((visibility("default")))

VZ_EXPORT void* virAccessManagerGetDefault() {
    return &asked;
}
VZ_EXPORT void virObjectUnref(void*) {}

VZ_EXPORT int virAccessManagerCheckConnect(void*, const char*, int permission) {
    asked.insert(vz::cat("connect\t", virAccessPermConnectTypeToString(permission)));
    return answer;
}
VZ_EXPORT int virAccessManagerCheckDomain(void*, const char*, void*, int permission) {
    asked.insert(vz::cat("domain\t", virAccessPermDomainTypeToString(permission)));
    return answer;
}
VZ_EXPORT int virAccessManagerCheckStoragePool(void*, const char*, void*, int permission) {
    asked.insert(vz::cat("pool\t", virAccessPermStoragePoolTypeToString(permission)));
    return answer;
}
VZ_EXPORT int virAccessManagerCheckStorageVol(void*, const char*, void*, void*, int permission) {
    asked.insert(vz::cat("vol\t", virAccessPermStorageVolTypeToString(permission)));
    return answer;
}
VZ_EXPORT int virAccessManagerCheckNodeDevice(void*, const char*, void*, int permission) {
    asked.insert(vz::cat("nodedev\t", virAccessPermNodeDeviceTypeToString(permission)));
    return 1;
}

} // extern "C"

/** All checks have at most these arguments; where there is no object, the flags come second. */
using Check = int (*)(void* conn, uintptr_t objectOrFlags, uintptr_t flags);

Asked ask(Check check, unsigned flags) {
    static const char* driver[] = {"vz"};
    // A connection of which libvirt reads one thing only, the driver it belongs to.
    std::vector<const void*> connection(64, static_cast<const void*>(driver));
    asked.clear();
    check(connection.data(), flags, flags);
    return asked;
}

std::string rule(const std::string& what, bool unless, unsigned flags) {
    char number[16];
    std::snprintf(number, sizeof number, "0x%x", flags);
    return flags ? vz::cat(what, "\t", unless ? "!" : "", number) : what + "\t-";
}

/** The rules behind a check, from what it asks with no flag, with each flag and with all flags. */
Asked derive(Check check) {
    const auto base = ask(check, 0);
    std::map<std::string, unsigned> with, without;
    for (unsigned bit = 0; bit < 31; ++bit) {
        auto now = ask(check, 1u << bit);
        for (const auto& what : now)
            if (!base.contains(what))
                with[what] |= 1u << bit;
        for (const auto& what : base)
            if (!now.contains(what))
                without[what] |= 1u << bit;
    }
    Asked rules;
    for (const auto& what : base)
        rules.insert(rule(what, without.contains(what), without[what]));
    for (const auto& [what, flags] : with)
        rules.insert(rule(what, false, flags));
    return rules;
}

/** Some permissions are asked for both without one flag and with another one: one row each. */
Asked withFlagsOnTop(Check check, Asked rules) {
    for (const auto& what : ask(check, 0)) {
        unsigned unless = 0;
        for (unsigned bit = 0; bit < 31; ++bit)
            if (!ask(check, 1u << bit).contains(what))
                unless |= 1u << bit;
        if (!unless)
            continue;
        // Bits that ask for it although a bit that turns the first rule off is there too.
        unsigned off = unless & (~unless + 1);
        unsigned also = 0;
        for (unsigned bit = 0; bit < 31; ++bit)
            if ((1u << bit) != off && ask(check, off | 1u << bit).contains(what))
                also |= 1u << bit;
        if (also) {
            rules.erase(rule(what, true, unless));
            rules.insert(rule(what, true, unless | also));
            rules.insert(rule(what, false, also));
        }
    }
    return rules;
}

/** The check of a slot's API. Its name is made from the wire protocol's, which writes "Fd" where the API has
 * "FD". */
Check findCheck(std::string name, const char* suffix) {
    name[0] = static_cast<char>(std::toupper(name[0]));
    for (auto [api, wire] : {std::pair("FD", "Fd"), std::pair("SSH", "Ssh"), std::pair("SEV", "Sev")})
        if (auto at = name.find(api); at != std::string::npos)
            name.replace(at, std::strlen(api), wire);
    return reinterpret_cast<Check>(dlsym(RTLD_DEFAULT, ("vir" + name + suffix).c_str()));
}

/** The slots of both tables. */
std::vector<const char*> allSlots() {
    auto hypervisor = abi::hypervisorSlots().subspan(1), storage = abi::storageSlots().subspan(1);
    std::vector<const char*> all(hypervisor.begin(), hypervisor.end());
    all.insert(all.end(), storage.begin(), storage.end());
    return all;
}

std::map<std::string, Asked> deriveAll(const char* suffix) {
    std::map<std::string, Asked> all;
    for (const char* slot : allSlots()) {
        if (auto check = findCheck(slot, suffix))
            all[slot] = withFlagsOnTop(check, derive(check));
    }
    return all;
}

Asked checkedIn(std::span<const abi::AccessRule> rules) {
    constexpr const char* objects[] = {"connect\t", "domain\t", "pool\t", "vol\t"};
    Asked texts;
    for (const auto& one : rules)
        texts.insert(
            rule(vz::cat(objects[static_cast<int>(one.object)], one.permission), one.unless, one.flag));
    return texts;
}

} // namespace

TEST_CASE("print what the installed libvirt asks for, as rows of access.tsv", "[.derive]") {
    virInitialize();
    auto rules = deriveAll("EnsureACL");
    auto filters = deriveAll("CheckACL");
    for (const char* slot : allSlots()) {
        if (!rules.contains(slot))
            std::printf("%s\tnone\t-\t-\n", slot);
        for (const auto& one : rules[slot])
            std::printf("%s\t%s\n", slot, one.c_str());
        for (const auto& one : filters[slot])
            std::printf("%s\tfilter-%s\n", slot, one.c_str());
    }
}

TEST_CASE("the checked-in permissions are those the installed libvirt asks for") {
    virInitialize();
    auto rules = deriveAll("EnsureACL");
    auto filters = deriveAll("CheckACL");
    CHECK(rules.size() > 270);
    for (const char* slot : allSlots()) {
        INFO(slot);
        // The checks of node devices are the node device driver's to make.
        std::erase_if(rules[slot], [](const auto& text) { return text.starts_with("nodedev"); });
        CHECK(checkedIn(abi::accessRules(slot)) == rules[slot]);
        CHECK(checkedIn(abi::accessFilters(slot)) == filters[slot]);
    }
}

TEST_CASE("a conditional rule applies with the flag, a turned one without it") {
    constexpr abi::AccessRule always{abi::AccessObject::Domain, "write", 0, false};
    constexpr abi::AccessRule with{abi::AccessObject::Domain, "save", VIR_DOMAIN_AFFECT_CONFIG, false};
    constexpr abi::AccessRule without{abi::AccessObject::Domain, "save",
                                      VIR_DOMAIN_AFFECT_CONFIG | VIR_DOMAIN_AFFECT_LIVE, true};
    CHECK(always.applies(0));
    CHECK(always.applies(7));
    CHECK_FALSE(with.applies(VIR_DOMAIN_AFFECT_LIVE));
    CHECK(with.applies(VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG));
    CHECK(without.applies(0));
    CHECK_FALSE(without.applies(VIR_DOMAIN_AFFECT_LIVE));
    CHECK(abi::accessRules("nosuchslot").empty());
}

TEST_CASE("denied, failed and granted access, with either spelling of a permission") {
    virInitialize();
    asked.clear();
    CHECK(abi::checkDomainAccess(nullptr, nullptr, "read-secure"));
    CHECK(abi::checkConnectAccess(nullptr, "search_domains"));
    CHECK(abi::mayAccessDomain(nullptr, nullptr, "getattr"));
    CHECK(abi::mayAccessConnect(nullptr, "read"));
    CHECK(asked ==
          Asked{"domain\tread_secure", "connect\tsearch_domains", "domain\tgetattr", "connect\tread"});

    answer = 0;
    auto denied = abi::checkDomainAccess(nullptr, nullptr, "init-control");
    REQUIRE_FALSE(denied);
    CHECK(denied.error().code() == vz::ErrorCode::AccessDenied);
    CHECK(denied.error().message().find("init-control") != std::string::npos);
    CHECK_FALSE(abi::mayAccessDomain(nullptr, nullptr, "getattr"));
    CHECK_FALSE(abi::checkConnectAccess(nullptr, "read"));

    answer = -1;
    auto failed = abi::checkDomainAccess(nullptr, nullptr, "read");
    REQUIRE_FALSE(failed);
    CHECK(failed.error().code() != vz::ErrorCode::AccessDenied);
    CHECK_FALSE(abi::mayAccessConnect(nullptr, "read"));
    answer = 1;

    auto unknown = abi::checkDomainAccess(nullptr, nullptr, "fly");
    REQUIRE_FALSE(unknown);
    CHECK(unknown.error().code() == vz::ErrorCode::InternalError);
}

TEST_CASE("every permission of the table is one that libvirt knows") {
    virInitialize();
    auto check = [](const abi::AccessRule& rule) {
        switch (rule.object) {
        case abi::AccessObject::Connect:
            return abi::checkConnectAccess(nullptr, rule.permission);
        case abi::AccessObject::Domain:
            return abi::checkDomainAccess(nullptr, nullptr, rule.permission);
        case abi::AccessObject::Pool:
            return abi::checkPoolAccess({}, rule.permission);
        case abi::AccessObject::Volume:
            break;
        }
        return abi::checkVolumeAccess({}, rule.permission);
    };
    for (const char* slot : allSlots())
        for (const auto& one : abi::accessRules(slot)) {
            INFO(slot << " " << one.permission);
            CHECK(check(one));
        }
}

TEST_CASE("some rules, spelled out") {
    CHECK(checkedIn(abi::accessRules("domainSuspend")) == Asked{"domain\tsuspend\t-"});
    CHECK(checkedIn(abi::accessRules("domainGetXMLDesc")) ==
          Asked{"domain\tread\t-", "domain\tread_secure\t0x9"});
    CHECK(checkedIn(abi::accessRules("domainCreateXML")) == Asked{"domain\tstart\t-", "domain\twrite\t-"});
    CHECK(checkedIn(abi::accessFilters("connectListAllDomains")) == Asked{"domain\tgetattr\t-"});
}
