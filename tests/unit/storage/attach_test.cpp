// SPDX-License-Identifier: LGPL-2.1-or-later
// vz-ploopd as programs start it by exports::attach(). Needs root.
#include "../temporary_dir.hpp"
#include "base/file.hpp"
#include "base/process.hpp"
#include "storage/export/block_export.hpp"
#include "storage/export/client.hpp"
#include "storage/export/loop_device.hpp"
#include "storage/ploop/volume.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <functional>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

using namespace vz;
using namespace vz::exports;
using ploop::Volume;

namespace {

struct Fixture {
    test::TemporaryDir dir;
    AttachOptions options;

    Fixture() {
        ::setenv("VZ_PLOOP_RUNDIR", (dir / "run").c_str(), 1);
        Volume::CreateOptions create;
        create.sectors = 64 * 64;
        create.clusterSectors = 64;
        REQUIRE(Volume::create(ploop::hostFiles(), dir / "root.hds", create));
        options.descriptor = dir / "DiskDescriptor.xml";
    }
    ~Fixture() { ::unsetenv("VZ_PLOOP_RUNDIR"); }
};

/** A control group of its own, removed at the end. */
struct Group {
    std::string folder =
        cat(file::exists("/sys/fs/cgroup/pids/cgroup.procs") ? "/sys/fs/cgroup/pids" : "/sys/fs/cgroup",
            "/vz-attach-test-", ::getpid());
    Group() { REQUIRE(::mkdir(folder.c_str(), 0755) == 0); }
    ~Group() { CHECK(::rmdir(folder.c_str()) == 0); }
};

/** What other processes do may take a moment. */
bool waitFor(const std::function<bool()>& what) {
    for (int i = 0; i < 2000; ++i) {
        if (what())
            return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

UniqueFd clientOf(const std::string& socket) {
    UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    REQUIRE(socket.size() < sizeof address.sun_path);
    socket.copy(address.sun_path, socket.size());
    REQUIRE(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    return client;
}

bool endsSoon(const Attachment& attachment) {
    return waitFor([&] {
        auto left = list();
        return left && left->empty() && !alive(attachment);
    });
}

} // namespace

TEST_CASE_METHOD(Fixture, "vz-ploopd runs in the control groups that its caller names") {
    Group group;
    options.cgroups = {group.folder};
    auto attachment = attach(options);
    REQUIRE(attachment);
    auto members = file::read(group.folder + "/cgroup.procs");
    REQUIRE(members);
    CHECK(trim(*members) == cat(attachment->pid));
    REQUIRE(detach(*attachment));
    // The image is closed; the process may still be on its way out, and the group is to be empty.
    CHECK(waitFor([&] {
        members = file::read(group.folder + "/cgroup.procs");
        return members && members->empty();
    }));
}

TEST_CASE_METHOD(Fixture, "vz-ploopd does not start where it cannot join a control group") {
    options.cgroups = {dir / "no-group"};
    auto attachment = attach(options);
    REQUIRE_FALSE(attachment);
    CHECK(attachment.error().message().find("no-group") != std::string::npos);
    auto left = readStates();
    REQUIRE(left);
    CHECK(left->empty());
}

TEST_CASE_METHOD(Fixture, "what is tied to a program goes with it") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    UniqueFd read(ends[0]), write(ends[1]);
    options.mechanism = Mechanism::Fuse;
    pid_t child = ::fork();
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        UniqueFd tie;
        bool good = static_cast<bool>(attach(options, &tie));
        (void)!::write(write.get(), good ? "y" : "n", 1);
        ::pause();
    }
    char said = 0;
    REQUIRE(::read(read.get(), &said, 1) == 1);
    REQUIRE(said == 'y');
    auto found = find(options.descriptor);
    REQUIRE((found && *found));
    REQUIRE(alive(**found));
    CHECK(::kill(child, SIGKILL) == 0);
    CHECK(::waitpid(child, nullptr, 0) == child);
    CHECK(endsSoon(**found));
}

TEST_CASE_METHOD(Fixture, "a device whose maker is killed before it has written it down goes") {
    int ends[2];
    REQUIRE(::pipe(ends) == 0);
    UniqueFd read(ends[0]), write(ends[1]);
    pid_t child = ::fork();
    if (child == 0) {
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        auto file = file::open(dir / "root.hds", O_RDWR);
        UniqueFd held;
        auto device = LoopDevice::attach(file->get(), {}, held);
        std::string told = device ? cat(device->path(), " ", device->sequence()) : "-";
        (void)!::write(write.get(), told.data(), told.size());
        ::pause();
    }
    char told[100]{};
    REQUIRE(::read(read.get(), told, sizeof told - 1) > 1);
    auto words = split(told, ' ');
    std::string path(words.at(0));
    auto sequence = parseNumber<uint64_t>(words.at(1)).value_or(0);
    CHECK(BlockDevice::find(path, sequence));
    CHECK(::kill(child, SIGKILL) == 0);
    CHECK(::waitpid(child, nullptr, 0) == child);
    CHECK(waitFor([&] { return !BlockDevice::find(path, sequence); }));
}

TEST_CASE_METHOD(Fixture,
                 "a partition is made over one that is there already, and waits for who has that open") {
    auto file = file::open(dir / "root.hds", O_RDWR);
    REQUIRE(file);
    REQUIRE(::ftruncate(file->get(), 16 << 20) == 0);
    UniqueFd held;
    auto device = LoopDevice::attach(file->get(), {}, held);
    REQUIRE(device);
    using namespace std::chrono_literals;
    constexpr uint64_t mib = 1 << 20;
    auto size = [&] {
        auto text = file::read(cat("/sys/class/block/", device->partitionPath().substr(5), "/size"));
        return text ? parseNumber<uint64_t>(trim(*text)).value_or(0) * 512 : 0;
    };
    REQUIRE(device->setPartition({mib, 4 * mib}, 0ms));
    CHECK(size() == 4 * mib);
    REQUIRE(waitFor([&] { return file::exists(device->partitionPath()); }));
    auto user = file::open(device->partitionPath(), O_RDONLY);
    REQUIRE(user);
    // The same place: nobody has to let go of it.
    CHECK(device->setPartition({mib, 8 * mib}, 0ms));
    CHECK(size() == 8 * mib);
    auto refused = device->setPartition({2 * mib, 4 * mib}, 10ms);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().systemError() == EBUSY);
    std::thread closer([&] { user->reset(); });
    CHECK(device->setPartition({2 * mib, 4 * mib}, 10s));
    closer.join();
    CHECK(size() == 4 * mib);
}

