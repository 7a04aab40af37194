# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual machines on ploop images."""

import os
import re
import signal
import subprocess
import xml.etree.ElementTree as ET

import libvirt
import pytest
from harness import vm as vms
from harness.guest import wait_for

pytest_plugins = ["harness.vm_fixtures"]
DAEMON = vms.DAEMON
pytestmark = pytest.mark.usefixtures("images")
SNAPSHOT = "{11111111-1111-4111-8111-111111111111}"


def image(images, name="disk", size="16M", *options):
    """A new image without a file system; its folder."""
    return os.path.dirname(images.make(name, size, "-t", "none", *options))


def disk(path, target="vda", form="ploop", more=""):
    return (f"<disk type='file' device='disk'><driver name='qemu' type='{form}' cache='none' discard='unmap'/>"
            f"<source file='{path}'/><target dev='{target}' bus='virtio'/>{more}</disk>")


@pytest.fixture
def machine(make_vm, images):
    """A machine with one image, which runs."""
    folder = image(images)
    vm = make_vm(devices=disk(folder)).define().start().ready()
    vm.image = folder
    return vm


def write(vm, text, block=0, device="vda"):
    vm.inside(f"echo {text} | dd of=/dev/{device} bs=64k seek={block} conv=notrunc,fsync 2>/dev/null")


def read(vm, block=0, device="vda"):
    """The line at this block, past the page cache."""
    return vm.inside(f"dd if=/dev/{device} bs=64k skip={block} count=1 iflag=direct 2>/dev/null | tr -d '\\0' | head -n 1")


def content(images, folder, block=0, state=None):
    """The line at that block of an image that nobody has open, or of a snapshot."""
    copy = os.path.join(images.folder, "copy.raw")
    images.ploop("copy", "-s", os.path.join(folder, "DiskDescriptor.xml"), "-d", copy, "-t", "raw",
                 *(("-u", state) if state else ()))
    with open(copy, "rb") as file:
        file.seek(block * 65536)
        found = file.read(65536).rstrip(b"\0").split(b"\n")[0].decode()
    os.unlink(copy)
    return found


def closed(images):
    wait_for(lambda: not images.processes(), what="the end of vz-ploopd")


def disk_of(xml, target="vda"):
    found = [item for item in ET.fromstring(xml).iter("disk") if item.find("target").get("dev") == target]
    return found[0] if found else None


def check_outer(text):
    """Nothing of how QEMU's driver sees the disk."""
    for word in ("nbd", "vz-ploop:", "vz-disks", "type='raw'", "type='network'"):
        assert word not in text, text


def test_what_the_guest_writes_is_in_the_image(machine, images):
    write(machine, "first")
    write(machine, "second", 40)
    assert (read(machine), read(machine, 40), read(machine, 80)) == ("first", "second", "")
    assert machine.image in images.ploop("list")
    machine.inside("blkdiscard -o 2621440 -l 1048576 /dev/vda || true")
    machine.destroy()
    closed(images)
    assert content(images, machine.image) == "first"
    assert "leaked" in images.ploop("check", machine.image + "/DiskDescriptor.xml")


@pytest.mark.parametrize("form", ["ploop", "parallels"])
def test_what_was_defined_is_dumped(make_vm, images, form):
    folder = image(images)
    vm = make_vm(devices=disk(folder, form=form) + disk(folder + "/DiskDescriptor.xml", "vdb", form, "<readonly/>"))
    vm.define()
    before = vm.live_xml()
    check_outer(before)
    for target, path in (("vda", folder), ("vdb", folder + "/DiskDescriptor.xml")):
        found = disk_of(before, target)
        assert (found.get("type"), found.find("driver").attrib, found.find("source").attrib, list(found.find("source"))
                ) == ("file", {"name": "qemu", "type": form, "cache": "none", "discard": "unmap"}, {"file": path}, [])
    vm.daemon.virsh("define", vm.part(before))
    assert vm.live_xml() == before
    assert re.search(rf"vda +{folder}$", vm.virsh("domblklist").stdout, re.M)


def test_no_format_means_the_image(make_vm, images):
    folder = image(images)
    vm = make_vm(devices=f"<disk type='file'><source file='{folder}'/><target dev='vda' bus='virtio'/></disk>").define()
    assert disk_of(vm.live_xml()).find("driver").get("type") == "ploop"


def test_nothing_of_the_inner_form_leaks(machine, conn):
    domain = conn.lookupByName(machine.name)
    for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE, libvirt.VIR_DOMAIN_XML_SECURE, libvirt.VIR_DOMAIN_XML_MIGRATABLE):
        check_outer(domain.XMLDesc(flags))
    live = disk_of(domain.XMLDesc())
    assert live.find("source").get("index") and live.find("alias") is not None
    check_outer(machine.virsh("domblklist", "--details").stdout)
    check_outer(machine.virsh("domstats", "--block").stdout)
    info = domain.blockInfo("vda")
    assert info[0] == 16 << 20 and 0 < info[1] <= info[2] + 4096
    assert domain.blockInfo(machine.image) == info
    write(machine, "counted")
    assert domain.blockStats(machine.image)[3] >= 65536 // 16
    assert domain.blockStats("vda") == domain.blockStats(machine.image)


