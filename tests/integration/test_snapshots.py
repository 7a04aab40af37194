# SPDX-License-Identifier: LGPL-2.1-or-later
"""Snapshots of containers whose root and data are ploop images: through virsh, and through the C API."""

import os
import re
import signal
import socket
import subprocess
import threading
import xml.etree.ElementTree as ET

import libvirt
import pytest
from harness.guest import wait_for
from harness.images import filesystem

pytestmark = pytest.mark.usefixtures("private_mounts", "images")
VZ = "{urn:libvirt-vz:domain:1.0}"


class Subject:
    """A container on images, and what is in them."""

    def __init__(self, guest, images):
        self.guest, self.images, self.daemon, self.name = guest, images, guest.daemon, guest.name

    def virsh(self, command, *words, **how):
        return self.daemon.virsh(command, self.name, *words, **how)

    def make(self, name, *words, **how):
        return self.virsh("snapshot-create-as", name, *words, **how)

    def names(self, *words):
        """Sorted: what was made in one second has no other order."""
        return sorted(self.virsh("snapshot-list", "--name", *words).stdout.split())

    def current(self):
        return self.virsh("snapshot-current", "--name").stdout.strip()

    def write(self, text, image="ct", file="mark"):
        """Puts a text into a file of an image that is not in use."""
        folder = self.images.mount(self.images.path(image, "DiskDescriptor.xml"))
        with open(os.path.join(folder, file), "w", encoding="utf-8") as out:
            out.write(text)
        self.images.ploop("umount", self.images.path(image, "DiskDescriptor.xml"))

    def read(self, image="ct", file="mark"):
        """The text in a file of an image that is not in use; None if it is not there."""
        folder = self.images.mount(self.images.path(image, "DiskDescriptor.xml"))
        try:
            with open(os.path.join(folder, file), encoding="utf-8") as text:
                return text.read()
        except FileNotFoundError:
            return None
        finally:
            self.images.ploop("umount", self.images.path(image, "DiskDescriptor.xml"))

    def states(self, image="ct"):
        """GUIDs of the states of an image but for the present one."""
        listed = self.images.ploop("snapshot-list", "-H", "-s", "-o", "uuid", self.images.path(image, "DiskDescriptor.xml"))
        return set(listed.split())

    def guid(self, name):
        return self.xml(name).find(f"{VZ}images").get("guid")

    def xml(self, name):
        return ET.fromstring(self.virsh("snapshot-dumpxml", name).stdout)

    def folder(self):
        return os.path.join(self.daemon.folder, "lib/vz/snapshot", self.guest.uuid)

    def booted(self, times=1):
        def count():
            done = self.daemon.enter(self.name, "/bin/cat", "/boots", check=False)
            return done.returncode == 0 and int(done.stdout or 0) >= times
        wait_for(count, what=f"boot {times} of {self.name}")
        return self

    def inside(self, line):
        return self.guest.inside("/bin/sh", "-c", line)


@pytest.fixture
def subject(images, make_guest):
    """A container with a root on an image, defined."""
    made = make_guest(root=images.make_root(), filesystem=filesystem(images.path("ct"))).define()
    yield Subject(made, images)
    made.daemon.virsh("destroy", made.name, check=False)
    made.daemon.virsh("undefine", made.name, "--snapshots-metadata", check=False)


@pytest.fixture
def pair(images, make_guest):
    """A container with two images."""
    images.make_root()
    images.make("data", "32M")
    folder = images.mount(images.path("data/DiskDescriptor.xml"))
    os.chmod(folder, 0o755)
    images.ploop("umount", images.path("data/DiskDescriptor.xml"))
    made = make_guest(root=images.path("ct"), filesystem=filesystem(images.path("ct")) +
                      filesystem(images.path("data"), "/data")).define()
    yield Subject(made, images)
    made.daemon.virsh("destroy", made.name, check=False)
    made.daemon.virsh("undefine", made.name, "--snapshots-metadata", check=False)


def test_back_and_forth(subject):
    subject.write("zero")
    subject.make("one", "first words")
    subject.write("one")
    subject.make("two")
    subject.write("two")
    assert subject.names() == ["one", "two"] and subject.current() == "two"
    assert subject.states() == {subject.guid("one"), subject.guid("two")}
    subject.virsh("snapshot-revert", "one")
    assert subject.read() == "zero" and subject.current() == "one"
    subject.virsh("snapshot-revert", "two")
    assert subject.read() == "one" and subject.current() == "two"
    subject.virsh("snapshot-revert", "two")
    assert subject.read() == "one"
    assert subject.virsh("snapshot-parent", "two").stdout.strip() == "one"


