# SPDX-License-Identifier: LGPL-2.1-or-later
"""Limits of disk I/O: <vz:io> for all disks of a container, blkdeviotune for one."""

import os
import re
import tempfile

import libvirt
import pytest
from harness import roots
from harness.groups import group_file, group_path, refused, table

pytestmark = pytest.mark.usefixtures("private_mounts", "images")
DAEMON = {"on_disk": True}
MIB = 1 << 20


def disk_xml(source, target="vdb", inner=""):
    return (f"<disk type='file'><driver type='ploop'/><source file='{source}'/><target dev='{target}'/>{inner}</disk>")


def io_xml(inner):
    return f"<vz:container xmlns:vz='urn:libvirt-vz:domain:1.0'><vz:io>{inner}</vz:io></vz:container>"


def limits(guest, below=""):
    """{"maj:min": {"rbps": n, ...}} of what is limited, as the kernel says it."""
    found = {}
    if unified := group_file(guest, "io", "io.max"):
        for line in unified.splitlines():
            number, *values = line.split()
            found[number] = {key: int(value) for key, value in (each.split("=") for each in values) if value != "max"}
        return {number: values for number, values in found.items() if values}
    names = {"rbps": "read_bps", "wbps": "write_bps", "riops": "read_iops", "wiops": "write_iops"}
    for short, name in names.items():
        path = group_path(guest, "blkio", f"blkio.throttle.{name}_device")
        if not path:
            continue
        path = os.path.join(os.path.dirname(path), below, os.path.basename(path))
        with open(path, encoding="utf-8") as file:
            for number, value in (line.split() for line in file):
                found.setdefault(number, {})[short] = int(value)
    return found


def number_under(path):
    info = os.stat(path).st_dev
    folder = f"/sys/dev/block/{os.major(info)}:{os.minor(info)}"
    if os.path.exists(folder + "/partition"):
        with open(folder + "/../dev", encoding="utf-8") as file:
            return file.read().strip()
    return f"{os.major(info)}:{os.minor(info)}"


def number_of(guest, node):
    return guest.inside("/bin/sh", "-c", f"printf '%d:%d' 0x$(stat -c %t {node}) 0x$(stat -c %T {node})")


def seconds_to_read(guest, path, size):
    """As it is inside: to get there may take longer."""
    read = f"time dd if={path} of=/dev/null bs=64k count={size // 65536} iflag=direct"
    minutes, seconds = re.search(r"real\s+(\d+)m ([\d.]+)s", guest.inside("/bin/sh", "-c", f"{{ {read}; }} 2>&1")).groups()
    return int(minutes) * 60 + float(seconds)


