# SPDX-License-Identifier: LGPL-2.1-or-later
"""Pools of ploop images: definition, life, events, restart of the daemon, and what is refused."""

import os
import re
import shutil
import signal
import xml.etree.ElementTree as ET

import libvirt
import pytest
from harness.guest import wait_for
from harness.pools import CREATED, DEFINED, DELETED, STARTED, STOPPED, UNDEFINED, code_of

pytest_plugins = ["harness.pool_fixtures"]

UUID = "6f9a2cf6-93b2-4d1d-a9a3-0e1d7c5f8a01"


def xml_of(name, path, uuid="", extra=""):
    uuid = f"<uuid>{uuid}</uuid>" if uuid else ""
    return f"<pool type='ploop'><name>{name}</name>{uuid}<target><path>{path}</path>{extra}</target></pool>"


@pytest.mark.host
def test_life_of_a_pool(make_pool, pool_events):
    pool = make_pool()
    virsh = pool.virsh
    virsh("pool-define-as", "--type", "ploop", "--target", pool.folder + "//", pool.name)
    assert virsh("pool-list", "--all").stdout.split()[:3] == ["pool", "inactive", "no"]
    pool.fails("pool-start", pool.name, containing="No such file or directory")
    virsh("pool-build", pool.name)
    assert os.stat(pool.folder).st_mode & 0o777 == 0o711
    virsh("pool-start", pool.name)
    pool.fails("pool-start", pool.name, containing="already active")
    pool.fails("pool-undefine", pool.name, containing="already active")
    pool.fails("pool-delete", pool.name, containing="already active")
    info = virsh("pool-info", pool.name).stdout
    assert re.search(r"State:\s+running", info) and re.search(r"Persistent:\s+yes", info)
    assert pool.name in virsh("pool-list", "--details").stdout
    virsh("pool-refresh", pool.name)
    virsh("pool-destroy", pool.name)
    pool.fails("pool-refresh", pool.name, containing="is not active")
    pool.fails("vol-list", pool.name, containing="is not active")
    virsh("pool-delete", pool.name)
    assert not os.path.exists(pool.folder)
    virsh("pool-undefine", pool.name)
    pool.fails("pool-info", pool.name, containing="Storage pool not found")
    pool_events.wait(pool.name, DEFINED, CREATED, STARTED, "refresh", STOPPED, DELETED, UNDEFINED)


def test_definition_is_a_fixed_point(make_pool, tmp_path):
    pool = make_pool()
    text = xml_of(pool.name, pool.folder, UUID.upper().replace("-", ""),
                  "<permissions><mode>0750</mode><owner>12</owner><group>34</group><label>a&lt;b</label></permissions>")
    (tmp_path / "pool.xml").write_text(text)
    pool.virsh("pool-define", tmp_path / "pool.xml", "--validate")
    first = pool.xml("--inactive")
    assert f"<uuid>{UUID}</uuid>" in first and "<label>a&lt;b</label>" in first
    (tmp_path / "again.xml").write_text(first)
    pool.virsh("pool-define", tmp_path / "again.xml", "--validate")
    assert pool.xml("--inactive") == first
    # As pool-edit does it.
    pool.virsh("pool-build", pool.name)
    found = os.stat(pool.folder)
    assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == (0o750, 12, 34)


def test_new_definition_of_an_active_pool_counts_from_the_next_start(pool, conn):
    other = pool.folder + "-other"
    conn.storagePoolDefineXML(xml_of(pool.name, other, conn.storagePoolLookupByName(pool.name).UUIDString()))
    assert pool.folder in pool.xml() and other not in pool.xml()
    assert other in pool.xml("--inactive")
    pool.virsh("pool-destroy", pool.name)
    assert other in pool.xml()


def test_transient_pool(make_pool, conn):
    pool = make_pool()
    made = conn.storagePoolCreateXML(xml_of(pool.name, pool.folder), libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD)
    assert made.isActive() and not made.isPersistent()
    assert code_of(made.setAutostart, 1) == libvirt.VIR_ERR_OPERATION_INVALID
    assert [p.name() for p in conn.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_TRANSIENT)] == ["pool"]
    assert code_of(conn.storagePoolCreateXML, xml_of(pool.name, pool.folder, made.UUIDString())) == \
        libvirt.VIR_ERR_OPERATION_INVALID
    made.destroy()
    assert code_of(conn.storagePoolLookupByName, pool.name) == libvirt.VIR_ERR_NO_STORAGE_POOL
    assert code_of(made.info) == libvirt.VIR_ERR_NO_STORAGE_POOL


