# SPDX-License-Identifier: LGPL-2.1-or-later
"""Volumes of ploop pools: making, copying, resizing, wiping, deleting, and what they look like."""

import os
import shutil
import subprocess
import xml.etree.ElementTree as ET

import libvirt
import pytest
from harness import build
from harness.guest import wait_for
from harness.pools import MIB, code_of

pytest_plugins = ["harness.pool_fixtures"]

FS = "xmlns:vz='urn:libvirt-vz:storage:1.0'"


def volume_xml(name, capacity=16 * MIB, allocation=None, target=""):
    allocation = "" if allocation is None else f"<allocation>{allocation}</allocation>"
    return f"<volume><name>{name}</name><capacity>{capacity}</capacity>{allocation}<target>{target}</target></volume>"


def blank(name, capacity=16 * MIB, **options):
    return volume_xml(name, capacity, target=f"<vz:filesystem {FS} type='none'/>", **options)


def ploop(daemon, *words, status=True):
    """What it says; on its standard error if it is to fail."""
    environment = dict(os.environ, VZ_PLOOPD=build.ploopd(), VZ_PLOOP_RUNDIR=os.path.join(daemon.folder, "run/vz-ploop"))
    done = subprocess.run([build.ploop(), *words], env=environment, capture_output=True, text=True, check=status,
                          timeout=60)
    assert status or done.returncode
    return done.stdout if status else done.stderr


@pytest.fixture
def made(pool, conn):
    """made(xml, flags) makes a volume in the pool."""
    def make(text, flags=0):
        conn.storagePoolLookupByName(pool.name).createXML(text, flags)

    return make


def test_volume_is_an_image_with_a_file_system(pool, daemon):
    path = pool.volume("vol", "100M", "--format", "ploop")
    assert sorted(os.listdir(path)) == ["DiskDescriptor.xml", "root.hds"] and pool.entries() == ["vol"]
    kind, capacity, allocation = pool.info("vol")
    assert kind == "ploop" and capacity == 100 * MIB and allocation < 10 * MIB
    assert "ploop" in pool.virsh("vol-info", "vol", pool.name).stdout
    assert "1k-blocks" in ploop(daemon, "info", path)
    subprocess.run(["/usr/bin/qemu-img", "check", "-f", "parallels", path + "/root.hds"], check=True,
                   capture_output=True)
    for words, text in ((("vol-key", "vol"), path), (("vol-path", "vol"), path), (("vol-name", path), "vol"),
                        (("vol-pool", path), pool.name)):
        words += ("--pool", pool.name) if words[1] == "vol" else ()
        assert pool.virsh(*words).stdout.strip() == text


@pytest.mark.parametrize("target, allocation, flags, expected", [
    ("<format type='ploop'/>", None, 0, "sparse"),
    ("<format type='ploop'/>", 0, 0, "sparse"),
    ("<format type='ploop'/>", 16 * MIB, 0, "full"),
    ("<format type='ploop'/>", 0, libvirt.VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA, "full"),
    ("<format type='raw'/>", 0, 0, "sparse"),
    ("<format type='raw'/>", None, 0, "full"),
])
def test_allocation(pool, made, target, allocation, flags, expected):
    made(volume_xml("vol", allocation=allocation, target=target), flags)
    _, capacity, allocated = pool.info("vol")
    assert capacity == 16 * MIB
    assert allocated >= capacity if expected == "full" else allocated < 4 * MIB
    raw = "raw" in target
    assert (os.path.getsize(pool.path("vol", "root.hds")) == capacity) == raw
    assert f"<format type='{'raw' if raw else 'ploop'}'/>" in pool.virsh("vol-dumpxml", "vol", pool.name).stdout


def test_settings_of_a_volume(pool, made, tmp_path):
    made(volume_xml("vol", capacity=64, target=f"""<vz:filesystem {FS} type='none'/>
        <clusterSize unit='KiB'>64</clusterSize>
        <permissions><mode>0640</mode><owner>12</owner><group>34</group></permissions>""").replace(
            "<capacity>", "<capacity unit='MiB'>"))
    # Who owns the files cannot replace them: the folder is root's.
    for path, expected in ((pool.path("vol"), (0o711, 0, 0)), (pool.path("vol", "root.hds"), (0o640, 12, 34))):
        found = os.stat(path)
        assert (found.st_mode & 0o777, found.st_uid, found.st_gid) == expected
    text = pool.virsh("vol-dumpxml", "vol", pool.name).stdout
    assert "<clusterSize unit='B'>65536</clusterSize>" in text and "<mode>0640</mode>" in text
    assert ET.fromstring(text).findtext("capacity") == str(64 * MIB)
    # What is dumped makes such a volume again.
    (tmp_path / "vol.xml").write_text(text.replace("<name>vol<", "<name>again<"))
    pool.virsh("vol-create", pool.name, tmp_path / "vol.xml", "--validate")
    assert "<clusterSize unit='B'>65536</clusterSize>" in pool.virsh("vol-dumpxml", "again", pool.name).stdout


