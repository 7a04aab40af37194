# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks of containers: images, devices and volumes, as mounts, as devices and as the root; also while they run."""

import os
import re
import struct
import subprocess
import xml.etree.ElementTree as ElementTree

import libvirt
import pytest
from harness import roots
from harness.guest import wait_for
from harness.images import is_bound, may_grow_mounted, sequence_of

pytestmark = pytest.mark.usefixtures("private_mounts", "images")
LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG
MIB = 1 << 20


def disk_xml(source, target="vdb", inner="", kind="file", attribute="file", device=None, driver="<driver type='ploop'/>"):
    kind_of = f" device='{device}'" if device else ""
    return (f"<disk type='{kind}'{kind_of}>{driver}<source {attribute}='{source}'/>"
            f"<target dev='{target}'/>{inner}</disk>")


def filesystem_xml(source, target, inner="", kind="file", attribute="file"):
    return f"<filesystem type='{kind}'><source {attribute}='{source}'/><target dir='{target}'/>{inner}</filesystem>"


def raw_image(images, name, size=32, mkfs=("mkfs.ext4", "-q", "-F"), folder=None):
    """A raw file with a file system on it, with the content of a folder."""
    path = images.path(name)
    with open(path, "wb") as file:
        file.truncate(size * MIB)
    if mkfs:
        argv = [*mkfs, *(["-d", folder] if folder else []), path]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return path


def marked(images, name="content"):
    folder = images.path(name)
    os.makedirs(folder)
    with open(os.path.join(folder, "mark"), "w", encoding="utf-8") as file:
        file.write("from outside\n")
    return folder


@pytest.fixture
def loop(images):
    """A block device of the host with an ext4 on it."""
    path = raw_image(images, "device.img", folder=marked(images, "on-device"))
    device = subprocess.run(["losetup", "--find", "--show", path], check=True, capture_output=True,
                            text=True).stdout.strip()
    number = sequence_of(device)
    yield device
    if is_bound(device) and sequence_of(device) == number:
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture
def pool(daemon, tmp_path):
    """A pool of the stock storage driver."""
    folder = tmp_path / "pool"
    folder.mkdir()
    daemon.virsh("pool-create-as", "p1", "dir", "--target", str(folder))
    yield str(folder)
    daemon.virsh("pool-destroy", "p1", check=False)
    daemon.virsh("pool-undefine", "p1", check=False)


def lines_of(guest, pattern):
    return [line for line in guest.inside("/bin/cat", "/proc/mounts").splitlines() if re.search(pattern, line)]


def code_of(call, *arguments):
    with pytest.raises(libvirt.libvirtError) as error:
        call(*arguments)
    return error.value.get_error_code(), str(error.value)


def detached(domain, xml):
    try:
        return domain.detachDeviceFlags(xml, LIVE) == 0
    except libvirt.libvirtError as error:
        assert error.get_error_code() == libvirt.VIR_ERR_RESOURCE_BUSY
        return False


# At start


def test_filesystems_on_raw_files_and_devices(make_guest, images, loop):
    raw = raw_image(images, "raw.img", folder=marked(images))
    ploop = images.make("data", "32M")
    guest = make_guest(devices=filesystem_xml(raw, "/mnt/raw", "<readonly/>") + filesystem_xml(ploop, "/data")
                       + filesystem_xml(loop, "/mnt/block", kind="block", attribute="dev"))
    guest.define().start().ready()
    assert guest.inside("/bin/cat", "/mnt/raw/mark") == "from outside\n"
    assert guest.inside("/bin/cat", "/mnt/block/mark") == "from outside\n"
    assert "Read-only" in guest.inside("/bin/sh", "-c", "touch /mnt/raw/x 2>&1; true")
    guest.inside("/bin/sh", "-c", "echo inside > /data/file")
    assert re.search(" ro,", lines_of(guest, " /mnt/raw ")[0])
    guest.daemon.virsh("destroy", guest.name)
    folder = images.mount(ploop)
    with open(os.path.join(folder, "file"), encoding="utf-8") as file:
        assert file.read() == "inside\n"
    images.ploop("umount", ploop)