def test_lookups(pool, conn):
    found = conn.storagePoolLookupByName(pool.name)
    assert conn.storagePoolLookupByUUIDString(found.UUIDString()).name() == pool.name
    assert conn.storagePoolLookupByTargetPath(pool.folder + "/").name() == pool.name
    assert code_of(conn.storagePoolLookupByTargetPath, "/nowhere") == libvirt.VIR_ERR_NO_STORAGE_POOL
    path = pool.volume("vol")
    volume = found.storageVolLookupByName("vol")
    assert volume.key() == volume.path() == path
    assert volume.storagePoolLookupByVolume().name() == pool.name
    for given in (path, path + "/DiskDescriptor.xml"):
        assert conn.storageVolLookupByPath(given).name() == "vol"
    assert conn.storageVolLookupByKey(path).name() == "vol"
    for call in (conn.storageVolLookupByPath, conn.storageVolLookupByKey, found.storageVolLookupByName):
        assert code_of(call, "nothing") == libvirt.VIR_ERR_NO_STORAGE_VOL
    assert found.listVolumes() == ["vol"] and found.numOfVolumes() == 1
    assert [v.name() for v in found.listAllVolumes()] == ["vol"]


def test_list_flags(pool, conn):
    def names(flags):
        return [p.name() for p in conn.listAllStoragePools(flags)]

    assert names(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE) == ["pool"]
    assert names(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE) == []
    assert names(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_AUTOSTART) == []
    assert names(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_DIR) == []
    assert names(0) == conn.listStoragePools() == ["pool"]
    assert conn.listDefinedStoragePools() == [] and conn.numOfDefinedStoragePools() == 0
    pool.virsh("pool-destroy", pool.name)
    assert conn.listDefinedStoragePools() == ["pool"] and conn.numOfStoragePools() == 0


@pytest.mark.parametrize("text, code", [
    ("<pool type='ploop'><name>x</name></pool>", "XML_ERROR"),
    ("<pool type='ploop'><target><path>/a</path></target></pool>", "XML_ERROR"),
    (xml_of("x", "relative"), "XML_ERROR"),
    (xml_of("x", "/"), "XML_ERROR"),
    (xml_of("x", "/a/../b"), "XML_ERROR"),
    (xml_of("", "/a"), "XML_ERROR"),
    (xml_of("a/b", "/a"), "XML_ERROR"),
    (xml_of("..", "/a"), "XML_ERROR"),
    (xml_of("x" * 300, "/a"), "XML_ERROR"),
    (xml_of("x", "/a", "no-uuid"), "XML_ERROR"),
    (xml_of("x", "/a", extra="<permissions><mode>999</mode></permissions>"), "XML_ERROR"),
    (xml_of("x", "/a", extra="<strange/>"), "XML_ERROR"),
    ("<pool type='ploop'><name>x</name><source><dir path='/b'/></source><target><path>/a</path></target></pool>",
     "XML_ERROR"),
    ("<pool type='ploop'><name>x</name><source><host name='h'/></source><target><path>/a</path></target></pool>",
     "XML_ERROR"),
    ("<pool type='ploop'", "XML_ERROR"),
])
def test_wrong_definitions(conn, text, code):
    assert code_of(conn.storagePoolDefineXML, text) in (getattr(libvirt, "VIR_ERR_" + code),
                                                        libvirt.VIR_ERR_XML_DETAIL)
    assert conn.listAllStoragePools() == []


def test_schema_is_checked_on_demand(conn):
    text = xml_of("x", "/a", extra="<strange/>")
    assert code_of(conn.storagePoolDefineXML, text, libvirt.VIR_STORAGE_POOL_DEFINE_VALIDATE) == \
        libvirt.VIR_ERR_XML_INVALID_SCHEMA


def test_path_that_is_no_folder(make_pool, tmp_path):
    pool = make_pool()
    os.makedirs(os.path.dirname(pool.folder))
    with open(pool.folder, "w", encoding="utf-8"):
        pass
    pool.virsh("pool-define-as", "--type", "ploop", "--target", pool.folder, pool.name)
    pool.fails("pool-start", pool.name, containing="is not a folder")
    assert pool.virsh("pool-build", pool.name, check=False).returncode != 0
    os.unlink(pool.folder)


def test_duplicates(make_pool, conn):
    first, second = make_pool("first"), make_pool("second")
    conn.storagePoolDefineXML(xml_of("first", first.folder, UUID))
    other = UUID[:-1] + "2"
    failed = libvirt.VIR_ERR_OPERATION_FAILED
    assert code_of(conn.storagePoolDefineXML, xml_of("first", second.folder, other)) == failed
    assert code_of(conn.storagePoolDefineXML, xml_of("second", second.folder, UUID)) == failed
    assert code_of(conn.storagePoolDefineXML, xml_of("second", first.folder, other)) == failed
    assert code_of(conn.storagePoolCreateXML, xml_of("first", second.folder, other)) == failed
    # One that does not say its UUID means the pool of that name.
    assert conn.storagePoolDefineXML(xml_of("first", second.folder)).UUIDString() == UUID