@pytest.mark.host
def test_iolimit_is_for_the_disk_of_the_root(daemon, make_guest):
    guest = make_guest(top=io_xml(f"<vz:limit>{50 * MIB}</vz:limit>")).define().start().ready()
    if not os.major(os.stat(guest.root).st_dev):
        pytest.skip("the root is on no block device")
    number = number_under(guest.root)
    assert limits(guest) == {number: {"rbps": 50 * MIB, "wbps": 50 * MIB}}
    values = table(daemon.virsh("schedinfo", "ct").stdout)
    assert (values["iolimit"], values["iopslimit"], values["ioprio"]) == (str(50 * MIB), "0", "-1")
    daemon.virsh("schedinfo", "ct", "--live", f"iolimit={MIB}", "iopslimit=500")
    assert limits(guest, "payload") == {number: {"rbps": MIB, "wbps": MIB, "riops": 500, "wiops": 500}}
    with open(guest.path("/big"), "wb") as file:
        file.write(os.urandom(MIB + MIB // 2))
        os.fsync(file.fileno())
    assert 1.0 < seconds_to_read(guest, "/big", MIB + MIB // 2) < 3.5
    assert f"<vz:limit>{50 * MIB}</vz:limit>" in guest.live_xml("--inactive")
    daemon.virsh("schedinfo", "ct", "--live", "--config", "iolimit=0", "iopslimit=0")
    assert limits(guest) == {} and "<vz:io>" not in guest.live_xml() + guest.live_xml("--inactive")
    assert seconds_to_read(guest, "/big", MIB) < 0.9


@pytest.mark.host
def test_ioprio_is_a_weight(daemon, running):
    names = (("blkio", "blkio.bfq.weight"), ("io", "io.bfq.weight"), ("io", "io.weight"))
    path = next(filter(None, (group_path(running, *name) for name in names)), None)
    if not path:
        assert "weight" in refused(daemon, "schedinfo", "ct", "--live", "ioprio=7")
        return
    daemon.virsh("schedinfo", "ct", "--live", "--config", "ioprio=0")
    assert "<vz:prio>0</vz:prio>" in running.live_xml("--inactive")
    for priority, weight in ((0, 320), (4, 500), (7, 640)):
        daemon.virsh("schedinfo", "ct", "--live", f"ioprio={priority}")
        # What is above decides between containers.
        for place in (path, os.path.join(os.path.dirname(path), "..", os.path.basename(path))):
            with open(place, encoding="utf-8") as file:
                assert file.read().split()[-1] == str(weight)
    assert "<prio> in <io>" in refused(daemon, "schedinfo", "ct", "--live", "ioprio=8")
    daemon.virsh("schedinfo", "ct", "--live", "ioprio=-1")
    with open(path, encoding="utf-8") as file:
        assert file.read().split()[-1] == "100"


@pytest.mark.parametrize("inner", ["<vz:limit>0</vz:limit>", "<vz:iops>-1</vz:iops>", "<vz:iops>4294967296</vz:iops>",
                                   "<vz:prio>8</vz:prio>", "<vz:speed>1</vz:speed>"])
def test_bad_settings_are_refused(daemon, make_guest, inner):
    guest = make_guest()
    assert "vz-container.rng" in refused(daemon, "define", guest.file(top=io_xml(inner)))


@pytest.fixture
def root_in_memory():
    """The folder of a root that is on no disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        if os.major(os.stat(folder).st_dev):
            pytest.skip("/dev/shm is no tmpfs")
        yield roots.clone("busybox", os.path.join(folder, "ct"))


def test_limits_without_a_disk_are_refused(daemon, make_guest, root_in_memory):
    guest = make_guest(root=root_in_memory, top=io_xml("<vz:iops>100</vz:iops>")).define()
    assert "nothing that <vz:io> could limit" in refused(daemon, "start", guest.name)


def iotune(daemon, disk, *flags):
    values = table(daemon.virsh("blkdeviotune", "ct", disk, *flags).stdout)
    return {name: int(value) for name, value in values.items() if value != "0"}


def test_blkdeviotune_limits_a_disk(daemon, make_guest, images):
    image = images.make("data", "32M", "-t", "none")
    guest = make_guest(devices=disk_xml(image, "vdb", "<iotune><read_iops_sec>900</read_iops_sec></iotune>"))
    guest.define().start().ready()
    number = number_of(guest, "/dev/vdb")
    assert limits(guest, "payload") == {number: {"riops": 900}}
    daemon.virsh("blkdeviotune", "ct", "vdb", "--total-bytes-sec", MIB, "--live", "--config")
    assert limits(guest, "payload") == {number: {"riops": 900, "rbps": MIB, "wbps": MIB}}
    assert iotune(daemon, "vdb") == iotune(daemon, image, "--config") == {"total_bytes_sec": MIB, "read_iops_sec": 900}
    assert 1.0 < seconds_to_read(guest, "/dev/vdb", MIB + MIB // 2) < 3.5
    # Those of a kind are set together, as by QEMU's driver.
    daemon.virsh("blkdeviotune", "ct", "vdb", "--write-bytes-sec", 2 * MIB, "--live")
    assert iotune(daemon, "vdb", "--live") == {"write_bytes_sec": 2 * MIB, "read_iops_sec": 900}
    assert limits(guest) == {number: {"riops": 900, "wbps": 2 * MIB}}
    # Of several limits the lowest holds.
    daemon.virsh("schedinfo", "ct", "--live", f"iolimit={MIB}")
    assert limits(guest)[number] == {"riops": 900, "rbps": MIB, "wbps": MIB}
    daemon.virsh("schedinfo", "ct", "--live", "iolimit=0")
    assert limits(guest) == {number: {"riops": 900, "wbps": 2 * MIB}}
    for words, command in (("total and read/write", ("--total-bytes-sec", "5", "--read-bytes-sec", "5")),
                           ("not supported", ("--read-bytes-sec-max", "9", "--read-bytes-sec", "5"))):
        assert words in refused(daemon, "blkdeviotune", "ct", "vdb", *command, "--live")
    assert "vdz" in refused(daemon, "blkdeviotune", "ct", "vdz", "--total-iops-sec", "5", "--live")
    assert limits(guest) == {number: {"riops": 900, "wbps": 2 * MIB}}
    daemon.virsh("blkdeviotune", "ct", "vdb", "--total-bytes-sec", 0, "--total-iops-sec", 0, "--live")
    assert limits(guest) == {} and "<iotune>" not in guest.live_xml() and "<iotune>" in guest.live_xml("--inactive")


def test_limits_come_and_go_with_a_disk(daemon, make_guest, images):
    image = images.make("data", "32M", "-t", "none")
    guest = make_guest().define().start().ready()
    xml = os.path.join(daemon.folder, "disk.xml")
    with open(xml, "w", encoding="utf-8") as file:
        file.write(disk_xml(image, "vdb", "<iotune><total_iops_sec>70</total_iops_sec></iotune>"))
    daemon.virsh("attach-device", "ct", xml, "--live")
    assert list(limits(guest, "payload").values()) == [{"riops": 70, "wiops": 70}]
    daemon.virsh("detach-device", "ct", xml, "--live")
    assert limits(guest, "payload") == {}


def test_limits_of_a_mounted_image_are_those_of_the_container(daemon, make_guest, images):
    image = images.make_root("root")
    guest = make_guest(root="/", filesystem=f"<filesystem type='file'><driver type='ploop' format='ploop'/>"
                       f"<source file='{image}'/><target dir='/'/></filesystem>",
                       top=io_xml("<vz:iops>300</vz:iops>")).define().start()
    assert list(limits(guest, "payload").values()) == [{"riops": 300, "wiops": 300}]
    assert "schedinfo" in refused(daemon, "blkdeviotune", "ct", "/", "--total-iops-sec", "5", "--live")


def test_parameters_are_counted_first(make_guest, conn, images):
    make_guest(devices=disk_xml(images.make("data", "32M", "-t", "none"))).define()
    domain = conn.lookupByName("ct")
    assert set(domain.blockIoTune("vdb")) == {f"{which}_{what}_sec" for which in ("total", "read", "write")
                                              for what in ("bytes", "iops")}
    with pytest.raises(libvirt.libvirtError) as error:
        domain.blockIoTune("nothing")
    assert error.value.get_error_code() == libvirt.VIR_ERR_INVALID_ARG
