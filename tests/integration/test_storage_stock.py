# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pools of other types on the same connection: they are the stock storage driver's, as if we were not there."""

import contextlib
import os
import subprocess
import xml.etree.ElementTree as ET

import libvirt
import pytest
from harness.guest import wait_for
from harness.pools import CREATED, DEFINED, MIB, STARTED, STOPPED, UNDEFINED, code_of
from harness.private_daemon import MODULES, PrivateDaemon

pytest_plugins = ["harness.pool_fixtures"]


@pytest.fixture
def folder_pool(make_pool):
    """An active pool of the type dir."""
    return make_pool("folders", "dir").make()


def uuid_of(conn, name):
    return conn.storagePoolLookupByName(name).UUIDString()


def test_both_kinds_in_one_list(pool, folder_pool, conn):
    lines = [line.split() for line in pool.virsh("pool-list", "--all", "--details").stdout.splitlines() if line.strip()]
    assert [line[:2] for line in lines] == [["folders", "running"], ["pool", "running"]]
    assert sorted(p.name() for p in conn.listAllStoragePools()) == ["folders", "pool"]
    assert sorted(conn.listStoragePools()) == ["folders", "pool"] and conn.numOfStoragePools() == 2
    assert [p.name() for p in conn.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_DIR)] == ["folders"]
    for one in (pool, folder_pool):
        pool.virsh("pool-destroy", one.name)
    assert sorted(conn.listDefinedStoragePools()) == ["folders", "pool"] and conn.numOfDefinedStoragePools() == 2
    assert conn.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE) == []


def test_folder_pool_works_as_ever(folder_pool, conn, tmp_path):
    content = os.urandom(2 * MIB)
    (tmp_path / "in").write_bytes(content)
    virsh = folder_pool.virsh
    virsh("vol-create-as", "folders", "a.qcow2", "8M", "--format", "qcow2")
    virsh("vol-create-as", "folders", "a.raw", "4M")
    virsh("vol-upload", "a.raw", tmp_path / "in", "folders")
    virsh("vol-download", "a.raw", tmp_path / "out", "folders", "--length", 2 * MIB)
    assert (tmp_path / "out").read_bytes() == content
    virsh("vol-clone", "a.raw", "b.raw", "--pool", "folders")
    virsh("vol-resize", "a.qcow2", "16M", "folders")
    assert folder_pool.info("a.qcow2")[1] == 16 * MIB
    volume = conn.storageVolLookupByPath(folder_pool.path("a.raw"))
    assert volume.storagePoolLookupByVolume().name() == "folders"
    assert conn.storageVolLookupByKey(volume.key()).name() == "a.raw"
    assert conn.storagePoolLookupByTargetPath(folder_pool.folder).name() == "folders"
    virsh("vol-wipe", "b.raw", "folders")
    for name in ("a.raw", "b.raw", "a.qcow2"):
        virsh("vol-delete", name, "folders")
    virsh("pool-refresh", "folders")
    assert folder_pool.volumes() == []
    virsh("pool-autostart", "folders")
    virsh("pool-autostart", "folders", "--disable")


def test_ploop_volumes_of_a_folder_pool(folder_pool):
    """The stock driver calls the ploop program, which is ours. (It says a capacity of 0, also without us.)"""
    def size(name):
        text = ET.parse(folder_pool.path(name, "DiskDescriptor.xml")).findtext("Disk_Parameters/Disk_size")
        return int(text) * 512

    folder_pool.volume("vol", "32M", "--format", "ploop")
    assert folder_pool.info("vol")[0] == "ploop" and size("vol") == 32 * MIB
    assert sorted(os.listdir(folder_pool.path("vol"))) == ["DiskDescriptor.xml", "root.hds"]
    folder_pool.virsh("vol-resize", "vol", "64M", "folders")
    assert size("vol") == 64 * MIB
    folder_pool.virsh("vol-clone", "vol", "copy", "--pool", "folders")
    assert size("copy") == 64 * MIB
    assert folder_pool.volumes() == ["copy", "vol"]
    for name in ("vol", "copy"):
        folder_pool.virsh("vol-delete", name, "folders")
    assert folder_pool.entries() == []