@pytest.mark.host
def test_volumes(daemon, make_guest, images, pool):
    raw = raw_image(images, "v.img", folder=marked(images))
    os.rename(raw, os.path.join(pool, "v.img"))
    os.rename(os.path.dirname(images.make("v.ploop", "32M")), os.path.join(pool, "v.ploop"))
    daemon.virsh("pool-refresh", "p1")
    volume = "<filesystem type='volume'><source pool='p1' volume='{}'/><target dir='{}'/></filesystem>"
    disk = "<disk type='volume'><source pool='p1' volume='v.ploop'/><target dev='vdb'/></disk>"
    guest = make_guest(devices=volume.format("v.img", "/mnt/raw") + disk).define().start().ready()
    assert guest.inside("/bin/cat", "/mnt/raw/mark") == "from outside\n"
    assert lines_of(guest, " /mnt/vdb ext4 ")
    daemon.virsh("destroy", guest.name)
    daemon.virsh("pool-destroy", "p1")
    done = daemon.virsh("start", guest.name, check=False)
    assert done.returncode and "p1/v.img" in done.stderr


def test_volume_of_an_inactive_pool(daemon, make_guest, images, tmp_path):
    daemon.virsh("pool-define-as", "p2", "dir", "--target", str(tmp_path))
    try:
        disk = "<disk type='volume'><source pool='p2' volume='x'/><target dev='vdb'/></disk>"
        guest = make_guest(devices=disk).define()
        done = daemon.virsh("start", guest.name, check=False)
        assert done.returncode and "not active" in done.stderr
    finally:
        daemon.virsh("pool-undefine", "p2")


def test_disk_with_a_file_system_is_mounted(make_guest, images, loop):
    raw = raw_image(images, "raw.img", folder=marked(images))
    guest = make_guest(devices=disk_xml(raw) + disk_xml(loop, "sdc", kind="block", attribute="dev")
                       + disk_xml(images.path("eph"), "sdb", "<readonly/>"))
    images.make("eph", "32M")
    guest.define().start().ready()
    assert guest.inside("/bin/cat", "/mnt/vdb/mark") == "from outside\n"
    assert guest.inside("/bin/cat", "/mnt/sdc/mark") == "from outside\n"
    assert "Read-only" in guest.inside("/bin/sh", "-c", "touch /mnt/sdb/x 2>&1; true")
    assert not {"vdb", "sdb", "sdc"} & set(guest.inside("/bin/ls", "/dev").split()), "no way around the file system"
    aliases = [disk.find("alias").get("name") for disk in ElementTree.fromstring(guest.live_xml()).iter("disk")]
    assert len(set(aliases)) == 3


@pytest.mark.host
def test_disk_without_a_file_system_is_a_device(daemon, make_guest, images):
    blank = raw_image(images, "blank.img", 8, mkfs=None)
    guest = make_guest(devices=disk_xml(blank, "vdb", "<serial>abc</serial>")).define().start().ready()
    guest.inside("/bin/sh", "-c", "echo written | dd of=/dev/vdb conv=notrunc,fsync 2>/dev/null")
    assert guest.inside("/bin/sh", "-c", "head -c8 /dev/vdb") == "written\n"
    guest.inside("/bin/reboot", "-f", check=False)
    wait_for(lambda: guest.boots() == 2, what="the second boot")
    assert guest.inside("/bin/sh", "-c", "head -c8 /dev/vdb") == "written\n"
    daemon.virsh("destroy", guest.name)
    with open(blank, "rb") as file:
        assert file.read(8) == b"written\n"


def test_device_is_read_only_if_the_disk_is(make_guest, images):
    guest = make_guest(devices=disk_xml(raw_image(images, "blank.img", 8, mkfs=None), "vdb", "<readonly/>"))
    guest.define().start().ready()
    guest.inside("/bin/sh", "-c", "head -c8 /dev/vdb")
    assert guest.daemon.enter(guest.name, "/bin/sh", "-c", "echo x > /dev/vdb", check=False).returncode