def test_tree_and_filters(subject):
    # one - two - three, and one - fork
    for name in ("one", "two", "three"):
        subject.make(name)
    subject.virsh("snapshot-revert", "one")
    subject.make("fork")
    subject.guest.start()
    subject.booted()
    subject.make("live", "--disk-only")
    subject.virsh("destroy")
    everything = ["fork", "live", "one", "three", "two"]
    assert subject.names() == everything
    order = subject.virsh("snapshot-list", "--name", "--topological").stdout.split()
    parents = {"one": None, "two": "one", "three": "two", "fork": "one", "live": "fork"}
    assert all(parents[name] in [None, *order[:place]] for place, name in enumerate(order)), order
    expected = {
        ("--roots",): ["one"],
        ("--leaves",): ["live", "three"],
        ("--no-leaves",): ["fork", "one", "two"],
        ("--inactive",): ["fork", "one", "three", "two"],
        ("--active",): [],
        ("--disk-only",): ["live"],
        ("--disk-only", "--inactive"): everything,
        ("--internal",): everything,
        ("--external",): [],
        ("--internal", "--external"): everything,
        ("--metadata",): everything,
        ("--no-metadata",): [],
        ("--from", "one"): ["fork", "two"],
        ("--from", "one", "--descendants"): ["fork", "live", "three", "two"],
        ("--from", "one", "--descendants", "--leaves"): ["live", "three"],
        ("--from", "three"): [],
        ("--current",): [],
        ("--from", "fork"): ["live"],
    }
    for words, names in expected.items():
        assert subject.names(*words) == names, words
    tree = [line for line in subject.virsh("snapshot-list", "--tree").stdout.splitlines() if line.strip(" |")]
    depth = {line.strip(" |+-"): len(line) - len(line.lstrip(" |+-")) for line in tree}
    assert depth["one"] < depth["two"] == depth["fork"] < depth["three"] == depth["live"], tree
    table = subject.virsh("snapshot-list", "--parent").stdout
    assert re.search(r"^ live +\S+ \S+ \S+ +disk-snapshot +fork *$", table, re.M), table
    assert re.search(r"^ one +\S+ \S+ \S+ +shutoff *$", table, re.M), table
    info = subject.virsh("snapshot-info", "fork").stdout
    fields = dict(re.findall(r"^(\w+): +(\S+)$", info, re.M))
    assert fields == {"Name": "fork", "Domain": subject.name, "Current": "no", "State": "shutoff", "Location": "internal",
                      "Parent": "one", "Children": "1", "Descendants": "1", "Metadata": "yes"}


def test_calls_of_the_c_api(subject, conn):
    domain = conn.lookupByName(subject.name)
    assert domain.snapshotNum() == 0 and not domain.hasCurrentSnapshot()
    assert conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT) == []
    with pytest.raises(libvirt.libvirtError) as refused:
        domain.snapshotCurrent()
    assert refused.value.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT
    # As virt-manager does it.
    first = domain.snapshotCreateXML("<domainsnapshot><name>a b</name><description>x\ny</description></domainsnapshot>", 0)
    assert [one.getName() for one in domain.listAllSnapshots()] == ["a b"]
    second = domain.snapshotCreateXML("<domainsnapshot/>", 0)
    assert second.getName().isdigit() and second.getName() == ET.fromstring(second.getXMLDesc()).findtext("creationTime")
    third = domain.snapshotCreateXML("<domainsnapshot/>", libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_ATOMIC)
    assert third.isCurrent() and not first.isCurrent() and third.hasMetadata()
    assert third.getParent().getName() == second.getName()
    assert sorted(domain.snapshotListNames()) == sorted([first.getName(), second.getName(), third.getName()])
    assert first.listChildrenNames() == [second.getName()] and first.numChildren() == 1
    assert first.numChildren(libvirt.VIR_DOMAIN_SNAPSHOT_LIST_DESCENDANTS) == 2
    assert [one.getName() for one in first.listAllChildren()] == [second.getName()]
    assert domain.snapshotNum(libvirt.VIR_DOMAIN_SNAPSHOT_LIST_ROOTS) == 1
    described = ET.fromstring(first.getXMLDesc())
    assert described.findtext("description") == "x\ny" and described.findtext("state") == "shutoff"
    assert [(one.get("name"), one.get("snapshot")) for one in described.iter("disk")] == [("/", "internal")]
    assert described.find("domain").findtext("uuid") == subject.guest.uuid
    assert [one.name() for one in conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT)] == [subject.name]
    assert conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT) == []
    domain.revertToSnapshot(first)
    assert domain.snapshotCurrent().getName() == "a b"
    with pytest.raises(libvirt.libvirtError) as refused:
        domain.listAllSnapshots(1 << 20)
    assert refused.value.get_error_code() == libvirt.VIR_ERR_OPERATION_UNSUPPORTED
    second.delete()
    with pytest.raises(libvirt.libvirtError) as refused:
        second.getXMLDesc()
    assert refused.value.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT
    assert third.getParent().getName() == "a b"


@pytest.mark.parametrize("victim", ["one", "two", "three", "four"])
def test_delete_keeps_the_others(subject, victim):
    # one - two - three, and two - four, which is the current one
    for name in ("one", "two", "three"):
        subject.write(name)
        subject.make(name)
    subject.virsh("snapshot-revert", "two")
    subject.write("four")
    subject.make("four")
    subject.write("now")
    subject.virsh("snapshot-delete", victim)
    left = [name for name in ("one", "two", "three", "four") if name != victim]
    assert subject.names() == sorted(left)
    parents = {"one": None, "two": "one", "three": "two", "four": "two"}
    parent = parents[victim]
    for name in left:
        expected = parent if parents[name] == victim else parents[name]
        assert subject.xml(name).findtext("parent/name") == expected
    assert subject.current() == ("two" if victim == "four" else "four")
    assert subject.states() == {subject.guid(name) for name in left}
    assert subject.read() == "now"
    for name in left:
        subject.virsh("snapshot-revert", name)
        assert subject.read() == name


def test_delete_with_children(subject):
    for name in ("one", "two", "three"):
        subject.make(name)
        subject.write(name)
    subject.virsh("snapshot-revert", "two")
    subject.make("fork")
    subject.virsh("snapshot-delete", "two", "--children-only")
    assert subject.names() == ["one", "two"] and subject.current() == "two"
    assert subject.states() == {subject.guid("one"), subject.guid("two")}
    subject.make("more")
    guids = {name: subject.guid(name) for name in ("one", "two", "more")}
    subject.virsh("snapshot-delete", "two", "--metadata")
    assert subject.names() == ["more", "one"] and subject.states() == set(guids.values()), "the image is as it was"
    subject.virsh("snapshot-delete", "one", "--children")
    assert subject.names() == [] and subject.states() == {guids["two"]}
    done = subject.virsh("snapshot-current", check=False)
    assert done.returncode and "no current snapshot" in done.stderr
    assert subject.read() == "one"


