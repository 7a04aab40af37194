# SPDX-License-Identifier: LGPL-2.1-or-later
"""File systems and host devices: at start, and attached and detached while running."""

import os
import subprocess
import xml.etree.ElementTree as ElementTree

import libvirt
import pytest
from harness.guest import wait_for

LIVE, CONFIG = libvirt.VIR_DOMAIN_AFFECT_LIVE, libvirt.VIR_DOMAIN_AFFECT_CONFIG


@pytest.fixture
def folder(daemon, request):
    """A folder that a container can be given."""
    path = os.path.join(daemon.folder, "shared-" + request.node.name.replace("/", "-"))
    os.makedirs(path)
    with open(os.path.join(path, "mark"), "w", encoding="utf-8") as file:
        file.write("from outside\n")
    return path


def mount_xml(source, target, extra="", kind="mount"):
    return f"<filesystem type='{kind}'><source dir='{source}'/><target dir='{target}'/>{extra}</filesystem>"


def device_xml(path, kind="char"):
    element = "char" if kind == "char" else "block"
    return (f"<hostdev mode='capabilities' type='{'misc' if kind == 'char' else 'storage'}'>"
            f"<source><{element}>{path}</{element}></source></hostdev>")


@pytest.fixture
def loop(daemon):
    """A loop device with an ext4 on it."""
    image = os.path.join(daemon.folder, "disk.img")
    subprocess.run(["truncate", "-s", "16M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    device = subprocess.run(["losetup", "--find", "--show", image], check=True, capture_output=True,
                            text=True).stdout.strip()
    yield device
    subprocess.run(["losetup", "--detach", device], check=True)
    os.unlink(image)


# At start


@pytest.mark.parametrize("kind", ["mount", "bind"])
def test_further_mounts(make_guest, folder, kind):
    guest = make_guest(devices=mount_xml(folder, "/mnt/shared", kind=kind) + mount_xml(folder, "/new/place", "<readonly/>"))
    guest.define().start().ready()
    assert guest.inside("/bin/cat", "/mnt/shared/mark") == "from outside\n"
    guest.inside("/bin/sh", "-c", "echo inside >/mnt/shared/reply")
    assert os.path.exists(os.path.join(folder, "reply"))
    assert "Read-only" in guest.inside("/bin/sh", "-c", "touch /new/place/x 2>&1; true")


def test_owner_of_what_is_written_is_mapped(guest, running):
    running.inside("/bin/touch", "/owned")
    state = os.stat(running.path("/owned"))
    assert (state.st_uid, state.st_gid) == (0, 0), "an id-mapped root shows the ids of the root on disk"
    with open(f"/proc/{running.id()}/uid_map", encoding="utf-8") as table:
        inside, host, count = map(int, table.read().split())
    assert inside == 0 and host >= 65536 and count >= 65536, "a container has a user namespace of its own"


def test_read_only_root(make_guest):
    guest = make_guest(
        init="/bin/sh", args=["-c", "while :; do sleep 1000; done"],
        filesystem="<filesystem type='mount'><source dir='{}'/><target dir='/'/><readonly/></filesystem>")
    guest.settings["filesystem"] = guest.settings["filesystem"].format(guest.root)
    guest.define().start()
    assert "Read-only" in guest.inside("/bin/sh", "-c", "touch /x 2>&1; true")
    guest.inside("/bin/touch", "/dev/shm/x")


def test_ram_filesystem(make_guest):
    guest = make_guest(devices="<filesystem type='ram'><source usage='8' units='MiB'/><target dir='/mnt'/></filesystem>")
    guest.define().start().ready()
    assert " tmpfs " in guest.inside("/bin/grep", " /mnt ", "/proc/mounts")
    assert guest.inside("/bin/df", "-k", "/mnt").splitlines()[1].split()[1] == "8192"


def test_block_filesystem(make_guest, loop):
    guest = make_guest(devices=f"<filesystem type='block'><source dev='{loop}'/><target dir='/mnt'/></filesystem>")
    guest.define().start().ready()
    assert "ext4" in guest.inside("/bin/grep", " /mnt ", "/proc/mounts")
    guest.inside("/bin/ls", "/mnt/lost+found")


def test_explicit_idmap(make_guest):
    guest = make_guest(top="<idmap><uid start='0' target='300000' count='65536'/><gid start='0' target='400000' count='65536'/></idmap>")
    guest.define().start().ready()
    with open(f"/proc/{guest.id()}/uid_map", encoding="utf-8") as table:
        assert table.read().split() == ["0", "300000", "65536"]
    with open(f"/proc/{guest.id()}/gid_map", encoding="utf-8") as table:
        assert table.read().split() == ["0", "400000", "65536"]


def test_device_at_start(make_guest):
    guest = make_guest(devices=device_xml("/dev/fuse")).define().start().ready()
    assert "10" in guest.inside("/bin/ls", "-l", "/dev/fuse")
    guest.inside("/bin/sh", "-c", "exec 3<>/dev/fuse")


def test_devices_are_an_allow_list(running):
    names = set(running.inside("/bin/ls", "/dev").split())
    assert {"null", "zero", "full", "random", "urandom", "tty", "console", "ptmx", "pts", "shm"} <= names
    assert not {"mem", "kmsg", "vda", "kvm", "sda"} & names
    assert "ermitted" in running.inside("/bin/sh", "-c", "mknod /tmp/mem c 1 1 2>&1 && head -c1 /tmp/mem 2>&1; true")


def test_missing_source_is_named(daemon, make_guest):
    make_guest(devices=mount_xml("/no/such/folder", "/mnt")).define()
    done = daemon.virsh("start", "ct", check=False)
    assert done.returncode != 0 and "/no/such/folder" in done.stderr


# While running


@pytest.mark.host
def test_attach_and_detach_a_folder(daemon, conn, events, running, folder):
    domain = conn.lookupByName("ct")
    domain.attachDeviceFlags(mount_xml(folder, "/mnt/late"), LIVE)
    alias = ElementTree.fromstring(domain.XMLDesc()).findall("devices/filesystem")[1].find("alias").get("name")
    events.wait("device-added", "ct", alias)
    assert running.inside("/bin/cat", "/mnt/late/mark") == "from outside\n"
    assert len(ElementTree.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)).findall("devices/filesystem")) == 1
    domain.detachDeviceFlags(mount_xml(folder, "/mnt/late"), LIVE)
    events.wait("device-removed", "ct", alias)
    assert "/mnt/late" not in running.inside("/bin/cat", "/proc/mounts")