def test_names_are_shared(pool, folder_pool, conn):
    def xml_of(kind, name, uuid=""):
        uuid = f"<uuid>{uuid}</uuid>" if uuid else ""
        return f"<pool type='{kind}'><name>{name}</name>{uuid}<target><path>{pool.folder}-new</path></target></pool>"

    ours, theirs = uuid_of(conn, "pool"), uuid_of(conn, "folders")
    for call in (conn.storagePoolDefineXML, conn.storagePoolCreateXML):
        for text in (xml_of("ploop", "folders"), xml_of("ploop", "new", theirs), xml_of("dir", "pool"),
                     xml_of("dir", "new", ours)):
            assert code_of(call, text) == libvirt.VIR_ERR_OPERATION_FAILED
    assert sorted(p.name() for p in conn.listAllStoragePools()) == ["folders", "pool"]


def test_events_of_both_kinds_by_one_registration(make_pool, pool_events, daemon):
    first, second = make_pool("first"), make_pool("second", "dir")
    for one in (first, second):
        one.make()
        one.virsh("pool-refresh", one.name)
        one.virsh("pool-destroy", one.name)
        one.virsh("pool-undefine", one.name)
    for name in ("first", "second"):
        pool_events.wait(name, DEFINED, CREATED, STARTED, "refresh", STOPPED, UNDEFINED)
    # Clients that do not say goodbye.
    for _ in range(3):
        with listening(daemon, "lifecycle") as text:
            wait_until_told(text, first, "made")
    third = make_pool("third", "dir").make()
    pool_events.wait(third.name, DEFINED, CREATED, STARTED)


