// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../temporary_dir.hpp"
#include "domain/store.hpp"

#include <catch2/catch.hpp>

#include <unistd.h>

using namespace vz;
using domain::Store;
using test::TemporaryDir;

namespace {

std::string domainXml(const std::string& name) {
    return cat("<domain type='vz'>\n  <name>", name, "</name>\n</domain>\n");
}

std::vector<std::string> names(const Store& store) {
    std::vector<std::string> out;
    auto entries = store.load();
    REQUIRE(entries);
    for (const auto& entry : *entries)
        out.push_back(entry.name);
    return out;
}

using Names = std::vector<std::string>;

} // namespace

TEST_CASE("configs are kept, found and removed") {
    TemporaryDir dir;
    Store store(dir / "conf");
    CHECK(names(store).empty());
    REQUIRE(store.save("a", domainXml("a")));
    REQUIRE(store.save("odd--name", domainXml("odd--name")));
    CHECK(names(store) == Names{"a", "odd--name"});
    auto entries = store.load();
    REQUIRE(entries);
    CHECK((*entries)[0].xml.find("<!--") == 0);
    REQUIRE(store.setAutostart("a", true));
    REQUIRE(store.setAutostart("a", true));
    CHECK(store.autostart("a"));
    CHECK_FALSE(store.autostart("odd--name"));
    REQUIRE(store.remove("a"));
    REQUIRE(store.remove("a"));
    CHECK_FALSE(store.autostart("a"));
    CHECK(names(store) == Names{"odd--name"});
}

TEST_CASE("names that leave the folder are refused") {
    TemporaryDir dir;
    Store store(dir.path());
    CHECK_FALSE(store.save("../x", domainXml("x")));
    CHECK_FALSE(store.setAutostart("../x", true));
    CHECK_FALSE(store.remove("a/b"));
    CHECK_FALSE(store.rename("a", "../b", ""));
}

TEST_CASE("broken files and leftovers of crashes are left out and left alone") {
    TemporaryDir dir;
    Store store(dir.path());
    REQUIRE(store.save("good", domainXml("good")));
    for (const char* name : {"half.xml.new.Ab12Cd", "good.xml.new", ".xml", "notes.txt"})
        REQUIRE(file::writeAtomic(dir / name, domainXml("half")));
    REQUIRE(file::writeAtomic(dir / "broken.xml", "<domain"));
    REQUIRE(file::writeAtomic(dir / "empty.xml", ""));
    REQUIRE(file::writeAtomic(dir / "other.xml", "<network><name>other</name></network>"));
    REQUIRE(file::writeAtomic(dir / "copy.xml", domainXml("good")));
    REQUIRE(file::writeAtomic(dir / "evil.xml", domainXml("../evil")));
    REQUIRE(file::makeDirs(dir / "folder.xml"));
    CHECK(names(store) == Names{"good"});
    CHECK(file::exists(dir / "broken.xml"));
    CHECK(file::exists(dir / "copy.xml"));
}

TEST_CASE("a rename takes config and autostart along") {
    TemporaryDir dir;
    Store store(dir.path());
    REQUIRE(store.save("a", domainXml("a")));
    REQUIRE(store.setAutostart("a", true));
    REQUIRE(store.rename("a", "b", domainXml("b")));
    CHECK(names(store) == Names{"b"});
    CHECK(store.autostart("b"));
    CHECK_FALSE(store.autostart("a"));
    auto target = file::readLink(dir / "autostart/b.xml");
    REQUIRE(target);
    CHECK(*target == dir / "b.xml");

    REQUIRE(store.save("c", domainXml("c")));
    CHECK_FALSE(store.rename("b", "c", domainXml("c")));
    CHECK_FALSE(store.rename("missing", "d", domainXml("d")));
    CHECK(names(store) == Names{"b", "c"});
}

TEST_CASE("a rename that a crash cut short is finished at the next load") {
    TemporaryDir dir;
    Store store(dir.path());
    REQUIRE(store.save("a", domainXml("a")));
    REQUIRE(store.setAutostart("a", true));
    // The state after the new text was written into the old file.
    REQUIRE(store.setAutostart("b", true));
    REQUIRE(file::writeAtomic(dir / "a.xml", domainXml("b")));
    CHECK(names(store) == Names{"b"});
    CHECK(file::exists(dir / "b.xml"));
    CHECK_FALSE(file::exists(dir / "a.xml"));
    CHECK(store.autostart("b"));
    CHECK_FALSE(store.autostart("a"));
}

TEST_CASE("autostart links of domains that are gone are dropped") {
    TemporaryDir dir;
    Store store(dir.path());
    REQUIRE(store.setAutostart("gone", true));
    CHECK(names(store).empty());
    CHECK_FALSE(store.autostart("gone"));
}

TEST_CASE("the runtime state is kept byte for byte") {
    TemporaryDir dir;
    domain::RuntimeState state;
    state.liveXml = "<domain type='vz' id='5'>\n  <title>a &amp; b\r\n</title>\n</domain>\n";
    state.cgroup = "v1\n/machine/x <y> \"z\"\n";
    state.persistent = false;
    state.paused = true;
    state.reason = 3;
    state.boots = 7;
    state.uidMap = {{0, 300000, 1000}, {1000, 400000, 5}};
    state.gidMap = {{0, 500000, 1000}};
    state.interfaces = {{.name = "52:54:00:00:00:01",
                         .link = {.kind = ct::LinkKind::Macvlan,
                                  .hostName = "tap&1",
                                  .guestName = "eth0",
                                  .guestIndex = 7,
                                  .mac = "52:54:00:00:00:02",
                                  .mtu = 1400},
                         .network = "a<b",
                         .portId = "9d1c1a2e-6e1b-4a3c-9a0f-2f7a1f4f5b11",
                         .switchBridge = "ovs0",
                         .downScript = "/bin/x"}};
    REQUIRE(saveState(dir.path(), state));
    auto loaded = domain::loadState(dir.path());
    REQUIRE(loaded);
    CHECK(loaded->liveXml == state.liveXml);
    CHECK(loaded->cgroup == state.cgroup);
    REQUIRE(loaded->uidMap.size() == 2);
    CHECK(loaded->uidMap[1].inside == 1000);
    CHECK(loaded->uidMap[1].host == 400000);
    CHECK(loaded->uidMap[1].count == 5);
    REQUIRE(loaded->gidMap.size() == 1);
    CHECK(loaded->gidMap[0].host == 500000);
    CHECK_FALSE(loaded->persistent);
    CHECK(loaded->paused);
    CHECK(loaded->reason == 3);
    CHECK(loaded->boots == 7);
    REQUIRE(loaded->interfaces.size() == 1);
    CHECK(loaded->interfaces[0] == state.interfaces[0]);
}

TEST_CASE("a missing or broken state is an error") {
    TemporaryDir dir;
    CHECK_FALSE(domain::loadState(dir.path()));
    REQUIRE(file::writeAtomic(dir / "state.xml", "<vzstate version='1'"));
    CHECK_FALSE(domain::loadState(dir.path()));
    REQUIRE(file::writeAtomic(dir / "state.xml", "<vzstate version='2' reason='1' boots='1'/>"));
    CHECK_FALSE(domain::loadState(dir.path()));
}