def test_document_is_a_fixed_point_and_can_be_redefined(subject, tmp_path):
    subject.virsh("desc", "--title", "--config", "then & <now>")
    subject.make("one", "a\n  description")
    subject.make("two")
    before = {name: subject.virsh("snapshot-dumpxml", name, "--security-info").stdout for name in ("one", "two")}
    for name in ("one", "two"):
        (tmp_path / f"{name}.xml").write_text(before[name], encoding="utf-8")
    for flags in [("--redefine",), ("--redefine", "--current"), ("--redefine", "--validate")]:
        subject.virsh("snapshot-create", str(tmp_path / "one.xml"), *flags)
        assert subject.virsh("snapshot-dumpxml", "one", "--security-info").stdout == before["one"]
        assert subject.current() == ("two" if flags == ("--redefine",) else "one")
    # Lost metadata can be brought back.
    subject.write("lost")
    for name in ("one", "two"):
        subject.virsh("snapshot-delete", name, "--metadata")
    for name in ("one", "two"):
        subject.virsh("snapshot-create", str(tmp_path / f"{name}.xml"), "--redefine")
    assert subject.names() == ["one", "two"]
    subject.virsh("snapshot-revert", "two")
    assert subject.read() is None and subject.current() == "two"
    edited = before["one"].replace("a\n  description", "another")
    (tmp_path / "one.xml").write_text(edited, encoding="utf-8")
    subject.virsh("snapshot-create", str(tmp_path / "one.xml"), "--redefine")
    assert subject.xml("one").findtext("description") == "another"
    subject.daemon.kill9()
    subject.daemon.start()
    assert subject.virsh("snapshot-dumpxml", "one", "--security-info").stdout == edited


def test_redefinition_names_only_states_and_images_of_the_container(subject, tmp_path):
    subject.make("one")
    document = subject.virsh("snapshot-dumpxml", "one", "--security-info").stdout
    guid = subject.guid("one")
    image = subject.xml("one").find(".//{*}image").get("file")
    for old, new, message in [
        (guid, "{5fbaabe3-6958-40ff-92a7-860e329aab41}", "is not the GUID of an image's state"),
        (guid, "{00000000-0000-0000-0000-000000000000}", "is not the GUID of an image's state"),
        (guid, "{12345678-1234-1234-1234-123456789abc}", "does not have the state"),
        (f"file=\"{image}\"", "file=\"/elsewhere/DiskDescriptor.xml\"", "is not the image of"),
    ]:
        assert old in document
        other = document.replace("<name>one</name>", "<name>other</name>").replace(old, new)
        (tmp_path / "other.xml").write_text(other, encoding="utf-8")
        done = subject.virsh("snapshot-create", str(tmp_path / "other.xml"), "--redefine", check=False)
        assert done.returncode and message in done.stderr, done.stderr
        assert subject.names() == ["one"]


def test_edit(subject, tmp_path, monkeypatch):
    subject.make("one")
    subject.make("two")
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nsed -i 's/>one</>first</' \"$1\"\n", encoding="utf-8")
    editor.chmod(0o755)
    monkeypatch.setenv("EDITOR", str(editor))
    subject.virsh("snapshot-edit", "one", "--rename")
    assert subject.names() == ["first", "two"]
    subject.virsh("snapshot-revert", "first")
    assert subject.current() == "first"


BAD = [
    ("<domainsnapshot><name>a/b</name></domainsnapshot>", 0, "XML_DETAIL", "can't contain '/'"),
    ("<domainsnapshot><name>.a</name></domainsnapshot>", 0, "XML_DETAIL", "can't start with '.'"),
    ("<domainsnapshot><name></name></domainsnapshot>", 0, "XML_DETAIL", "can't be empty"),
    (f"<domainsnapshot><name>{'n' * 201}</name></domainsnapshot>", 0, "XML_DETAIL", "longer than"),
    ("<domainsnapshot><name>there</name></domainsnapshot>", 0, "OPERATION_FAILED", "already exists"),
    ("<domain/>", 0, "XML_ERROR", "expecting <domainsnapshot>"),
    ("<domainsnapshot>", 0, "XML_ERROR", "cannot be parsed"),
    ("<!DOCTYPE x><domainsnapshot/>", 0, "XML_ERROR", "DOCTYPE"),
    ("<domainsnapshot><disks><disk name='vda'/></disks></domainsnapshot>", 0, "CONFIG_UNSUPPORTED", "no disk named 'vda'"),
    ("<domainsnapshot><disks><disk/></disks></domainsnapshot>", 0, "XML_ERROR", "missing name"),
    ("<domainsnapshot><disks><disk name='/'/><disk name='/'/></disks></domainsnapshot>", 0, "CONFIG_UNSUPPORTED", "twice"),
    ("<domainsnapshot><disks><disk name='/' snapshot='often'/></disks></domainsnapshot>", 0, "XML_ERROR", "unknown disk"),
    ("<domainsnapshot><disks><disk name='/' snapshot='external'/></disks></domainsnapshot>", 0, "CONFIG_UNSUPPORTED",
     "keeps its states itself"),
    ("<domainsnapshot><disks><disk name='/'><source file='/x'/></disk></disks></domainsnapshot>", 0, "CONFIG_UNSUPPORTED",
     "a file of its own"),
    ("<domainsnapshot><disks><disk name='/' snapshot='no'/></disks></domainsnapshot>", 0, "CONFIG_UNSUPPORTED",
     "at least one ploop image"),
    ("<domainsnapshot><memory snapshot='internal'/></domainsnapshot>", 0, "OPERATION_UNSUPPORTED", "memory"),
    ("<domainsnapshot><memory snapshot='sometimes'/></domainsnapshot>", 0, "XML_ERROR", "unknown memory"),
    ("<domainsnapshot><bogus/></domainsnapshot>", libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_VALIDATE, "XML_INVALID_SCHEMA", ""),
    ("<domainsnapshot/>", libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT, "INVALID_ARG", ""),
    ("<domainsnapshot/>", libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE, "INVALID_ARG", "quiesce requires disk-only"),
    ("<domainsnapshot/>", libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_QUIESCE | libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY,
     "OPERATION_INVALID", "not running"),
    ("<domainsnapshot/>", libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_LIVE, "OPERATION_UNSUPPORTED", "memory"),
    ("<domainsnapshot/>", libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REUSE_EXT, "OPERATION_UNSUPPORTED", ""),
    ("<domainsnapshot/>", libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE, "XML_ERROR", "must have a name"),
]


