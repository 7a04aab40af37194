# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers and virtual machines side by side: one list, one set of names, and whose machines are seen."""

import os
import re
import signal
import time
import uuid
import xml.etree.ElementTree as ET

import libvirt
import pytest
from harness import vm as vms
from harness.guest import Guest, wait_for

pytest_plugins = ["harness.vm_fixtures"]
DAEMON = vms.DAEMON
pytestmark = pytest.mark.skipif(vms.TYPE != "vz", reason="the stock driver has no containers")

QEMU = "qemu:///system"
FIRST_MACHINE_ID = 4194304
MARK = "urn:libvirt-vz:vm:1.0"
NO_DOMAIN = libvirt.VIR_ERR_NO_DOMAIN


class Stranger:
    """A machine of QEMU's own driver that was not made through ours."""

    name = "stranger"

    def __init__(self, daemon, folder):
        self.daemon = daemon
        self.vm = vms.Vm(daemon, folder, self.name, type="qemu")
        self.uuid = self.vm.uuid
        daemon.virsh("define", self.vm.file(), uri=QEMU)
        self.virsh("start", "--paused")
        self.id = int(self.virsh("domid").stdout)

    def virsh(self, command, *arguments, **options):
        return self.daemon.virsh(command, self.name, *arguments, uri=QEMU, **options)

    def all(self):
        """What there is to know of it."""
        return [self.virsh(*command).stdout for command in (["dominfo"], ["dumpxml"], ["dumpxml", "--inactive"])]

    def close(self):
        self.virsh("destroy", check=False)
        self.virsh("undefine", check=False)


@pytest.fixture(scope="module", autouse=True)
def standing(module_daemon):
    """
    What all tests find, and leave as it is: a running container, a paused machine (nothing here needs the guest in it)
    and a paused machine of QEMU's own driver.
    """
    folder = os.path.join(module_daemon.folder, "standing")
    container = Guest(module_daemon, folder, "a-container", init="/bin/sh", args=["-c", "while :; do sleep 1000; done"])
    machine = vms.Vm(module_daemon, folder, "a-machine")
    container.define().start()
    machine.define().start("--paused")
    stranger = Stranger(module_daemon, folder)
    yield container, machine, stranger
    assert container.state().startswith("running") and machine.state().startswith("paused")
    for one in (container, machine, stranger):
        one.close()


@pytest.fixture
def container(standing):
    return standing[0]


@pytest.fixture
def machine(standing):
    return standing[1]


@pytest.fixture
def stranger(standing):
    return standing[2]


@pytest.fixture
def qemu(daemon):
    """A connection to QEMU's own driver in the same daemon."""
    connection = daemon.connect(QEMU)
    yield connection
    connection.close()


def refusal(call, *arguments):
    """The code and text of the error that the call ends with."""
    with pytest.raises(libvirt.libvirtError) as error:
        call(*arguments)
    return error.value.get_error_code(), error.value.get_error_message()


def refused(code, text, call, *arguments):
    found, message = refusal(call, *arguments)
    assert found == code and re.search(text, message), (found, message)


def names(domains):
    return sorted(domain.name() for domain in domains)


def everything(connection):
    """All that a client can see of the guests, to compare before and after."""
    return {domain.UUIDString(): (domain.name(), domain.ID(), domain.state(), domain.XMLDesc(0),
                                  domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE))
            for domain in connection.listAllDomains()}


# One list


def test_one_list_with_unique_ids(container, machine, make_vm, make_guest, daemon, conn):
    make_guest("b-container", root=container.root).define()
    make_vm("b-machine").define()
    listed = {name: (number, state) for number, name, state in
              re.findall(r"^ *(\d+|-) +(\S+) +(.+)$", daemon.virsh("list", "--all").stdout, re.M)}
    assert set(listed) == {"a-container", "b-container", "a-machine", "b-machine"}
    assert (listed["a-container"][1], listed["a-machine"][1]) == ("running", "paused")
    assert listed["b-container"] == listed["b-machine"] == ("-", "shut off")
    assert 0 < int(listed["a-container"][0]) < FIRST_MACHINE_ID <= int(listed["a-machine"][0])
    assert sorted(conn.listDomainsID()) == [container.id(), machine.id()]
    assert sorted(conn.listDefinedDomains()) == ["b-container", "b-machine"]
    assert (conn.numOfDomains(), conn.numOfDefinedDomains()) == (2, 2)


