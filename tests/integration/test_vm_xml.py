# SPDX-License-Identifier: LGPL-2.1-or-later
"""
What is defined is what is dumped, for XML of many kinds; and a machine is one and the same for us and for QEMU's driver.
"""

import glob
import os
import re
import uuid as uuids
import xml.etree.ElementTree as ET

import libvirt
import pytest
from harness import build
from harness import vm as vms
from harness.vm_xmls import CASES, ON_SOME_HOSTS, REFUSED, domain

pytest_plugins = ["harness.vm_fixtures"]
DAEMON = vms.DAEMON
OURS = "urn:libvirt-vz:"
DUMP = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE
EXAMPLES = sorted(glob.glob(os.path.join(build.TOP, "examples/*.xml")))
only_ours = pytest.mark.skipif(vms.TYPE != "vz", reason="the stock driver does not do that")


def as_ours(text, kind=vms.TYPE):
    """A dump of the stock driver as ours has to be: our type, and nothing of what we note in it."""
    text = re.sub(r"^<domain type='\w+'", f"<domain type='{kind}'", text)
    text = re.sub(rf' *<vz:vm xmlns:vz="{OURS}vm:1.0" type="\w+"/>\n', "", text)
    return text.replace("  <metadata>\n  </metadata>\n", "")


def answer(call, *arguments):
    """What a call gives: a value, or the whole of its error."""
    try:
        return call(*arguments)
    except libvirt.libvirtError as error:
        return {"code": error.get_error_code(), "domain": error.get_error_domain(), "text": error.get_error_message(),
                "level": error.get_error_level()}


@pytest.fixture
def stock(daemon, conn):
    """A connection to the driver underneath. `conn` keeps libvirt's Python module quiet."""
    connection = daemon.connect("qemu:///system")
    yield connection
    connection.close()


@pytest.fixture
def define(conn):
    """define(text) -> the domain, or an error as answer() gives it; undefined after the test."""
    made = {}

    def run(text):
        domain_or_error = answer(conn.defineXML, text)
        if isinstance(domain_or_error, libvirt.virDomain):
            made[domain_or_error.UUIDString()] = domain_or_error
        return domain_or_error

    yield run
    for found in made.values():
        if found.isActive():
            found.destroy()
        found.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_KEEP_NVRAM
                            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)
    # They keep the connection open, and pytest keeps this fixture longer than the connection.
    made.clear()


def check_same_as_stock(text, stock, kind=vms.TYPE):
    """Our dump is that of the stock driver but for the type and our notes, of which clients see nothing."""
    root = ET.fromstring(text)
    assert root.get("type") == kind and text.startswith(f"<domain type='{kind}'")
    assert OURS + "vm" not in text
    inner = stock.lookupByUUIDString(root.findtext("uuid")).XMLDesc(DUMP)
    assert text == as_ours(inner, kind)


def check_fixed_point(define, defined):
    """Dump and definition are the same for ever."""
    first = defined.XMLDesc(DUMP)
    second = define(first).XMLDesc(DUMP)
    # libvirt sorts controllers that it added itself when it reads them for the first time.
    assert sorted(second.splitlines()) == sorted(first.splitlines())
    assert define(second).XMLDesc(DUMP) == second


@pytest.mark.parametrize("case", CASES)
def test_definition(case, define, stock):
    uuid = str(uuids.uuid4())
    defined = define(domain("xml", uuid, vms.TYPE, CASES[case]))
    if isinstance(defined, dict) and case in ON_SOME_HOSTS:
        assert answer(stock.defineXML, domain("xml", uuid, "qemu", CASES[case])) == defined
        return
    assert isinstance(defined, libvirt.virDomain), defined
    check_same_as_stock(defined.XMLDesc(DUMP), stock)
    check_fixed_point(define, defined)


@pytest.mark.parametrize("case", REFUSED)
def test_refusal(case, define, stock):
    settings, word = REFUSED[case]
    uuid = str(uuids.uuid4())
    error = define(domain("xml", uuid, vms.TYPE, settings))
    assert isinstance(error, dict) and word in error["text"], error
    assert answer(stock.defineXML, domain("xml", uuid, "qemu", settings)) == error