def test_attach_to_the_configuration(conn, guest, folder):
    domain = conn.lookupByName("ct")
    domain.attachDeviceFlags(mount_xml(folder, "/mnt/late"), CONFIG)
    guest.start().ready()
    assert guest.inside("/bin/cat", "/mnt/late/mark") == "from outside\n"
    domain.detachDeviceFlags(mount_xml(folder, "/mnt/late"), CONFIG)
    assert len(ElementTree.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)).findall("devices/filesystem")) == 1


def test_attached_folder_survives_a_reboot_and_a_restart(daemon, running, folder):
    daemon.virsh("attach-device", "ct", "/dev/stdin", "--live", stdin=mount_xml(folder, "/mnt/late"))
    running.inside("/bin/reboot", "-f", check=False)
    wait_for(lambda: running.boots() == 2, what="the second boot")
    assert running.inside("/bin/cat", "/mnt/late/mark") == "from outside\n"
    daemon.kill9()
    daemon.start()
    daemon.virsh("detach-device", "ct", "/dev/stdin", "--live", stdin=mount_xml(folder, "/mnt/late"))
    assert "/mnt/late" not in running.inside("/bin/cat", "/proc/mounts")


def test_attach_and_detach_a_device(conn, events, running):
    domain = conn.lookupByName("ct")
    domain.attachDeviceFlags(device_xml("/dev/fuse"), LIVE)
    added = events.wait("device-added", "ct")
    running.inside("/bin/sh", "-c", "exec 3<>/dev/fuse")
    domain.detachDeviceFlags(device_xml("/dev/fuse"), LIVE)
    assert events.wait("device-removed", "ct")[2] == added[2]
    assert "fuse" not in running.inside("/bin/ls", "/dev").split()


def test_detach_by_alias(conn, events, running, folder):
    domain = conn.lookupByName("ct")
    domain.attachDeviceFlags(mount_xml(folder, "/mnt/late"), LIVE)
    alias = events.wait("device-added", "ct")[2]
    domain.detachDeviceAlias(alias, LIVE)
    events.wait("device-removed", "ct", alias)


def test_attach_refusals(conn, running, folder):
    domain = conn.lookupByName("ct")

    def code(call, *arguments):
        with pytest.raises(libvirt.libvirtError) as error:
            call(*arguments)
        return error.value.get_error_code()

    domain.attachDeviceFlags(mount_xml(folder, "/mnt/late"), LIVE)
    assert code(domain.attachDeviceFlags, mount_xml(folder, "/mnt/late"), LIVE) in (
        libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_INVALID_ARG)
    assert code(domain.detachDeviceFlags, mount_xml(folder, "/elsewhere"), LIVE) == libvirt.VIR_ERR_DEVICE_MISSING
    assert code(domain.detachDeviceFlags, device_xml("/dev/fuse"), LIVE) == libvirt.VIR_ERR_DEVICE_MISSING
    assert code(domain.detachDeviceAlias, "none", LIVE) == libvirt.VIR_ERR_DEVICE_MISSING
    assert code(domain.attachDeviceFlags, "<sound model='ich6'/>", LIVE) == libvirt.VIR_ERR_CONFIG_UNSUPPORTED
    assert code(domain.attachDeviceFlags, mount_xml("/no/such/folder", "/mnt/x"), LIVE) is not None
    assert code(domain.attachDeviceFlags, mount_xml("/", "/mnt/x").replace("/mnt/x", "/"), LIVE) is not None
    domain.detachDeviceFlags(mount_xml(folder, "/mnt/late"), LIVE)


def test_targets_inside_cannot_lead_outside(daemon, running, folder):
    """A link that the container made must not steer a mount of the host."""
    running.inside("/bin/ln", "-s", "/proc/1/root/../../../../etc", "/mnt/trap")
    done = daemon.virsh("attach-device", "ct", "/dev/stdin", "--live", check=False,
                        stdin=mount_xml(folder, "/mnt/trap/x"))
    assert not os.path.exists("/etc/x")
    if done.returncode == 0:
        daemon.virsh("detach-device", "ct", "/dev/stdin", "--live", stdin=mount_xml(folder, "/mnt/trap/x"))