def test_snapshot_while_the_machine_runs(machine, images):
    write(machine, "before")
    images.ploop("snapshot", "-u", SNAPSHOT, machine.image)
    write(machine, "after")
    assert content(images, machine.image, state=SNAPSHOT) == "before"
    images.ploop("snapshot-delete", "-u", SNAPSHOT, machine.image)
    assert read(machine) == "after"
    machine.destroy()
    closed(images)
    assert content(images, machine.image) == "after"


def test_image_grows_for_the_next_start(machine, images):
    refused = machine.virsh("blockresize", "vda", "32M", check=False)
    assert refused.returncode and "ploop resize" in refused.stderr
    images.ploop("resize", "-s", "32M", machine.image)
    write(machine, "still")
    assert machine.inside("cat /sys/block/vda/size") == str((16 << 20) // 512)
    machine.destroy().start().ready()
    assert machine.inside("cat /sys/block/vda/size") == str((32 << 20) // 512)
    assert read(machine) == "still"


def test_attached_and_detached_live(machine, images):
    other = image(images, "other")
    machine.virsh("attach-disk", other, "vdb", "--targetbus", "virtio", "--driver", "qemu", "--subdriver", "ploop", "--live")
    machine.wait_inside("[ -b /dev/vdb ]")
    check_outer(machine.live_xml())
    assert disk_of(machine.live_xml(), "vdb").find("source").get("file") == other
    write(machine, "plugged", 0, "vdb")
    assert len(images.processes()) == 2
    machine.virsh("detach-disk", "vdb", "--live")
    machine.wait_inside("[ ! -e /sys/block/vdb ]")
    wait_for(lambda: len(images.processes()) == 1, what="the end of the second vz-ploopd")
    assert content(images, other) == "plugged"
    # In the definition only: nothing is opened.
    machine.virsh("attach-disk", other, "vdb", "--targetbus", "virtio", "--driver", "qemu", "--subdriver", "ploop",
                  "--config")
    assert len(images.processes()) == 1
    machine.virsh("detach-disk", "vdb", "--config")
    # A device that QEMU's driver refuses leaves no server.
    refused = machine.virsh("attach-disk", other, "vda", "--targetbus", "virtio", "--driver", "qemu", "--subdriver",
                            "ploop", "--live", check=False)
    assert refused.returncode
    wait_for(lambda: len(images.processes()) == 1, what="the end of a server that nobody uses")


def test_image_has_one_user(machine, make_vm, images):
    other = make_vm("other", devices=disk(machine.image)).define()
    refused = other.virsh("start", check=False)
    assert refused.returncode and "in use" in refused.stderr and "vda" in refused.stderr
    assert "in use" in images.ploop("mount", machine.image + "/DiskDescriptor.xml", status=37)
    assert "in use" in images.ploop("umount", machine.image, status=46)
    machine.inside("true")


def test_failed_start_leaves_nothing(make_vm, images):
    vm = make_vm(devices=disk(image(images)) + disk("/nowhere/image", "vdb")).define()
    refused = vm.virsh("start", check=False)
    assert refused.returncode and "/nowhere/image" in refused.stderr
    closed(images)
    # QEMU's own refusal, after the disks were there.
    vm.define(devices=disk(image(images, "second")) + "<disk type='file'><driver name='qemu' type='qcow2'/>"
              "<source file='/nowhere'/><target dev='vdb' bus='virtio'/></disk>")
    assert vm.virsh("start", check=False).returncode
    closed(images)
    images.check()


def test_dead_server_is_an_error_in_the_guest(machine, images):
    write(machine, "kept")
    images.kill()
    assert "error" in machine.inside("dd if=/dev/vda of=/dev/null bs=64k skip=9 count=1 iflag=direct 2>&1", check=False)
    assert machine.state().startswith("running")
    machine.destroy().start().ready()
    assert read(machine) == "kept"


def test_death_of_qemu_closes_the_image(machine, images):
    write(machine, "kept")
    os.kill(machine.pid(), signal.SIGKILL)
    closed(images)
    machine.wait_state("shut off")
    assert content(images, machine.image) == "kept"


def test_machine_outlives_libvirtd(machine, images, daemon):
    machine.disconnect()
    daemon.kill9()
    assert len(images.processes()) == 1
    daemon.start()
    write(machine, "later")
    assert read(machine) == "later"
    check_outer(machine.live_xml())


def test_saved_and_restored(machine, images):
    write(machine, "saved")
    machine.disconnect()
    path = os.path.join(machine.folder, "saved")
    machine.virsh("save", path)
    closed(images)
    check_outer(machine.daemon.virsh("save-image-dumpxml", path).stdout)
    machine.daemon.virsh("restore", path)
    assert read(machine) == "saved"
    machine.disconnect()
    machine.virsh("managedsave")
    closed(images)
    machine.start()
    assert read(machine) == "saved"
    check_outer(machine.live_xml())


def test_a_saved_machine_goes_on_with_the_image_that_it_had(machine, images):
    write(machine, "saved")
    machine.disconnect()
    machine.virsh("managedsave")
    closed(images)
    other = image(images, "other")
    changed = machine.live_xml().replace(f"'{machine.image}'", f"'{other}'")
    assert other in changed
    machine.daemon.virsh("define", machine.part(changed))
    machine.start()
    assert read(machine) == "saved"
    listed = images.ploop("list")
    assert machine.image in listed and other not in listed
    # What is asked of a disk that runs is asked of the one that the machine has now.
    refused = machine.virsh("blockresize", machine.image, "32M", check=False)
    assert refused.returncode and "ploop resize" in refused.stderr
    machine.disconnect()
    machine.virsh("managedsave")
    closed(images)
    machine.virsh("start", "--force-boot")
    listed = images.ploop("list")
    assert other in listed and machine.image not in listed


def test_no_file_of_the_clients_choice_becomes_a_socket(make_vm, images):
    folder = image(images)
    precious = os.path.join(images.folder, "precious")
    with open(precious, "w", encoding="utf-8") as file:
        file.write("kept")
    vm = make_vm(devices=(
        "<disk type='network' device='disk'><driver name='qemu' type='raw'/>"
        f"<source protocol='nbd' name='vz-ploop:file:ploop:{folder}'><host transport='unix' socket='{precious}'/></source>"
        "<target dev='vda' bus='virtio'/></disk>")).define()
    check_outer(vm.live_xml())
    vm.virsh("start", "--paused")
    assert folder in images.ploop("list")
    with open(precious, encoding="utf-8") as file:
        assert file.read() == "kept"


def test_transient_machine(make_vm, images):
    vm = make_vm(devices=disk(image(images)))
    vm.daemon.virsh("create", vm.file())
    write(vm.ready(), "transient")
    assert read(vm) == "transient"
    vm.destroy()
    closed(images)


def test_what_cannot_be_is_refused(machine, make_vm, images):
    for words, reason in ((("snapshot-create-as", "--disk-only"), "ploop snapshot"),
                          (("blockcopy", "vda", "/tmp/copy"), "ploop "),
                          (("blockpull", "vda"), "ploop snapshot"),
                          (("blockcommit", "vda", "--active"), "ploop snapshot"),
                          (("autostart",), "QEMU's driver"),
                          (("migrate", "--live", "--p2p", "qemu+ssh://nowhere/system"), "another host")):
        refused = machine.virsh(*words, check=False)
        assert refused.returncode and reason in refused.stderr, refused.stderr
    vm = make_vm("wrong", devices=disk("/x", more="<shareable/>"))
    refused = vm.daemon.virsh("define", vm.file(), check=False)
    assert refused.returncode and "shareable" in refused.stderr and "vda" in refused.stderr
    # A file beside a descriptor that does not name it is none of its image.
    folder = image(images, "second")
    stray = os.path.join(folder, "stray")
    subprocess.run(["cp", os.path.join(folder, "root.hds"), stray], check=True)
    vm = make_vm("stray", devices=disk(stray)).define()
    refused = vm.virsh("start", check=False)
    assert refused.returncode and "no file of the image" in refused.stderr


def test_reading_only(make_vm, images):
    folder = image(images)
    vms_ = [make_vm(name, devices=disk(folder, more="<readonly/>")).define().start().ready() for name in ("one", "two")]
    for vm in vms_:
        assert vm.inside("cat /sys/block/vda/ro") == "1"
        assert read(vm) == ""
    for vm in vms_:
        vm.destroy()
    closed(images)


@pytest.mark.host_only
def test_qemu_as_the_host_runs_it_opens_the_image(make_vm, images, daemon):
    """Elsewhere in the tests QEMU is root and has no profile; a host gives it a user of its own and AppArmor's."""
    vm = make_vm(devices=disk(image(images))).define()
    vm.virsh("start", "--paused")
    with open(f"/run/libvirt/qemu/{vm.name}.pid", encoding="utf-8") as file:
        pid = int(file.read())
    assert os.stat(f"/proc/{pid}").st_uid != 0
    with open(f"/proc/{pid}/attr/current", encoding="utf-8") as file:
        assert file.read().strip() == f"libvirt-{vm.uuid} (enforce)"
    assert "in use" in images.ploop("umount", os.path.join(images.folder, "disk"), status=46)
    other = image(images, "other")
    vm.virsh("attach-disk", other, "vdb", "--targetbus", "virtio", "--driver", "qemu", "--subdriver", "ploop", "--live")
    assert len(daemon.virsh("domblklist", vm.name).stdout.strip().splitlines()) >= 2
    vm.virsh("destroy")
    closed(images)