def test_device_in_use_is_refused(daemon, make_guest, loop):
    """Mounted twice it would be one file system with two owners who do not know of each other."""
    disk = disk_xml(loop, kind="block", attribute="dev")
    first = make_guest("one", devices=disk).define().start().ready()
    second = make_guest("two", devices=disk).define()
    done = daemon.virsh("start", second.name, check=False)
    assert done.returncode and "in use" in done.stderr and loop in done.stderr
    assert first.inside("/bin/cat", "/mnt/vdb/mark") == "from outside\n"


@pytest.mark.parametrize("kind", ["whole", "partition"])
def test_disk_as_root(daemon, make_guest, images, kind):
    if kind == "partition":
        folder = images.make_root("ct")
    else:
        folder = raw_image(images, "root.img", 64, folder=roots.cached("busybox"))
    other = raw_image(images, "other.img", folder=marked(images))
    guest = make_guest(root="/", filesystem=" ", devices=disk_xml(other, "vda") + disk_xml(folder, "vdb", "<boot order='1'/>"))
    guest.define().start()
    wait_for(lambda: daemon.enter("ct", "/bin/cat", "/boots", check=False).stdout.strip() == "1", what="the first boot")
    assert lines_of(guest, "^/dev/loop.* / ext4 ")
    assert guest.inside("/bin/cat", "/mnt/vda/mark") == "from outside\n"


def test_root_is_found_among_partitions(daemon, make_guest, images):
    """As on the images of clouds: the root is neither the first nor the largest partition, but has the label."""
    whole, small, large = images.path("cloud.img"), 40, 60
    with open(whole, "wb") as file:
        file.truncate((small + large + 4) * MIB)
        file.seek(446)  # an MBR: type 0x83, first sector, length
        for begin, size in ((1, large), (1 + large, small)):
            file.write(struct.pack("<4xB3xII", 0x83, begin * 2048, size * 2048))
        file.seek(510)
        file.write(b"\x55\xaa")
    parts = [(raw_image(images, "data", large), 1),
             (raw_image(images, "root", small, ("mkfs.ext4", "-q", "-F", "-L", "cloudimg-rootfs"),
                        roots.cached("busybox")), 1 + large)]
    for part, at in parts:
        subprocess.run(["dd", f"if={part}", f"of={whole}", "bs=1M", f"seek={at}", "conv=notrunc", "status=none"],
                       check=True)
        os.unlink(part)
    guest = make_guest(root="/", filesystem=" ", devices=disk_xml(whole, "sda")).define().start()
    wait_for(lambda: daemon.enter("ct", "/bin/cat", "/boots", check=False).stdout.strip() == "1", what="the first boot")
    assert re.match(r"/dev/loop\d+p2 / ", lines_of(guest, " / ext4 ")[0])


def test_what_is_no_disk_is_refused(daemon, make_guest, images):
    guest = make_guest()

    def refused(devices):
        done = daemon.virsh("define", guest.file(devices=devices), check=False)
        assert done.returncode, devices
        return done.stderr

    assert "cdrom" in refused(disk_xml("/x", "hdc", device="cdrom"))
    assert "floppy" in refused(disk_xml("/x", "fda", device="floppy"))
    assert "network" in refused("<disk type='network'><source protocol='rbd' name='p/x'><host name='h'/></source>"
                                "<target dev='vdb'/></disk>")
    assert "iotune" in refused(disk_xml("/x", "vdb", "<iotune><read_bytes_sec>9</read_bytes_sec>"
                                        "<read_bytes_sec_max>99</read_bytes_sec_max></iotune>"))
    assert "vdb" in refused(disk_xml("/x", "vdb") + disk_xml("/y", "vdb"))
    qcow = images.path("x.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", qcow, "8M"], check=True)
    guest.define(devices=disk_xml(qcow))
    done = daemon.virsh("start", guest.name, check=False)
    assert done.returncode and "qcow2" in done.stderr and "convert" in done.stderr
    guest.define(devices=filesystem_xml(raw_image(images, "blank", 8, mkfs=None), "/mnt/x"))
    done = daemon.virsh("start", guest.name, check=False)
    assert done.returncode and "no file system" in done.stderr