@pytest.mark.parametrize("path", EXAMPLES, ids=os.path.basename)
def test_example(path, define, stock):
    with open(path, encoding="utf-8") as file:
        text = file.read()
    root = ET.fromstring(text)
    kind, machine = root.get("type"), root.findtext("os/type") == "hvm"
    if vms.TYPE != "vz":
        if not machine:
            pytest.skip("a container, which the stock driver does not have")
        text, kind = text.replace(f"type='{kind}'", f"type='{vms.TYPE}'", 1), vms.TYPE
    defined = define(text)
    assert isinstance(defined, libvirt.virDomain), defined
    if machine:
        check_same_as_stock(defined.XMLDesc(DUMP), stock, kind)
    else:
        assert f"<domain type='{kind}'" in defined.XMLDesc(DUMP)
    check_fixed_point(define, defined)


def test_all_documents_at_once_are_still_what_they_were(define, stock):
    """No machine changes because of another."""
    texts = {}
    for number, (name, case) in enumerate(CASES.items()):
        defined = define(domain(f"xml-{number}", str(uuids.uuid4()), vms.TYPE, case))
        if name not in ON_SOME_HOSTS:
            texts[defined.UUIDString()] = defined, defined.XMLDesc(DUMP)
    for defined, text in texts.values():
        assert defined.XMLDesc(DUMP) == text
        check_same_as_stock(text, stock)


@only_ours
@pytest.mark.parametrize("kind", ["vz", "parallels"])
def test_type_is_kept(kind, define, stock):
    uuid = str(uuids.uuid4())
    defined = define(domain("xml", uuid, kind, CASES["metadata"]))
    check_same_as_stock(defined.XMLDesc(DUMP), stock, kind)
    # And it can be changed, in both directions.
    for other in "parallels", "vz", kind:
        changed = define(domain("xml", uuid, other, CASES["metadata"]))
        check_same_as_stock(changed.XMLDesc(DUMP), stock, other)


@only_ours
@pytest.mark.parametrize("kind", ["kvm", "qemu", "lxc"])
def test_inner_types_are_refused(kind, define):
    error = define(domain("xml", str(uuids.uuid4()), kind, {}))
    assert error["code"] == libvirt.VIR_ERR_CONFIG_UNSUPPORTED
    assert all(word in error["text"] for word in (f"'{kind}'", "vz", "parallels")), error


@only_ours
def test_a_definition_of_the_stock_driver_comes_back(define, stock):
    """What another host's driver hands over is marked, and is taken with its own type."""
    uuid = str(uuids.uuid4())
    defined = define(domain("xml", uuid, "parallels", {}))
    ours = defined.XMLDesc(DUMP)
    assert define(stock.lookupByUUIDString(uuid).XMLDesc(DUMP)).XMLDesc(DUMP) == ours


@only_ours
def test_a_mark_of_the_client_is_void(define, stock):
    mark = f"<metadata><x:vm xmlns:x='{OURS}vm:1.0' type='parallels'/></metadata>"
    defined = define(domain("xml", str(uuids.uuid4()), "vz", {"top": mark}))
    assert "metadata" not in defined.XMLDesc(DUMP)
    check_same_as_stock(defined.XMLDesc(DUMP), stock)


# Formats of disks that the client leaves out

def formats(defined):
    return {disk.find("source").get("file"): disk.find("driver").get("type")
            for disk in ET.fromstring(defined.XMLDesc(DUMP)).iter("disk")}


def disks(*paths):
    return {"devices": "".join(f"<disk type='file'><source file='{path}'/><target dev='vd{chr(97 + number)}'/></disk>"
                               for number, path in enumerate(paths))}


@only_ours
def test_format_of_a_disk_that_has_none(define, tmp_path):
    raw, qcow2, new = (str(tmp_path / name) for name in ("raw", "qcow2", "new"))
    with open(raw, "wb") as file:
        file.truncate(1 << 20)
    vms.make_qcow2(qcow2)
    text = domain("xml", str(uuids.uuid4()), "vz", disks(raw, qcow2, new))
    assert formats(define(text)) == {raw: "raw", qcow2: "qcow2", new: "qcow2"}
    # A guest writes what it likes into its disk: that changes nothing.
    with open(raw, "r+b") as disk, open(qcow2, "rb") as image:
        disk.write(image.read(65536))
    os.unlink(qcow2)
    assert formats(define(text)) == {raw: "raw", qcow2: "qcow2", new: "qcow2"}


@only_ours
def test_a_header_that_names_another_file_is_not_believed(define, tmp_path):
    base, overlay = str(tmp_path / "base"), str(tmp_path / "overlay")
    vms.make_qcow2(base)
    vms.make_qcow2(overlay, backing=base)
    error = define(domain("xml", str(uuids.uuid4()), "vz", disks(overlay)))
    assert error["code"] == libvirt.VIR_ERR_CONFIG_UNSUPPORTED and overlay in error["text"], error