def test_filters_of_the_list(machine, conn):
    machine.virsh("autostart")
    expected = {
        libvirt.VIR_CONNECT_LIST_DOMAINS_RUNNING: ["a-container"],
        libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED: ["a-machine"],
        libvirt.VIR_CONNECT_LIST_DOMAINS_SHUTOFF: [],
        libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT: [],
        libvirt.VIR_CONNECT_LIST_DOMAINS_PERSISTENT: ["a-container", "a-machine"],
        libvirt.VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT: ["a-container", "a-machine"],
        libvirt.VIR_CONNECT_LIST_DOMAINS_AUTOSTART: ["a-machine"],
    }
    assert {flag: names(conn.listAllDomains(flag)) for flag in expected} == expected
    machine.virsh("autostart", "--disable")


def test_every_way_to_look_one_up(container, machine, conn):
    for guest in (container, machine):
        number = guest.id()
        ways = [conn.lookupByID(number), conn.lookupByUUIDString(guest.uuid), conn.lookupByName(guest.name)]
        assert [(one.ID(), one.UUIDString(), one.name()) for one in ways] == [(number, guest.uuid, guest.name)] * 3
    # The id that QEMU's own driver gave it is nobody's here.
    refused(NO_DOMAIN, "no domain with matching id", conn.lookupByID, machine.id() - FIRST_MACHINE_ID)
    refused(NO_DOMAIN, "no domain with matching name 'nobody'", conn.lookupByName, "nobody")
    absent = str(uuid.uuid4())
    refused(NO_DOMAIN, f"no domain with matching uuid '{absent}'", conn.lookupByUUIDString, absent)
    refused(NO_DOMAIN, "no domain with matching id", conn.lookupByID, FIRST_MACHINE_ID + 99999)


def test_a_read_only_client_sees_the_same(container, machine, daemon):
    readers = daemon.connect(ro=True)
    try:
        assert names(readers.listAllDomains()) == [container.name, machine.name]
        for guest in (container, machine):
            domain = readers.lookupByName(guest.name)
            assert guest.uuid in domain.XMLDesc(0)
            refused(libvirt.VIR_ERR_OPERATION_DENIED, "read only", domain.destroy)
            refused(libvirt.VIR_ERR_OPERATION_DENIED, "secure flag", domain.XMLDesc, libvirt.VIR_DOMAIN_XML_SECURE)
        assert len(readers.getAllDomainStats()) == 2
    finally:
        readers.close()


# Statistics


def test_statistics_of_both_in_one_call(container, machine, daemon, conn):
    text = daemon.virsh("domstats").stdout
    parts = dict(re.findall(r"Domain: '(.+?)'\n(.*?)(?=\nDomain:|\Z)", text, re.S))
    assert set(parts) == {container.name, machine.name}
    for part, state in ((parts[container.name], libvirt.VIR_DOMAIN_RUNNING),
                        (parts[machine.name], libvirt.VIR_DOMAIN_PAUSED)):
        assert f"state.state={state}" in part and "cpu.time=" in part and "balloon.maximum=" in part
    by_flag = {flag: names(record[0] for record in conn.getAllDomainStats(0, flag)) for flag in (
        libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_PAUSED,
        libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_INACTIVE, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_PERSISTENT)}
    assert list(by_flag.values()) == [[container.name], [machine.name], [], [container.name, machine.name]]


def test_statistics_of_a_chosen_list(container, machine, make_vm, conn):
    make_vm("another").define()
    handles = [conn.lookupByName(machine.name), conn.lookupByName(container.name)]
    records = conn.domainListGetStats(handles, libvirt.VIR_DOMAIN_STATS_STATE)
    found = {record[0].name(): (record[0].ID(), record[1]["state.state"]) for record in records}
    assert found == {container.name: (container.id(), libvirt.VIR_DOMAIN_RUNNING),
                     machine.name: (machine.id(), libvirt.VIR_DOMAIN_PAUSED)}
    assert [record[0].name() for record in conn.domainListGetStats(handles[:1])] == [machine.name]
    assert [record[0].name() for record in conn.domainListGetStats(handles[1:])] == [container.name]