def test_bad_input(subject, conn):
    subject.make("there")
    domain = conn.lookupByName(subject.name)
    before = subject.states()
    for xml, flags, code, message in BAD:
        with pytest.raises(libvirt.libvirtError) as refused:
            domain.snapshotCreateXML(xml, flags)
        assert (refused.value.get_error_code(), message in str(refused.value)) == \
            (getattr(libvirt, f"VIR_ERR_{code}"), True), f"{xml} {flags}: {refused.value}"
    assert domain.snapshotListNames() == ["there"] and subject.states() == before
    for name in ("none", "../there", ""):
        with pytest.raises(libvirt.libvirtError) as refused:
            domain.snapshotLookupByName(name)
        assert refused.value.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_SNAPSHOT


def test_bad_redefinition(subject, conn):
    subject.make("one")
    subject.make("two")
    domain = conn.lookupByName(subject.name)
    good = subject.virsh("snapshot-dumpxml", "one", "--security-info").stdout
    parent = "<parent>\n    <name>{}</name>\n  </parent>\n  <creationTime>"
    changes = [
        (("<creationTime>", parent.format("none")), "INVALID_ARG", "parent none for snapshot one not found"),
        (("<creationTime>", parent.format("one")), "INVALID_ARG", "as its own parent"),
        (("<creationTime>", parent.format("two")), "INVALID_ARG", "would create cycle"),
        ((subject.guest.uuid, "11111111-2222-4333-8444-555555555555"), "INVALID_ARG", "must use uuid"),
        (("<state>shutoff", "<state>disk-snapshot"), "INVALID_ARG", "cannot change between"),
        (("<state>shutoff", "<state>running"), "CONFIG_UNSUPPORTED", "has memory"),
        (("<state>shutoff", "<state>asleep"), "XML_ERROR", "Invalid state"),
        (("<creationTime>", "<creationTime>x"), "XML_ERROR", "missing creationTime"),
        (('guid="{', 'guid="{x'), "XML_ERROR", "is not the GUID"),
        (('<vz:image disk="/"', '<vz:image disk="/else"'), "XML_ERROR", "fits no <disk>"),
        (("xmlns:vz=\"urn:libvirt-vz:domain:1.0\"", "xmlns:vz=\"urn:other\""), "XML_ERROR", "which image has the state"),
    ]
    for (old, new), code, message in changes:
        assert old in good, old
        with pytest.raises(libvirt.libvirtError) as refused:
            domain.snapshotCreateXML(good.replace(old, new), libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE)
        assert (refused.value.get_error_code(), message in str(refused.value)) == \
            (getattr(libvirt, f"VIR_ERR_{code}"), True), f"{new}: {refused.value}"
    assert subject.virsh("snapshot-dumpxml", "one", "--security-info").stdout == good


# Running containers

LIVE = libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY


def write_on(subject):
    """A writer that appends to the root first and to the other image then, again and again."""
    subject.inside("setsid sh -c 'while :; do echo x >> /a; echo x >> /data/b; done' > /dev/null 2>&1 < /dev/null &")
    wait_for(lambda: int(subject.inside("wc -c < /data/b 2>/dev/null || echo 0")) > 10, what="the writer")


def test_images_of_a_running_container_are_of_one_moment(pair):
    pair.guest.start()
    pair.booted()
    write_on(pair)
    for i in range(5):
        pair.make(f"s{i}", "--disk-only", "--atomic", *(["--quiesce"] if i % 2 else []))
    before = int(pair.inside("wc -c < /data/b"))
    wait_for(lambda: int(pair.inside("wc -c < /data/b")) > before, what="the writer after the snapshots")
    assert pair.states("ct") == pair.states("data") == {pair.guid(f"s{i}") for i in range(5)}
    described = pair.xml("s4")
    assert described.findtext("state") == "disk-snapshot"
    assert [(disk.get("name"), disk.get("snapshot")) for disk in described.iter("disk")] == \
        [("/", "internal"), ("/data", "internal")]
    last = 0
    for i in range(5):
        pair.virsh("snapshot-revert", f"s{i}")
        assert pair.guest.state() == "shut off (from snapshot)"
        first, second = len(pair.read("ct", "a")), len(pair.read("data", "b"))
        assert 0 <= first - second <= 2 and second >= last, f"{first} {second} are of different moments"
        last = second
    assert last > 10


def test_disk_left_out(pair):
    pair.write("before", "data")
    pair.make("one", "--diskspec", "/data,snapshot=no")
    assert [(disk.get("name"), disk.get("snapshot")) for disk in pair.xml("one").iter("disk")] == \
        [("/", "internal"), ("/data", "no")]
    assert len(pair.states("ct")) == 1 and pair.states("data") == set()
    pair.write("after", "data")
    pair.write("after", "ct")
    pair.virsh("snapshot-revert", "one")
    assert pair.read("data") == "after" and pair.read("ct") is None
    pair.make("two")
    assert len(pair.states("ct")) == 2 and len(pair.states("data")) == 1
    pair.virsh("snapshot-delete", "one")
    assert pair.states("ct") == pair.states("data") == {pair.guid("two")}
    assert pair.read("data") == "after"


