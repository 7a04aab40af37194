# SPDX-License-Identifier: LGPL-2.1-or-later
"""The libvirtd of the machine with the driver installed, with the interface of PrivateDaemon."""

import glob
import os
import shutil
import signal
import subprocess
import tempfile

from .private_daemon import DaemonDied, PrivateDaemon


class _HostNamespace:
    own_net = False

    @staticmethod
    def enter():
        return []

    @staticmethod
    def mount_table():
        with open("/proc/1/mountinfo", encoding="utf-8") as table:
            return sorted(" ".join(line.split()[2:]) for line in table)


class SystemDaemon(PrivateDaemon):  # pylint: disable=super-init-not-called
    """Only for machines that are thrown away: it kills and restarts libvirtd.service."""

    def __init__(self, uri="vz:///system", **_):
        self.folder = tempfile.mkdtemp(prefix="vzt.", dir="/var/tmp")
        os.chmod(self.folder, 0o755)
        self.uri, self.partition, self.namespace = uri, "machine", _HostNamespace()
        self._process, self._pid, self.exit_status = None, None, None
        os.makedirs(os.path.join(self.folder, "run"))
        os.symlink("/run/libvirt/vz", os.path.join(self.folder, "run/vz"))
        os.symlink("/run/vz-ploop", os.path.join(self.folder, "run/vz-ploop"))

    def url(self, path=None, ro=False):
        return path or self.uri

    @property
    def pid(self):
        text = _systemctl("show", "--property=MainPID", "--value", "libvirtd.service").strip()
        return int(text) or None

    def start(self, seconds=60, wait=True):
        _systemctl("start", "libvirtd.service")

    def running(self):
        return self.pid is not None

    def signal(self, number):
        os.kill(self.pid, number)

    def stop(self, seconds=60):
        # Its sockets would start it again.
        _systemctl("stop", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket", "libvirtd.service")

    def start_sockets(self):
        _systemctl("start", "libvirtd.socket", "libvirtd-ro.socket", "libvirtd-admin.socket")

    def restart(self):
        _systemctl("restart", "libvirtd.service")

    def kill9(self):
        self.signal(signal.SIGKILL)

    def check(self):
        text = subprocess.run(["journalctl", "-b", "-q", "-u", "libvirtd.service", "-g", "code=dumped", "-o", "cat"],
                              capture_output=True, text=True, check=False).stdout
        if text:
            raise DaemonDied(text)

    def log(self):
        return subprocess.run(["journalctl", "-b", "-q", "-u", "libvirtd.service", "-o", "cat", "-n", "50"],
                              capture_output=True, text=True, check=False).stdout

    def cgroups(self):
        found = []
        for top in ("/sys/fs/cgroup/machine.slice", "/sys/fs/cgroup/machine"):
            found += [path for path, _, _ in os.walk(top)]
        return sorted(found)

    def processes(self):
        found = set()
        for path in glob.glob("/proc/[0-9]*/comm"):
            try:
                with open(path, encoding="utf-8") as file:
                    if file.read().strip() == "vz-supervisor":
                        found.add(int(path.split("/")[2]))
            except OSError:
                pass
        for group in self.cgroups():
            try:
                with open(os.path.join(group, "cgroup.procs"), encoding="utf-8") as file:
                    found |= {int(line) for line in file}
            except OSError:
                pass
        return sorted(found)

    def close(self):
        shutil.rmtree(self.folder, ignore_errors=True)


def _systemctl(*arguments):
    return subprocess.run(["systemctl", *arguments], check=True, capture_output=True, text=True).stdout
