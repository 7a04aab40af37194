// SPDX-License-Identifier: LGPL-2.1-or-later
#include "../temporary_dir.hpp"
#include "domain/snapshot_store.hpp"
#include "parser.hpp"

#include <libvirt/libvirt.h>

using namespace vz;
using namespace vz::domain;
using test::parser;

namespace {

const std::string guid = "{11111111-2222-4333-8444-555555555555}";
const std::string uuid = "3f7a2d34-4c53-4cd6-9a53-6d1b46a5a0e1";
using Names = std::vector<std::string>;

Config someConfig(const std::string& top = "") {
    return test::config(test::container(
        "<filesystem type='file'><source file='/i'/><target dir='/'/></filesystem>",
        top + "<vz:container xmlns:vz='urn:libvirt-vz:domain:1.0'><vz:features><vz:nesting state='on'/>"
              "</vz:features></vz:container>"));
}

Snapshot snapshot(const std::string& name, const std::string& parent = "", int64_t created = 1) {
    Snapshot made;
    made.name = name;
    made.parent = parent;
    made.created = created;
    return made;
}

std::string format(const Snapshot& one) {
    auto text = formatSnapshot(parser(), one, VIR_DOMAIN_XML_SECURE);
    REQUIRE(text);
    return *text;
}

/** one - two - three, two - four, and five alone; three is live. */
SnapshotTree someTree() {
    SnapshotTree tree;
    tree.put(snapshot("one", "", 1));
    tree.put(snapshot("two", "one", 2));
    auto three = snapshot("three", "two", 4);
    three.state = SnapshotState::Disks;
    tree.put(three);
    tree.put(snapshot("four", "two", 3));
    tree.put(snapshot("five", "", 5));
    tree.setCurrent("four");
    return tree;
}

ErrorCode codeOf(const std::string& xml) {
    auto request = parseSnapshotRequest(xml);
    REQUIRE(!request);
    return request.error().code();
}

} // namespace

TEST_CASE("a document is read as it was written, with both domains and the images") {
    auto one = snapshot("a <b> & 'c'", "parent \"p\"", 1700000000);
    one.description = "two\n  lines ";
    one.state = SnapshotState::Disks;
    one.disks = {{"/", SnapshotMode::Internal, "/i/Disk<>.xml"}, {"/data", SnapshotMode::No, ""}};
    one.guid = guid;
    one.domain = someConfig("<description>three\n\n   lines</description>");
    one.inactive = someConfig("<title>other</title>");
    auto text = format(one);
    auto read = parseSnapshot(parser(), text);
    if (!read)
        FAIL(read.error().message() << text);
    CHECK(format(*read) == text);
    CHECK(read->name == one.name);
    CHECK(read->parent == one.parent);
    CHECK(read->description == one.description);
    CHECK(read->created == one.created);
    CHECK(read->images() == Names{"/i/Disk<>.xml"});
    CHECK(test::text(*read->domain) == test::text(*one.domain));
    CHECK(test::text(*read->inactive) == test::text(*one.inactive));
    CHECK(read->config()->definition().title == "other");
    CHECK(read->domain->definition().extension.nesting == true);
    CHECK(validateSnapshot(parser(), text));
}

TEST_CASE("a document without a domain or images can be read") {
    auto read = parseSnapshot(parser(), "<domainsnapshot><name>n</name><state>shutoff</state>"
                                        "<creationTime>7</creationTime><domain><uuid>x</uuid></domain>"
                                        "</domainsnapshot>");
    REQUIRE(read);
    CHECK(!read->config());
    CHECK(read->images().empty());
}

TEST_CASE("requests are judged") {
    auto wrap = [](const std::string& inner) { return "<domainsnapshot>" + inner + "</domainsnapshot>"; };
    auto empty = parseSnapshotRequest("<domainsnapshot/>");
    REQUIRE(empty);
    CHECK(empty->name.empty());
    CHECK(empty->memory == SnapshotRequest::Memory::Default);
    auto request = parseSnapshotRequest(wrap("<name>n</name><parent><name>no matter</name></parent>"
                                             "<memory snapshot='no'/><disks><disk name='vda'/>"
                                             "<disk name='/x' snapshot='no'/></disks>"));
    REQUIRE(request);
    CHECK(request->memory == SnapshotRequest::Memory::No);
    CHECK(request->disks.size() == 2);
    CHECK(request->disks[1].mode == SnapshotMode::No);
    CHECK(codeOf(wrap("<memory snapshot='no' file='/x'/>")) == ErrorCode::XmlError);
    auto memory = parseSnapshotRequest(wrap("<memory file='/x'/>"));
    REQUIRE(memory);
    CHECK(memory->memory == SnapshotRequest::Memory::Wanted);
    CHECK(codeOf(wrap("<name>\x01</name>")) == ErrorCode::XmlError);
    CHECK(codeOf(wrap("<name>a&#10;b</name>")) == ErrorCode::XmlDetail);
    CHECK(codeOf("<domainsnapshot xmlns='urn:x'/>") == ErrorCode::XmlError);
    CHECK(codeOf(wrap("<!-- " + std::string(4u << 20, 'x') + " -->")) == ErrorCode::XmlError);
}

