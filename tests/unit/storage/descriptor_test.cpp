// SPDX-License-Identifier: LGPL-2.1-or-later
#include "storage/ploop/descriptor.hpp"
#include "storage/ploop/volume.hpp"

#include <catch2/catch.hpp>

using namespace vz;
using namespace vz::ploop;

namespace {

/** A descriptor as the reference tool writes it, with what is needed put in. */
std::string text(const std::string& images, const std::string& shots, const std::string& extra = "") {
    return cat("<?xml version=\"1.0\"?>\n<Virtuozzo_disk_image>\n  <Disk_Parameters>\n"
               "    <Disk_size>0x20000</Disk_size>\n    <Cylinders>256</Cylinders>\n"
               "    <PhysicalSectorSize>4096</PhysicalSectorSize>\n    <Heads>16</Heads>\n    "
               "<Sectors>32</Sectors>\n",
               extra,
               "    <Padding>0</Padding>\n  </Disk_Parameters>\n  <StorageData>\n    <Storage>\n      "
               "<Start>0</Start>\n"
               "      <End>131072</End>\n      <Blocksize>2048</Blocksize>\n",
               images, "    </Storage>\n  </StorageData>\n  <Snapshots>\n", shots,
               "  </Snapshots>\n</Virtuozzo_disk_image>\n");
}
std::string image(const std::string& guid, const std::string& file, const std::string& type = "Compressed") {
    return cat("      <Image>\n        <GUID>", guid, "</GUID>\n        <Type>", type,
               "</Type>\n        <File>", file, "</File>\n      </Image>\n");
}
std::string shot(const std::string& guid, const std::string& parent, const std::string& mark = "") {
    return cat("    <Shot>\n      <GUID>", guid, "</GUID>\n      <ParentGUID>", parent, "</ParentGUID>\n",
               mark, "    </Shot>\n");
}

const std::string a = "{AAAAAAAA-1111-4111-8111-111111111111}", b = "{bbbbbbbb-2222-4222-8222-222222222222}",
                  top = "{5FBAABE3-6958-40ff-92a7-860e329aab41}",
                  topElement = "    <TopGUID>{5fbaabe3-6958-40ff-92a7-860e329aab41}</TopGUID>\n";

} // namespace

TEST_CASE("a descriptor of the reference tool is read") {
    auto read = Descriptor::parse(text(image(a, "root.hds", "Plain") + image(top, "root.hds.{x}", "Plain"),
                                       topElement + shot(a, noGuid) + shot(top, a)));
    if (!read)
        FAIL(read.error().message());
    CHECK(read->sectors == 0x20000);
    CHECK(read->clusterSectors == 2048);
    CHECK(read->mode == Descriptor::Mode::Raw);
    auto chain = *read->chain(topGuid);
    REQUIRE(chain.size() == 2);
    CHECK(chain[0]->file == "root.hds");
    CHECK(chain[0]->guid == *parseGuid(a));

    std::string written = read->format();
    CHECK(written.find("<PhysicalSectorSize>4096</PhysicalSectorSize>") != std::string::npos);
    CHECK(written.find("<Virtuozzo_disk_image>") != std::string::npos);
    CHECK(written.find("<Disk_size>0x20000</Disk_size>") != std::string::npos);
    // An overlay is never plain, whatever the reference tool writes.
    CHECK(written.find("Plain") == written.rfind("Plain"));
    auto again = Descriptor::parse(written);
    REQUIRE(again);
    CHECK(again->format() == written);
}

TEST_CASE("a descriptor leads to no file outside of its folder") {
    auto chain = [](const std::string& file) {
        auto read = Descriptor::parse(text(image(top, file, "Compressed"), topElement + shot(top, noGuid)));
        REQUIRE(read);
        return chainOf("/images/ct/DiskDescriptor.xml", *read, topGuid);
    };
    CHECK(chain("root.hds"));
    CHECK(chain("/images/ct/root.hds"));
    for (const char* file : {"/dev/sda", "../other/root.hds", "sub/root.hds", "/images/ct/../x/root.hds"}) {
        CAPTURE(file);
        auto refused = chain(file);
        REQUIRE_FALSE(refused);
        CHECK(refused.error().message().find(file) != std::string::npos);
    }
}