# Documents of a machine that runs

@pytest.fixture
def paused(define, daemon):
    """The name of a machine that never ran, with a qcow2 disk; it has memory and a state, which is enough."""
    disk = vms.make_qcow2(os.path.join(daemon.folder, "paused.qcow2"))
    defined = define(domain("paused", str(uuids.uuid4()), vms.TYPE,
                            {"top": CASES["metadata"]["top"], "devices": vms.disk_xml(disk, "vda")}))
    defined.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
    del defined
    yield "paused"
    os.unlink(disk)


def test_live_document(paused, conn, stock):
    paused = conn.lookupByName(paused)
    text = paused.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
    root = ET.fromstring(text)
    assert (root.get("type"), int(root.get("id"))) == (vms.TYPE, paused.ID())
    inner = stock.lookupByUUIDString(paused.UUIDString())
    expected = inner.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE).replace(f"id='{inner.ID()}'", f"id='{paused.ID()}'", 1)
    assert text == as_ours(expected)
    for flags in libvirt.VIR_DOMAIN_XML_INACTIVE, libvirt.VIR_DOMAIN_XML_MIGRATABLE:
        text = paused.XMLDesc(flags)
        assert "id" not in ET.fromstring(text).attrib and OURS + "vm" not in text


def embedded(text):
    """The domains inside a document."""
    return [element for tag in ("domain", "inactiveDomain") for element in ET.fromstring(text).findall(tag)]


def check_embedded(text):
    assert embedded(text)
    assert [element.get("type") for element in embedded(text)] == [vms.TYPE] * len(embedded(text))
    assert OURS + "vm" not in text and not re.search("type=.(kvm|qemu)'", text.replace(f"type='{vms.TYPE}'", ""))


def test_snapshot_document(paused, conn):
    paused = conn.lookupByName(paused)
    made = paused.snapshotCreateXML("<domainsnapshot><name>s</name></domainsnapshot>")
    text = made.getXMLDesc(libvirt.VIR_DOMAIN_SNAPSHOT_XML_SECURE)
    check_embedded(text)
    again = paused.snapshotCreateXML(text, libvirt.VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE)
    assert again.getXMLDesc(libvirt.VIR_DOMAIN_SNAPSHOT_XML_SECURE) == text


def test_checkpoint_document(paused, conn):
    paused = conn.lookupByName(paused)
    made = paused.checkpointCreateXML("<domaincheckpoint><name>c</name></domaincheckpoint>")
    text = made.getXMLDesc(libvirt.VIR_DOMAIN_CHECKPOINT_XML_SECURE)
    check_embedded(text)
    # As for a machine that comes back from a backup: the bitmap is there, the note of it is not.
    made.delete(libvirt.VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY)
    again = paused.checkpointCreateXML(text, libvirt.VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE)
    assert again.getXMLDesc(libvirt.VIR_DOMAIN_CHECKPOINT_XML_SECURE) == text


def test_saved_document(paused, conn, daemon):
    paused, path = conn.lookupByName(paused), os.path.join(daemon.folder, "saved")
    paused.save(path)
    try:
        text = conn.saveImageGetXMLDesc(path, libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)
        assert ET.fromstring(text).get("type") == vms.TYPE and OURS + "vm" not in text
        changed = text.replace("<on_crash>destroy", "<on_crash>restart")
        assert changed != text
        conn.saveImageDefineXML(path, changed)
        assert conn.saveImageGetXMLDesc(path, libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE) == changed
        conn.restoreFlags(path, text, libvirt.VIR_DOMAIN_SAVE_PAUSED)
        assert paused.isActive() and "<on_crash>destroy" in paused.XMLDesc()
    finally:
        os.unlink(path)


def test_hostile_documents(define, conn):
    for text in ("", "x", "<domain", f"<domain type='{vms.TYPE}'>", f"<domain type='{vms.TYPE}'/>",
                 f"<domain type='{vms.TYPE}'>" + "<a>" * 5000, "<network/>", "<domain><name>a</name></domain>",
                 f"<domain type='{vms.TYPE}'><name>a</name><os><type>hvm</type></os><uuid>1</uuid></domain>"):
        assert isinstance(define(text), dict), text
    assert conn.isAlive()
