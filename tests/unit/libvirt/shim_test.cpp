// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../temporary_dir.hpp"
#include "base/file.hpp"
#include "base/process.hpp"

#include <catch2/catch.hpp>

#include <unistd.h>

#include <cstdlib>

using namespace vz;

namespace {

std::string fromEnvironment(const char* name) {
    const char* value = getenv(name);
    INFO(name << " names a file of the build; run this through meson test");
    REQUIRE(value);
    return value;
}

/** Loads @p module as libvirtd does; @p driver is what the shim is told to open (empty: what lies beside it).
 */
process::Finished load(const std::string& module, const std::string& driver) {
    process::Command command;
    command.argv = {fromEnvironment("VZ_LOADER"), module};
    command.environment.push_back("JOURNAL_STREAM=1"); // Keeps the failures of this test out of syslog.
    if (!driver.empty())
        command.environment.push_back("LIBVIRT_VZ_DRIVER=" + driver);
    auto finished = process::run(command);
    REQUIRE(finished);
    return *finished;
}

const char kBothSucceed[] = "vboxRegister 0\nvzRegister 0\n";

void copy(const std::string& from, const std::string& to) {
    auto content = file::read(from);
    REQUIRE(content);
    REQUIRE(file::writeAtomic(to, *content, 0755));
}

} // namespace

TEST_CASE("the shim registers the driver once under both names") {
    auto loaded = load(fromEnvironment("VZ_SHIM"), fromEnvironment("VZ_GOOD"));
    CHECK(loaded.status == 0);
    CHECK(loaded.output == std::string("registered\n") + kBothSucceed);
    CHECK(loaded.errors.empty());
}

TEST_CASE("whatever is wrong with the driver, the shim succeeds and says one line") {
    struct {
        std::string driver;
        const char* reason;
    } const cases[] = {
        {fromEnvironment("VZ_OTHER_VERSION"), "version `LIBVIRT_PRIVATE_0.0.1' not found"},
        {fromEnvironment("VZ_UNDEFINED"), "undefined symbol: virNoSuchFunction"},
        {fromEnvironment("VZ_NO_ENTRY"), "has no vzDriverRegister"},
        {fromEnvironment("VZ_FAILS"), "did not register itself"},
        {"/nonexistent/driver.so", "cannot open shared object file"},
    };
    for (const auto& bad : cases) {
        auto loaded = load(fromEnvironment("VZ_SHIM"), bad.driver);
        INFO(bad.driver << "\n" << loaded.output << loaded.errors);
        CHECK(loaded.status == 0);
        CHECK(loaded.output.find(kBothSucceed) != std::string::npos);
        CHECK(lines(loaded.errors).size() == 1);
        CHECK(loaded.errors.find(bad.reason) != std::string::npos);
    }
}

TEST_CASE("the driver is found beside the real file, whatever link libvirtd followed") {
    test::TemporaryDir dir;
    REQUIRE(file::makeDirs(dir / "real/vz"));
    REQUIRE(file::makeDirs(dir / "links"));
    copy(fromEnvironment("VZ_SHIM"), dir / "real/libvirt_driver_vz.so");
    REQUIRE(symlink("../real/libvirt_driver_vz.so", (dir / "links/libvirt_driver_vbox.so").c_str()) == 0);

    auto missing = load(dir / "links/libvirt_driver_vbox.so", {});
    CHECK(missing.output == kBothSucceed);
    CHECK(missing.errors.find(dir / "real/vz/libvirt_vz_" + fromEnvironment("VZ_LIBVIRT") + ".so") !=
          std::string::npos);

    copy(fromEnvironment("VZ_GOOD"), dir / "real/vz/libvirt_vz_" + fromEnvironment("VZ_LIBVIRT") + ".so");
    auto loaded = load(dir / "links/libvirt_driver_vbox.so", {});
    CHECK(loaded.output == std::string("registered\n") + kBothSucceed);
    CHECK(loaded.errors.empty());
}
