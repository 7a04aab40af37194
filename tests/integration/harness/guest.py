# SPDX-License-Identifier: LGPL-2.1-or-later
"""Containers for the tests: their XML, and what to wait for."""

import os
import re
import time
import uuid as uuids
from xml.sax.saxutils import escape, quoteattr

from . import roots


def wait_for(condition, seconds=20, what="the condition"):
    """Polls until `condition()` gives something true; that value."""
    end = time.monotonic() + seconds * float(os.environ.get("VZ_TIME_SCALE", "1"))
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come true within {seconds} s")
        time.sleep(0.02)


class Guest:
    """One container of a test: a name, a root of its own, and virsh on it. Removed by close()."""

    def __init__(self, daemon, folder, name, kind="busybox", init="/sbin/init", args=(), root=None, **xml):
        self.daemon, self.name, self.kind = daemon, name, kind
        self.uuid = xml.pop("uuid", None) or str(uuids.uuid4())
        self.root = root or roots.clone(kind, os.path.join(folder, name))
        self.init, self.args, self.settings = init, args, xml

    def xml(self, **changes):
        """
        The domain XML. Settings: type, memory (MiB), vcpus, devices, os, top (raw XML at these places),
        on_poweroff, on_reboot, on_crash, console, name, filesystem (raw, instead of the root).
        """
        use = {"type": "vz", "memory": 256, "vcpus": 1, "devices": "", "os": "", "top": "", "name": self.name,
               "console": "<console type='pty'/>", **self.settings, **changes}
        ends = "".join(f"<{tag}>{use[tag]}</{tag}>" for tag in ("on_poweroff", "on_reboot", "on_crash") if tag in use)
        arguments = "".join(f"<initarg>{escape(str(arg))}</initarg>" for arg in use.get("args", self.args))
        filesystem = use.get("filesystem") or (
            f"<filesystem type='mount'><source dir={quoteattr(self.root)}/><target dir='/'/></filesystem>")
        return f"""<domain type='{use["type"]}'>
  <name>{escape(use["name"])}</name>
  <uuid>{self.uuid}</uuid>
  <memory unit='MiB'>{use["memory"]}</memory>
  <vcpu>{use["vcpus"]}</vcpu>
  <os><type>exe</type><init>{use.get("init", self.init)}</init>{arguments}{use["os"]}</os>
  {ends}{use["top"]}
  <devices>{filesystem}{use["console"]}{use["devices"]}</devices>
</domain>"""

    def file(self, **changes):
        path = os.path.join(self.daemon.folder, f"{self.name}.domain.xml")
        with open(path, "w", encoding="utf-8") as file:
            file.write(self.xml(**changes))
        return path

    def define(self, **changes):
        self.daemon.virsh("define", self.file(**changes))
        return self

    def start(self, *flags):
        self.daemon.virsh("start", self.name, *flags)
        return self

    def ready(self, seconds=20):
        """Waits until the init of the busybox root has set itself up."""
        self.wait_file("/boots", seconds=seconds)
        return self

    def state(self):
        return self.daemon.virsh("domstate", self.name, "--reason").stdout.strip()

    def wait_state(self, state, seconds=20):
        wait_for(lambda: self.state().split(" (")[0] == state, seconds, f"{self.name} {state} (is {self.state()})")
        return self

    def supervisor(self):
        """The host pid of its supervisor: the parent, outside, of its init."""
        with open(f"/proc/{self.id()}/status", encoding="utf-8") as status:
            parent = next(int(line.split()[1]) for line in status if line.startswith("PPid:"))
        with open(f"/proc/{parent}/comm", encoding="utf-8") as comm:
            assert comm.read() == "vz-supervisor\n"
        return parent

    def id(self):
        text = self.daemon.virsh("domid", self.name).stdout.strip()
        return int(text) if text not in ("", "-") else None

    def inside(self, *argv, check=True, stdin=None):
        """Runs a command in the container, as its root."""
        return self.daemon.enter(self.name, *argv, check=check, stdin=stdin).stdout

    def path(self, inside):
        return os.path.join(self.root, inside.lstrip("/"))

    def read(self, inside):
        with open(self.path(inside), encoding="utf-8") as file:
            return file.read().strip()

    def boots(self):
        """How often the init of the busybox root has run."""
        try:
            return int(self.read("/boots") or 0)
        except OSError:
            return 0

    def wait_file(self, inside, seconds=20):
        wait_for(lambda: os.path.exists(self.path(inside)), seconds, f"{inside} of {self.name}")

    def live_xml(self, *flags):
        return self.daemon.virsh("dumpxml", self.name, *flags).stdout

    def console_path(self):
        return re.search(r"<source path='(/dev/pts/\d+)'/>", self.live_xml()).group(1)

    def close(self):
        self.daemon.virsh("destroy", self.name, check=False)
        self.daemon.virsh("undefine", self.name, check=False)