TEST_CASE("an image that never had a snapshot may have no list of them") {
    auto read = Descriptor::parse(text(image(top, "root.hds"), ""));
    REQUIRE(read);
    CHECK((*read->chain(topGuid)).size() == 1);
}

TEST_CASE("a top with a GUID of its own gets the usual one") {
    auto read = Descriptor::parse(text(image(a, "root.hds") + image(b, "x"),
                                       cat("<TopGUID>", b, "</TopGUID>", shot(a, noGuid), shot(b, a))));
    REQUIRE(read);
    CHECK(read->top == topGuid);
    CHECK((*read->chain(topGuid)).back()->file == "x");
    CHECK(read->format().find(*parseGuid(b)) == std::string::npos);
}

TEST_CASE("marks of unfinished work are seen") {
    auto read = Descriptor::parse(
        text(image(a, "r") + image(b, "s") + image(top, "t"),
             topElement + shot(a, noGuid, "<Temporary/>") + shot(b, a, "<TemporaryZero/>") + shot(top, a)));
    REQUIRE(read);
    CHECK(read->shot(*parseGuid(a))->mark == Descriptor::Mark::Temporary);
    CHECK(read->shot(b)->mark == Descriptor::Mark::Foreign);
    CHECK(read->childrenOf(*parseGuid(a)).size() == 2);
    CHECK(read->format().find("<TemporaryZero/>") != std::string::npos);
}

TEST_CASE("descriptors that cannot be used are refused with a reason") {
    auto refused = [](const std::string& xml) {
        auto read = Descriptor::parse(xml);
        INFO(xml);
        REQUIRE_FALSE(read);
        return read.error().message();
    };
    std::string one = image(top, "root.hds");
    CHECK(refused("") != "");
    CHECK(refused("<a>") != "");
    CHECK(refused("<a/>").find("Disk_Parameters") != std::string::npos);
    CHECK(refused(text("", "")).find("no <Image>") != std::string::npos);
    CHECK(refused(text(one, topElement + shot(top, noGuid), "<Padding>1</Padding>")) != "");
    CHECK(refused(text(image("{x}", "r"), "")).find("UUID") != std::string::npos);
    CHECK(refused(text(image(top, ""), "")).find("File") != std::string::npos);
    CHECK(refused(text(image(top, "r", "Qcow2"), "")).find("Qcow2") != std::string::npos);
    CHECK(refused(text(one + one, shot(top, noGuid) + shot(top, noGuid))).find("match") != std::string::npos);
    CHECK(refused(text(image(a, "r") + image(top, "t"), topElement + shot(a, top) + shot(top, a)))
              .find("circle") != std::string::npos);
    CHECK(refused(text(one, topElement + shot(top, a))).find("unknown parent") != std::string::npos);
    CHECK(refused(text(one, topElement + shot(top, noGuid, "<Temporary/>"))).find("temporary") !=
          std::string::npos);
    CHECK(refused(std::string(2u << 20, ' ')).find("too long") != std::string::npos);
    CHECK(refused("<!DOCTYPE x [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;\">]><x>&b;</x>") != "");
}

TEST_CASE("UUIDs are read with and without braces, and made at random") {
    CHECK(*parseGuid("5FBAABE3-6958-40ff-92a7-860e329aab41") == topGuid);
    for (auto wrong :
         {"", "{}", "5fbaabe3-6958-40ff-92a7-860e329aab4", "5fbaabe3-6958-40ff-92a7-860e329aab41x",
          "{5fbaabe3-6958-40ff-92a7-860e329aab41", "5fbaabe3x6958-40ff-92a7-860e329aab41"})
        CHECK_FALSE(parseGuid(wrong));
    Guid one = randomGuid(), two = randomGuid();
    CHECK(one != two);
    CHECK(*parseGuid(one) == one);
    CHECK(one[15] == '4');
}
