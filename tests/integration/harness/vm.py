# SPDX-License-Identifier: LGPL-2.1-or-later
"""Virtual machines for the tests: a tiny Linux under emulation, its disks, its console."""

import functools
import json
import os
import pty
import re
import select
import subprocess
import termios
import time
import uuid as uuids
from xml.sax.saxutils import escape, quoteattr

from . import build
from .guest import wait_for
from .private_daemon import VM_MODULES

# Where the machines are made. The same tests against the stock driver tell whether a failure is ours.
URI = os.environ.get("VZ_TEST_VM_URI", "vz:///system")
TYPE = URI.split(":", maxsplit=1)[0]
# What a test file with virtual machines says: DAEMON = vm.DAEMON.
DAEMON = {"modules": VM_MODULES, "uri": URI}
# Half a second less of a boot of two and a half.
QUICK = "quiet mitigations=off nokaslr tsc=reliable no_timer_check cryptomgr.notests random.trust_cpu=on"


@functools.lru_cache
def kernel_folder():
    """The folder with `kernel` and `initramfs`; made once per machine."""
    ready = "/var/lib/vz-test/vm"  # baked into the image of the host tests
    if os.path.isdir(ready):
        return ready
    folder = os.path.join(build.CACHE, "vm")
    subprocess.run([os.path.join(build.TOP, "tools/make-vm-kernel"), folder], check=True, stdout=subprocess.DEVNULL)
    return folder


class Console:
    """`virsh console` on a terminal of its own, as a person has it."""

    def __init__(self, daemon, name, *flags):
        self._terminal, inner = pty.openpty()
        self._seen = b""
        argv = ["virsh", "-c", daemon.url(), "console", name, *flags]
        with os.fdopen(inner, "wb", buffering=0) as side:
            self._process = subprocess.Popen(argv, stdin=side, stdout=side, stderr=side, start_new_session=True,
                                             env={**os.environ, "LC_ALL": "C"})
        # What is typed before virsh has made its terminal raw is thrown away.
        wait_for(self._is_raw, 20, "the console of virsh")

    def _is_raw(self):
        if not self.open():
            raise AssertionError(f"virsh console ended: {self._rest()}")
        return not termios.tcgetattr(self._terminal)[3] & termios.ICANON

    def _rest(self):
        while self._read(0):
            pass
        return self._seen.decode(errors="replace")

    def _read(self, seconds):
        """Takes what is there, after waiting for it; False if there is nothing (any more)."""
        if not select.select([self._terminal], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self._terminal, 65536)
        except OSError:  # The other end is closed.
            return False
        self._seen += data
        return bool(data)

    def open(self):
        return self._process.poll() is None

    def send(self, text):
        os.write(self._terminal, text.encode())

    def expect(self, pattern, seconds=20):
        """Reads until the pattern has come; the match. What came up to its end is used up."""
        found = self.look_for(pattern, seconds)
        if not found:
            raise AssertionError(f"no {pattern!r} on the console, but {self._seen[-2000:]!r}")
        return found

    def look_for(self, pattern, seconds):
        """As expect(), but gives None if the pattern has not come after `seconds`, or the console ended."""
        end = time.monotonic() + seconds * float(os.environ.get("VZ_TIME_SCALE", "1"))
        while True:
            found = re.search(pattern.encode(), self._seen, re.S)
            if found:
                self._seen = self._seen[found.end():]
                return found
            left = end - time.monotonic()
            if left <= 0 or (not self._read(left) and not self.open()):
                return None

    def close(self):
        """Leaves with the escape character."""
        if self.open():
            self.send("\x1d")
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise AssertionError("virsh console did not end after the escape character") from None
        finally:
            os.close(self._terminal)