@pytest.mark.parametrize("text, code", [
    (volume_xml("a/b"), "XML_ERROR"),
    (volume_xml(".."), "XML_ERROR"),
    (volume_xml(""), "XML_ERROR"),
    (volume_xml("x" * 300), "XML_ERROR"),
    (volume_xml("v", 0), "INVALID_ARG"),
    (volume_xml("v", "much"), "XML_ERROR"),
    (volume_xml("v", 1 << 63), "INVALID_ARG"),
    (volume_xml("v").replace("<capacity>", "<capacity unit='EiB'>"), "OVERFLOW"),
    (volume_xml("v", target="<format type='qcow2'/>"), "CONFIG_UNSUPPORTED"),
    (volume_xml("v", target="<encryption format='luks'/>"), "CONFIG_UNSUPPORTED"),
    (volume_xml("v", target="<clusterSize>1000</clusterSize>"), "CONFIG_UNSUPPORTED"),
    (volume_xml("v", target="<strange/>"), "XML_ERROR"),
    (volume_xml("v").replace("<target>", "<backingStore><path>/x</path></backingStore><target>"),
     "CONFIG_UNSUPPORTED"),
    (volume_xml("v", 2 * MIB), "INVALID_ARG"),  # too small for a partition table
    ("<volume", "XML_ERROR"),
])
def test_wrong_volumes_leave_nothing(pool, made, text, code):
    expected = {getattr(libvirt, "VIR_ERR_" + code)} | ({libvirt.VIR_ERR_XML_DETAIL} if code == "XML_ERROR" else set())
    found = code_of(made, text)
    assert found in expected, found
    assert pool.entries() == [] and pool.volumes() == []


def test_name_that_is_taken(pool, made):
    pool.volume("vol")
    assert code_of(made, volume_xml("vol")) == libvirt.VIR_ERR_STORAGE_VOL_EXIST
    os.mkdir(pool.path("folder"))
    assert code_of(made, volume_xml("folder")) == libvirt.VIR_ERR_STORAGE_VOL_EXIST
    assert pool.entries() == ["folder", "vol"]


def test_copies(pool, daemon, made, tmp_path):
    made(blank("vol", 32 * MIB))
    content = os.urandom(3 * MIB)
    (tmp_path / "content").write_bytes(content)
    pool.virsh("vol-upload", "vol", tmp_path / "content", pool.name, "--offset", 5 * MIB)

    def read(name):
        pool.virsh("vol-download", name, tmp_path / "out", pool.name, "--offset", 5 * MIB, "--length", 3 * MIB)
        return (tmp_path / "out").read_bytes()

    pool.virsh("vol-clone", "vol", "copy", "--pool", pool.name)
    assert pool.info("copy")[:2] == ("ploop", 32 * MIB) and read("copy") == content
    # With snapshots: the present state, in one file.
    ploop(daemon, "snapshot", pool.path("vol", "DiskDescriptor.xml"))
    (tmp_path / "part").write_bytes(b"x" * 4096)
    pool.virsh("vol-upload", "vol", tmp_path / "part", pool.name, "--offset", 5 * MIB)
    pool.virsh("vol-clone", "vol", "flat", "--pool", pool.name)
    assert read("flat") == b"x" * 4096 + content[4096:] and read("copy") == content
    assert sorted(os.listdir(pool.path("flat"))) == ["DiskDescriptor.xml", "root.hds"]
    # As another kind, and larger, with the file system.
    (tmp_path / "raw.xml").write_text(volume_xml("raw", 64 * MIB, 0, "<format type='raw'/>"))
    pool.virsh("vol-create-from", pool.name, tmp_path / "raw.xml", "vol", "--inputpool", pool.name)
    assert pool.info("raw")[1] == 64 * MIB and os.path.getsize(pool.path("raw", "root.hds")) == 64 * MIB
    assert read("raw") == b"x" * 4096 + content[4096:]
    assert pool.virsh("vol-clone", "vol", "copy", "--pool", pool.name, check=False).returncode != 0
    assert pool.entries() == ["copy", "flat", "raw", "vol"]