def test_active_pool_survives_a_restart(pool, daemon, make_pool):
    transient = make_pool("passing")
    pool.virsh("pool-create-as", "passing", "ploop", "--target", transient.folder, "--build")
    pool.volume("vol")
    stopped = make_pool("stopped").make()
    pool.virsh("pool-destroy", "stopped")
    before = pool.xml()
    for stop in (daemon.stop, daemon.kill9):
        stop()
        daemon.start()
        lines = [line.split() for line in pool.virsh("pool-list", "--all").stdout.splitlines() if line.strip()]
        assert lines == [["passing", "active", "no"], ["pool", "active", "no"], ["stopped", "inactive", "no"]]
        assert pool.volumes() == ["vol"]
        assert ET.fromstring(pool.xml()).findtext("uuid") == ET.fromstring(before).findtext("uuid")
    assert not daemon.connect().storagePoolLookupByName("passing").isPersistent()
    # A folder that has gone meanwhile: the pool is there, and not active.
    daemon.stop()
    shutil.rmtree(pool.folder)
    daemon.start()
    assert "inactive" in pool.virsh("pool-list", "--all").stdout
    assert stopped.name in pool.virsh("pool-list", "--all").stdout


def test_definition_for_later_survives_a_restart(pool, daemon, conn):
    uuid = conn.storagePoolLookupByName(pool.name).UUIDString()
    conn.storagePoolDefineXML(xml_of(pool.name, pool.folder + "-later", uuid))
    daemon.stop()
    daemon.start()
    assert f"{pool.folder}<" in pool.xml() and f"{pool.folder}-later<" in pool.xml("--inactive")


def test_autostart(pool, daemon, make_pool):
    other = make_pool("other").make()
    pool.virsh("pool-autostart", pool.name)
    assert "yes" in pool.virsh("pool-list", "--autostart").stdout
    for one in (pool, other):
        pool.virsh("pool-destroy", one.name)
    daemon.stop()
    os.unlink(os.path.join(daemon.folder, "run/vz/storage/autostarted"))  # as the host's next boot does
    daemon.start()
    wait_for(lambda: "running" in pool.virsh("pool-info", pool.name).stdout, what="the start of the pool")
    assert "inactive" in pool.virsh("pool-info", other.name).stdout
    pool.virsh("pool-autostart", pool.name, "--disable")
    assert pool.virsh("pool-list", "--autostart").stdout.strip() == ""


def test_definitions_are_read_again(make_pool, daemon):
    pool = make_pool()
    path = os.path.join(daemon.folder, "etc/vz/storage/pool.xml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(xml_of(pool.name, pool.folder, UUID))
    with open(path.replace("pool.xml", "broken.xml"), "w", encoding="utf-8") as file:
        file.write("<pool")
    daemon.signal(signal.SIGHUP)
    wait_for(lambda: pool.name in pool.virsh("pool-list", "--all").stdout, what="the pool")
    os.unlink(path.replace("pool.xml", "broken.xml"))


def test_pool_whose_folder_vanishes_stops_at_refresh(pool, pool_events):
    shutil.rmtree(pool.folder)
    pool.fails("pool-refresh", pool.name, containing="No such file or directory")
    assert "inactive" in pool.virsh("pool-list", "--all").stdout
    pool_events.wait(pool.name, STOPPED)


def test_flags_and_sources_that_mean_nothing(pool, conn):
    found = conn.storagePoolLookupByName(pool.name)
    found.destroy()
    for flag in (libvirt.VIR_STORAGE_POOL_BUILD_OVERWRITE, libvirt.VIR_STORAGE_POOL_BUILD_NO_OVERWRITE):
        assert code_of(found.build, flag) == libvirt.VIR_ERR_INVALID_ARG
    assert code_of(found.create, libvirt.VIR_STORAGE_POOL_CREATE_WITH_BUILD_OVERWRITE) == libvirt.VIR_ERR_INVALID_ARG
    assert code_of(found.delete, libvirt.VIR_STORAGE_POOL_DELETE_ZEROED) == libvirt.VIR_ERR_INVALID_ARG
    assert code_of(conn.findStoragePoolSources, "ploop", None, 0) == libvirt.VIR_ERR_NO_SUPPORT


def test_events_of_one_pool_end_with_their_registration(pool, daemon, pool_events):
    connection = daemon.connect()
    seen = []
    number = connection.storagePoolEventRegisterAny(connection.storagePoolLookupByName(pool.name),
                                                    libvirt.VIR_STORAGE_POOL_EVENT_ID_REFRESH,
                                                    lambda c, p, o: seen.append(p.name()), None)
    pool.virsh("pool-refresh", pool.name)
    wait_for(lambda: seen == [pool.name], what="the event")
    connection.storagePoolEventDeregisterAny(number)
    assert code_of(connection.storagePoolEventDeregisterAny, number) == libvirt.VIR_ERR_INVALID_ARG
    pool.virsh("pool-refresh", pool.name)
    pool_events.wait(pool.name, "refresh", "refresh")
    assert seen == [pool.name]
    connection.close()
