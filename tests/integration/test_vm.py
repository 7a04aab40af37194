# SPDX-License-Identifier: LGPL-2.1-or-later
"""A running virtual machine: its console, its devices, its statistics, and the streams to it."""

import os
import re
import socket
import struct
import xml.etree.ElementTree as ET

import libvirt
import pytest
from harness import vm as vms
from harness.events import start_loop
from harness.guest import wait_for

pytest_plugins = ["harness.vm_fixtures"]
DAEMON = vms.DAEMON
BOOTED = {
    # Where memory can be added above 4 GiB, the kernel takes 64 MiB for devices that cannot reach so far.
    "cmdline": "swiotlb=noforce",
    "agent": True, "memory": 128, "max_memory": 160, "max_vcpus": 2,
    "top": """<maxMemory slots='2' unit='MiB'>512</maxMemory>
              <cpu><numa><cell id='0' cpus='0-1' memory='160' unit='MiB'/></numa></cpu>""",
    "devices": """<channel type='unix'><target type='virtio' name='test.0'/></channel>
                  <graphics type='vnc'><listen type='socket'/></graphics>
                  <video><model type='vga'/></video>
                  <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>""",
}


@pytest.fixture(scope="module", autouse=True)
def event_loop():
    """What arrives on a stream that does not block is read by the event loop only."""
    start_loop()


def info(vm, command="dominfo", *arguments):
    return dict(re.findall(r"^\s*(.+?)\s*: +(.+)$", vm.virsh(command, *arguments).stdout, re.M))


def stats(vm, *groups):
    return dict(re.findall(r"^  (.+?)=(.*)$", vm.virsh("domstats", *groups).stdout, re.M))


def device(vm, path):
    """An element of the live XML's devices."""
    return ET.fromstring(vm.live_xml()).find(f"devices/{path}")


def memory_inside(vm):
    return int(vm.inside("sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo"))


# The machine as such


def test_boots_to_a_shell_on_the_serial_console(booted):
    assert booted.inside("uname -s") == "Linux"
    assert "vm=shared" in booted.inside("cat /proc/cmdline")


def test_is_listed_and_described(booted, daemon):
    assert re.search(rf"^ *{booted.id()} +shared +running$", daemon.virsh("list").stdout, re.M)
    about = info(booted)
    assert (about["OS Type"], about["State"], about["UUID"]) == ("hvm", "running", booted.uuid)
    assert (about["CPU(s)"], about["Max memory"]) == ("1", f"{160 * 1024} KiB")
    assert daemon.virsh("domuuid", booted.id()).stdout.strip() == booted.uuid
    assert daemon.virsh("domname", booted.uuid).stdout.strip() == "shared"


@pytest.mark.parametrize("flag", [None, "--inactive", "--migratable", "--security-info"])
def test_xml_is_of_our_type(booted, flag):
    root = ET.fromstring(booted.live_xml(*[flag] if flag else []))
    assert root.get("type") == vms.TYPE
    assert (root.findtext("name"), root.findtext("uuid"), root.findtext("os/type")) == ("shared", booted.uuid, "hvm")
    if flag in ("--inactive", "--migratable"):
        assert root.get("id") is None
    else:
        assert int(root.get("id")) == booted.id()
        assert root.find("devices/serial/source").get("path").startswith("/dev/pts/")


def test_pause_stops_it_and_resume_goes_on(booted, conn, events):
    booted.inside("(while :; do cat /proc/uptime >/tmp/beat; usleep 50000; done) & echo $! >/tmp/beater")
    domain = conn.lookupByName("shared")
    assert domain.suspend() == 0
    assert domain.state() == [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER]
    events.wait("lifecycle", "shared", libvirt.VIR_DOMAIN_EVENT_SUSPENDED, libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED)
    assert domain.resume() == 0
    assert domain.state()[0] == libvirt.VIR_DOMAIN_RUNNING
    events.wait("lifecycle", "shared", libvirt.VIR_DOMAIN_EVENT_RESUMED, libvirt.VIR_DOMAIN_EVENT_RESUMED_UNPAUSED)
    beat = booted.inside("cat /tmp/beat")
    booted.wait_inside(f"[ \"$(cat /tmp/beat)\" != '{beat}' ]")
    booted.inside("kill $(cat /tmp/beater)")