def test_disks(images, make_guest):
    """<disk> takes part by its target; one that is no image has to be left out by name."""
    root, data = images.make_root(), os.path.dirname(images.make("data", "32M"))
    raw = images.path("raw.img")
    with open(raw, "wb") as file:
        file.truncate(16 << 20)
    disk = "<disk type='file' device='disk'>{}<source file='{}'/><target dev='{}'/></disk>"
    disks = disk.format("", data, "vdb") + disk.format("<driver type='raw'/>", raw, "vdc")
    guest = make_guest(root=root, filesystem=filesystem(root), devices=disks).define()
    subject = Subject(guest, images)
    done = subject.make("one", check=False)
    assert done.returncode and "'vdc' is not on a ploop image" in done.stderr and "vdc,snapshot=no" in done.stderr
    without = ["--diskspec", "vdc,snapshot=no"]
    subject.make("one", *without)
    assert [(disk.get("name"), disk.get("snapshot")) for disk in subject.xml("one").iter("disk")
            if disk.get("snapshot")] == [("/", "internal"), ("vdb", "internal"), ("vdc", "no")]
    guest.start()
    subject.booted()
    subject.inside("echo inside > /dev/vdb || dd if=/dev/zero of=/dev/vdb bs=4k count=1")
    subject.make("two", "--disk-only", "--quiesce", *without)
    subject.make("three", "--disk-only", *without, "--diskspec", "vdb,snapshot=no")
    assert subject.states("ct") == {subject.guid(name) for name in ("one", "two", "three")}
    assert subject.states("data") == {subject.guid(name) for name in ("one", "two")}
    subject.virsh("snapshot-revert", "two")
    for name in ("one", "two", "three"):
        subject.virsh("snapshot-delete", name)
    assert subject.states("ct") == subject.states("data") == set()
    subject.virsh("undefine")


def test_memory_is_refused_and_says_what_to_do(subject, conn):
    subject.guest.start()
    subject.booted()
    with pytest.raises(libvirt.libvirtError) as refused:
        conn.lookupByName(subject.name).snapshotCreateXML("<domainsnapshot/>", 0)
    assert refused.value.get_error_code() == libvirt.VIR_ERR_OPERATION_UNSUPPORTED
    assert "--disk-only" in str(refused.value)
    conn.lookupByName(subject.name).snapshotCreateXML("<domainsnapshot><memory snapshot='no'/></domainsnapshot>", 0)
    assert len(subject.names("--disk-only")) == 1


def test_revert_a_running_container(subject, events):
    subject.guest.start()
    subject.booted()
    subject.inside("echo one > /mark")
    subject.make("one", "--disk-only")
    subject.inside("echo two > /mark")
    for flag in ("--running", "--paused"):
        done = subject.virsh("snapshot-revert", "one", flag, check=False)
        assert done.returncode and "must respawn" in done.stderr
    assert subject.inside("cat /mark") == "two\n", "a refused revert changes nothing"
    before = len(events.lifecycle(subject.name))
    subject.virsh("snapshot-revert", "one", "--running", "--force")
    subject.booted(2)
    assert subject.inside("cat /mark") == "one\n"
    assert subject.guest.state() == "running (from snapshot)"
    subject.virsh("snapshot-revert", "one", "--paused", "--force")
    assert subject.guest.state() == "paused (from snapshot)"
    subject.virsh("snapshot-revert", "one")
    assert subject.guest.state() == "shut off (from snapshot)"
    stopped = ("lifecycle", subject.name, libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT)
    wait_for(lambda: events.all(subject.name).count(stopped) == 3, what="the events of three stops")
    seen = [event for event in events.lifecycle(subject.name)[before:]]
    assert (libvirt.VIR_DOMAIN_EVENT_STARTED, libvirt.VIR_DOMAIN_EVENT_STARTED_FROM_SNAPSHOT) in seen
    assert (libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_FROM_SNAPSHOT) in seen


def test_config_of_then_comes_back(subject, events, make_guest):
    subject.make("small")
    subject.guest.define(memory=128)
    subject.make("large")
    subject.virsh("snapshot-revert", "small")
    assert "262144 KiB" in subject.virsh("dominfo").stdout
    events.wait("lifecycle", subject.name, libvirt.VIR_DOMAIN_EVENT_DEFINED, libvirt.VIR_DOMAIN_EVENT_DEFINED_FROM_SNAPSHOT)
    # The name is that of now, and the snapshots follow it.
    subject.daemon.virsh("domrename", subject.name, "renamed")
    subject.daemon.virsh("snapshot-revert", "renamed", "large")
    assert "131072 KiB" in subject.daemon.virsh("dominfo", "renamed").stdout
    subject.daemon.virsh("domrename", "renamed", subject.name)
    assert subject.names() == ["large", "small"]


def test_halt(subject, events):
    subject.guest.start()
    subject.booted()
    subject.inside("echo one > /mark")
    subject.make("one", "--disk-only", "--halt")
    assert subject.guest.state() == "shut off (from snapshot)"
    events.wait("lifecycle", subject.name, libvirt.VIR_DOMAIN_EVENT_STOPPED, libvirt.VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT)
    subject.virsh("snapshot-revert", "one")
    assert subject.read() == "one\n"


def test_no_metadata(subject):
    subject.make("ghost", "--no-metadata")
    assert subject.names() == [] and len(subject.states()) == 1
    subject.guest.start()
    subject.booted()
    subject.make("other", "--no-metadata", "--disk-only")
    assert subject.names() == [] and len(subject.states()) == 2