def test_what_clients_say_about_emulated_disks_is_idle(daemon, make_guest, images):
    """The XML of OpenStack Nova."""
    nova = (f"<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none' io='native' discard='unmap'/>"
            f"<source file='{raw_image(images, 'raw.img')}'/><target dev='sdb' bus='scsi'/><serial>x-1</serial>"
            "<address type='drive' controller='0' unit='1'/></disk>")
    guest = make_guest(devices=nova).define().start().ready()
    assert lines_of(guest, " /mnt/sdb ext4 ")
    config = daemon.virsh("dumpxml", "ct", "--inactive").stdout
    daemon.virsh("define", "/dev/stdin", stdin=config)
    assert daemon.virsh("dumpxml", "ct", "--inactive").stdout == config


# While running


@pytest.mark.host
def test_attach_and_detach(daemon, conn, events, running, images):
    raw = raw_image(images, "raw.img", folder=marked(images))
    daemon.virsh("attach-disk", "ct", raw, "vdb", "--live")
    alias = events.wait("device-added", "ct")[2]
    assert ElementTree.fromstring(running.live_xml()).find("devices/disk/alias").get("name") == alias
    assert running.inside("/bin/cat", "/mnt/vdb/mark") == "from outside\n"
    assert daemon.virsh("domblklist", "ct").stdout.split() == ["vdb", raw]
    running.inside("/bin/reboot", "-f", check=False)
    wait_for(lambda: running.boots() == 2, what="the second boot")
    assert running.inside("/bin/cat", "/mnt/vdb/mark") == "from outside\n"
    daemon.kill9()
    daemon.start()
    daemon.virsh("detach-disk", "ct", "vdb", "--live")
    assert not lines_of(running, "/mnt/vdb")
    assert not os.listdir(daemon.ploop_folder), "the image is closed when the call returns"


def test_attached_to_both(daemon, conn, events, running, images):
    domain = conn.lookupByName("ct")
    xml = disk_xml(os.path.dirname(images.make("eph", "32M")), "sdb")
    domain.attachDeviceFlags(xml, LIVE | CONFIG)
    alias = events.wait("device-added", "ct")[2]
    daemon.virsh("destroy", "ct")
    running.start().ready()
    assert lines_of(running, " /mnt/sdb ext4 ")
    domain.detachDeviceFlags(xml, CONFIG)
    domain.detachDeviceFlags(xml, LIVE)
    assert events.wait("device-removed", "ct")[2] == alias
    assert not ElementTree.fromstring(running.live_xml("--inactive")).findall("devices/disk")


def test_attach_and_detach_a_device(daemon, conn, running, images):
    blank = raw_image(images, "blank.img", 8, mkfs=None)
    domain = conn.lookupByName("ct")
    domain.attachDeviceFlags(disk_xml(blank, "vdc"), LIVE)
    running.inside("/bin/sh", "-c", "echo written | dd of=/dev/vdc conv=notrunc,fsync 2>/dev/null")
    running.inside("/bin/sh", "-c", "sh -c 'exec 3</dev/vdc; echo $$ > /holder; exec sleep 1000' >/dev/null 2>&1 &")
    wait_for(lambda: os.path.exists(running.path("/holder")) and running.read("/holder"), what="the device's user")
    code, message = code_of(domain.detachDeviceFlags, disk_xml(blank, "vdc"), LIVE)
    assert code == libvirt.VIR_ERR_RESOURCE_BUSY and "/dev/vdc" in message
    assert running.inside("/bin/sh", "-c", "head -c8 /dev/vdc") == "written\n", "nothing has changed"
    running.inside("/bin/kill", running.read("/holder"))
    wait_for(lambda: detached(domain, disk_xml(blank, "vdc")), what="the end of that process")
    assert "vdc" not in running.inside("/bin/ls", "/dev").split()
    with open(blank, "rb") as file:
        assert file.read(8) == b"written\n"


