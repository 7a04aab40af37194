// SPDX-License-Identifier: LGPL-2.1-or-later

// XML and files of pools and volumes. What needs devices or a daemon is in
// tests/integration/test_storage*.py.

#include "storage/pool/pools.hpp"
#include "storage/pool/volume_make.hpp"
#include "storage/pool/volume_names.hpp"
#include "storage/pool/volume_work.hpp"

#include "../temporary_dir.hpp"
#include "base/file.hpp"

#include <catch2/catch.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <thread>

using namespace vz;
using namespace vz::storage;
using vz::test::TemporaryDir;

namespace {

constexpr const char* uuid = "6f9a2cf6-93b2-4d1d-a9a3-0e1d7c5f8a01";
constexpr uint64_t mib = 1u << 20;

std::string poolText(const std::string& inner) {
    return cat("<pool type='ploop'><name>p</name>", inner, "</pool>");
}

PoolConfig config(const std::string& name, const std::string& id, const std::string& target) {
    return {.name = name, .uuid = id, .target = target, .permissions = {}};
}

VolumeRequest blank(const std::string& name, uint64_t capacity) {
    VolumeRequest request;
    request.name = name;
    request.capacity = capacity;
    request.fileSystem = "none";
    return request;
}

struct Fixture {
    TemporaryDir dir;
    std::vector<std::pair<std::string, PoolEvent>> events;

    std::unique_ptr<Pools> pools() {
        Pools::Settings settings;
        settings.configDir = dir / "etc";
        settings.runDir = dir / "run";
        settings.patience = std::chrono::seconds(5);
        settings.tell = [this](const Pool& pool, PoolEvent event) {
            events.emplace_back(pool.name(), event);
        };
        auto made = std::make_unique<Pools>(std::move(settings));
        REQUIRE(made->load());
        return made;
    }
    std::string folder(const std::string& name) {
        auto path = dir / name;
        REQUIRE(file::makeDirs(path));
        return path;
    }
};

} // namespace

TEST_CASE("a pool's XML is a fixed point") {
    auto first =
        PoolConfig::parse(poolText(cat("<uuid>", uuid,
                                       "</uuid><capacity unit='G'>7</capacity><source><dir path='/a//b/'/>"
                                       "</source><target><path>/a/b</path><permissions><mode>755</mode>"
                                       "<owner>-1</owner><group>7</group></permissions></target>")),
                          true);
    REQUIRE(first);
    CHECK(first->target == "/a/b");
    CHECK(first->permissions.mode == 0755u);
    CHECK_FALSE(first->permissions.owner);
    auto second = PoolConfig::parse(first->format({1, 2, 3}), true);
    REQUIRE(second);
    CHECK(*second == *first);
}

TEST_CASE("what is no ploop pool is refused") {
    for (const char* inner :
         {"", "<target/>", "<target><path>a</path></target>", "<target><path>/</path></target>",
          "<target><path>/a/..</path></target>", "<target><path>/a</path><path>/b</path></target>",
          "<target><path>/a</path></target><uuid>1</uuid>", "<target><path>/a</path></target><metadata/>",
          "<target><path>/a</path><permissions><mode>8</mode></permissions></target>",
          "<target><path>/a</path><permissions><owner>me</owner></permissions></target>"}) {
        INFO(inner);
        auto parsed = PoolConfig::parse(poolText(inner), false);
        REQUIRE_FALSE(parsed);
        CHECK(parsed.error().code() == ErrorCode::XmlError);
    }
    CHECK(PoolConfig::parse(poolText("<x/>"), true).error().code() == ErrorCode::XmlInvalidSchema);
    CHECK_FALSE(isPloopPool("<pool type='dir'><name>p</name></pool>"));
    CHECK_FALSE(isPloopPool("<pool type='ploop'"));
    CHECK(isPloopPool("<pool type='ploop'/>"));
}

TEST_CASE("a large document that is wrong is refused at once") {
    std::string many;
    for (int i = 0; i < 4000; ++i)
        many += "<more/>";
    auto begin = std::chrono::steady_clock::now();
    auto parsed = PoolConfig::parse(poolText("<target><path>/p</path></target>" + many), true);
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(5));
    REQUIRE_FALSE(parsed);
    CHECK(parsed.error().code() == PoolConfig::parse(poolText("<more/>"), true).error().code());
}

TEST_CASE("UUIDs and sizes as libvirt reads them") {
    CHECK(normalUuid("6F9A2CF693B24D1DA9A30E1D7C5F8A01") == uuid);
    CHECK(normalUuid(uuid) == uuid);
    for (const char* wrong :
         {"", "6f9a", "6f9a2cf6-93b2-4d1d-a9a3-0e1d7c5f8a0g", "6f9a2cf693b24d1da9a30e1d7c5f8a0111"})
        CHECK(normalUuid(wrong).empty());
    CHECK(scaled("2", "").valueOr(0) == 2);
    CHECK(scaled("2", "KiB").valueOr(0) == 2048);
    CHECK(scaled("2", "k").valueOr(0) == 2048);
    CHECK(scaled("2", "MB").valueOr(0) == 2000000);
    CHECK(scaled("3", "G").valueOr(0) == 3ull << 30);
    CHECK(scaled("16", "EiB").error().code() == ErrorCode::Overflow);
    CHECK_FALSE(scaled("2", "parsec"));
    CHECK_FALSE(scaled("-2", "K"));
}