def test_delete_under_a_writer(pair):
    pair.guest.start()
    pair.booted()
    write_on(pair)
    for i in range(4):
        pair.inside(f"dd if=/dev/urandom of=/big{i} bs=1M count=3 2>/dev/null; md5sum /big{i} >> /sums")
        pair.make(f"s{i}", "--disk-only")
    for name in ("s1", "s3", "s0", "s2"):
        pair.virsh("snapshot-delete", name)
        assert "OK" in pair.inside("md5sum -c /sums") and "FAILED" not in pair.inside("md5sum -c /sums")
    assert pair.names() == [] and pair.states("ct") == pair.states("data") == set()
    before = int(pair.inside("wc -c < /data/b"))
    wait_for(lambda: int(pair.inside("wc -c < /data/b")) > before, what="the writer")


def test_a_paused_container(subject):
    subject.guest.start()
    subject.booted()
    subject.virsh("suspend")
    subject.make("one", "--disk-only", "--quiesce")
    assert subject.guest.state().startswith("paused")
    subject.virsh("resume")
    assert subject.inside("echo on > /mark; cat /mark") == "on\n"


def test_undefine(subject):
    subject.make("one")
    subject.make("two")
    done = subject.virsh("undefine", check=False)
    assert done.returncode and "cannot delete inactive domain with 2 snapshots" in done.stderr
    states = subject.states()
    assert os.path.isdir(subject.folder())
    subject.virsh("undefine", "--snapshots-metadata")
    assert not os.path.exists(subject.folder()) and subject.states() == states
    subject.guest.define()
    assert subject.names() == []


def test_transient_domain(subject):
    subject.guest.start()
    subject.booted()
    subject.make("one", "--disk-only")
    subject.virsh("undefine")
    subject.make("two", "--disk-only")
    done = subject.virsh("snapshot-revert", "one", check=False)
    assert done.returncode and "transient" in done.stderr
    done = subject.make("three", "--disk-only", "--halt", check=False)
    assert done.returncode and "cannot halt" in done.stderr
    subject.virsh("destroy")
    assert not os.path.exists(subject.folder())
    subject.guest.define()
    assert subject.names() == []


def test_folder_as_root_is_refused(daemon, make_guest):
    guest = make_guest("plain").define()
    done = daemon.virsh("snapshot-create-as", guest.name, "one", check=False)
    assert done.returncode and "'/' is not on a ploop image" in done.stderr and "snapshot=no" in done.stderr
    done = daemon.virsh("snapshot-create-as", guest.name, "one", "--diskspec", "/,snapshot=no", check=False)
    assert done.returncode and "at least one ploop image" in done.stderr


def test_state_that_is_lost(subject):
    subject.make("one")
    subject.make("two")
    guid = subject.guid("one")
    subject.images.ploop("snapshot-delete", "-u", guid, subject.images.path("ct/DiskDescriptor.xml"))
    subject.guest.start()
    subject.booted()
    done = subject.virsh("snapshot-revert", "one", check=False)
    assert done.returncode and guid in done.stderr and "does not have the state of the snapshot 'one'" in done.stderr
    assert subject.guest.state().startswith("running"), "it is not stopped for nothing"
    subject.virsh("snapshot-delete", "one")
    assert subject.names() == ["two"]


def test_image_in_use_elsewhere(subject):
    subject.make("one")
    subject.images.mount(subject.images.path("ct/DiskDescriptor.xml"), "elsewhere")
    done = subject.virsh("snapshot-revert", "one", check=False)
    assert done.returncode and "in use" in done.stderr, done.stderr
    subject.make("two")  # through the process that serves it
    assert len(subject.states()) == 2
    subject.images.ploop("umount", subject.images.path("ct/DiskDescriptor.xml"))
    subject.virsh("snapshot-revert", "one")


# Daemons that are killed

def ploopd(subject, image):
    """The process that serves an image of the running container."""
    states = [os.path.join(subject.daemon.ploop_folder, name) for name in os.listdir(subject.daemon.ploop_folder)]
    for path in states:
        if path.endswith(".state"):
            with open(path, encoding="utf-8") as file:
                fields = file.read().split("\0")
            if os.path.dirname(fields[0]) == subject.images.path(image):
                return int(fields[4])
    raise AssertionError(f"{image} is not served")


class Elsewhere:
    """A command of virsh on a thread: its daemon may be killed under it."""

    def __init__(self, subject, *words):
        self.thread = threading.Thread(target=lambda: subject.daemon.virsh(*words, check=False))
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.thread.join(60)
        assert not self.thread.is_alive()


def pending(subject):
    try:
        with open(os.path.join(subject.folder(), "pending"), encoding="utf-8") as file:
            return ET.fromstring(file.read())
    except FileNotFoundError:
        return None


def settled(subject):
    """A new daemon has ended what the one before has left."""
    wait_for(lambda: pending(subject) is None, what="the end of the work that was cut off")


@pytest.mark.parametrize("reached", ["no image", "one image", "both images"])
def test_daemon_killed_while_it_makes_a_snapshot(pair, reached):
    pair.guest.start()
    pair.booted()
    write_on(pair)
    stopped = ploopd(pair, "data")
    os.kill(stopped, signal.SIGSTOP)
    try:
        with Elsewhere(pair, "snapshot-create-as", pair.name, "one", "--disk-only"):
            work = wait_for(lambda: pending(pair), what="the record of the work")
            # What is known without the images is told meanwhile.
            assert pair.names() == [] and "running" in pair.guest.state()
            pair.daemon.kill9()
    finally:
        os.kill(stopped, signal.SIGCONT)
    images = {"no image": [], "one image": ["ct"], "both images": ["ct", "data"]}[reached]
    for image in images:
        pair.images.ploop("snapshot", "-u", work.get("guid"), pair.images.path(image, "DiskDescriptor.xml"))
    pair.daemon.start()
    settled(pair)
    if reached == "both images":
        assert pair.names() == ["one"] and pair.current() == "one" and pair.guid("one") == work.get("guid")
    else:
        assert pair.names() == [] and pair.states("ct") == pair.states("data") == set()
    before = int(pair.inside("wc -c < /data/b"))
    wait_for(lambda: int(pair.inside("wc -c < /data/b")) > before, what="the writer: nothing stays frozen")
    pair.make("next", "--disk-only")
    assert pair.current() == "next"


