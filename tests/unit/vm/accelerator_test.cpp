// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../temporary_dir.hpp"
#include "base/log.hpp"
#include "base/process.hpp"
#include "vm/accelerator.hpp"

#include <catch2/catch.hpp>

#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>

using namespace vz;
using vm::Accelerator;
using vm::AcceleratorProbe;
using vm::AcceleratorWish;
using namespace std::chrono_literals;

namespace {

/** A stand-in for the device, and one for the helper, which counts its runs. */
class Host {
public:
    Host() {
        makeDevice();
        answers("echo fine; exit 0");
    }
    void makeDevice() const { REQUIRE(file::writeAtomic(device(), "")); }
    void answers(const std::string& script) const {
        REQUIRE(
            file::writeAtomic(helper(), cat("#!/bin/sh\necho >>", dir_ / "runs", "\n", script, "\n"), 0700));
    }
    size_t runs() const { return file::read(dir_ / "runs").valueOr("").size(); }
    std::string device() const { return dir_ / "kvm"; }
    std::string helper() const { return dir_ / "helper"; }
    AcceleratorProbe::Options options() const { return {.helper = helper(), .device = device()}; }

private:
    test::TemporaryDir dir_;
};

size_t openFiles() {
    return file::list("/proc/self/fd").valueOr({}).size();
}

bool haveNoChildren() {
    return ::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD;
}

std::string realHelper() {
    const char* path = std::getenv("VZ_KVM_PROBE");
    REQUIRE(path);
    return path;
}

} // namespace

TEST_CASE("what the helper says is the answer") {
    Host host;
    struct {
        const char *script, *reason;
        bool kvm;
    } rows[] = {
        {"echo it runs; exit 0", "it runs", true},
        {"echo it does not run; exit 1", "it does not run", false},
        // Neither yes nor no.
        {"exit 0", "gave no answer (status 0)", false},
        {"echo fine; exit 2", "gave no answer (status 2)", false},
        {"echo fine; kill -SEGV $$", "gave no answer (status 139)", false},
    };
    for (const auto& row : rows) {
        INFO(row.script);
        host.answers(row.script);
        auto answer = AcceleratorProbe(host.options()).accelerator();
        CHECK(answer.kvm == row.kvm);
        CHECK_FALSE(answer.forced);
        INFO(answer.reason);
        CHECK(answer.reason.find(row.reason) != std::string::npos);
    }
}

TEST_CASE("without a helper the answer is no, and says why") {
    Host host;
    auto options = host.options();
    options.helper = "/nonexistent/vz-kvm-probe";
    auto answer = AcceleratorProbe(options).accelerator();
    CHECK_FALSE(answer.kvm);
    CHECK(answer.reason.find("cannot start /nonexistent/vz-kvm-probe") != std::string::npos);
}

TEST_CASE("a helper that hangs is killed at the limit, and nothing of it stays") {
    Host host;
    host.answers("exec sleep 1000");
    auto options = host.options();
    options.limit = 100ms;
    auto files = openFiles();
    auto answer = AcceleratorProbe(options).accelerator();
    CHECK_FALSE(answer.kvm);
    CHECK(answer.reason == "simple code did not run to its end in KVM within 100 ms");
    CHECK(haveNoChildren());
    CHECK(openFiles() == files);
}

TEST_CASE("it is tried at the first need, and then only when the device has changed") {
    Host host;
    AcceleratorProbe probe(host.options());
    CHECK(host.runs() == 0);
    CHECK(probe.accelerator() == Accelerator{true, "fine"});
    host.answers("echo never seen; exit 1");
    CHECK(probe.accelerator().kvm);
    CHECK(host.runs() == 1);

    REQUIRE(file::remove(host.device()));
    auto gone = probe.accelerator();
    CHECK_FALSE(gone.kvm);
    CHECK(gone.reason == cat(host.device(), " does not exist"));
    CHECK(host.runs() == 1);

    host.makeDevice();
    CHECK(probe.accelerator() == Accelerator{false, "never seen"});
    CHECK(host.runs() == 2);
    host.answers("echo touched; exit 0");
    timespec times[] = {{0, UTIME_OMIT}, {1000000000, 1}};
    REQUIRE(::utimensat(AT_FDCWD, host.device().c_str(), times, 0) == 0);
    CHECK(probe.accelerator() == Accelerator{true, "touched"});
    CHECK(probe.accelerator().kvm);
    CHECK(host.runs() == 3);
}

TEST_CASE("many threads try it once") {
    Host host;
    AcceleratorProbe probe(host.options());
    std::vector<std::thread> threads;
    std::vector<Accelerator> answers(8);
    for (auto& answer : answers)
        threads.emplace_back([&] { answer = probe.accelerator(); });
    for (auto& thread : threads)
        thread.join();
    for (const auto& answer : answers)
        CHECK(answer == Accelerator{true, "fine"});
    CHECK(host.runs() == 1);
}

TEST_CASE("the settings decide without a try") {
    Host host;
    for (auto wish : {AcceleratorWish::Kvm, AcceleratorWish::Tcg}) {
        auto options = host.options();
        options.wish = wish;
        auto answer = AcceleratorProbe(options).accelerator();
        CHECK(answer.kvm == (wish == AcceleratorWish::Kvm));
        CHECK(answer.forced);
        CHECK(answer.reason.find("vm_accelerator") != std::string::npos);
    }
    CHECK(host.runs() == 0);
}

TEST_CASE("the helper tells what is not KVM from what is") {
    auto says = [](const std::string& device) {
        auto done = process::run({.argv = {realHelper(), device}});
        REQUIRE(done);
        CHECK(done->status == 1);
        CHECK(done->errors == "");
        return std::string(trim(done->output));
    };
    CHECK(says("/nonexistent/kvm") == "/nonexistent/kvm does not exist");
    CHECK(says("/dev/null") == "/dev/null is not KVM: Inappropriate ioctl for device");
    CHECK(says("/tmp") == "cannot open /tmp: Is a directory");
    CHECK(process::run({.argv = {realHelper()}})->status == 2);
}

TEST_CASE("the helper gives one clear answer about this host, always the same") {
    auto once = [] { return AcceleratorProbe({.helper = realHelper(), .limit = 60s}).accelerator(); };
    auto answer = once();
    WARN("this host: " << (answer.kvm ? "KVM: " : "no KVM: ") << answer.reason);
    CHECK_FALSE(answer.reason.empty());
    CHECK(answer.reason.find('\n') == std::string::npos);
    CHECK(answer.reason.find("could not be tried") == std::string::npos);
    CHECK(once() == answer);
    CHECK(haveNoChildren());
    if (!file::exists("/dev/kvm"))
        CHECK_FALSE(answer.kvm);
}