@pytest.mark.parametrize("kind", ["xfs", "btrfs"])
def test_copies_share_their_data(daemon, make_pool, kind, tmp_path):
    pool = make_pool()
    os.makedirs(pool.folder)
    disk = os.path.join(daemon.folder, "disk")
    with open(disk, "wb") as file:
        file.truncate(320 * MIB)
    subprocess.run(["mkfs." + kind, "-q", disk], check=True)
    daemon.run("mount", "-o", "loop", disk, pool.folder)

    def used():
        daemon.run("sync", "-f", pool.folder)
        free, block = daemon.run("stat", "-f", "-c", "%f %S", pool.folder).stdout.split()
        return -int(free) * int(block)

    def shared(path):
        return "shared" in daemon.run("filefrag", "-v", path).stdout

    def read(name):
        pool.virsh("vol-download", name, tmp_path / "out", pool.name, "--length", 20 * MIB)
        return (tmp_path / "out").read_bytes()

    try:
        pool.virsh("pool-define-as", "--type", "ploop", "--target", pool.folder, pool.name)
        pool.virsh("pool-start", pool.name)
        content = os.urandom(20 * MIB)
        (tmp_path / "content").write_bytes(content)
        (tmp_path / "part").write_bytes(b"x" * 4096)
        for name, format_ in ("vol", "ploop"), ("raw", "raw"):
            pool.volume(name, "32M", "--format", format_, "--allocation", "0")
            pool.virsh("vol-upload", name, tmp_path / "content", pool.name)
            before = used()
            assert not shared(pool.path(name, "root.hds"))
            pool.virsh("vol-clone", name, name + "2", "--pool", pool.name, "--reflink")
            copy = pool.path(name, "copy")
            daemon.run(build.ploop(), "copy", "-s", pool.path(name), "-d", copy, "-t",
                       "raw" if name == "raw" else "expanded")
            assert used() - before < 4 * MIB
            assert shared(pool.path(name, "root.hds")) and shared(copy)
            # From here on they differ.
            pool.virsh("vol-upload", name + "2", tmp_path / "part", pool.name, "--offset", MIB)
            assert read(name + "2") == content[:MIB] + b"x" * 4096 + content[MIB + 4096:] and read(name) == content
        pool.virsh("pool-destroy", pool.name)
    finally:
        daemon.run("umount", pool.folder)
        os.unlink(disk)


def test_resize(pool, daemon):
    pool.volume("vol", "32M")
    pool.virsh("vol-resize", "vol", "64M", pool.name)
    assert pool.info("vol")[1] == 64 * MIB
    fields = ploop(daemon, "info", pool.path("vol")).split()
    assert int(fields[fields.index("1k-blocks") + 1]) > 40 * 1024  # the file system as well
    pool.virsh("vol-resize", "vol", "16M", pool.name, "--delta")
    assert pool.info("vol")[1] == 80 * MIB
    pool.fails("vol-resize", "vol", "64M", pool.name, containing="shrink flag")
    pool.virsh("vol-resize", "vol", "64M", pool.name, "--shrink")
    assert pool.info("vol")[1] == 64 * MIB
    pool.virsh("vol-resize", "vol", "72M", pool.name, "--allocate")
    assert pool.info("vol")[1:] >= (72 * MIB, 72 * MIB)
    pool.fails("vol-resize", "vol", "8000000G", pool.name, containing="is not possible")
    ploop(daemon, "snapshot", pool.path("vol", "DiskDescriptor.xml"))
    pool.fails("vol-resize", "vol", "64M", pool.name, "--shrink", containing="has snapshots")


def test_wipe(pool, daemon, tmp_path):
    secret = b"secret of a volume " * 100000
    (tmp_path / "content").write_bytes(secret)
    for name, options in (("ploop", ()), ("raw", ("--format", "raw"))):
        pool.volume(name, "16M", *options)
        pool.virsh("vol-upload", name, tmp_path / "content", pool.name)
        with open(pool.path(name, "root.hds"), "rb") as file:
            assert b"secret of" in file.read()
        pool.virsh("vol-wipe", name, pool.name)
        with open(pool.path(name, "root.hds"), "rb") as file:
            assert b"secret of" not in file.read()
        pool.virsh("vol-download", name, tmp_path / "out", pool.name)
        assert (tmp_path / "out").read_bytes() == bytes(16 * MIB)
        pool.fails("vol-wipe", name, pool.name, "--algorithm", "random", containing="zeros only")
    assert pool.info("ploop")[2] < MIB
    ploop(daemon, "snapshot", pool.path("ploop", "DiskDescriptor.xml"))
    pool.fails("vol-wipe", "ploop", pool.name, containing="has snapshots")