@pytest.mark.parametrize("reached", [[], ["ct"], ["ct", "data"]])
def test_daemon_killed_while_it_reverts(pair, reached):
    for name in ("one", "two"):
        pair.write(name, "ct")
        pair.write(name, "data")
        pair.make(name)
        pair.guest.define(memory=128)
    guid, keep = pair.guid("one"), "{01234567-89ab-4cde-8f01-23456789abcd}"
    pair.daemon.kill9()
    # What the daemon leaves of it: docs/snapshots.md.
    paths = {image: pair.images.path(image, "DiskDescriptor.xml") for image in ("ct", "data")}
    with open(os.path.join(pair.folder(), "pending"), "w", encoding="utf-8") as file:
        listed = "".join(f"<image>{path}</image>" for path in paths.values())
        file.write(f'<pending kind="revert" metadata="yes" guid="{guid}" keep="{keep}"><name>one</name>{listed}</pending>')
    for image, path in paths.items():
        pair.images.ploop("snapshot", "-u", keep, path)
        if image in reached:
            pair.images.ploop("snapshot-switch", "-u", guid, path)
    if reached == ["ct"]:
        # If it cannot be finished, nothing is started from half of it.
        os.rename(pair.images.path("data"), pair.images.path("away"))
        pair.daemon.start()
        done = pair.virsh("start", check=False)
        assert done.returncode and "about 'one'" in done.stderr and paths["data"] in done.stderr, done.stderr
        os.rename(pair.images.path("away"), pair.images.path("data"))
        pair.guest.start()
        pair.booted()
        pair.virsh("destroy")
    else:
        pair.daemon.start()
    settled(pair)
    assert pair.current() == "one"
    assert pair.read("ct") == pair.read("data") == "one"
    assert pair.states("ct") == pair.states("data") == {guid, pair.guid("two")}
    assert "262144 KiB" in pair.virsh("dominfo").stdout
    pair.virsh("snapshot-revert", "two")
    assert pair.read("ct") == pair.read("data") == "two"


def test_daemon_killed_again_and_again(pair):
    """Whatever moment it is, both images are of the same state, and of one that there is a snapshot of."""
    for name in ("one", "two", "three"):
        pair.write(name, "ct")
        pair.write(name, "data")
        pair.make(name)
    calls = [("snapshot-revert", "one"), ("snapshot-create-as", "made"), ("snapshot-revert", "three"),
             ("snapshot-delete", "made"), ("snapshot-create-as", "other"), ("snapshot-revert", "two"),
             ("snapshot-delete", "other")]
    for turn in range(14):
        call, name = calls[turn % len(calls)]
        with Elsewhere(pair, call, pair.name, name):
            # Any moment is right; this spreads them over the call.
            threading.Event().wait(0.004 * turn)
            pair.daemon.kill9()
        pair.daemon.start()
        settled(pair)
        names = pair.names()
        assert {"one", "two", "three"} <= set(names) <= {"one", "two", "three", "made", "other"}
        assert pair.read("ct") == pair.read("data") in ("one", "two", "three")
        if call == "snapshot-delete" and name in names:
            pair.virsh(call, name)  # goes on where it was
        guids = {pair.guid(one) for one in pair.names()}
        assert pair.states("ct") == pair.states("data") == guids
    for name in ("one", "two", "three"):
        pair.virsh("snapshot-revert", name)
        assert pair.read("ct") == pair.read("data") == name


class Work:
    """What a daemon has while it makes a snapshot: a connection to a vz-ploopd, and orders on it."""

    def __init__(self, images):
        (state,) = [name for name in os.listdir(images.run_folder) if name.endswith(".state")]
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(30)
        self.socket.connect(os.path.join(images.run_folder, state.replace(".state", ".sock")))

    def ask(self, *words, fds=()):
        socket.send_fds(self.socket, [b"".join(word.encode() + b"\0" for word in words)], list(fds))
        return self.socket.recv(4096).decode().split("\0")[:-1]


@pytest.mark.parametrize("end", ["hang up", "silence"])
def test_nothing_stays_frozen(images, end, full):
    """A daemon that is killed hangs up; one that is stopped is silent."""
    if end == "silence" and not full:
        pytest.skip("ten seconds of silence: --full")
    image = images.make()
    folder = images.mount(image)
    work = Work(images)
    assert work.ask("begin") == ["ok"]
    other = Work(images)
    assert "being worked on" in other.ask("begin")[-1]
    directory = os.open(folder, os.O_RDONLY)
    assert work.ask("freeze", fds=[directory]) == ["ok", "frozen"]
    os.close(directory)
    # A process, not a thread: it hangs in the kernel until the file system goes on.
    with subprocess.Popen(["sh", "-c", f"echo written > {folder}/file"]) as writer:
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(0.5)
        assert work.ask("snapshot", "{11111111-1111-4111-8111-111111111111}")[0] == "ok"
        if end == "hang up":
            work.socket.close()
        assert writer.wait(30) == 0
    if end == "silence":
        assert work.socket.recv(4096) == b"", "it was given up"
    other = Work(images)
    assert other.ask("begin") == ["ok"] and other.ask("nonsense")[0] == "error"
    other.socket.close()
    images.ploop("umount", image)
    with open(os.path.join(images.mount(image), "file"), encoding="utf-8") as file:
        assert file.read() == "written\n"
    images.ploop("umount", image)
    images.ploop("snapshot-switch", "-u", "{11111111-1111-4111-8111-111111111111}", image)
    assert not os.path.exists(os.path.join(images.mount(image), "file")), "the snapshot is of before"
    images.ploop("umount", image)