TEST_CASE("a detach stops a merge, which is gone on with the next time") {
    test::TemporaryDir dir;
    ::setenv("VZ_PLOOP_RUNDIR", (dir / "run").c_str(), 1);
    constexpr uint64_t bytes = 96 << 20;
    Volume::CreateOptions create;
    create.sectors = bytes / 512;
    create.clusterSectors = 64;
    REQUIRE(Volume::create(ploop::hostFiles(), dir / "root.hds", create));
    AttachOptions options;
    options.descriptor = dir / "DiskDescriptor.xml";
    auto fill = [&](char with) {
        Volume::Options opening;
        opening.access = ploop::Access::ReadWrite;
        auto volume = *Volume::open(ploop::hostFiles(), options.descriptor, opening);
        std::vector<char> data(1 << 20, with);
        for (uint64_t at = 0; at < bytes; at += data.size())
            REQUIRE(volume->image().write(at, data.data(), data.size()));
        auto guid = with == 'a' ? *volume->snapshot() : std::string();
        REQUIRE(volume->close());
        return guid;
    };
    auto guid = fill('a');
    fill('b');
    auto attachment = attach(options);
    REQUIRE(attachment);
    std::optional<bool> detached;
    auto merged = call(*attachment, {"delete", guid}, [&](uint64_t, uint64_t) {
        if (!detached)
            detached = static_cast<bool>(detach(*attachment));
        return true;
    });
    REQUIRE_FALSE(merged);
    CHECK(merged.error().code() == ErrorCode::OperationAborted);
    CHECK(detached == true);
    auto model = Volume::read(ploop::hostFiles(), options.descriptor);
    REQUIRE(model);
    CHECK(model->shots.size() == 2);
    attachment = attach(options);
    REQUIRE(attachment);
    CHECK(Volume::read(ploop::hostFiles(), options.descriptor)->shots.size() == 1);
    REQUIRE(detach(*attachment));
    auto image = Volume::openSnapshot(ploop::hostFiles(), options.descriptor, ploop::topGuid);
    REQUIRE(image);
    std::vector<char> data(bytes);
    REQUIRE((*image)->read(0, data.data(), data.size()));
    CHECK(data == std::vector<char>(bytes, 'b'));
    ::unsetenv("VZ_PLOOP_RUNDIR");
}

namespace {

int qemuIo(const std::string& socket, const std::vector<std::string>& lines, std::string* said = nullptr,
           const std::string& name = "any") {
    process::Command command;
    command.argv = {"/usr/bin/qemu-io", "-f", "raw"};
    for (const auto& line : lines)
        command.argv.insert(command.argv.end(), {"-c", line});
    command.argv.push_back(cat("nbd+unix:///", name, "?socket=", socket));
    auto finished = process::run(command);
    REQUIRE(finished);
    if (said)
        *said = finished->output + finished->errors;
    return finished->status;
}

} // namespace