def test_title_and_metadata_of_the_running_one(booted, events):
    booted.virsh("desc", "--live", "--title", "a title")
    assert "a title" in booted.virsh("desc", "--live", "--title").stdout
    booted.virsh("metadata", "urn:test", "--live", "--key", "t", "--set", "<mark in='it'/>")
    assert "mark" in booted.virsh("metadata", "urn:test", "--live").stdout
    assert events.wait("metadata", "shared", libvirt.VIR_DOMAIN_METADATA_ELEMENT)[3] == "urn:test"
    booted.virsh("metadata", "urn:test", "--live", "--remove")
    assert booted.virsh("metadata", "urn:test", "--live", check=False).returncode


# Devices that come and go


def test_disk_comes_and_goes(booted, events):
    path = booted.disk("hotplug", 8)
    booted.virsh("attach-disk", path, "vdc", "--targetbus", "virtio", "--driver", "qemu", "--subdriver", "qcow2",
                 "--serial", "seen-inside", "--live")
    assert device(booted, "disk/source").get("file") == path
    alias = device(booted, "disk/alias").get("name")
    # Inside it is the first one, whatever its name outside.
    booted.wait_inside("[ -b /dev/vda ]")
    assert booted.inside("cat /sys/block/vda/serial") == "seen-inside"
    assert int(booted.inside("cat /sys/block/vda/size")) * 512 == 8 << 20
    booted.inside("echo written-inside | dd of=/dev/vda conv=sync,fsync bs=512 2>/dev/null")
    again = booted.virsh("attach-disk", path, "vdc", "--targetbus", "virtio", "--live", check=False)
    assert again.returncode and "target 'vdc' duplicated" in again.stderr
    booted.virsh("detach-disk", "vdc", "--live")
    assert events.wait("device-removed", "shared")[2] == alias
    booted.wait_inside("[ ! -e /sys/block/vda ]")
    assert path not in booted.virsh("domblklist").stdout
    assert vms.qcow2_content(path, 14) == b"written-inside"


def test_interface_comes_and_goes(booted, daemon, events):
    mac = "52:54:00:12:34:56"
    interface = booted.part(f"<interface type='ethernet'><mac address='{mac}'/><target dev='vztap0'/>"
                            "<model type='virtio'/></interface>")
    booted.virsh("attach-device", interface, "--live")
    booted.wait_inside(f"grep -q {mac} /sys/class/net/eth0/address")
    assert mac in booted.virsh("domiflist").stdout
    daemon.run("ip", "address", "add", "10.99.0.1/24", "dev", "vztap0")
    daemon.run("ip", "link", "set", "vztap0", "up")
    booted.inside("ip address add 10.99.0.2/24 dev eth0 && ip link set eth0 up")
    booted.wait_inside("ping -c 1 -W 1 10.99.0.1 >/dev/null")
    assert int(booted.virsh("domifstat", "vztap0").stdout.split("rx_packets ")[1].split()[0]) > 0
    booted.virsh("domif-setlink", "vztap0", "down")
    booted.wait_inside("[ $(cat /sys/class/net/eth0/carrier) = 0 ]")
    assert "down" in booted.virsh("domif-getlink", "vztap0").stdout
    booted.virsh("domif-setlink", "vztap0", "up")
    booted.wait_inside("[ $(cat /sys/class/net/eth0/carrier) = 1 ]")
    booted.virsh("detach-interface", "ethernet", "--mac", mac, "--live")
    events.wait("device-removed", "shared")
    booted.wait_inside("[ ! -e /sys/class/net/eth0 ]")
    assert mac not in booted.virsh("domiflist").stdout


