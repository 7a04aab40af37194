# SPDX-License-Identifier: LGPL-2.1-or-later
"""Disks of a running virtual machine: chains of images, the jobs that work on them, and backups."""

import json
import os
import re
import subprocess
import xml.etree.ElementTree as ET

import libvirt
import pytest
from harness import vm as vms
from harness.guest import wait_for

pytest_plugins = ["harness.vm_fixtures"]
DAEMON = vms.DAEMON
BOOTED = {"devices": "<disk type='file' device='cdrom'><target dev='hda' bus='ide'/><readonly/></disk>"}
COMPLETED, READY, CANCELED = (libvirt.VIR_DOMAIN_BLOCK_JOB_COMPLETED, libvirt.VIR_DOMAIN_BLOCK_JOB_READY,
                              libvirt.VIR_DOMAIN_BLOCK_JOB_CANCELED)
COMMIT, ACTIVE_COMMIT, PULL, COPY = (libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COMMIT,
                                     libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT,
                                     libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_PULL, libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_COPY)


@pytest.fixture
def disk(booted, request):
    """The path of a disk that the machine has as vdx, and inside as /dev/vda."""
    path = booted.disk(request.node.name, 16)
    booted.virsh("attach-disk", path, "vdx", "--targetbus", "virtio", "--driver", "qemu", "--subdriver", "qcow2",
                 "--live")
    booted.wait_inside("[ -b /dev/vda ]")
    yield path
    booted.virsh("blockjob", "vdx", "--abort", check=False)
    booted.virsh("detach-disk", "vdx", "--live")
    booted.wait_inside("[ ! -e /sys/block/vda ]")
    wait_for(lambda: "vdx" not in booted.virsh("domblklist").stdout, what="the end of the disk")


def write(vm, text, block=0):
    vm.inside(f"echo {text} | dd of=/dev/vda bs=64k seek={block} conv=notrunc,fsync 2>/dev/null")


def read(vm, block=0):
    """The line at this block, past the page cache."""
    return vm.inside(f"dd if=/dev/vda bs=64k skip={block} count=1 iflag=direct 2>/dev/null | head -n 1")


def snapshot(vm, name):
    """An external snapshot of the disk alone; the path of the new image on top."""
    path = os.path.join(vm.folder, f"{name}.qcow2")
    vm.virsh("snapshot-create-as", "--disk-only", "--no-metadata", "--diskspec", f"vdx,file={path}")
    return path


def job(vm):
    """What virsh says of the disk's job; it does so on the error output."""
    told = vm.virsh("blockjob", "vdx", "--info")
    return told.stdout + told.stderr


def chain(vm):
    """The images of the disk as libvirt's XML says, the active one first."""
    disks = ET.fromstring(vm.live_xml()).findall("devices/disk")
    found, node = [], next(node for node in disks if node.find("target").get("dev") == "vdx")
    while node is not None and node.find("source") is not None:
        found.append(node.find("source").get("file"))
        node = node.find("backingStore")
    return found


def chain_on_disk(path):
    return [item["filename"] for item in vms.qcow2_info(path, chain=True)]


def test_commit_of_the_active_image(booted, disk, vm_events):
    write(booted, "below")
    top = snapshot(booted, "top")
    assert chain(booted) == [top, disk]
    write(booted, "above", 1)
    booted.virsh("blockcommit", "vdx", "--active")
    vm_events.wait("block-job", "shared", "vdx", ACTIVE_COMMIT, READY)
    assert "Active Block Commit: [100 %]" in job(booted)
    booted.virsh("blockjob", "vdx", "--pivot")
    vm_events.wait("block-job", "shared", "vdx", ACTIVE_COMMIT, COMPLETED)
    wait_for(lambda: chain(booted) == [disk], what="the shorter chain")
    assert (read(booted), read(booted, 1)) == ("below", "above")
    assert chain_on_disk(disk) == [disk]


def test_commit_in_the_middle(booted, disk, vm_events):
    write(booted, "lowest")
    middle = snapshot(booted, "middle")
    write(booted, "middle", 1)
    top = snapshot(booted, "highest")
    write(booted, "highest", 2)
    booted.virsh("blockcommit", "vdx", "--top", middle, "--base", disk)
    vm_events.wait("block-job", "shared", "vdx", COMMIT, COMPLETED)
    wait_for(lambda: chain(booted) == [top, disk], what="the shorter chain")
    assert chain_on_disk(top) == [top, disk]
    assert [read(booted, block) for block in range(3)] == ["lowest", "middle", "highest"]


def test_pull_frees_of_the_base(booted, disk, vm_events):
    write(booted, "from-the-base")
    top = snapshot(booted, "pulled")
    booted.virsh("blockpull", "vdx")
    vm_events.wait("block-job", "shared", "vdx", PULL, COMPLETED)
    wait_for(lambda: chain(booted) == [top], what="the chain without a base")
    assert chain_on_disk(top) == [top]
    os.rename(disk, disk + ".gone")
    assert read(booted) == "from-the-base"


def test_copy_is_told_of_and_stopped(booted, disk, vm_events):
    write(booted, "copied")
    booted.inside("dd if=/dev/urandom of=/dev/vda bs=64k seek=1 count=128 conv=notrunc,fsync 2>/dev/null")
    copy = os.path.join(booted.folder, "copy.qcow2")
    booted.virsh("blockcopy", "vdx", copy, "--bandwidth", 1, "--transient-job")
    assert "Block Copy: [" in job(booted)
    assert "<mirror" in booted.live_xml()
    second = booted.virsh("blockpull", "vdx", check=False)
    assert second.returncode and "active block job" in second.stderr
    booted.virsh("blockjob", "vdx", "--abort")
    vm_events.wait("block-job", "shared", "vdx", COPY, CANCELED)
    assert not job(booted).strip()
    assert "<mirror" not in booted.live_xml()
    assert chain(booted) == [disk]


