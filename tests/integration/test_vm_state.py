# SPDX-License-Identifier: LGPL-2.1-or-later
"""The life of a virtual machine: how it begins and ends, what is kept of it, and who may look away meanwhile."""

import os
import signal
import xml.etree.ElementTree as ET

import libvirt
import pytest
from harness import vm as vms
from harness.guest import wait_for

pytest_plugins = ["harness.vm_fixtures"]
DAEMON = vms.DAEMON
BOOTED = {}

STOPPED = libvirt.VIR_DOMAIN_EVENT_STOPPED


def seconds_up(vm):
    return float(vm.inside("cut -d' ' -f1 /proc/uptime"))


def test_defined_then_undefined(make_vm, daemon, events):
    vm = make_vm().define()
    events.wait("lifecycle", "vm", libvirt.VIR_DOMAIN_EVENT_DEFINED)
    assert vm.state() == "shut off (unknown)" and vm.id() is None
    assert "vm" in daemon.virsh("list", "--inactive", "--name").stdout.split()
    vm.virsh("undefine")
    events.wait("lifecycle", "vm", libvirt.VIR_DOMAIN_EVENT_UNDEFINED)
    assert vm.virsh("domstate", check=False).returncode


def test_definition_is_a_fixed_point(make_vm, daemon):
    vm = make_vm(agent=True, max_vcpus=2)
    vm.define(disks=[vm.disk()])
    first = vm.live_xml()
    with open(os.path.join(vm.folder, "again.xml"), "w", encoding="utf-8") as file:
        file.write(first)
    daemon.virsh("define", file.name)
    assert vm.live_xml() == first


def test_two_of_one_name_or_uuid_are_refused(make_vm, daemon):
    vm = make_vm().define()
    other = make_vm("other")
    same_name = daemon.virsh("define", other.file(name="vm"), check=False)
    assert same_name.returncode and "already exists" in same_name.stderr
    other.uuid = vm.uuid
    same_uuid = daemon.virsh("define", other.file(), check=False)
    assert same_uuid.returncode and "already" in same_uuid.stderr


def test_renamed_and_marked_for_autostart(make_vm, daemon):
    vm = make_vm().define()
    vm.virsh("autostart")
    assert "vm" in daemon.virsh("list", "--all", "--autostart", "--name").stdout.split()
    vm.virsh("autostart", "--disable")
    vm.virsh("domrename", "renamed")
    vm.name = "renamed"
    assert vm.state() == "shut off (unknown)"
    assert ET.fromstring(vm.live_xml()).findtext("name") == "renamed"


def test_paused_start_and_transient_end(make_vm, daemon, events):
    vm = make_vm()
    daemon.virsh("create", vm.file(), "--paused")
    events.wait("lifecycle", "vm", libvirt.VIR_DOMAIN_EVENT_STARTED)
    assert vm.state().startswith("paused")
    assert "vm" in daemon.virsh("list", "--transient", "--name").stdout.split()
    vm.virsh("destroy")
    assert events.wait("lifecycle", "vm", STOPPED)[3] == libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED
    assert vm.virsh("domstate", check=False).returncode


def test_autodestroy_ends_with_its_connection(make_vm, daemon):
    vm = make_vm()
    connection = daemon.connect()
    connection.createXML(vm.xml(), libvirt.VIR_DOMAIN_START_AUTODESTROY | libvirt.VIR_DOMAIN_START_PAUSED)
    assert vm.state().startswith("paused")
    connection.close()
    wait_for(lambda: vm.virsh("domstate", check=False).returncode, what="the end of the machine")


def test_shutdown_reboot_and_reset(vm, events):
    vm.inside("touch /tmp/first-boot")
    vm.virsh("reboot", "--mode", "acpi")
    events.wait("reboot", "vm")
    vm.booted_again()
    vm.inside("[ ! -e /tmp/first-boot ] && touch /tmp/second-boot")
    vm.virsh("reset")
    vm.booted_again()
    vm.inside("[ ! -e /tmp/second-boot ]")
    vm.virsh("shutdown", "--mode", "acpi")
    assert events.wait("lifecycle", "vm", STOPPED)[3] == libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN
    assert vm.state() == "shut off (shutdown)"


def test_what_is_added_live_is_gone_at_the_next_start(make_vm):
    vm = make_vm().define().start("--paused")
    path = vm.disk("live", 1)
    vm.virsh("attach-disk", path, "vda", "--targetbus", "virtio", "--driver", "qemu", "--subdriver", "qcow2", "--live")
    assert path in vm.live_xml() and path not in vm.live_xml("--inactive")
    vm.virsh("setmaxmem", "192M", "--config")
    assert ET.fromstring(vm.live_xml()).findtext("memory") == str(128 << 10)
    vm.destroy()
    assert path not in vm.live_xml()
    assert ET.fromstring(vm.live_xml()).findtext("memory") == str(192 << 10)