def test_statistics_leave_out_what_is_gone(container, machine, make_guest, make_vm, conn):
    gone = [make_guest("gone", root=container.root).define(), make_vm("gone-too").define()]
    handles = [conn.lookupByName(guest.name) for guest in gone + [container, machine]]
    for handle in handles[:2]:
        handle.undefine()
    assert names(record[0] for record in conn.domainListGetStats(handles)) == [container.name, machine.name]
    assert conn.domainListGetStats(handles[:1]) == []


def test_statistics_keep_no_connection_open(make_vm, daemon, conn, qemu):
    strangers = [qemu.defineXML(make_vm(f"stranger{number}", type="qemu").xml()) for number in range(4)]
    bound = make_vm("bound")
    connection = daemon.connect()
    connection.createXML(bound.xml(), libvirt.VIR_DOMAIN_START_AUTODESTROY | libvirt.VIR_DOMAIN_START_PAUSED)
    # Those of the hidden ones are made, and left out; each would hold the connection that it was made on.
    for _ in range(3):
        assert names(record[0] for record in connection.getAllDomainStats()) == ["a-container", "a-machine", "bound"]
    connection.close()
    wait_for(lambda: names(conn.listAllDomains()) == ["a-container", "a-machine"],
             what="the end of what was bound to the connection")
    for stranger in strangers:
        stranger.undefine()


# Names and UUIDs


def taker(kind, make_guest, make_vm, root):
    return make_vm("taker") if kind == "machine" else make_guest("taker", root=root)


@pytest.mark.parametrize("way", ["define", "create"])
@pytest.mark.parametrize("kind", ["container", "machine"])
def test_a_name_or_uuid_of_the_other_kind_is_taken(container, machine, make_guest, make_vm, conn, kind, way):
    other = taker(kind, make_guest, make_vm, container.root)
    owner, what = (machine, "virtual machine") if kind == "container" else (container, "container")
    call = conn.defineXML if way == "define" else conn.createXML
    before = everything(conn)
    refused(libvirt.VIR_ERR_OPERATION_FAILED, f"'{owner.name}' already exists with uuid {owner.uuid}.*{what}", call,
            other.xml(name=owner.name))
    other.uuid = owner.uuid
    refused(libvirt.VIR_ERR_OPERATION_FAILED, f"'{owner.name}' already exists with uuid {owner.uuid}.*{what}", call,
            other.xml())
    # UUIDs are written in several ways.
    other.uuid = owner.uuid.replace("-", "").upper()
    assert refusal(call, other.xml())[0] == libvirt.VIR_ERR_OPERATION_FAILED
    assert everything(conn) == before
    other.uuid = str(uuid.uuid4())
    conn.defineXML(other.xml()).undefine()


@pytest.mark.parametrize("kind", ["container", "machine"])
def test_renaming_to_a_name_of_the_other_kind(container, machine, make_guest, make_vm, conn, kind):
    other = taker(kind, make_guest, make_vm, container.root)
    domain = conn.defineXML(other.xml())
    owner = machine if kind == "container" else container
    before = everything(conn)
    refused(libvirt.VIR_ERR_OPERATION_FAILED, f"'{owner.name}' already exists", domain.rename, owner.name)
    assert everything(conn) == before
    domain.rename("free")
    assert names(conn.listAllDomains()) == [container.name, machine.name, "free"]
    conn.lookupByName("free").undefine()


def test_restoring_what_a_container_has_become(make_vm, make_guest, container, daemon, conn):
    saved = make_vm("saved").define().start("--paused")
    image = os.path.join(saved.folder, "image")
    saved.virsh("save", image)
    saved.virsh("undefine")
    namesake, heir = make_guest("saved", root=container.root), make_guest("heir", root=container.root)
    heir.uuid = saved.uuid
    for successor in (namesake, heir):
        successor.define()
        before = everything(conn)
        refused(libvirt.VIR_ERR_OPERATION_FAILED, f"'{successor.name}' already exists.*container", conn.restore, image)
        assert everything(conn) == before
        daemon.virsh("undefine", successor.name)
    daemon.virsh("restore", image, "--paused")
    assert saved.state().startswith("paused") and saved.id() >= FIRST_MACHINE_ID