def test_daemon_and_ploopd_killed_while_frozen(subject):
    """What waits for a frozen file system cannot be killed: it goes on by itself when its vz-ploopd has died."""
    subject.make("one")
    subject.guest.start()
    subject.booted()
    work = Work(subject.images)
    assert work.ask("begin") == ["ok"]
    directory = os.open(f"/proc/{subject.guest.id()}/root", os.O_RDONLY)
    assert work.ask("freeze", fds=[directory]) == ["ok", "frozen"]
    os.close(directory)
    subject.daemon.kill9()
    served = ploopd(subject, "ct")
    os.kill(served, signal.SIGKILL)
    wait_for(lambda: not os.path.exists(f"/proc/{served}"), what="the end of vz-ploopd")
    work.socket.close()
    with open(os.path.join(subject.folder(), "pending"), "w", encoding="utf-8") as file:
        image = subject.images.path("ct/DiskDescriptor.xml")
        file.write(f'<pending kind="create" metadata="yes" guid="{{01234567-89ab-4cde-8f01-23456789abcd}}"><name>two</name>'
                   f'<image>{image}</image></pending>')
    subject.daemon.start()
    settled(subject)
    subject.virsh("destroy")
    assert subject.names() == ["one"] and subject.states() == {subject.guid("one")}
    subject.guest.start()
    subject.booted()


def test_container_is_destroyed_while_a_snapshot_is_deleted(pair):
    pair.guest.start()
    pair.booted()
    pair.inside("dd if=/dev/urandom of=/big bs=1M count=12 conv=fsync 2>/dev/null; md5sum /big > /sum")
    pair.make("one", "--disk-only")
    pair.inside("dd if=/dev/urandom of=/big bs=1M count=12 conv=fsync 2>/dev/null; md5sum /big > /sum")
    stopped = ploopd(pair, "ct")
    os.kill(stopped, signal.SIGSTOP)
    with Elsewhere(pair, "snapshot-delete", pair.name, "one"):
        try:
            wait_for(lambda: pair.virsh("domcontrol").stdout.strip() != "ok", what="the job")
            init = pair.guest.id()
            with Elsewhere(pair, "destroy", pair.name):
                wait_for(lambda: not os.path.exists(f"/proc/{init}"), what="the end of the container")
                os.kill(stopped, signal.SIGCONT)
        except BaseException:
            os.kill(stopped, signal.SIGCONT)
            raise
    assert pair.guest.state().startswith("shut off") and pair.names() == []
    assert pair.states("ct") == pair.states("data") == set()
    pair.guest.start()
    pair.booted(2)
    assert "OK" in pair.inside("md5sum -c /sum")


def test_queries_do_not_wait_for_a_long_delete(pair):
    pair.guest.start()
    pair.booted()
    pair.make("one", "--disk-only")
    stopped = ploopd(pair, "ct")
    os.kill(stopped, signal.SIGSTOP)
    with Elsewhere(pair, "snapshot-delete", pair.name, "one"):
        try:
            wait_for(lambda: pair.virsh("domcontrol").stdout.strip() != "ok", what="the job")
            assert "running" in pair.guest.state() and pair.names() == ["one"]
            assert pair.virsh("dominfo").returncode == 0 and pair.virsh("snapshot-dumpxml", "one").stdout
        finally:
            os.kill(stopped, signal.SIGCONT)
    assert pair.names() == [] and pair.states("ct") == set()


def test_only_one_at_a_time(pair):
    """Many at once: each waits for its turn."""
    done = []
    threads = [threading.Thread(target=lambda i=i: done.append(pair.make(f"s{i}", check=False).returncode))
               for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert done == [0] * 6 and len(pair.names()) == 6
    assert len(pair.states("ct")) == len(pair.states("data")) == 6
    table = {name: pair.xml(name).findtext("parent/name") for name in pair.names()}
    assert len(set(table.values())) == 6, "one after the other"


def test_image_on_a_plain_loop_device(images, make_guest):
    """What is written there passes by the image: only while it is shut off. From then on it is like any other."""
    guest = make_guest(root=images.make_root("ct", "64M", "busybox", "-f", "raw"),
                       filesystem=filesystem(images.path("ct"))).define()
    subject = Subject(guest, images)
    guest.start()
    subject.booted()
    done = subject.make("one", "--disk-only", check=False)
    assert done.returncode and "plain loop device" in done.stderr
    assert subject.names() == [] and subject.inside("echo on > /mark; cat /mark") == "on\n"
    subject.virsh("destroy")
    subject.make("one")
    guest.start()
    subject.booted(2)
    subject.inside("echo off > /mark")
    subject.make("two", "--disk-only", "--quiesce")
    subject.virsh("snapshot-revert", "one")
    assert subject.read() == "on\n"
    subject.virsh("snapshot-revert", "two")
    assert subject.read() == "off\n"
    subject.virsh("undefine", "--snapshots-metadata")


def test_read_only_file_systems_and_names(images, make_guest, daemon):
    images.make_root()
    images.make("data", "32M")
    guest = make_guest(root=images.path("ct"), filesystem=filesystem(images.path("ct")) +
                       filesystem(images.path("data"), "/data", "<readonly/>")).define()
    subject = Subject(guest, images)
    subject.make("one")
    assert [(disk.get("name"), disk.get("snapshot")) for disk in subject.xml("one").iter("disk")] == \
        [("/", "internal"), ("/data", "no")]
    guest.start()
    subject.booted()
    # An alias, of a container that has some.
    done = subject.make("two", "--disk-only", "--diskspec", "fs0,snapshot=no", check=False)
    assert done.returncode and "at least one ploop image" in done.stderr
    subject.virsh("destroy")
    subject.virsh("undefine", "--snapshots-metadata")