def test_busy_mount_stays(conn, running, images):
    domain = conn.lookupByName("ct")
    xml = filesystem_xml(raw_image(images, "raw.img", folder=marked(images)), "/mnt/late")
    domain.attachDeviceFlags(xml, LIVE)
    running.inside("/bin/sh", "-c", "sh -c 'cd /mnt/late; echo $$ > /there; exec sleep 1000' >/dev/null 2>&1 &")
    wait_for(lambda: os.path.exists(running.path("/there")) and running.read("/there"), what="the folder's user")
    code, message = code_of(domain.detachDeviceFlags, xml, LIVE)
    assert code == libvirt.VIR_ERR_RESOURCE_BUSY and "/mnt/late" in message
    assert running.inside("/bin/cat", "/mnt/late/mark") == "from outside\n"
    running.inside("/bin/kill", running.read("/there"))
    wait_for(lambda: detached(domain, xml), what="the end of that process")
    assert not lines_of(running, "/mnt/late")


def test_refusals_while_running(daemon, conn, running, images, loop):
    domain = conn.lookupByName("ct")
    raw = raw_image(images, "raw.img")
    domain.attachDeviceFlags(disk_xml(raw, "vdb"), LIVE)
    assert "vdb" in code_of(domain.attachDeviceFlags, disk_xml(loop, "vdb", kind="block", attribute="dev"), LIVE)[1]
    assert "in use" in code_of(domain.attachDeviceFlags, disk_xml(raw, "vdc"), LIVE)[1]
    assert code_of(domain.detachDeviceFlags, disk_xml(raw, "vdd"), LIVE)[0] == libvirt.VIR_ERR_DEVICE_MISSING
    code_of(domain.attachDeviceFlags, disk_xml("/no/such/image", "vdd"), LIVE | CONFIG)
    assert not ElementTree.fromstring(running.live_xml("--inactive")).findall("devices/disk"), "neither of the two"
    domain.detachDeviceFlags(disk_xml(raw, "vdb"), LIVE)


def test_root_cannot_be_detached(daemon, make_guest, images):
    guest = make_guest(root="/", filesystem=" ", devices=disk_xml(images.make_root(), "vda")).define().start()
    done = daemon.virsh("detach-disk", guest.name, "vda", "--live", check=False)
    assert done.returncode and "root" in done.stderr


# Sizes and figures


def stats_of(daemon, name, *group):
    text = daemon.virsh("domstats", name, *group).stdout
    return dict(line.strip().split("=", 1) for line in text.splitlines() if "=" in line)


def test_figures(daemon, conn, make_guest, images):
    raw = raw_image(images, "raw.img", 32)
    image = images.make("eph", "48M")
    guest = make_guest(devices=disk_xml(raw, "vdb") + filesystem_xml(image, "/data")).define()
    domain = conn.lookupByName("ct")
    assert domain.blockInfo("vdb")[0] == 32 * MIB
    assert domain.blockInfo("/data")[0] == 48 * MIB
    guest.start().ready()
    guest.inside("/bin/sh", "-c", "dd if=/dev/urandom of=/mnt/vdb/file bs=1M count=4 conv=fsync 2>/dev/null")
    for name in ("vdb", raw, "disk0"):
        reads, _, writes, written, errors = domain.blockStats(name)
        assert written >= 4 * MIB and writes > 0 and reads > 0 and errors == -1
    flags = domain.blockStatsFlags("vdb")
    assert flags["wr_bytes"] >= 4 * MIB and flags["flush_operations"] > 0
    assert domain.blockStats("")[3] >= written
    assert domain.blockInfo(image)[0] == 48 * MIB
    capacity, allocation, physical = domain.blockInfo("vdb")
    assert capacity == physical == 32 * MIB and 4 * MIB <= allocation <= capacity
    seen = stats_of(daemon, "ct", "--block")
    assert seen["block.count"] == "2"
    names = {seen[f"block.{i}.name"]: i for i in range(2)}
    assert int(seen[f"block.{names['vdb']}.wr.bytes"]) >= 4 * MIB
    assert int(seen[f"block.{names['/data']}.capacity"]) == 48 * MIB
    assert code_of(domain.blockStats, "vdz")[0] == libvirt.VIR_ERR_INVALID_ARG
    assert "32.000 MiB" in daemon.virsh("domblkinfo", "ct", "vdb", "--human").stdout