def test_volumes_of_other_tools_are_found(pool, daemon):
    os.mkdir(pool.path("theirs"))
    ploop(daemon, "init", "-s", "16M", pool.path("theirs", "root.hds"))
    os.mkdir(pool.path("broken"))
    with open(pool.path("broken", "DiskDescriptor.xml"), "w", encoding="utf-8") as file:
        file.write("<nothing")
    os.mkdir(pool.path("no volume"))
    assert pool.volumes() == []
    pool.virsh("pool-refresh", pool.name)
    assert pool.volumes() == ["broken", "theirs"]
    assert pool.info("theirs")[1] == 16 * MIB
    pool.virsh("vol-list", pool.name, "--details")
    pool.fails("vol-info", "broken", pool.name, containing="broken/DiskDescriptor.xml")
    for name in ("broken", "theirs"):
        pool.virsh("vol-delete", name, pool.name)
    assert pool.entries() == ["no volume"]


def test_links_do_not_lead_out_of_a_volume(pool, daemon, tmp_path):
    """Whoever may write to a volume's folder has no use of the daemon's rights elsewhere."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" + bytes(16 * MIB - 6))
    pool.volume("vol", "16M", "--format", "raw")
    pool.volume("other", "16M")
    os.unlink(pool.path("vol", "root.hds"))
    os.symlink(secret, pool.path("vol", "root.hds"))
    (tmp_path / "content").write_bytes(b"x" * 4096)
    for words in (("vol-download", "vol", tmp_path / "out", pool.name), ("vol-wipe", "vol", pool.name),
                  ("vol-upload", "vol", tmp_path / "content", pool.name), ("vol-resize", "vol", "32M", pool.name),
                  ("vol-clone", "vol", "copy", "--pool", pool.name)):
        pool.fails(*words, containing="symbolic link")
    # A descriptor of another place.
    os.unlink(pool.path("vol", "DiskDescriptor.xml"))
    os.symlink(pool.path("other", "DiskDescriptor.xml"), pool.path("vol", "DiskDescriptor.xml"))
    pool.fails("vol-download", "vol", tmp_path / "out", pool.name, containing="symbolic link")
    refused = ploop(daemon, "mount", pool.path("vol"), status=False)
    assert "symbolic link" in refused
    pool.virsh("pool-refresh", pool.name)
    pool.virsh("vol-delete", "vol", pool.name)
    assert secret.read_bytes().startswith(b"secret") and pool.entries() == ["other"]
    assert os.listdir(pool.path("other")) and pool.info("other")[1] == 16 * MIB


def test_used_volume_is_left_alone(pool, daemon):
    path = pool.volume("vol", "32M")
    mountpoint = os.path.join(daemon.folder, "mnt")
    os.makedirs(mountpoint, exist_ok=True)
    device = ploop(daemon, "mount", path + "/DiskDescriptor.xml").strip()
    assert "/dev/loop" in device
    try:
        for words in (("vol-delete", "vol"), ("vol-wipe", "vol"), ("vol-upload", "vol", "/bin/true"),
                      ("vol-clone", "vol", "copy", "--pool")):
            pool.fails(*words, pool.name, containing="/dev/loop")
        pool.virsh("vol-resize", "vol", "64M", pool.name)  # a live one grows
        assert pool.info("vol")[1] == 64 * MIB
        pool.fails("vol-resize", "vol", "32M", pool.name, "--shrink", containing="/dev/loop")
    finally:
        ploop(daemon, "umount", path + "/DiskDescriptor.xml")
    pool.virsh("vol-delete", "vol", pool.name)
    assert pool.entries() == []


def test_volume_of_a_virtual_machine_is_left_alone(pool):
    path = pool.volume("vol")
    io = subprocess.Popen(["qemu-io", "-f", "parallels", path + "/root.hds"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True)
    try:
        io.stdin.write("write -P 1 0 4096\n")
        io.stdin.flush()
        assert io.stdout.readline()
        pool.fails("vol-delete", "vol", pool.name, containing="in use by another process")
        assert pool.entries() == ["vol"]
    finally:
        io.communicate()


def test_full_disk_leaves_nothing(daemon, make_pool):
    pool = make_pool()
    # The daemon has a copy of the mount table from before: the mount has to be in its own.
    os.makedirs(pool.folder)
    daemon.run("mount", "-t", "tmpfs", "-o", "size=24m", "none", pool.folder)
    try:
        pool.virsh("pool-define-as", "--type", "ploop", "--target", pool.folder, pool.name)
        pool.virsh("pool-start", pool.name)
        pool.volume("small", "8M")
        for extra in (("--format", "raw"), ("--allocation", "64M")):
            pool.fails("vol-create-as", pool.name, "large", "64M", *extra, containing="No space left on device")
        pool.volume("thin", "64M")
        (data := os.path.join(daemon.folder, "data"))
        with open(data, "wb") as file:
            file.write(os.urandom(40 * MIB))
        # A device cannot say more.
        pool.fails("vol-upload", "thin", data, pool.name, containing="Input/output error")
        os.unlink(data)
        wait_for(lambda: pool.virsh("vol-delete", "thin", pool.name, check=False).returncode == 0, what="the end")
        assert daemon.run("ls", "-A", pool.folder).stdout.split() == ["small"]
        pool.virsh("pool-destroy", pool.name)
    finally:
        daemon.run("umount", pool.folder)


def test_killed_daemon_leaves_no_half_volume(pool, daemon, tmp_path):
    """Killed while a volume is being copied: it is not there, and its remains go with the next start."""
    pool.volume("vol", "300M", "--format", "raw")
    with open(tmp_path / "content", "wb") as file:
        for _ in range(300):
            file.write(os.urandom(MIB))
    pool.virsh("vol-upload", "vol", tmp_path / "content", pool.name)
    with subprocess.Popen(["virsh", "-c", daemon.url(), "vol-clone", "vol", "copy", "--pool", pool.name,
                           "--prealloc-metadata"],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        wait_for(lambda: any(name.startswith(".vz-volume.") for name in pool.entries()), what="the copy's beginning")
        daemon.kill9()
        client.wait(20)
    left = pool.entries()
    assert len(left) == 2 and "copy" not in left
    daemon.start()
    assert pool.volumes() == ["vol"]
    assert pool.entries() == ["vol"]


def test_long_work_blocks_nobody_else(pool, conn):
    """An upload that its client does not end: it lasts as long as the test wants."""
    pool.volume("vol", "64M")
    volume, stream = conn.storageVolLookupByPath(pool.path("vol")), conn.newStream()
    volume.upload(stream, 0, 0)
    for command in ("vol-delete", "vol-wipe"):
        pool.fails(command, "vol", pool.name, containing="data is being uploaded to it")
    for command in ("pool-destroy", "pool-refresh"):
        pool.fails(command, pool.name, containing="has asynchronous jobs running")
    assert pool.volumes() == ["vol"] and pool.info("vol")[1] == 64 * MIB
    pool.volume("other")
    pool.virsh("vol-delete", "other", pool.name)
    stream.abort()
    pool.virsh("vol-delete", "vol", pool.name)
    pool.virsh("pool-refresh", pool.name)


def test_calls_need_an_active_pool(pool, conn):
    pool.volume("vol")
    volume = conn.storageVolLookupByPath(pool.path("vol"))
    pool.virsh("pool-destroy", pool.name)
    for call in (volume.info, volume.XMLDesc, volume.path, volume.delete, volume.wipe):
        assert code_of(call) == libvirt.VIR_ERR_OPERATION_INVALID
    assert code_of(conn.storageVolLookupByPath, pool.path("vol")) == libvirt.VIR_ERR_NO_STORAGE_VOL
    pool.virsh("pool-start", pool.name)
    assert volume.info()[1] == 16 * MIB
    shutil.rmtree(pool.path("vol"))
    assert code_of(volume.info) == libvirt.VIR_ERR_NO_STORAGE_VOL


def test_file_systems(pool, made, daemon):
    made(blank("blank", MIB))
    made(volume_xml("xfs", 512 * MIB, target=f"<vz:filesystem {FS} type='xfs'/>")) if shutil.which("mkfs.xfs") else None
    made(volume_xml("ext4", target=f"<vz:filesystem {FS} type='ext4'/>"))
    assert pool.info("blank")[1] == MIB and pool.info("blank")[2] < MIB
    assert "1k-blocks" in ploop(daemon, "info", pool.path("ext4"))