def test_iotune_slows_a_disk(booted, vm_events):
    path = booted.disk("slow", 4)
    booted.virsh("attach-disk", path, "vdc", "--targetbus", "virtio", "--driver", "qemu", "--subdriver", "qcow2",
                 "--live")
    booted.wait_inside("[ -b /dev/vda ]")
    booted.virsh("blkdeviotune", "vdc", "--total-bytes-sec", 1 << 20, "--live")
    assert info(booted, "blkdeviotune", "vdc")["total_bytes_sec"] == str(1 << 20)
    assert vm_events.wait("tunable", "shared")[2]["blkdeviotune.total_bytes_sec"] == 1 << 20
    # 1 MiB in pieces that pass one after the other; without a limit that is some milliseconds.
    begin, end = booted.inside("cat /proc/uptime; dd if=/dev/zero of=/dev/vda bs=64k count=16 oflag=direct 2>/dev/null;"
                               "cat /proc/uptime").splitlines()
    assert float(end.split()[0]) - float(begin.split()[0]) > 0.5
    booted.virsh("blkdeviotune", "vdc", "--total-bytes-sec", 0, "--live")
    assert info(booted, "blkdeviotune", "vdc")["total_bytes_sec"] == "0"
    booted.virsh("detach-disk", "vdc", "--live")
    booted.wait_inside("[ ! -e /sys/block/vda ]")
    wait_for(lambda: path not in booted.virsh("domblklist").stdout, what="the end of the disk")


# Memory