def test_figures_begin_with_the_container(conn, make_guest, images):
    """The kernel goes on counting for a loop device whatever it was used for before."""
    guest = make_guest(devices=disk_xml(raw_image(images, "raw.img", 32), "vdb")).define().start().ready()
    domain = conn.lookupByName("ct")
    guest.inside("/bin/sh", "-c", "dd if=/dev/urandom of=/mnt/vdb/file bs=1M count=16 conv=fsync 2>/dev/null")
    assert domain.blockStats("vdb")[3] >= 16 * MIB
    domain.destroy()
    guest.start().ready()
    assert domain.blockStats("vdb")[3] < 16 * MIB


def free_inside(guest, folder):
    return int(guest.inside("/bin/df", "-k", folder).splitlines()[-1].split()[1])


@pytest.mark.host
@pytest.mark.parametrize("kind", ["ploop", "raw"])
def test_resize(daemon, conn, make_guest, images, kind):
    image = os.path.dirname(images.make("eph", "32M")) if kind == "ploop" else raw_image(images, "raw.img", 32)
    guest = make_guest(devices=disk_xml(image, "vdb")).define().start().ready()
    before = free_inside(guest, "/mnt/vdb")
    done = daemon.virsh("blockresize", "ct", "vdb", "96M", check=False)
    if may_grow_mounted():
        assert done.returncode == 0, done.stderr
        assert free_inside(guest, "/mnt/vdb") > before + 50 * 1024
    else:  # ext4 asks for a right that this machine does not give
        assert done.returncode and "vdb has grown, but not the file system that it has at /mnt/vdb" in done.stderr
    domain = conn.lookupByName("ct")
    assert domain.blockInfo("vdb")[0] == 96 * MIB
    code, message = code_of(domain.blockResize, "vdb", 16 * MIB, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    assert code == libvirt.VIR_ERR_OPERATION_UNSUPPORTED and "ploop resize" in message
    guest.inside("/bin/sh", "-c", "echo fine > /mnt/vdb/file")


def test_resize_of_xfs_and_of_a_bare_device(daemon, make_guest, images):
    xfs = raw_image(images, "xfs.img", 320, ("mkfs.xfs", "-q", "-f"))
    blank = raw_image(images, "blank.img", 8, mkfs=None)
    guest = make_guest(devices=disk_xml(xfs, "vdb") + disk_xml(blank, "vdc")).define().start().ready()
    before = free_inside(guest, "/mnt/vdb")
    daemon.virsh("blockresize", "ct", xfs, "400M")
    assert free_inside(guest, "/mnt/vdb") > before + 70 * 1024
    daemon.virsh("blockresize", "ct", "vdc", "12M")
    guest.inside("/bin/sh", "-c", "echo end | dd of=/dev/vdc bs=1M seek=11 conv=notrunc,fsync 2>/dev/null")


def test_device_of_the_host_is_resized_there(daemon, make_guest, loop):
    make_guest(devices=disk_xml(loop, kind="block", attribute="dev")).define().start().ready()
    done = daemon.virsh("blockresize", "ct", "vdb", "64M", check=False)
    assert done.returncode and "change its size there first" in done.stderr


def test_trim(daemon, conn, make_guest, images):
    image = os.path.dirname(images.make("eph", "64M"))
    guest = make_guest(devices=disk_xml(image, "vdb")).define().start().ready()
    domain = conn.lookupByName("ct")
    guest.inside("/bin/sh", "-c", "dd if=/dev/urandom of=/mnt/vdb/file bs=1M count=30 conv=fsync 2>/dev/null")
    full = domain.blockInfo("vdb")[1]
    guest.inside("/bin/sh", "-c", "rm /mnt/vdb/file && sync")
    daemon.virsh("domfstrim", "ct")
    guest.inside("/bin/sync")
    wait_for(lambda: domain.blockInfo("vdb")[1] < full - 20 * MIB, what="the space on the host")
    done = daemon.virsh("domfstrim", "ct", "--mountpoint", "/elsewhere", check=False)
    assert done.returncode and "no file system on a disk" in done.stderr