TEST_CASE("names of volumes") {
    for (const char* right : {"a", "a b", ".hidden", "ä", "a<b>&c", "-rf"})
        CHECK(checkVolumeName(right));
    for (const std::string& wrong : {std::string(), std::string("."), std::string(".."), std::string("a/b"),
                                     std::string("a\nb"), std::string("a\x7f"), std::string("\xff\xfe"),
                                     std::string(256, 'x'), std::string(".vz-volume.1")}) {
        INFO(wrong);
        CHECK_FALSE(checkVolumeName(wrong));
    }
}

TEST_CASE("a volume's XML says how it is made") {
    using Mode = ploop::Descriptor::Mode;
    auto parse = [](const std::string& allocation, const std::string& format) {
        auto request =
            VolumeRequest::parse(cat("<volume><name>v</name><capacity unit='M'>16</capacity>", allocation,
                                     "<target><format type='", format, "'/></target></volume>"),
                                 false, true);
        REQUIRE(request);
        return *request;
    };
    CHECK(parse("", "ploop").mode(false) == Mode::Expanded);
    CHECK(parse("<allocation>0</allocation>", "ploop").mode(false) == Mode::Expanded);
    CHECK(parse("<allocation unit='M'>16</allocation>", "ploop").mode(false) == Mode::Preallocated);
    CHECK(parse("", "ploop").mode(true) == Mode::Preallocated);
    CHECK(parse("", "raw").mode(false) == Mode::Raw);
    CHECK_FALSE(parse("", "raw").sparse(false));
    CHECK(parse("<allocation>0</allocation>", "raw").sparse(false));
    CHECK_FALSE(parse("<allocation>0</allocation>", "raw").sparse(true));
}

TEST_CASE("a volume is there as a whole or not at all") {
    TemporaryDir dir;
    SECTION("made") {
        REQUIRE(makeVolume(dir.path(), blank("v", 8 * mib), false));
        CHECK(*scanFolder(dir.path()) == std::vector<std::string>{"v"});
        CHECK(makeVolume(dir.path(), blank("v", 8 * mib), false).error().code() ==
              ErrorCode::StorageVolExist);
        auto facts = readVolume(dir / "v");
        REQUIRE(facts);
        CHECK(facts->capacity == 8 * mib);
        CHECK(facts->permissions.mode == 0600u);
        // Its XML makes another such volume.
        auto again = VolumeRequest::parse(facts->format(), false, true);
        REQUIRE(again);
        CHECK(again->clusterSectors == facts->clusterSectors);
        REQUIRE(deleteVolume(dir.path(), "v"));
        CHECK(file::list(dir.path())->empty());
    }
    SECTION("not made") {
        CHECK_FALSE(makeVolume(dir.path(), blank("v", UINT64_MAX), false));
        CHECK(file::list(dir.path())->empty());
    }
    SECTION("cut off: the next scan removes it, unless somebody works on it") {
        auto left = dir / ".vz-volume.left";
        REQUIRE(file::makeDirs(left));
        auto lock = file::open(left, O_RDONLY | O_DIRECTORY);
        REQUIRE(lock);
        REQUIRE(::flock(lock->get(), LOCK_EX) == 0);
        CHECK(scanFolder(dir.path())->empty());
        CHECK(file::exists(left));
        lock->reset();
        CHECK(scanFolder(dir.path())->empty());
        CHECK_FALSE(file::exists(left));
    }
}

TEST_CASE("a copy holds what its source does, in its kind or another") {
    TemporaryDir dir;
    REQUIRE(makeVolume(dir.path(), blank("v", 8 * mib), false));
    auto open = [&](const std::string& name, ploop::Access access) {
        ploop::Volume::Options options;
        options.access = access;
        auto volume = ploop::Volume::open(ploop::hostFiles(), dir / (name + "/DiskDescriptor.xml"), options);
        REQUIRE(volume);
        return *std::move(volume);
    };
    std::string content(100000, 'c'), found(100000, '\0');
    {
        auto volume = open("v", ploop::Access::ReadWrite);
        REQUIRE(volume->image().write(3 * mib, content.data(), content.size()));
        // Who writes to it keeps others out.
        CHECK(copyVolume(dir.path(), blank("busy", 0), {dir / "v", "", 0}, false, false).error().code() ==
              ErrorCode::ResourceBusy);
        CHECK(deleteVolume(dir.path(), "v").error().code() == ErrorCode::ResourceBusy);
        REQUIRE(volume->close());
    }
    auto raw = blank("raw", 0);
    raw.raw = raw.hasFormat = true;
    auto larger = blank("larger", 16 * mib);
    larger.clusterSectors = 128;
    for (const auto& request : {blank("same", 0), raw, larger}) {
        REQUIRE(copyVolume(dir.path(), request, {dir / "v", "", 0}, false, false));
        auto volume = open(request.name, ploop::Access::ReadOnly);
        CHECK(volume->image().bytes() == (request.capacity ? request.capacity : 8 * mib));
        REQUIRE(volume->image().read(3 * mib, found.data(), found.size()));
        CHECK(found == content);
    }
    CHECK(readVolume(dir / "raw")->mode == ploop::Descriptor::Mode::Raw);
    CHECK(readVolume(dir / "larger")->clusterSectors == 128);
    REQUIRE(wipeVolume(dir / "v"));
    REQUIRE(open("v", ploop::Access::ReadOnly)->image().read(3 * mib, found.data(), found.size()));
    CHECK(found == std::string(found.size(), '\0'));
}