@contextlib.contextmanager
def listening(daemon, event):
    """A virsh that shows events of pools until it is killed; gives what returns all of its text so far."""
    argv = ["stdbuf", "-oL", "virsh", "-c", daemon.url(), "pool-event", "--event", event, "--loop"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as client:
        os.set_blocking(client.stdout.fileno(), False)
        seen = b""

        def text():
            nonlocal seen
            seen += client.stdout.read() or b""
            return seen.decode()
        try:
            yield text
        finally:
            client.kill()


def wait_until_told(text, pool, name):
    """virsh says nothing when it is ready, so what it is to see is repeated until it does."""
    def told():
        for command in ("pool-define-as", "pool-undefine"):
            pool.virsh(command, *(["--type", "ploop", "--target", pool.folder] if "as" in command else []), name)
        return name in text()
    wait_for(told, what="an event")


def test_virsh_shows_events_of_both_kinds(pool, folder_pool, daemon):
    with listening(daemon, "refresh") as text:
        def both():
            for one in (pool, folder_pool):
                one.virsh("pool-refresh", one.name)
            seen = text().replace("'", "")
            return "pool pool" in seen and "pool folders" in seen
        wait_for(both, what="both events")


def test_capabilities_have_both(conn):
    document = ET.fromstring(conn.getStoragePoolCapabilities())
    kinds = {found.get("type"): found for found in document.findall("pool")}
    assert kinds["dir"].get("supported") == kinds["ploop"].get("supported") == "yes"
    values = [value.text for value in kinds["ploop"].findall("./volOptions/enum[@name='targetFormatType']/value")]
    assert values == ["ploop", "raw"]


def test_volume_of_another_pool_becomes_an_image(pool, folder_pool, tmp_path):
    content = os.urandom(2 * MIB)
    (tmp_path / "in").write_bytes(content)
    folder_pool.virsh("vol-create-as", "folders", "a.raw", "8M")
    folder_pool.virsh("vol-upload", "a.raw", tmp_path / "in", "folders")
    subprocess.run(["/usr/bin/qemu-img", "convert", "-O", "qcow2", folder_pool.path("a.raw"),
                    folder_pool.path("a.qcow2")], check=True)
    folder_pool.virsh("vol-create-as", "folders", "a.ploop", "16M", "--format", "ploop")
    folder_pool.virsh("pool-refresh", "folders")
    for source, size in (("a.raw", 8), ("a.qcow2", 8), ("a.ploop", 16)):
        (tmp_path / "new.xml").write_text(f"<volume><name>of-{source}</name><capacity>0</capacity></volume>")
        pool.virsh("vol-create-from", pool.name, tmp_path / "new.xml", source, "--inputpool", "folders")
        assert pool.info("of-" + source)[1] == size * MIB
        if source != "a.ploop":
            pool.virsh("vol-download", "of-" + source, tmp_path / "out", pool.name)
            assert (tmp_path / "out").read_bytes() == content + bytes(6 * MIB)
    (tmp_path / "back.xml").write_text("<volume><name>back</name><capacity>0</capacity></volume>")
    folder_pool.fails("vol-create-from", "folders", tmp_path / "back.xml", "of-a.raw", "--inputpool", pool.name,
                      containing="cannot be copied into a pool of another type")
    assert pool.volumes() == ["of-a.ploop", "of-a.qcow2", "of-a.raw"]


def test_pools_of_one_folder_are_told_apart(pool, conn, make_pool):
    """A volume of the other pool has the same key; libvirt's handles say which pool they are of."""
    pool.volume("vol", "32M")
    conn.storagePoolDefineXML(f"<pool type='dir'><name>same</name><target><path>{pool.folder}</path></target></pool>")
    pool.virsh("pool-start", "same")
    try:
        theirs = conn.storagePoolLookupByName("same").storageVolLookupByName("vol")
        ours = conn.storagePoolLookupByName("pool").storageVolLookupByName("vol")
        assert theirs.key() == ours.key()
        assert theirs.storagePoolLookupByVolume().name() == "same"
        assert ours.storagePoolLookupByVolume().name() == "pool"
        assert "<key>" in theirs.XMLDesc() and "<clusterSize" in ours.XMLDesc()
    finally:
        pool.virsh("pool-destroy", "same")
        pool.virsh("pool-undefine", "same")


def test_without_the_stock_driver():
    """Ploop pools work; others are refused with the reason."""
    daemon = PrivateDaemon(modules=tuple(name for name in MODULES if name != "storage"))
    try:
        daemon.start()
        target = os.path.join(daemon.folder, "p")
        daemon.virsh("pool-create-as", "p", "ploop", "--target", target, "--build")
        daemon.virsh("vol-create-as", "p", "vol", "16M")
        assert daemon.virsh("vol-list", "p").stdout.split()[:1] == ["vol"]
        assert daemon.virsh("pool-list", "--name").stdout.split() == ["p"]
        refused = daemon.virsh("pool-create-as", "d", "dir", "--target", target, check=False)
        assert "libvirt's storage driver is not in this daemon" in refused.stderr
        missing = daemon.virsh("pool-info", "nothing", check=False)
        assert "no storage pool with matching" in missing.stderr
        assert "type='ploop'" in daemon.virsh("pool-capabilities").stdout.replace('"', "'")
        daemon.virsh("pool-destroy", "p")
    finally:
        daemon.close()


def test_pool_of_the_same_name_in_the_stock_driver(pool, daemon, tmp_path):
    """Made on a connection of the stock driver, where ours is not seen: what is asked of ours never reaches it."""
    folder, stock = tmp_path / "theirs", "storage:///system"
    folder.mkdir()
    pool.volume("vol")
    daemon.virsh("pool-define-as", "--type", "dir", "--target", folder, pool.name, uri=stock)
    try:
        daemon.virsh("pool-start", pool.name, uri=stock)
        daemon.virsh("vol-create-as", pool.name, "vol", "1M", uri=stock)
        (folder / "only-theirs").write_bytes(b"data")
        daemon.virsh("pool-refresh", pool.name, uri=stock)
        assert pool.volumes() == ["vol"] and pool.info("vol")[1] == 16 * MIB
        pool.fails("vol-delete", "only-theirs", pool.name, containing="no storage vol")
        pool.virsh("vol-resize", "vol", "32M", pool.name)
        pool.virsh("vol-delete", "vol", pool.name)
        pool.virsh("pool-destroy", pool.name)
        pool.virsh("pool-undefine", pool.name)
        assert sorted(file.name for file in folder.iterdir()) == ["only-theirs", "vol"]
        assert (folder / "vol").stat().st_size == MIB
        assert pool.name in daemon.virsh("pool-list", "--name", uri=stock).stdout.split()
    finally:
        daemon.virsh("pool-destroy", pool.name, uri=stock, check=False)
        daemon.virsh("pool-undefine", pool.name, uri=stock, check=False)