def test_saved_and_restored(make_vm, daemon, events):
    vm = make_vm(max_vcpus=2).define().start().ready()
    vm.inside("echo kept >/tmp/kept")
    vm.virsh("setvcpus", 2, "--live")
    vm.wait_inside("[ -e /sys/devices/system/cpu/cpu1/online ]")
    vm.inside("echo 1 >/sys/devices/system/cpu/cpu1/online")
    assert vm.inside("nproc") == "2"
    image = os.path.join(vm.folder, "image")
    vm.disconnect()
    vm.virsh("save", image)
    assert vm.state() == "shut off (saved)"
    assert events.wait("lifecycle", "vm", STOPPED)[3] == libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED
    assert ET.fromstring(daemon.virsh("save-image-dumpxml", image).stdout).get("type") == vms.TYPE
    daemon.virsh("restore", image)
    assert vm.inside("cat /tmp/kept; nproc") == "kept\n2"
    vm.disconnect()
    vm.virsh("managedsave")
    assert "vm" in daemon.virsh("list", "--all", "--with-managed-save", "--name").stdout.split()
    assert ET.fromstring(vm.virsh("managedsave-dumpxml").stdout).get("type") == vms.TYPE
    refused = vm.virsh("undefine", check=False)
    assert refused.returncode and "managed save" in refused.stderr
    vm.start()
    assert vm.inside("cat /tmp/kept") == "kept"
    assert not daemon.virsh("list", "--all", "--with-managed-save", "--name").stdout.strip()
    vm.disconnect()
    vm.virsh("managedsave", "--paused")
    vm.virsh("managedsave-remove")
    assert "shut off" in vm.state()


def test_snapshots_inside_the_disk(make_vm, daemon):
    vm = make_vm()
    path = vm.disk()
    vm.define(disks=[path]).start().ready()
    vm.inside("echo before >/tmp/state; echo before | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null")
    vm.virsh("snapshot-create-as", "one", "--description", "the first")
    vm.inside("echo after >/tmp/state; echo after | dd of=/dev/vda bs=512 conv=sync,fsync 2>/dev/null")
    vm.virsh("snapshot-create-as", "two")
    assert vm.virsh("snapshot-list", "--name").stdout.split() == ["one", "two"]
    assert vm.virsh("snapshot-current", "--name").stdout.strip() == "two"
    assert vm.virsh("snapshot-parent", "two").stdout.strip() == "one"
    described = ET.fromstring(vm.virsh("snapshot-dumpxml", "one").stdout)
    assert described.findtext("description") == "the first" and described.find("domain").get("type") == vms.TYPE
    assert [item["name"] for item in vms.qcow2_info(path)["snapshots"]] == ["one", "two"]
    vm.disconnect()
    vm.virsh("snapshot-revert", "one", "--running")
    assert vm.inside("cat /tmp/state; head -c 6 /dev/vda") == "before\nbefore"
    # The definitions of snapshots are kept over the daemon's end, the machine goes on meanwhile.
    vm.disconnect()
    daemon.restart()
    assert vm.inside("cat /tmp/state") == "before"
    assert vm.virsh("snapshot-current", "--name").stdout.strip() == "one"
    vm.virsh("snapshot-delete", "two")
    vm.virsh("snapshot-delete", "one")
    assert not vm.virsh("snapshot-list", "--name").stdout.strip()
    assert not vms.qcow2_info(path).get("snapshots")


def test_core_dump(booted):
    core = os.path.join(booted.folder, "core")
    booted.virsh("dump", core, "--memory-only", "--live")
    with open(core, "rb") as file:
        assert file.read(4) == b"\x7fELF"
    assert os.path.getsize(core) > 128 << 20
    assert booted.inside("echo alive") == "alive"


def test_end_of_qemu_is_seen(make_vm, daemon, events):
    vm = make_vm().define().start("--paused")
    os.kill(vm.pid(), signal.SIGKILL)
    assert events.wait("lifecycle", "vm", STOPPED)[3] == libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED
    wait_for(lambda: vm.state() == "shut off (crashed)", what="the crashed state")
    vm.start("--paused").destroy()


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_machine_outlives_the_daemon(booted, daemon, how):
    number, up, identity = booted.pid(), seconds_up(booted), booted.id()
    booted.disconnect()
    if how == "stopped":
        daemon.stop()
    else:
        daemon.kill9()
    os.kill(number, 0)
    daemon.start()
    assert booted.state().startswith("running") and booted.id() == identity
    assert seconds_up(booted) > up
    assert ET.fromstring(booted.live_xml()).get("type") == vms.TYPE