def test_a_name_is_free_again_for_the_other_kind(make_vm, make_guest, container, conn):
    machine, successor = make_vm("one"), make_guest("one", root=container.root)
    successor.uuid = machine.uuid
    for guest, kind in ((machine, "hvm"), (successor, "exe"), (machine, "hvm")):
        domain = conn.defineXML(guest.xml())
        assert domain.OSType() == conn.lookupByName("one").OSType() == kind
        domain.undefine()


# Calls for the other kind


def test_calls_that_the_other_kind_has(container, machine, daemon, conn):
    refused(libvirt.VIR_ERR_NO_SUPPORT, "virDomainCheckpointCreateXML for containers",
            conn.lookupByName(container.name).checkpointCreateXML, "<domaincheckpoint/>")
    refused(libvirt.VIR_ERR_NO_SUPPORT, "virDomainScreenshot for containers",
            conn.lookupByName(container.name).screenshot, conn.newStream(), 0)
    for command in (["qemu-monitor-command", container.name, "--hmp", "info version"],
                    ["lxc-enter-namespace", machine.name, "/bin/true"],
                    ["send-process-signal", machine.name, "1", "0"]):
        done = daemon.virsh(*command, check=False)
        assert done.returncode and "this function is not supported by the connection driver" in done.stderr, command
    assert container.state().startswith("running") and machine.state().startswith("paused")


def test_an_error_of_qemus_driver_arrives_as_it_is(machine, daemon, conn, qemu):
    calls = [lambda domain: domain.create(), lambda domain: domain.snapshotLookupByName("none"),
             lambda domain: domain.detachDeviceAlias("no-such-alias"), lambda domain: domain.blockInfo("vdz"),
             lambda domain: domain.attachDevice("<disk device='nothing'/>"), lambda domain: domain.setMemory(1 << 30)]
    for call in calls:
        errors = []
        for connection in (conn, qemu):
            with pytest.raises(libvirt.libvirtError) as error:
                call(connection.lookupByName(machine.name))
            # Code, domain, message, level, and the details; the connection's own data is left out.
            errors.append(error.value.err[:8])
        assert errors[0] == errors[1]
    assert daemon.virsh("dominfo", machine.name).stdout


# Machines of QEMU's own driver


def test_a_foreign_machine_is_not_seen(stranger, container, machine, make_vm, daemon, conn, qemu):
    defined = qemu.defineXML(make_vm("defined-stranger", type="qemu").xml())
    expected = [container.name, machine.name]
    assert names(conn.listAllDomains()) == expected
    assert sorted(conn.listDomainsID()) == [container.id(), machine.id()]
    assert (conn.numOfDomains(), conn.numOfDefinedDomains(), conn.listDefinedDomains()) == (2, 0, [])
    assert names(record[0] for record in conn.getAllDomainStats()) == expected
    assert "stranger" not in daemon.virsh("domstats").stdout + daemon.virsh("list", "--all").stdout
    for name, uuid_text in ((stranger.name, stranger.uuid), (defined.name(), defined.UUIDString())):
        refused(NO_DOMAIN, f"no domain with matching name '{name}'", conn.lookupByName, name)
        refused(NO_DOMAIN, f"no domain with matching uuid '{uuid_text}'", conn.lookupByUUIDString, uuid_text)
    refused(NO_DOMAIN, "no domain with matching id", conn.lookupByID, FIRST_MACHINE_ID + stranger.id)
    refused(NO_DOMAIN, "no domain with matching id", conn.lookupByID, stranger.id)
    defined.undefine()