def test_balloon_takes_and_gives_memory(booted, conn, vm_events):
    domain = conn.lookupByName("shared")
    full = memory_inside(booted)
    domain.setMemoryFlags(96 << 10, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    wait_for(lambda: abs(full - memory_inside(booted) - (32 << 10)) < 1024, what="the smaller memory inside")
    wait_for(lambda: stats(booted, "--balloon")["balloon.current"] == str(96 << 10), what="the smaller memory")
    assert domain.info()[2] == 96 << 10
    vm_events.wait("balloon", "shared", 96 << 10)
    domain.setMemoryFlags(128 << 10, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    wait_for(lambda: memory_inside(booted) == full, what="the memory as before")
    with pytest.raises(libvirt.libvirtError) as error:
        domain.setMemoryFlags(1 << 20, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    assert error.value.get_error_code() == libvirt.VIR_ERR_INVALID_ARG


def test_memory_statistics_come_from_inside(booted):
    booted.virsh("dommemstat", "--period", 1, "--live")
    wait_for(lambda: "usable" in booted.virsh("dommemstat").stdout, what="statistics of the balloon")
    values = dict(line.split() for line in booted.virsh("dommemstat").stdout.splitlines() if line)
    assert 0 < int(values["usable"]) < int(values["available"]) <= memory_inside(booted)
    booted.virsh("dommemstat", "--period", 0, "--live")


def test_memory_module_comes_and_goes(booted, vm_events):
    full = memory_inside(booted)
    module = "<memory model='dimm'><target><size unit='MiB'>128</size><node>0</node></target></memory>"
    booted.virsh("attach-device", booted.part(module), "--live")
    assert vm_events.wait("device-added", "shared")[2].endswith("dimm0")
    # There, but not in use before the guest says so.
    booted.wait_inside("grep -q offline /sys/devices/system/memory/memory*/state")
    booted.inside("for part in /sys/devices/system/memory/memory*/state; do "
                  "! grep -q offline $part || echo online_movable >$part; done")
    assert memory_inside(booted) > full + (120 << 10)
    plugged = re.search("<memory model='dimm'>.*?</memory>", booted.live_xml(), re.S).group(0)
    booted.virsh("detach-device", booted.part(plugged), "--live")
    vm_events.wait("device-removed", "shared", "dimm0")
    assert memory_inside(booted) == full and "model='dimm'" not in booted.live_xml()


def test_statistics_in_one_call(booted, daemon):
    values = stats(booted)
    assert values["state.state"] == "1" and int(values["cpu.time"]) > 0
    assert values["vcpu.maximum"] == "2" and int(values["balloon.maximum"]) == 160 << 10
    listed = daemon.virsh("domstats", "--list-running", "--state").stdout
    assert "Domain: 'shared'" in listed


# Streams and the guest agent


def test_guest_agent_answers(booted, vm_events):
    assert booted.virsh("qemu-agent-command", '{"execute":"guest-ping"}').stdout.strip() == '{"return":{}}'
    assert "shared" in booted.virsh("domhostname", "--source", "agent").stdout
    unknown = booted.virsh("qemu-agent-command", '{"execute":"guest-nothing"}', check=False)
    assert unknown.returncode and "not known here" in unknown.stderr
    booted.inside("kill $(pidof guest-agent)")
    vm_events.wait("agent", "shared", libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_DISCONNECTED)
    gone = booted.virsh("qemu-agent-command", '{"execute":"guest-ping"}', check=False)
    assert gone.returncode and "agent is not connected" in gone.stderr
    booted.inside("{ guest-agent & }")
    vm_events.wait("agent", "shared", libvirt.VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_STATE_CONNECTED)
    assert not booted.virsh("qemu-agent-command", '{"execute":"guest-ping"}').returncode


def test_channel_as_a_stream(booted, conn):
    booted.inside("for port in /sys/class/virtio-ports/*; do grep -q '^test.0$' $port/name && "
                  "ln -sf /dev/${port##*/} /dev/test.0; done; [ -e /dev/test.0 ]")
    # As long as nobody is there outside, what is read is the end of the file.
    booted.inside("{ while :; do read -r line && echo \"heard $line\" || usleep 50000; done <>/dev/test.0 >&0 & "
                  "echo $! >/tmp/listener; }")
    domain, stream = conn.lookupByName("shared"), conn.newStream(libvirt.VIR_STREAM_NONBLOCK)
    domain.openChannel("test.0", stream, 0)
    stream.send(b"one\n")
    heard = b""

    def listen():
        nonlocal heard
        data = stream.recv(64)
        heard += data if data != -2 else b""
        return heard.endswith(b"\n")

    wait_for(listen, what="an answer on the channel")
    assert heard == b"heard one\n"
    with pytest.raises(libvirt.libvirtError) as error:
        domain.openChannel("test.0", conn.newStream(), 0)
    assert error.value.get_error_code() in (libvirt.VIR_ERR_OPERATION_FAILED, libvirt.VIR_ERR_RESOURCE_BUSY)
    stream.abort()
    booted.inside("kill $(cat /tmp/listener); rm /dev/test.0")


def test_screenshot(booted):
    path = os.path.join(booted.folder, "screen")
    booted.virsh("screenshot", path)
    with open(path, "rb") as file:
        picture = file.read()
    assert picture[:8] == b"\x89PNG\r\n\x1a\n" and picture[-8:-4] == b"IEND"
    # The text screen that the firmware leaves.
    assert struct.unpack(">II", picture[16:24]) == (720, 400)


def test_graphics_through_a_descriptor(booted, conn, vm_events):
    descriptor = conn.lookupByName("shared").openGraphicsFD(0, libvirt.VIR_DOMAIN_OPEN_GRAPHICS_SKIPAUTH)
    with socket.socket(fileno=descriptor) as screen:
        screen.settimeout(10)
        assert screen.recv(12) == b"RFB 003.008\n"
        vm_events.wait("graphics", "shared", libvirt.VIR_DOMAIN_EVENT_GRAPHICS_CONNECT)
    vm_events.wait("graphics", "shared", libvirt.VIR_DOMAIN_EVENT_GRAPHICS_DISCONNECT)


def test_keys_arrive_inside(booted):
    booted.inside("for device in /sys/class/input/event*; do grep -q keyboard $device/device/name && "
                  "ln -sf input/${device##*/} /dev/keys; done; [ -e /dev/keys ]")
    booted.inside("{ head -c 24 /dev/keys >/tmp/keys & }")
    wait_for(lambda: booted.inside("fuser /dev/keys >/dev/null && echo open", check=False), what="a listener")
    booted.virsh("send-key", "KEY_A")
    booted.wait_inside("[ -s /tmp/keys ]")
