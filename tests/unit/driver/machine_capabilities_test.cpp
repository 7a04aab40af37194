// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../schema.hpp"
#include "base/file.hpp"
#include "base/log.hpp"
#include "driver/machine_capabilities.hpp"

using namespace vz;
using namespace vz::driver;

namespace {

std::string data(const char* name) {
    auto text = file::read(cat(VZ_VM_DATA "/", name));
    REQUIRE(text);
    return *text;
}

CapabilitiesFacts containers() {
    CapabilitiesFacts facts;
    facts.arch = "x86_64";
    facts.emulator = "/usr/lib/libvirt/vz-supervisor";
    return facts;
}

/** A driver for QEMU that remembers what it was asked. */
struct Qemu {
    MachineDocuments documents() {
        return {[this]() -> Result<std::string> {
                    if (unreachable)
                        return *unreachable;
                    return data("capabilities-kvm.xml");
                },
                [this](const DomainCapabilitiesWanted& wanted) -> Result<std::string> {
                    asked = cat(wanted.emulator ? wanted.emulator : "-", " ", wanted.arch ? wanted.arch : "-",
                                " ", wanted.machine ? wanted.machine : "-", " ",
                                wanted.type ? wanted.type : "-", " ", wanted.flags);
                    if (refused)
                        return *refused;
                    return data("domain-kvm.xml");
                }};
    }
    std::optional<Error> unreachable, refused;
    std::string asked;
};

vm::AcceleratorProbe::Options forced(vm::AcceleratorWish wish) {
    return {.helper = "/nonexistent", .wish = wish};
}

std::string logged;

struct LogKeeper {
    LogKeeper() {
        logged.clear();
        log::setSink([](log::Level level, const char* message) {
            logged += cat(level == log::Level::Warning ? "warning " : "", message, "\n");
        });
    }
    ~LogKeeper() { log::setSink(nullptr); }
};

size_t guestsIn(const std::string& capabilities) {
    auto doc = xml::parse(capabilities);
    REQUIRE(doc);
    return xml::children(xml::root(*doc), "guest").size();
}

std::string pathIn(const std::string& domainCapabilities) {
    auto doc = xml::parse(domainCapabilities);
    REQUIRE(doc);
    return cat(xml::text(xml::child(xml::root(*doc), "path")), " ",
               xml::text(xml::child(xml::root(*doc), "domain")));
}

const std::string containerPath = "/usr/lib/libvirt/vz-supervisor";
const std::string machinePath = "/usr/bin/qemu-system-x86_64";

} // namespace

TEST_CASE("capabilities have machines and containers") {
    Qemu qemu;
    MachineCapabilities capabilities(forced(vm::AcceleratorWish::Kvm));
    LogKeeper log;
    CHECK(guestsIn(capabilities.capabilities(containers(), qemu.documents())) == 3);
    CHECK(logged.empty());
}

TEST_CASE("without QEMU's driver there are containers, and the log says why once") {
    Qemu qemu;
    MachineCapabilities capabilities(forced(vm::AcceleratorWish::Auto));
    LogKeeper log;
    auto get = [&] { return guestsIn(capabilities.capabilities(containers(), qemu.documents())); };
    qemu.unreachable = fail(ErrorCode::NoConnect, "no driver");
    CHECK(get() == 1);
    CHECK(get() == 1);
    CHECK(logged == "warning there are no virtual machines beside containers: no driver\n");
    qemu.unreachable = fail(ErrorCode::NoConnect, "other trouble");
    CHECK(get() == 1);
    CHECK(get() == 1);
    CHECK(logged.ends_with("containers: other trouble\n"));
    // It came and went again: that is news. None by the settings is no warning.
    logged.clear();
    qemu.unreachable.reset();
    CHECK(get() == 3);
    logged.clear();
    qemu.unreachable = fail(ErrorCode::NoSupport, "none by the settings");
    CHECK(get() == 1);
    CHECK(logged == "there are no virtual machines beside containers: none by the settings\n");
}

TEST_CASE("domain capabilities are of containers for our emulator, else of machines") {
    Qemu qemu;
    MachineCapabilities capabilities(forced(vm::AcceleratorWish::Tcg));
    auto get = [&](const DomainCapabilitiesWanted& wanted) {
        qemu.asked.clear();
        auto document = capabilities.domainCapabilities(wanted, containers(), qemu.documents());
        if (!document)
            FAIL(document.error().message());
        return pathIn(*document);
    };
    CHECK(get({.emulator = containerPath.c_str()}) == containerPath + " vz");
    CHECK(qemu.asked.empty());
    CHECK(get({}) == machinePath + " vz");
    CHECK(qemu.asked == "- - - qemu 0");
    CHECK(get({.arch = "x86_64", .machine = "pc", .type = "parallels"}) == machinePath + " parallels");
    CHECK(qemu.asked == "- x86_64 pc qemu 0");
    CHECK(get({.emulator = machinePath.c_str(), .arch = "x86_64", .type = "vz", .flags = 1}) ==
          machinePath + " vz");
    CHECK(qemu.asked == machinePath + " x86_64 - qemu 1");

    MachineCapabilities withKvm(forced(vm::AcceleratorWish::Kvm));
    REQUIRE(withKvm.domainCapabilities({.emulator = "/opt/qemu"}, containers(), qemu.documents()));
    CHECK(qemu.asked == "/opt/qemu - - - 0");
}

TEST_CASE("domain capabilities: errors") {
    Qemu qemu;
    MachineCapabilities capabilities(forced(vm::AcceleratorWish::Tcg));
    LogKeeper log;
    auto code = [&](const DomainCapabilitiesWanted& wanted) {
        auto document = capabilities.domainCapabilities(wanted, containers(), qemu.documents());
        return document ? ErrorCode{} : document.error().code();
    };
    CHECK(code({.type = "kvm"}) == ErrorCode::InvalidArg);
    CHECK(code({.emulator = containerPath.c_str(), .machine = "q35"}) == ErrorCode::InvalidArg);
    CHECK(code({.emulator = containerPath.c_str(), .flags = 1}) == ErrorCode::OperationUnsupported);
    qemu.refused = fail(ErrorCode::ConfigUnsupported, "no such machine");
    CHECK(code({.arch = "sparc"}) == ErrorCode::ConfigUnsupported);

    // Without machines, what was not asked for by name is of containers.
    qemu.unreachable = fail(ErrorCode::NoConnect, "no driver");
    CHECK(code({}) == ErrorCode{});
    CHECK(code({.arch = "x86_64", .machine = "pc", .type = "parallels"}) == ErrorCode{});
    CHECK(code({.arch = "sparc"}) == ErrorCode::InvalidArg);
    CHECK(code({.emulator = machinePath.c_str()}) == ErrorCode::NoConnect);
    CHECK(logged == "warning there are no virtual machines beside containers: no driver\n");
}

TEST_CASE("machines are defined with the type of their engine") {
    Qemu qemu;
    MachineCapabilities kvm(forced(vm::AcceleratorWish::Kvm)), tcg(forced(vm::AcceleratorWish::Tcg));
    CHECK(std::string(kvm.engine("", qemu.documents())->innerType()) == "kvm");
    CHECK(std::string(kvm.engine("aarch64", qemu.documents())->innerType()) == "qemu");
    CHECK(std::string(tcg.engine("x86_64", qemu.documents())->innerType()) == "qemu");
    qemu.unreachable = fail(ErrorCode::NoConnect, "no driver");
    CHECK(kvm.engine("", qemu.documents()).error().code() == ErrorCode::NoConnect);
}