def test_a_foreign_machine_cannot_be_defined_over(stranger, container, make_guest, make_vm, conn):
    taking, own = (make_guest("taker", root=container.root), make_vm("taker")), make_vm("own").define()
    before, seen = stranger.all(), everything(conn)
    for guest in taking:
        for way in (conn.defineXML, conn.createXML):
            guest.uuid = str(uuid.uuid4())
            refused(libvirt.VIR_ERR_OPERATION_FAILED, "'stranger' already exists", way, guest.xml(name="stranger"))
            guest.uuid = stranger.uuid
            # With a free name, with its own, and with that of a machine that is seen.
            for name in ("taker", "stranger", "own"):
                refused(libvirt.VIR_ERR_OPERATION_FAILED, "already exists", way, guest.xml(name=name))
    renamed = conn.lookupByName("own")
    refused(libvirt.VIR_ERR_OPERATION_INVALID, "'stranger' already exists", renamed.rename, "stranger")  # by QEMU's
    assert stranger.all() == before and everything(conn) == seen
    own.virsh("undefine")


def test_foreign_machines_are_seen_if_that_is_set(stranger, container, machine, daemon):
    daemon.change_settings(show_foreign_machines=1)
    daemon.restart()
    try:
        listed = daemon.virsh("list", "--all").stdout
        assert re.search(rf"^ *{FIRST_MACHINE_ID + stranger.id} +stranger +paused$", listed, re.M)
        assert container.name in listed and machine.name in listed
        document = ET.fromstring(daemon.virsh("dumpxml", "stranger").stdout)
        assert (document.get("type"), document.findtext("uuid")) == ("vz", stranger.uuid)
        assert document.get("id") == str(FIRST_MACHINE_ID + stranger.id)
        assert "Domain: 'stranger'" in daemon.virsh("domstats").stdout
        daemon.virsh("resume", stranger.uuid)
        assert daemon.virsh("domstate", "stranger").stdout.strip() == "running"
        assert stranger.virsh("domstate").stdout.strip() == "running"
        stranger.virsh("suspend")
    finally:
        daemon.change_settings()
        daemon.restart()
    assert "stranger" not in daemon.virsh("list", "--all").stdout


# What is inside


def test_ours_as_qemus_driver_sees_it(machine, container, qemu, conn):
    assert names(qemu.listAllDomains()) == [machine.name, "stranger"]
    inner = qemu.lookupByName(machine.name)
    assert (inner.UUIDString(), inner.ID()) == (machine.uuid, machine.id() - FIRST_MACHINE_ID)
    for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
        document = ET.fromstring(inner.XMLDesc(flags))
        assert document.get("type") in ("kvm", "qemu")
        mark = document.find(f"metadata/{{{MARK}}}vm")
        assert mark is not None and mark.get("type") == "vz"
        assert MARK not in conn.lookupByName(machine.name).XMLDesc(flags)
    refused(NO_DOMAIN, "no domain with matching name", qemu.lookupByName, container.name)


@pytest.mark.parametrize("outer_type", ["vz", "parallels"])
def test_the_type_is_dumped_back_as_defined(make_vm, make_guest, container, conn, outer_type):
    for guest in (make_guest("one", root=container.root), make_vm("two")):
        domain = conn.defineXML(guest.xml(type=outer_type))
        first = domain.XMLDesc(0)
        assert ET.fromstring(first).get("type") == outer_type
        assert conn.defineXML(first).XMLDesc(0) == first
        if outer_type != "vz":  # Those that stand are of that type.
            domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
            assert ET.fromstring(domain.XMLDesc(0)).get("type") == outer_type
            domain.destroy()
        assert domain.XMLDesc(0) == first
        domain.undefine()