TEST_CASE("lists have what the flags ask for, parents first") {
    auto tree = someTree();
    auto list = [&](const std::string& from, unsigned flags) { return tree.list(from, flags); };
    CHECK(list("", 0) == Names{"one", "five", "two", "four", "three"});
    CHECK(list("", VIR_DOMAIN_SNAPSHOT_LIST_ROOTS) == Names{"one", "five"});
    CHECK(list("one", 0) == Names{"two"});
    CHECK(list("one", VIR_DOMAIN_SNAPSHOT_LIST_DESCENDANTS) == Names{"two", "four", "three"});
    CHECK(list("", VIR_DOMAIN_SNAPSHOT_LIST_LEAVES) == Names{"five", "four", "three"});
    CHECK(list("", VIR_DOMAIN_SNAPSHOT_LIST_NO_LEAVES) == Names{"one", "two"});
    CHECK(list("", VIR_DOMAIN_SNAPSHOT_LIST_LEAVES | VIR_DOMAIN_SNAPSHOT_LIST_NO_LEAVES).size() == 5);
    CHECK(list("", VIR_DOMAIN_SNAPSHOT_LIST_DISK_ONLY) == Names{"three"});
    CHECK(list("", VIR_DOMAIN_SNAPSHOT_LIST_INACTIVE).size() == 4);
    CHECK(list("", VIR_DOMAIN_SNAPSHOT_LIST_ACTIVE).empty());
    CHECK(list("", VIR_DOMAIN_SNAPSHOT_LIST_EXTERNAL).empty());
    CHECK(list("", VIR_DOMAIN_SNAPSHOT_LIST_INTERNAL).size() == 5);
    CHECK(list("", VIR_DOMAIN_SNAPSHOT_LIST_NO_METADATA).empty());
    CHECK(list("", VIR_DOMAIN_SNAPSHOT_LIST_METADATA | VIR_DOMAIN_SNAPSHOT_LIST_NO_METADATA).size() == 5);
    CHECK(list("", VIR_DOMAIN_SNAPSHOT_LIST_ROOTS | VIR_DOMAIN_SNAPSHOT_LIST_LEAVES) == Names{"five"});
}

TEST_CASE("who loses the parent gets the grandparent") {
    auto tree = someTree();
    CHECK(tree.remove("two").size() == 2);
    CHECK(tree.find("three")->parent == "one");
    CHECK(tree.find("four")->parent == "one");
    CHECK(tree.current() == "four");
    CHECK(tree.remove("four").empty());
    CHECK(tree.current() == "one");
    CHECK(tree.remove("one").size() == 1);
    CHECK(tree.current().empty());
    CHECK(tree.list("", VIR_DOMAIN_SNAPSHOT_LIST_ROOTS) == Names{"three", "five"});
    CHECK(tree.get("one").error().code() == ErrorCode::NoSnapshot);
}

TEST_CASE("what is redefined keeps the tree a tree") {
    auto tree = someTree();
    auto refused = [&](const Snapshot& changed, unsigned flags = 0) {
        auto checked = tree.checkRedefinition(changed, uuid, flags);
        return !checked && checked.error().code() == ErrorCode::InvalidArg;
    };
    CHECK(!refused(snapshot("new", "four")));
    CHECK(!refused(snapshot("five", "four")));
    CHECK(refused(snapshot("new", "none")));
    CHECK(refused(snapshot("new", "new")));
    CHECK(refused(snapshot("one", "four")));
    CHECK(refused(snapshot("one", "two")));
    CHECK(refused(snapshot("three", "two")));
    CHECK(refused(snapshot("new"), VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY));
    auto other = snapshot("new");
    other.domain = someConfig();
    CHECK(!refused(other));
    CHECK(!tree.checkRedefinition(other, "00000000-4c53-4cd6-9a53-6d1b46a5a0e1", 0));
    tree.put(other);
    other.domain.reset();
    CHECK(refused(other));
}

TEST_CASE("lost parents and circles on the disk count as none") {
    std::vector<std::string> orphans;
    auto tree = SnapshotTree::make({snapshot("a", "gone"), snapshot("b", "c"), snapshot("c", "d"),
                                    snapshot("d", "b"), snapshot("e", "d"), snapshot("f", "f")},
                                   "missing", orphans);
    CHECK(orphans == Names{"a", "b", "f"});
    CHECK(tree.list("", 0).size() == 6);
    CHECK(tree.list("b", VIR_DOMAIN_SNAPSHOT_LIST_DESCENDANTS) == Names{"d", "c", "e"});
    CHECK(tree.current().empty());
}

TEST_CASE("snapshots outlive the process, and what cannot be read is left alone") {
    test::TemporaryDir dir;
    SnapshotStore store(parser(), dir / "s");
    REQUIRE(store.load());
    CHECK(store.load()->empty());
    CHECK(!*store.pending());
    REQUIRE(store.save(snapshot("one")));
    REQUIRE(store.save(snapshot("current", "one")));
    REQUIRE(store.setCurrent("current"));
    REQUIRE(file::writeAtomic(dir / "s/bad.xml", "<domainsnapshot>"));
    REQUIRE(file::writeAtomic(dir / "s/other.xml", format(snapshot("one"))));
    auto tree = store.load();
    REQUIRE(tree);
    CHECK(tree->list("", 0) == Names{"one", "current"});
    CHECK(tree->current() == "current");
    REQUIRE(store.setCurrent(""));
    CHECK(store.load()->current().empty());

    PendingWork work{PendingWork::Kind::Revert, true, {"/a b", "/c"}, guid, guid, "<one>", ""};
    REQUIRE(store.setPending(work));
    auto read = *store.pending();
    REQUIRE(read);
    CHECK(read->kind == PendingWork::Kind::Revert);
    CHECK(read->images == work.images);
    CHECK(read->guid == guid);
    CHECK(read->keep == guid);
    CHECK(read->name == "<one>");
    work = {PendingWork::Kind::Create, false, {"/a"}, guid, "", "n", format(snapshot("n"))};
    REQUIRE(store.setPending(work));
    CHECK((*store.pending())->document == work.document);
    CHECK(!(*store.pending())->metadata);
    REQUIRE(store.clearPending());
    CHECK(!*store.pending());
    REQUIRE(store.removeAll());
    CHECK(!file::exists(dir / "s"));
}