def test_copy_is_pivoted_to(booted, disk, vm_events):
    write(booted, "moved")
    copy = os.path.join(booted.folder, "moved.qcow2")
    booted.virsh("blockcopy", "vdx", copy, "--transient-job")
    vm_events.wait("block-job", "shared", "vdx", COPY, READY)
    booted.virsh("blockjob", "vdx", "--pivot")
    wait_for(lambda: chain(booted) == [copy], what="the disk in its new place")
    os.rename(disk, disk + ".gone")
    assert read(booted) == "moved"


def test_size_of_the_disk_grows(booted, disk):
    booted.virsh("blockresize", "vdx", "24M")
    booted.wait_inside(f"[ $(cat /sys/block/vda/size) = {(24 << 20) // 512} ]")
    assert vms.qcow2_info(disk)["virtual-size"] == 24 << 20
    assert booted.virsh("domblkinfo", "vdx").stdout.split("Capacity:")[1].split()[0] == str(24 << 20)


def test_statistics_of_the_disk(booted, disk):
    before = booted.virsh("domblkstat", "vdx").stdout
    write(booted, "counted")
    after = booted.virsh("domblkstat", "vdx").stdout

    def written(text):
        return int(text.split("wr_bytes ")[1].split()[0])

    assert written(after) - written(before) >= 4096
    assert f"path={disk}\n" in booted.virsh("domstats", "--block").stdout


def test_threshold_is_told_of(booted, disk, vm_events):
    booted.virsh("domblkthreshold", "vdx", "512K")
    booted.inside("dd if=/dev/zero of=/dev/vda bs=64k count=16 oflag=direct 2>/dev/null")
    assert vm_events.wait("threshold", "shared")[2:] == ("vdx", disk, 512 << 10)


def test_medium_is_put_in_and_taken_out(booted, vm_events):
    path = booted.disk("medium", 1)
    booted.virsh("change-media", "hda", path, "--insert", "--live")
    assert re.search(rf"hda +{path}$", booted.virsh("domblklist").stdout, re.M)
    vm_events.wait("tray", "shared", "ide0-0-0", libvirt.VIR_DOMAIN_EVENT_TRAY_CHANGE_CLOSE)
    booted.virsh("change-media", "hda", "--eject", "--live")
    assert re.search(r"hda +-$", booted.virsh("domblklist").stdout, re.M)


def test_backup_and_what_changed_since(booted, disk, vm_events, conn):
    """A full backup with a checkpoint, then one of the changes only, which comes as an NBD export too."""
    write(booted, "first")
    full, part = (os.path.join(booted.folder, f"{name}.qcow2") for name in ("full", "part"))
    domain = conn.lookupByName("shared")
    domain.backupBegin(f"""<domainbackup><disks><disk name='vdx' type='file'><target file='{full}'/>
        <driver type='qcow2'/></disk></disks></domainbackup>""",
                       "<domaincheckpoint><name>since-full</name></domaincheckpoint>")
    vm_events.wait("block-job", "shared", "vdx", libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP, COMPLETED)
    wait_for(lambda: domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE, what="the end of the backup")
    assert booted.virsh("domjobinfo", "--completed").stdout.count("Backup")
    assert vms.qcow2_content(full, 5) == b"first"
    assert booted.virsh("checkpoint-list", "--name").stdout.split() == ["since-full"]
    assert ET.fromstring(booted.virsh("checkpoint-dumpxml", "since-full").stdout).find("domain").get("type") == vms.TYPE
    vm_events.clear()
    write(booted, "second", 3)
    domain.backupBegin(f"""<domainbackup><incremental>since-full</incremental><disks>
        <disk name='vdx' type='file'><target file='{part}'/><driver type='qcow2'/></disk></disks></domainbackup>""",
                       None)
    vm_events.wait("block-job", "shared", "vdx", libvirt.VIR_DOMAIN_BLOCK_JOB_TYPE_BACKUP, COMPLETED)
    wait_for(lambda: domain.jobInfo()[0] == libvirt.VIR_DOMAIN_JOB_NONE, what="the end of the backup")
    mapped = subprocess.run(["qemu-img", "map", "-U", "--output=json", part], check=True, capture_output=True)
    own = [item for item in json.loads(mapped.stdout) if item["data"] and item["depth"] == 0]
    assert [(item["start"], item["length"]) for item in own] == [(3 * 65536, 65536)]
    booted.virsh("checkpoint-delete", "since-full")
    assert not booted.virsh("checkpoint-list", "--name").stdout.strip()


def test_backup_that_is_pulled_and_stopped(booted, disk):
    write(booted, "exported")
    socket = os.path.join(booted.folder, "nbd")
    xml = booted.part(f"""<domainbackup mode='pull'><server transport='unix' socket='{socket}'/><disks>
        <disk name='vdx' backupmode='full' exportname='disk' type='file'><scratch file='{disk}.scratch'/></disk>
        </disks></domainbackup>""")
    booted.virsh("backup-begin", xml)
    write(booted, "too-late")
    subprocess.run(["qemu-img", "convert", "-O", "raw", f"nbd+unix:///disk?socket={socket}", f"{disk}.pulled"],
                   check=True, capture_output=True)
    with open(f"{disk}.pulled", "rb") as file:
        assert file.read(8) == b"exported"
    assert "mode='pull'" in booted.virsh("backup-dumpxml").stdout
    assert "Backup" in booted.virsh("domjobinfo").stdout
    booted.virsh("domjobabort")
    wait_for(lambda: booted.virsh("backup-dumpxml", check=False).returncode, what="the end of the backup")
    assert read(booted) == "too-late"