TEST_CASE_METHOD(Fixture, "pools are found again by the next daemon as they were") {
    {
        auto pools = this->pools();
        REQUIRE(pools->define(config("p", uuid, folder("p"))));
        auto pool = pools->byName("p");
        {
            auto change = pool->beginChange("a test");
            REQUIRE(change);
            REQUIRE(pool->start());
        }
        REQUIRE(pool->setAutostart(true));
        auto later = pool->config();
        later.target = folder("later");
        REQUIRE(pools->define(later));
        CHECK(pool->target() == dir / "p");
        REQUIRE(pools->create(config("t", "6f9a2cf6-93b2-4d1d-a9a3-0e1d7c5f8a02", folder("t")), false));
    }
    auto pools = this->pools();
    auto pool = pools->byUuid(uuid);
    REQUIRE(pool);
    CHECK((pool->active() && pool->persistent() && pool->autostart()));
    CHECK(pool->target() == dir / "p");
    CHECK(pool->config(true).target == dir / "later");
    auto transient = pools->byName("t");
    REQUIRE(transient);
    CHECK((transient->active() && !transient->persistent()));
    REQUIRE(pools->stop(transient));
    CHECK_FALSE(pools->byName("t"));
    CHECK(transient->beginChange("a test").error().code() == ErrorCode::NoStoragePool);
    REQUIRE(pools->stop(pool));
    CHECK(pool->target() == dir / "later");
    REQUIRE(pools->undefine(pool));
    CHECK(pool->setAutostart(true).error().code() == ErrorCode::NoStoragePool);
    CHECK(file::list(dir / "etc")->size() == 1); // autostart
    CHECK(file::list(dir / "etc/autostart")->empty());
}

TEST_CASE_METHOD(Fixture, "work on a volume keeps others from it, and changes from the pool") {
    auto pools = this->pools();
    auto target = folder("p");
    REQUIRE(makeVolume(target, blank("v", 8 * mib), false));
    auto created = pools->create(config("p", uuid, target), false);
    REQUIRE(created);
    auto& pool = **created;
    using Use = Pool::Use;
    {
        auto reading = pool.lease("v", Use::Read, "it is being read", true);
        REQUIRE(reading);
        CHECK(pool.lease("v", Use::Read, "also", true));
        auto refused = pool.lease("v", Use::Change, "changed", false);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().code() == ErrorCode::OperationInvalid);
        CHECK(refused.error().message().find("still in use") != std::string::npos);
        CHECK(pool.beginChange("a refresh").error().code() == ErrorCode::OperationInvalid);
        CHECK(pool.lease("other", Use::Change, "x", false).error().code() == ErrorCode::NoStorageVolume);
        auto making = pool.lease("new", Use::Make, "it is being made", true);
        REQUIRE(making);
        CHECK_FALSE(pool.hasVolume("new"));
        CHECK(pool.lease("new", Use::Make, "again", true).error().code() == ErrorCode::StorageVolExist);
    }
    CHECK(*pool.volumes() == std::vector<std::string>{"v"});
    {
        // What ends in a moment is waited for.
        auto ending =
            std::make_unique<Pool::Lease>(*pool.lease("v", Use::Change, "it is being written", true));
        ending->ending();
        std::thread end([&] {
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            ending.reset();
        });
        CHECK(pool.lease("v", Use::Change, "next", false));
        end.join();
    }
    CHECK(pool.beginChange("a refresh"));
}

TEST_CASE_METHOD(Fixture, "a pool that cannot be made leaves nothing, and one that is there stays") {
    auto pools = this->pools();
    auto missing = config("p", uuid, dir / "missing");
    REQUIRE_FALSE(pools->create(missing, false));
    CHECK(pools->all().empty());
    REQUIRE(pools->define(missing));
    REQUIRE_FALSE(pools->create(missing, false));
    REQUIRE(pools->byName("p"));
    CHECK(pools->byName("p")->persistent());
    REQUIRE(pools->create(missing, true));
    CHECK(pools->byName("p")->active());
}
