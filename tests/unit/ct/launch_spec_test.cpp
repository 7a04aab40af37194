// SPDX-License-Identifier: LGPL-2.1-or-later
#include "ct/launch_spec.hpp"
#include "ct/protocol.hpp"

#include <catch2/catch.hpp>

#include <sys/socket.h>

using namespace vz;
using namespace vz::ct;

namespace {

const std::string hostile("a=3:b\n\0\xff=\n7:", 13);

LaunchSpec fullSpec() {
    LaunchSpec spec;
    spec.name = hostile;
    spec.uuid = "u";
    spec.runDir = "/run/x";
    spec.argv = {"/sbin/init", hostile, ""};
    spec.environment = {"A=B", hostile};
    spec.initUid = 4294967295u;
    spec.root = {Mount::Kind::Block, "/dev/x", "/", "ext4", true, true, 17};
    spec.mounts = {{Mount::Kind::Bind, "/s", hostile}, {Mount::Kind::Tmpfs, "", "/t", "", false, false, 1}};
    spec.devices = {{"/dev/null", 'c', 1, 3, 0666, 1, 2}};
    spec.maskedPaths = {"/proc/kcore"};
    spec.uids = {{0, 100000, 65536}};
    spec.gids = {{0, 200000, 65536}};
    spec.payloadCgroups = {"/a", "/b"};
    spec.capabilities = ~uint64_t{0};
    spec.seccomp = std::string("\0\1\2\3\n=", 6);
    spec.limits = {{7, 5, ~uint64_t{0}}};
    spec.oomScoreAdj = -5;
    spec.sharedMemPages = 4096;
    spec.counters = {{"numproc", 5, 6}};
    spec.consoles = {{"/log", true}, {}};
    spec.onCrash = EndAction::Preserve;
    return spec;
}

} // namespace

TEST_CASE("a launch description survives the way through its text") {
    std::string text = encode(fullSpec());
    auto back = decode(text);
    REQUIRE(back);
    CHECK(encode(*back) == text);
    CHECK(back->name == hostile);
    CHECK(back->argv == fullSpec().argv);
    CHECK(back->capabilities == ~uint64_t{0});
    CHECK(back->limits.at(0).hard == ~uint64_t{0});
    CHECK(back->oomScoreAdj == -5);
    CHECK(back->seccomp == fullSpec().seccomp);
    CHECK(back->onCrash == EndAction::Preserve);
    CHECK(back->root.kind == Mount::Kind::Block);
    CHECK(back->mounts.at(0).target == hostile);
}

TEST_CASE("a cut or changed launch description is refused or still well-formed, never more") {
    std::string text = encode(fullSpec());
    for (size_t size = 0; size < text.size(); ++size)
        CHECK_FALSE(decode(std::string_view(text).substr(0, size)));
    for (size_t at = 0; at < text.size(); ++at) {
        std::string changed = text;
        changed[at] = static_cast<char>(changed[at] ^ 0x11);
        if (auto result = decode(changed))
            CHECK(decode(encode(*result)));
    }
    CHECK_FALSE(decode(text + "new=1:x\n"));
    CHECK_FALSE(decode("name=99999999999999999999:x\n"));
}

TEST_CASE("mounts and devices have texts of their own") {
    auto mount = decodeMount(encode(fullSpec().root));
    REQUIRE(mount);
    CHECK(mount->source == "/dev/x");
    CHECK(mount->size == 17);
    auto device = decodeDevice(encode(fullSpec().devices.at(0)));
    REQUIRE(device);
    CHECK(device->minor == 3);
    CHECK_FALSE(decodeMount("kind=1:9\n"));
}

TEST_CASE("messages carry serials, values and descriptors") {
    auto channel = makeChannel();
    REQUIRE(channel);
    auto& [left, right] = *channel;
    Message message{"hello", 7, {}, {}};
    message.body.add("a", 5).add("a", std::string_view("x\ny"));
    REQUIRE(sendMessage(left.get(), message, {0, 1}));
    auto got = receiveMessage(right.get());
    REQUIRE(got);
    REQUIRE(*got);
    CHECK((*got)->kind == "hello");
    CHECK((*got)->serial == 7);
    CHECK((*got)->body.number("a") == 5);
    CHECK((*got)->body.all("a").size() == 2);
    CHECK((*got)->fds.size() == 2);

    ::send(left.get(), "garbage", 7, 0);
    CHECK_FALSE(receiveMessage(right.get()));
    std::string big(maxMessage + 1, 'x');
    ::send(left.get(), big.data(), big.size(), 0);
    CHECK_FALSE(receiveMessage(right.get()));
    message.body.add("big", big);
    CHECK_FALSE(sendMessage(left.get(), message));
    left.reset();
    auto end = receiveMessage(right.get());
    REQUIRE(end);
    CHECK_FALSE(*end);
}