def test_the_mark_is_nobodys_metadata(machine, conn, qemu):
    domain, element = conn.lookupByName(machine.name), libvirt.VIR_DOMAIN_METADATA_ELEMENT
    both = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG
    refused(libvirt.VIR_ERR_NO_DOMAIN_METADATA, "metadata not found", domain.metadata, element, MARK)
    refused(libvirt.VIR_ERR_OPERATION_DENIED, MARK, domain.setMetadata, element, "<vm type='parallels'/>", "vz", MARK,
            both)
    refused(libvirt.VIR_ERR_OPERATION_DENIED, MARK, domain.setMetadata, element, None, None, MARK, both)
    # An element keeps its own namespace, whatever the client calls it.
    refused(libvirt.VIR_ERR_OPERATION_DENIED, MARK, domain.setMetadata, element, f"<vm xmlns='{MARK}' type='vz'/>", "x",
            "urn:x", both)
    domain.setMetadata(element, "<note>mine</note>", "vz", "urn:test", both)
    assert "mine" in domain.metadata(element, "urn:test")
    assert "urn:test" in domain.XMLDesc(0) and MARK not in domain.XMLDesc(0)
    # Nor can it be brought in, or lost, by a definition.
    document = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE).replace(
        "</metadata>", f"<x:vm xmlns:x='{MARK}' type='parallels'/></metadata>")
    conn.defineXML(document)
    marks = ET.fromstring(qemu.lookupByName(machine.name).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)).findall(
        f"metadata/{{{MARK}}}vm")
    assert [mark.get("type") for mark in marks] == ["vz"]
    domain.setMetadata(element, None, None, "urn:test", both)
    assert "<metadata>" not in domain.XMLDesc(0)


# What ends with a connection


def test_a_machine_that_does_not_end_holds_up_nobody(make_vm, container, daemon, conn):
    bound = make_vm("bound")
    connection = daemon.connect()
    connection.createXML(bound.xml(), libvirt.VIR_DOMAIN_START_AUTODESTROY | libvirt.VIR_DOMAIN_START_PAUSED)
    # It does not hear that it has to end; libvirt waits for ten seconds before it does more.
    pid = bound.pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        connection.close()
        begin = time.monotonic()
        for _ in range(10):
            assert conn.lookupByName(container.name).info()[0] == libvirt.VIR_DOMAIN_RUNNING
            daemon.connect().close()
        assert time.monotonic() - begin < 5 * float(os.environ.get("VZ_TIME_SCALE", "1"))
    finally:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:  # It was too late.
            pass
    wait_for(lambda: "bound" not in names(conn.listAllDomains()), what="the end of the machine")


# Behind our back


def test_what_happens_behind_our_back_is_seen_at_once(container, machine, make_vm, conn, qemu):
    others = [container.id(), machine.id()]
    own = make_vm("own")
    domain = conn.defineXML(own.xml())
    inner = qemu.lookupByName("own")
    inner.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    assert domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED
    assert sorted(conn.listDomainsID()) == others + [FIRST_MACHINE_ID + qemu.lookupByName("own").ID()]
    inner.destroy()
    assert domain.state()[0] == libvirt.VIR_DOMAIN_SHUTOFF and not domain.isActive()
    assert sorted(conn.listDomainsID()) == others and conn.lookupByName("own").ID() == -1
    qemu.defineXML(inner.XMLDesc(0).replace("<metadata>", "<title>changed</title><metadata>"))
    assert "<title>changed</title>" in domain.XMLDesc(0)
    inner.undefine()
    refused(NO_DOMAIN, "no domain with matching name", conn.lookupByName, "own")
    refused(NO_DOMAIN, own.uuid, conn.lookupByUUIDString, own.uuid)
    assert refusal(domain.info)[0] == NO_DOMAIN
    assert names(conn.listAllDomains()) == [container.name, machine.name]
    # A transient one goes with its end.
    conn.createXML(own.xml(), libvirt.VIR_DOMAIN_START_PAUSED)
    assert names(conn.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_TRANSIENT)) == ["own"]
    qemu.lookupByName("own").destroy()
    assert names(conn.listAllDomains()) == [container.name, machine.name]


def test_a_mark_that_comes_and_goes_behind_our_back(machine, container, make_vm, conn, qemu):
    before = [container.name, machine.name]
    make_vm("own").define()
    marked = qemu.lookupByName("own").XMLDesc(0)
    qemu.defineXML(re.sub("<metadata>.*</metadata>", "", marked, flags=re.S))
    wait_for(lambda: names(conn.listAllDomains()) == before, what="the end of a machine that is ours no more")
    refused(NO_DOMAIN, "no domain with matching name", conn.lookupByName, "own")
    qemu.defineXML(marked)
    wait_for(lambda: names(conn.listAllDomains()) == before + ["own"], what="the machine that is ours again")
    assert conn.lookupByName("own").XMLDesc(0).startswith("<domain type='vz'")