TEST_CASE_METHOD(Fixture,
                 "QEMU works on an image at a socket, through a snapshot, and its leaving is the end") {
    options.mechanism = Mechanism::Nbd;
    options.device = dir / "disk.nbd";
    UniqueFd tie;
    auto attachment = attach(options, &tie);
    REQUIRE(attachment);
    struct stat info;
    REQUIRE(::stat(options.device.c_str(), &info) == 0);
    CHECK((info.st_mode & 07777) == 0600);
    std::string said;
    CHECK(qemuIo(options.device, {"write -P 7 0 128k", "write -P 9 1000 3000", "flush"}, &said) == 0);
    INFO(said);
    // As long as the tie is there, clients come and go.
    REQUIRE(call(*attachment, {"snapshot"}));
    auto states = readStates();
    REQUIRE((states && states->size() == 1));
    CHECK((*states)[0].files.size() == 2);
    CHECK(qemuIo(options.device,
                 {"write -P 8 64k 4k", "discard 128k 64k", "write -z 96k 4k", "write -f -P 3 1M 64k",
                  "read -P 7 0 1000", "read -P 9 1000 3000", "read -P 7 4000 61536", "read -P 8 64k 4k",
                  "read -P 0 96k 4k", "read -P 3 1M 64k", "read -P 0 1984k 64k"},
                 &said) == 0);
    CHECK(said.find("failed") == std::string::npos);
    CHECK(qemuIo(options.device, {"read 2M 4k"}, &said) != 0);
    CHECK((said.find("failed") != said.npos || said.find("past") != said.npos));
    REQUIRE(alive(*attachment));
    tie.reset();
    CHECK(endsSoon(*attachment));
    CHECK_FALSE(file::exists(options.device));
    Volume::Options opening;
    opening.wait = std::chrono::seconds(5);
    auto volume = Volume::open(ploop::hostFiles(), options.descriptor, opening);
    REQUIRE(volume);
    std::array<std::byte, 4096> data;
    REQUIRE((*volume)->image().read(64 << 10, data.data(), data.size()));
    CHECK(data[5] == std::byte(8));
}

TEST_CASE_METHOD(Fixture, "whoever asks a socket for another image gets none") {
    options.mechanism = Mechanism::Nbd;
    options.device = dir / "disk.nbd";
    options.name = "vz-ploop:file:ploop:disk";
    UniqueFd tie;
    REQUIRE(attach(options, &tie));
    std::string said;
    CHECK(qemuIo(options.device, {"write 0 4k"}, &said, options.name) == 0);
    CHECK(qemuIo(options.device, {"write 0 4k"}, &said, options.name + "2") != 0);
    INFO(said);
    CHECK(said.find("not available") != said.npos);
    CHECK(qemuIo(options.device, {"read 0 4k"}, &said, options.name) == 0);
}

TEST_CASE_METHOD(Fixture, "who comes when the last client has just left is served") {
    options.mechanism = Mechanism::Nbd;
    options.device = dir / "disk.nbd";
    UniqueFd tie;
    REQUIRE(attach(options, &tie));
    char greeting[18];
    // Short answers, then any export by the option that has no refusal; the answer is its size and flags.
    constexpr std::string_view wish("\0\0\0\3IHAVEOPT\0\0\0\1\0\0\0\0", 20);
    constexpr ssize_t exportSize = 10;
    for (int round = 0; round < 300; ++round) {
        auto client = clientOf(options.device);
        REQUIRE(::recv(client.get(), greeting, sizeof greeting, MSG_WAITALL) == sizeof greeting);
        REQUIRE(::send(client.get(), wish.data(), wish.size(), MSG_NOSIGNAL) == ssize_t(wish.size()));
        REQUIRE(::recv(client.get(), greeting, exportSize, MSG_WAITALL) == exportSize);
    }
}

TEST_CASE_METHOD(Fixture, "an export that is given up before it is in use leaves no device") {
    auto image = Volume::openSnapshot(ploop::hostFiles(), options.descriptor, ploop::topGuid);
    REQUIRE(image);
    BlockExport::Options exporting;
    exporting.readOnly = true;
    exporting.mechanism = Mechanism::Fuse;
    auto made = BlockExport::start(**image, exporting);
    REQUIRE(made);
    auto path = (*made)->device()->path();
    auto sequence = (*made)->device()->sequence();
    made->reset();
    CHECK(waitFor([&] { return !BlockDevice::find(path, sequence); }));
}

TEST_CASE_METHOD(Fixture, "the socket outlives its starter as long as somebody is connected") {
    options.mechanism = Mechanism::Nbd;
    options.readOnly = true;
    options.device = dir / "disk.nbd";
    UniqueFd tie;
    auto attachment = attach(options, &tie);
    REQUIRE(attachment);
    auto client = clientOf(options.device);
    char greeting[18];
    REQUIRE(::recv(client.get(), greeting, sizeof greeting, MSG_WAITALL) == sizeof greeting);
    CHECK(std::string_view(greeting, 16) == "NBDMAGICIHAVEOPT");
    tie.reset();
    auto refused = detach(*attachment);
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::ResourceBusy);
    // A second one is hung up on.
    auto second = clientOf(options.device);
    CHECK(::recv(second.get(), greeting, sizeof greeting, MSG_WAITALL) <= 0);
    client.reset();
    CHECK(endsSoon(*attachment));
}