class Vm:
    """One virtual machine of a test: a name, disks of its own, and virsh on it. Removed by close()."""

    def __init__(self, daemon, folder, name, **settings):
        self.daemon, self.name, self.folder, self.settings = daemon, name, os.path.join(folder, name), settings
        self.uuid = settings.pop("uuid", None) or str(uuids.uuid4())
        self._console, self._commands, self._made_disks = None, 0, []
        os.makedirs(self.folder, exist_ok=True)

    # XML

    def xml(self, **changes):
        """
        The domain XML. Settings: type, memory and max_memory (MiB), vcpus and max_vcpus, machine, cmdline, disks
        (paths of qcow2 files, as vda, vdb ...), devices, os, top (raw XML at these places), on_poweroff, on_reboot,
        on_crash, name, agent (True: the channel of the guest agent).
        """
        use = {"type": TYPE, "memory": 128, "vcpus": 1, "machine": "pc", "cmdline": "", "disks": (), "devices": "",
               "os": "", "top": "", "name": self.name, "agent": False, **self.settings, **changes}
        maximum, vcpus = use.get("max_memory", use["memory"]), use.get("max_vcpus", use["vcpus"])
        ends = "".join(f"<{tag}>{use[tag]}</{tag}>" for tag in ("on_poweroff", "on_reboot", "on_crash") if tag in use)
        disks = "".join(disk_xml(path, f"vd{chr(ord('a') + number)}") for number, path in enumerate(use["disks"]))
        agent = "<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
        boot = kernel_folder()
        return f"""<domain type='{use["type"]}'>
  <name>{escape(use["name"])}</name>
  <uuid>{self.uuid}</uuid>
  <memory unit='MiB'>{maximum}</memory>
  <currentMemory unit='MiB'>{use["memory"]}</currentMemory>
  <vcpu current='{use["vcpus"]}'>{vcpus}</vcpu>
  <os>
    <type arch='x86_64' machine='{use["machine"]}'>hvm</type>
    <kernel>{escape(boot)}/kernel</kernel>
    <initrd>{escape(boot)}/initramfs</initrd>
    <cmdline>console=ttyS0 vm={escape(use["name"])} {QUICK} {escape(use["cmdline"])}</cmdline>
    {use["os"]}
  </os>
  <features><acpi/><apic/></features>
  {ends}{use["top"]}
  <devices>
    <controller type='usb' model='none'/>
    <serial type='pty'/>
    <memballoon model='virtio'/>
    {agent if use["agent"] else ""}{disks}{use["devices"]}
  </devices>
</domain>"""

    def file(self, **changes):
        path = os.path.join(self.folder, "domain.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.xml(**changes))
        return path

    def part(self, xml):
        """A file with a piece of XML, for `virsh attach-device` and its like."""
        path = os.path.join(self.folder, "part.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(xml)
        return path

    def disk(self, name="disk", megabytes=16, backing=None):
        """Makes a qcow2 file beside the machine; its path."""
        return make_qcow2(os.path.join(self.folder, f"{name}.qcow2"), megabytes, backing)

    def live_xml(self, *flags):
        return self.daemon.virsh("dumpxml", self.name, *flags).stdout

    # Life

    def virsh(self, command, *arguments, **options):
        """A command of virsh on this machine."""
        return self.daemon.virsh(command, self.name, *arguments, **options)

    def define(self, **changes):
        self.daemon.virsh("define", self.file(**changes))
        return self

    def start(self, *flags):
        self.disconnect()
        self.virsh("start", *flags)
        return self

    def ready(self, seconds=60):
        """Waits until the shell is on the console."""
        end = time.monotonic() + seconds * float(os.environ.get("VZ_TIME_SCALE", "1"))
        # The mark may have come before the console was open. A new line brings a prompt, once there is a shell.
        while not self.console().look_for(rf"vm-ready {self.name}\r|/ # ", 1):
            if time.monotonic() > end or self.console().look_for("Kernel panic.*", 0):
                self.console().expect("vm-ready", 0)
            self.console().send("\n")
        if self.settings.get("agent"):
            wait_for(lambda: "state='connected'" in self.live_xml(), 20, "the guest agent of " + self.name)
        return self

    def booted_again(self, seconds=60):
        """Waits for the next boot, which the open console sees."""
        self.console().expect(f"vm-ready {self.name}\r", seconds)

    def destroy(self):
        self.disconnect()
        self.virsh("destroy")
        return self

    def state(self):
        return self.virsh("domstate", "--reason").stdout.strip()

    def wait_state(self, state, seconds=30):
        wait_for(lambda: self.state().split(" (")[0] == state, seconds, f"{self.name} {state} (is {self.state()})")
        return self

    def id(self):
        text = self.virsh("domid").stdout.strip()
        return int(text) if text not in ("", "-") else None

    def pid(self):
        """The pid of QEMU."""
        with open(os.path.join(self.daemon.folder, f"run/qemu/{self.name}.pid"), encoding="utf-8") as file:
            return int(file.read())

    # Inside

    def console(self):
        """The console that inside() uses, opened again if it has ended."""
        if self._console and not self._console.open():
            self.disconnect()
        if not self._console:
            self._console = Console(self.daemon, self.name)
        return self._console

    def disconnect(self):
        """Leaves the console."""
        console, self._console = self._console, None
        if console:
            console.close()

    def inside(self, command, check=True, seconds=30):
        """Runs a line of shell on the console; what it printed."""
        self._commands += 1
        mark, console = self._commands, self.console()
        # What the terminal echoes must not look like the marks.
        console.send(f"echo '<'{mark}; {command}; echo '>'{mark}:$?\n")
        found = console.expect(rf"<{mark}\r\n(.*?)>{mark}:(\d+)\r\n", seconds)
        output = found.group(1).decode(errors="replace").replace("\r\n", "\n")
        if check and found.group(2) != b"0":
            raise AssertionError(f"{command!r} inside {self.name} ended with {found.group(2).decode()}: {output}")
        return output.strip()

    def wait_inside(self, command, seconds=20):
        """Repeats a command inside until it succeeds; what it printed."""
        self.inside(f"i=0; until {command}; do i=$((i+1)); [ $i -lt {seconds * 10} ] || break; sleep 0.1; done; "
                    f"[ $i -lt {seconds * 10} ]", seconds=seconds + 30)

    def close(self):
        try:
            self.disconnect()
        finally:
            self.virsh("destroy", check=False)
            self.virsh("undefine", "--managed-save", "--snapshots-metadata", "--checkpoints-metadata", check=False)


def disk_xml(path, target, more=""):
    """A disk of a qcow2 file."""
    return (f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file={quoteattr(path)}/>"
            f"<target dev='{target}' bus='virtio'/>{more}</disk>")


def make_qcow2(path, megabytes=16, backing=None):
    argv = ["qemu-img", "create", "-q", "-f", "qcow2"]
    argv += ["-b", backing, "-F", "qcow2", path] if backing else [path, f"{megabytes}M"]
    subprocess.run(argv, check=True)
    return path


def qcow2_info(path, *, chain=False):
    """What qemu-img says about an image, also while QEMU has it open."""
    argv = ["qemu-img", "info", "--output=json", "-U"] + (["--backing-chain"] if chain else [])
    return json.loads(subprocess.run(argv + [path], check=True, capture_output=True).stdout)


def qcow2_content(path, length):
    """The first bytes of a disk that no machine has open."""
    count = -(-length // 512)
    subprocess.run(["qemu-img", "dd", "-f", "qcow2", "-O", "raw", "bs=512", f"count={count}", f"if={path}",
                    f"of={path}.raw"], check=True, capture_output=True)
    with open(f"{path}.raw", "rb") as file:
        return file.read(length)


def leftovers(daemon):
    """Files that a machine which is undefined must not leave with libvirt."""
    found = []
    for top in ("run/qemu", "lib/qemu", "etc/qemu", "etc/vz"):
        for path, folders, names in os.walk(os.path.join(daemon.folder, top)):
            found += [os.path.join(path, name) for name in folders + names if name != "autostart"]
    return sorted(found)
